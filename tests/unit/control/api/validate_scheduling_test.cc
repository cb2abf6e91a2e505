// SPDX-License-Identifier: GPL-2.0-or-later
// What pods may say of affinity and spreading: each rule by one that breaks it, in the words that users know.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include "control/api/schema.h"
#include "control/api/validate.h"

namespace trama::api {
namespace {

// All causes of the creation of a pod with that in its spec, "field: message" a line; "spec." is left out.
std::string said(const std::string& more) {
  const auto& kind = *kind_of_resource("pods");
  auto body = json::parse(R"({"metadata":{"name":"p","namespace":"d"},"spec":{)" + more +
                          R"(,"containers":[{"name":"c","image":"i"}]}})")
                  .as_object();
  Findings found;
  check_schema(kind, body, found);
  apply_defaults(kind, body);
  std::string out;
  for (const auto& c : found.invalid) out += c.field.substr(5) + ": " + c.message + "\n";
  for (const auto& c : validate(kind, body, nullptr)) out += c.field.substr(5) + ": " + c.message + "\n";
  for (const auto& text : found.unknown) out += text + "\n";
  if (!out.empty()) out.pop_back();
  return out;
}
std::string spread(const std::string& constraint) {
  auto text = said(R"("topologySpreadConstraints":[{)" + constraint + "}]");
  const std::string where = "topologySpreadConstraints[0].";
  for (auto at = text.find(where); at != std::string::npos; at = text.find(where)) text.erase(at, where.size());
  return text;
}
std::string near(const std::string& term) {
  auto text = said(R"("affinity":{"podAffinity":{"requiredDuringSchedulingIgnoredDuringExecution":[{)" + term + "}]}}");
  const std::string where = "affinity.podAffinity.requiredDuringSchedulingIgnoredDuringExecution[0].";
  for (auto at = text.find(where); at != std::string::npos; at = text.find(where)) text.erase(at, where.size());
  return text;
}
std::string node(const std::string& term) {
  auto text =
      said(R"("affinity":{"nodeAffinity":{"requiredDuringSchedulingIgnoredDuringExecution":{"nodeSelectorTerms":[{)" +
           term + "}]}}}");
  const std::string where =
      "affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms[0].";
  for (auto at = text.find(where); at != std::string::npos; at = text.find(where)) text.erase(at, where.size());
  return text;
}

TEST(SpreadConstraints, Rules) {
  const std::string good = R"("maxSkew":1,"topologyKey":"zone","whenUnsatisfiable":"DoNotSchedule")";
  EXPECT_EQ(spread(good), "");
  EXPECT_EQ(spread(good + R"(,"labelSelector":{"matchLabels":{"a":"b"}},"matchLabelKeys":["c"],"minDomains":2,
                        "nodeAffinityPolicy":"Ignore","nodeTaintsPolicy":"Honor")"),
            "");
  EXPECT_EQ(spread(R"("topologyKey":"zone","whenUnsatisfiable":"ScheduleAnyway")"),
            "maxSkew: Invalid value: 0: must be greater than zero");
  EXPECT_EQ(spread(R"("maxSkew":1,"whenUnsatisfiable":"ScheduleAnyway")"),
            "topologyKey: Required value: can not be empty");
  EXPECT_EQ(spread(R"("maxSkew":1,"topologyKey":"zone")"),
            R"(whenUnsatisfiable: Unsupported value: "": supported values: "DoNotSchedule", "ScheduleAnyway")");
  EXPECT_EQ(
      spread(R"("maxSkew":1,"topologyKey":"zone","whenUnsatisfiable":"Sometimes")"),
      R"(whenUnsatisfiable: Unsupported value: "Sometimes": supported values: "DoNotSchedule", "ScheduleAnyway")");
  EXPECT_EQ(spread(good + R"(,"minDomains":0)"), "minDomains: Invalid value: 0: must be greater than zero");
  EXPECT_EQ(spread(R"("maxSkew":1,"topologyKey":"zone","whenUnsatisfiable":"ScheduleAnyway","minDomains":2)"),
            "minDomains: Invalid value: 2: can only use minDomains if whenUnsatisfiable=DoNotSchedule, not "
            "ScheduleAnyway");
  EXPECT_EQ(spread(good + R"(,"nodeTaintsPolicy":"Maybe")"),
            R"(nodeTaintsPolicy: Unsupported value: "Maybe": supported values: "Honor", "Ignore")");
  EXPECT_EQ(spread(good + R"(,"nodeAffinityPolicy":"Maybe")"),
            R"(nodeAffinityPolicy: Unsupported value: "Maybe": supported values: "Honor", "Ignore")");
  EXPECT_EQ(spread(good + R"(,"matchLabelKeys":["a"])"),
            "matchLabelKeys: Forbidden: must not be specified when labelSelector is not set");
  EXPECT_EQ(spread(good + R"(,"matchLabelKeys":["a"],"labelSelector":{"matchLabels":{"a":"b"}})"),
            R"(matchLabelKeys[0]: Invalid value: "a": exists in both matchLabelKeys and labelSelector)");
  EXPECT_EQ(spread(good + R"(,"labelSelector":{"matchExpressions":[{"key":"a","operator":"In"}]})"),
            "labelSelector.matchExpressions[0].values: Required value: must be specified when `operator` is 'In' or "
            "'NotIn'");
  EXPECT_EQ(said(R"("topologySpreadConstraints":[{)" + good + "},{" + good + "}]"),
            "topologySpreadConstraints[1].{topologyKey, whenUnsatisfiable}: Duplicate value: \"{zone, "
            "DoNotSchedule}\"");
}

TEST(PodAffinity, Rules) {
  EXPECT_EQ(near(R"("topologyKey":"zone")"), "");
  EXPECT_EQ(near(R"("topologyKey":"zone","labelSelector":{},"namespaces":["a"],"namespaceSelector":{},
                  "matchLabelKeys":["a"],"mismatchLabelKeys":["b"])"),
            "");
  EXPECT_EQ(near(R"("labelSelector":{})"), "topologyKey: Required value: can not be empty");
  EXPECT_EQ(near(R"("topologyKey":"zone","namespaces":["A"])").substr(0, 35), R"(namespaces[0]: Invalid value: "A": )");
  EXPECT_EQ(near(R"("topologyKey":"zone","mismatchLabelKeys":["b"])"),
            "mismatchLabelKeys: Forbidden: must not be specified when labelSelector is not set");
  EXPECT_EQ(near(R"("topologyKey":"zone","labelSelector":{},"matchLabelKeys":["a"],"mismatchLabelKeys":["a"])"),
            R"(matchLabelKeys[0]: Invalid value: "a": exists in both matchLabelKeys and mismatchLabelKeys)");
  EXPECT_EQ(
      near(
          R"("topologyKey":"zone","namespaceSelector":{"matchExpressions":[{"key":"a","operator":"Exists","values":["b"]}]})"),
      "namespaceSelector.matchExpressions[0].values: Forbidden: may not be specified when `operator` is 'Exists' or "
      "'DoesNotExist'");
  for (const char* weight : {"0", "101"})
    EXPECT_EQ(
        said(fmt::format(
            R"("affinity":{{"podAntiAffinity":{{"preferredDuringSchedulingIgnoredDuringExecution":[{{"weight":{},"podAffinityTerm":{{"topologyKey":"z"}}}}]}}}})",
            weight)),
        fmt::format("affinity.podAntiAffinity.preferredDuringSchedulingIgnoredDuringExecution[0].weight: Invalid "
                    "value: {}: must be in the range 1-100",
                    weight));
}

TEST(NodeAffinity, Rules) {
  EXPECT_EQ(node(R"("matchExpressions":[{"key":"a","operator":"Gt","values":["5"]}])"), "");
  EXPECT_EQ(
      said(
          R"("affinity":{"nodeAffinity":{"requiredDuringSchedulingIgnoredDuringExecution":{"nodeSelectorTerms":[]}}})"),
      "affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms: Required value: must "
      "have at least one node selector term");
  EXPECT_EQ(node(R"("matchExpressions":[{"key":"a","operator":"In"}])"),
            "matchExpressions[0].values: Required value: must be specified when `operator` is 'In' or 'NotIn'");
  EXPECT_EQ(node(R"("matchExpressions":[{"key":"a","operator":"Exists","values":["b"]}])"),
            "matchExpressions[0].values: Forbidden: may not be specified when `operator` is 'Exists' or "
            "'DoesNotExist'");
  EXPECT_EQ(node(R"("matchExpressions":[{"key":"a","operator":"Lt","values":["1","2"]}])"),
            "matchExpressions[0].values: Required value: must be specified single value when `operator` is 'Lt' or "
            "'Gt'");
  EXPECT_EQ(node(R"("matchExpressions":[{"key":"a","operator":"Near"}])"),
            R"(matchExpressions[0].operator: Invalid value: "Near": not a valid selector operator)");
  EXPECT_EQ(node(R"("matchFields":[{"key":"metadata.name","operator":"In","values":["a","b"]}])"),
            "matchFields[0].values: Required value: must be only one value when `operator` is 'In' or 'NotIn' for node "
            "field selector");
  EXPECT_EQ(node(R"("matchFields":[{"key":"spec.x","operator":"In","values":["a"]}])"),
            R"(matchFields[0].key: Invalid value: "spec.x": not a valid field selector key)");
}

}  // namespace
}  // namespace trama::api
