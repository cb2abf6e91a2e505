// SPDX-License-Identifier: GPL-2.0-or-later
// A peer that comes and goes for ever: the node that stays must not grow by it.
#include <cstdlib>
#include <filesystem>

#include <gtest/gtest.h>
#include <malloc.h>

#include "tests/kernel/overlay/running_mesh.h"

namespace trama::overlay::test {
namespace {

struct Held {
  std::size_t descriptors = 0, bytes = 0;
};

Held held() {
  Held h;
  for ([[maybe_unused]] const auto& e : std::filesystem::directory_iterator("/proc/self/fd")) ++h.descriptors;
  h.bytes = mallinfo2().uordblks;  // 0 with allocators that do not tell (sanitizers)
  return h;
}

TEST(MeshSoak, MeetingsCostNeitherMemoryNorDescriptors) {
  const int meetings = std::getenv("TRAMA_LONG") ? 10'000 : 20;
  TestAuthority authority;
  Lab lab(2, std::nullopt);
  lab.converge();
  auto start = [&](unsigned n) {
    mesh::MeshOptions options;
    options.node = fmt::format("n{}", n);
    auto mesh = std::make_unique<RunningMesh>(lab[n].host.netns(), options, authority.node(options.node));
    mesh->set_world(world_of(lab[n]));
    return mesh;
  };
  auto meets = [](RunningMesh& mesh, const std::string& whom) {
    return mesh.wait([&](const MeshStatus& s) {
      const auto* p = peer_in(s, whom);
      return p && p->connection == peers::Connection::established;
    });
  };
  auto stays = start(2);
  auto meet = [&](int times) {
    for (int i = 0; i < times; ++i) {
      auto comes = start(1);
      ASSERT_TRUE(meets(*comes, "n2")) << i << "\n" << describe(comes->status());
    }
  };
  meet(10);  // caches fill
  auto before = held();
  meet(meetings);
  auto after = held();
  RecordProperty("bytes_per_meeting",
                 std::to_string((static_cast<double>(after.bytes) - static_cast<double>(before.bytes)) / meetings));
  EXPECT_EQ(after.descriptors, before.descriptors);
  // What the test itself notes of each meeting is a few hundred bytes; one TLS session alone would be tens of
  // thousands.
  EXPECT_LT(after.bytes, before.bytes + static_cast<std::size_t>(meetings) * 2'000 + 100'000);

  auto more = start(1);
  ASSERT_TRUE(meets(*more, "n2"));
  EXPECT_GT(held().descriptors, before.descriptors) << "the control: one that stays is seen";
}

}  // namespace
}  // namespace trama::overlay::test
