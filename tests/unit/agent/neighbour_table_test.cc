// SPDX-License-Identifier: GPL-2.0-or-later
#include "agent/neighbour_table.h"

#include <filesystem>
#include <fstream>

#include <gmock/gmock.h>

namespace trama::agent {
namespace {

using testing::HasSubstr;

constexpr const char* kText =
    "entries  allocs   destroys table_fulls\n"
    "00000d9b 00013390 00011fa2 0000000a\n"
    "00000d9b 00011a3d 00012090 00000006\n";

TEST(NeighbourTable, DropsOfAllProcessorsAreAdded) {
  EXPECT_EQ(neighbour_drops(kText), 16u);
  EXPECT_EQ(neighbour_drops("entries table_fulls unresolved\n1 2 3\n"), 2u);
  EXPECT_EQ(neighbour_drops("table_fulls\n"), 0u);
  for (auto text : {"", "\n", "entries\n1\n", "entries table_fulls\n1\n", "table_fulls\nxyz\n",
                    "table_fulls\n11111111111111111\n", "table_fulls\n1\n\n2\n"})
    EXPECT_EQ(neighbour_drops(text), std::nullopt) << text;
}

TEST(NeighbourTable, ThisKernelWritesSuchAText) {
  std::ifstream file("/proc/net/stat/arp_cache");
  if (!file) GTEST_SKIP() << "only in the machine's own namespace";
  std::string text(std::istreambuf_iterator<char>(file), {});
  EXPECT_NE(neighbour_drops(text), std::nullopt) << text;
}

TEST(NeighbourTable, OnlyNewDropsAreTold) {
  char dir[] = "/tmp/trama-neighbours-XXXXXX";
  ASSERT_NE(mkdtemp(dir), nullptr);
  auto stat = std::string(dir) + "/net/stat/";
  std::filesystem::create_directories(stat);
  auto write = [&](const char* file, const std::string& text) { std::ofstream(stat + file) << text; };
  NeighbourTables tables;
  EXPECT_EQ(tables.look(dir), "");
  write("arp_cache", kText);
  write("ndisc_cache", kText);
  EXPECT_EQ(tables.look(dir), "") << "of the time before";
  EXPECT_EQ(tables.look(dir), "");
  write("arp_cache", "table_fulls\n15\n");
  auto told = tables.look(dir);
  EXPECT_THAT(told, HasSubstr("5 packets were dropped because the kernel's table of IPv4 neighbours is full"));
  EXPECT_THAT(told, HasSubstr("net.ipv4.neigh.default.gc_thresh3"));
  EXPECT_THAT(told, testing::Not(HasSubstr("IPv6")));
  EXPECT_EQ(tables.look(dir), "");
  std::filesystem::remove_all(dir);
}

}  // namespace
}  // namespace trama::agent
