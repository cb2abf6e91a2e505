// SPDX-License-Identifier: GPL-2.0-or-later
// When a lab's Services count as settled.
#include "cli/lab/ready.h"

#include <gtest/gtest.h>

namespace trama::cli {
namespace {

json::object object(const std::string& text) { return json::parse(text).as_object(); }

json::object pod(const std::string& name, const std::string& ip, bool ready, const std::string& extra = "") {
  return object(R"({"metadata":{"namespace":"default","name":")" + name + R"(","labels":{"app":"web"})" + extra +
                R"(},"status":{"podIP":")" + ip + R"(","conditions":[{"type":"Ready","status":")" +
                (ready ? "True" : "False") + R"("}]}})");
}
json::object slice(const std::string& addresses) {
  return object(
      R"({"metadata":{"namespace":"default","labels":{"kubernetes.io/service-name":"web"}},"addressType":"IPv4","endpoints":[)" +
      addresses + "]}");
}
const std::vector<json::object> kServices{
    object(R"({"metadata":{"namespace":"default","name":"web"},"spec":{"selector":{"app":"web"}}})"),
    object(R"({"metadata":{"namespace":"default","name":"kubernetes"},"spec":{}})")};

TEST(Settled, EndpointsAreExactlyTheReadyPods) {
  std::vector<json::object> pods{pod("a", "10.0.0.1", true), pod("b", "10.0.0.2", false),
                                 pod("c", "10.0.0.3", true, R"(,"deletionTimestamp":"2026-01-01T00:00:00Z")")};
  auto good = slice(
      R"({"addresses":["10.0.0.1"],"conditions":{"ready":true}},{"addresses":["10.0.0.2"],"conditions":{"ready":false}})");
  EXPECT_TRUE(endpoints_settled(kServices, pods, {good}));
  EXPECT_FALSE(endpoints_settled(kServices, pods, {}));
  EXPECT_FALSE(endpoints_settled(kServices, pods, {slice("")}));
  auto too_many = slice(R"({"addresses":["10.0.0.1"]},{"addresses":["10.0.0.2"]})");
  EXPECT_FALSE(endpoints_settled(kServices, pods, {too_many}));
}

TEST(Settled, SeveralSlicesAndOtherLabels) {
  std::vector<json::object> pods{
      pod("a", "10.0.0.1", true), pod("b", "10.0.0.2", true),
      object(R"({"metadata":{"namespace":"default","labels":{"app":"db"}},"status":{"podIP":"10.0.0.9",
                                 "conditions":[{"type":"Ready","status":"True"}]}})")};
  EXPECT_TRUE(endpoints_settled(kServices, pods,
                                {slice(R"({"addresses":["10.0.0.1"]})"), slice(R"({"addresses":["10.0.0.2"]})")}));
  EXPECT_TRUE(endpoints_settled({}, pods, {}));
}

}  // namespace
}  // namespace trama::cli
