// SPDX-License-Identifier: GPL-2.0-or-later
#include "agent/compute/local_endpoints.h"

#include <gtest/gtest.h>

#include "control/api/object.h"

namespace trama::agent {
namespace {

api::ObjectPtr slice(const std::string& name, const std::string& service, const std::string& endpoints) {
  auto body =
      json::parse(R"({"metadata":{"namespace":"d","name":")" + name + R"(","labels":{"kubernetes.io/service-name":")" +
                  service + R"("}},"endpoints":)" + endpoints + "}")
          .as_object();
  static std::uint64_t revision = 0;
  return api::make_object({"endpointslices", "d", name}, std::move(body), ++revision);
}

std::string text(const LocalEndpoints& local) {
  std::string out;
  for (const auto& ip : local.addresses()) out += ip.to_string() + " ";
  return out;
}

TEST(LocalEndpoints, AreThoseOfThisNodeOnceEach) {
  ClusterView view;
  LocalEndpoints local("n1");
  auto look = [&] {
    local.update(view, view.take_dirty().services);
    return text(local);
  };
  view.put(Kind::slices, slice("a", "web", R"([{"addresses":["10.0.0.2"],"nodeName":"n1"},
      {"addresses":["10.0.1.2"],"nodeName":"n2"},{"addresses":["nonsense"],"nodeName":"n1"},{"addresses":["10.0.0.9"]}])"));
  view.put(Kind::slices, slice("b", "api", R"([{"addresses":["10.0.0.2"],"nodeName":"n1"},
      {"addresses":["10.0.0.1"],"nodeName":"n1"}])"));
  EXPECT_EQ(look(), "10.0.0.1 10.0.0.2 ");
  EXPECT_EQ(look(), "10.0.0.1 10.0.0.2 ") << "nothing has changed";
  view.put(Kind::slices, slice("a", "web", "[]"));
  EXPECT_EQ(look(), "10.0.0.1 10.0.0.2 ") << "the other Service still has it";
  view.remove(Kind::slices, slice("b", "api", "[]"));
  EXPECT_EQ(look(), "");
  view.put(Kind::slices, slice("a", "web", R"([{"addresses":["10.0.0.2"],"nodeName":"n1"}])"));
  EXPECT_EQ(look(), "10.0.0.2 ");
}

}  // namespace
}  // namespace trama::agent
