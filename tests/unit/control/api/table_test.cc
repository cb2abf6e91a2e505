// SPDX-License-Identifier: GPL-2.0-or-later
#include "control/api/table.h"

#include <gtest/gtest.h>

#include "base/short_duration.h"

namespace trama::api {
namespace {

const auto kNow = std::chrono::system_clock::from_time_t(1'767'323'045);  // 2026-01-02T03:04:05Z

ObjectPtr object(const char* resource, std::string_view text) {
  auto body = json::parse({text.data(), text.size()}).as_object();
  Key key{resource, text_at(body, "metadata.namespace"), text_at(body, "metadata.name")};
  return make_object(std::move(key), std::move(body), 3);
}

// "NAME=a READY=1/1 …": the cells by column.
std::map<std::string, std::string> row(const char* resource, std::string_view text) {
  auto table = make_table(*kind_of_resource(resource), {object(resource, text)}, RowObject::metadata, kNow);
  const auto& columns = table.at("columnDefinitions").as_array();
  const auto& cells = table.at("rows").as_array()[0].at("cells").as_array();
  EXPECT_EQ(columns.size(), cells.size()) << resource;
  std::map<std::string, std::string> out;
  for (std::size_t i = 0; i < cells.size() && i < columns.size(); ++i)
    out[std::string(columns[i].at("name").as_string())] =
        cells[i].is_string() ? std::string(cells[i].get_string()) : json::serialize(cells[i]);
  return out;
}

std::string pod(std::string_view rest) {
  return std::string(R"({"metadata":{"name":"p","namespace":"d","creationTimestamp":"2026-01-02T03:02:05Z"})") +
         std::string(rest) + "}";
}
constexpr const char* kTwo = R"("spec":{"nodeName":"n1","containers":[{"name":"a"},{"name":"b"}]},)";

struct PodCase {
  const char *name, *body, *ready, *status;
};

TEST(PodRow, StatusAndReadyLikeUpstreams) {
  const PodCase cases[] = {
      {"pending", R"(,"spec":{"containers":[{"name":"a"}]},"status":{"phase":"Pending"})", "0/1", "Pending"},
      {"running",
       R"(,"spec":{"containers":[{"name":"a"}]},"status":{"phase":"Running","containerStatuses":[{"name":"a","ready":true,"state":{"running":{}}}]})",
       "1/1", "Running"},
      {"creating",
       R"(,"spec":{"containers":[{"name":"a"}]},"status":{"phase":"Pending","containerStatuses":[{"name":"a","state":{"waiting":{"reason":"ContainerCreating"}}}]})",
       "0/1", "ContainerCreating"},
      {"crashing",
       R"(,"spec":{"containers":[{"name":"a"}]},"status":{"phase":"Running","containerStatuses":[{"name":"a","restartCount":4,"state":{"waiting":{"reason":"CrashLoopBackOff"}}}]})",
       "0/1", "CrashLoopBackOff"},
      {"completed",
       R"(,"spec":{"containers":[{"name":"a"}]},"status":{"phase":"Succeeded","containerStatuses":[{"name":"a","state":{"terminated":{"reason":"Completed","exitCode":0}}}]})",
       "0/1", "Completed"},
      {"exit code",
       R"(,"spec":{"containers":[{"name":"a"}]},"status":{"phase":"Failed","containerStatuses":[{"name":"a","state":{"terminated":{"exitCode":3}}}]})",
       "0/1", "ExitCode:3"},
      {"signal",
       R"(,"spec":{"containers":[{"name":"a"}]},"status":{"phase":"Failed","containerStatuses":[{"name":"a","state":{"terminated":{"exitCode":137,"signal":9}}}]})",
       "0/1", "Signal:9"},
      {"init",
       R"(,"spec":{"initContainers":[{"name":"i"},{"name":"j"}],"containers":[{"name":"a"}]},"status":{"phase":"Pending","initContainerStatuses":[{"name":"i","state":{"terminated":{"exitCode":0}}},{"name":"j","state":{"running":{}}}]})",
       "0/1", "Init:1/2"},
      {"init error",
       R"(,"spec":{"initContainers":[{"name":"i"}],"containers":[{"name":"a"}]},"status":{"phase":"Pending","initContainerStatuses":[{"name":"i","state":{"terminated":{"exitCode":1,"reason":"Error"}}}]})",
       "0/1", "Init:Error"},
      {"evicted", R"(,"spec":{"containers":[{"name":"a"}]},"status":{"phase":"Failed","reason":"Evicted"})", "0/1",
       "Evicted"},
  };
  for (const auto& c : cases) {
    auto r = row("pods", pod(c.body));
    EXPECT_EQ(r["Ready"], c.ready) << c.name;
    EXPECT_EQ(r["Status"], c.status) << c.name;
  }
  auto dying = row(
      "pods",
      R"({"metadata":{"name":"p","namespace":"d","deletionTimestamp":"2026-01-02T03:04:35Z"},"spec":{"containers":[{"name":"a"}]},"status":{"phase":"Running"}})");
  EXPECT_EQ(dying["Status"], "Terminating");
  auto half = row(
      "pods", pod(std::string(",") + kTwo +
                  R"("status":{"phase":"Running","podIP":"10.0.0.2","podIPs":[{"ip":"10.0.0.2"}],"containerStatuses":[
      {"name":"a","ready":true,"restartCount":2,"state":{"running":{}}},{"name":"b","ready":false,"restartCount":1,"state":{"running":{}}}]})"));
  EXPECT_EQ(half["Ready"], "1/2");
  EXPECT_EQ(half["Restarts"].substr(0, 1), "3");
  EXPECT_EQ(half["Age"], "2m");
  EXPECT_EQ(half["IP"], "10.0.0.2");
  EXPECT_EQ(half["Node"], "n1");
}

TEST(Rows, ServicesNodesAndWorkloads) {
  auto service = row(
      "services",
      R"({"metadata":{"name":"s","namespace":"d","creationTimestamp":"2026-01-01T03:04:05Z"},"spec":{"type":"NodePort","clusterIP":"10.96.0.1","clusterIPs":["10.96.0.1"],
      "selector":{"app":"a"},"ports":[{"port":80,"nodePort":30080,"protocol":"TCP"},{"port":53,"protocol":"UDP"}]}})");
  EXPECT_EQ(service["Type"], "NodePort");
  EXPECT_EQ(service["Cluster-IP"], "10.96.0.1");
  EXPECT_EQ(service["External-IP"], "<none>");
  EXPECT_EQ(service["Port(s)"], "80:30080/TCP,53/UDP");
  EXPECT_EQ(service["Age"], "24h");
  EXPECT_EQ(service["Selector"], "app=a");
  auto waiting =
      row("services",
          R"({"metadata":{"name":"s","namespace":"d"},"spec":{"type":"LoadBalancer","clusterIP":"10.96.0.1"}})");
  EXPECT_EQ(waiting["External-IP"], "<pending>");
  EXPECT_EQ(waiting["Age"], "<unknown>");

  auto node = row(
      "nodes",
      R"({"metadata":{"name":"n","labels":{"node-role.kubernetes.io/control-plane":""}},"spec":{"unschedulable":true},
      "status":{"conditions":[{"type":"Ready","status":"True"}],"addresses":[{"type":"InternalIP","address":"10.0.0.1"}],"nodeInfo":{"kubeletVersion":"v1"}}})");
  EXPECT_EQ(node["Status"], "Ready,SchedulingDisabled");
  EXPECT_EQ(node["Roles"], "control-plane");
  EXPECT_EQ(node["Internal-IP"], "10.0.0.1");
  EXPECT_EQ(node["Version"], "v1");

  auto deployment = row(
      "deployments",
      R"({"metadata":{"name":"d","namespace":"d"},"spec":{"replicas":3,"selector":{"matchLabels":{"app":"a"}},"template":{"spec":{"containers":[{"name":"c","image":"i:1"}]}}},
      "status":{"readyReplicas":2,"updatedReplicas":3,"availableReplicas":2}})");
  EXPECT_EQ(deployment["Ready"], "2/3");
  EXPECT_EQ(deployment["Up-to-date"], "3");
  EXPECT_EQ(deployment["Available"], "2");
  EXPECT_EQ(deployment["Images"], "i:1");
  EXPECT_EQ(deployment["Selector"], "app=a");
}

TEST(Rows, DaemonSets) {
  auto r = row(
      "daemonsets",
      R"({"metadata":{"name":"probe","namespace":"d","creationTimestamp":"2026-01-02T03:02:05Z"},"spec":{"selector":{"matchLabels":{"app":"probe"}},
      "template":{"spec":{"nodeSelector":{"disk":"ssd"},"containers":[{"name":"c","image":"i:1"}]}}},
      "status":{"desiredNumberScheduled":5,"currentNumberScheduled":4,"numberReady":3,"updatedNumberScheduled":2,"numberAvailable":1}})");
  EXPECT_EQ(r["Desired"], "5");
  EXPECT_EQ(r["Current"], "4");
  EXPECT_EQ(r["Ready"], "3");
  EXPECT_EQ(r["Up-to-date"], "2");
  EXPECT_EQ(r["Available"], "1");
  EXPECT_EQ(r["Node Selector"], "disk=ssd");
  EXPECT_EQ(r["Age"], "2m");
  EXPECT_EQ(r["Selector"], "app=probe");
  EXPECT_EQ(row("daemonsets", R"({"metadata":{"name":"x","namespace":"d"}})")["Node Selector"], "<none>");
}

TEST(Rows, Jobs) {
  auto job = [](const std::string& spec, const std::string& status) {
    return row("jobs", R"({"metadata":{"name":"j","namespace":"d"},"spec":)" + spec + R"(,"status":)" + status + "}");
  };
  auto running = job(R"({"completions":3,"parallelism":2})", R"({"succeeded":1,"startTime":"2026-01-02T03:02:05Z"})");
  EXPECT_EQ(running["Status"], "Running");
  EXPECT_EQ(running["Completions"], "1/3");
  EXPECT_EQ(running["Duration"], "2m") << "so far";
  auto complete = job(
      R"({"completions":1,"parallelism":1})",
      R"({"succeeded":1,"startTime":"2026-01-02T03:00:05Z","completionTime":"2026-01-02T03:00:15Z","conditions":[{"type":"SuccessCriteriaMet","status":"True"},{"type":"Complete","status":"True"}]})");
  EXPECT_EQ(complete["Status"], "Complete");
  EXPECT_EQ(complete["Duration"], "10s");
  EXPECT_EQ(job(R"({"parallelism":4})", "{}")["Completions"], "0/1 of 4");
  EXPECT_EQ(job(R"({"parallelism":1})", "{}")["Completions"], "0/1");
  EXPECT_EQ(job("{}", "{}")["Duration"], "");
  for (const char* state : {"Failed", "Suspended", "FailureTarget", "SuccessCriteriaMet"})
    EXPECT_EQ(job("{}", std::string(R"({"conditions":[{"type":")") + state + R"(","status":"True"}]})")["Status"],
              state);
  EXPECT_EQ(
      row("jobs", R"({"metadata":{"name":"j","namespace":"d","deletionTimestamp":"2026-01-02T03:04:35Z"}})")["Status"],
      "Terminating");
}

TEST(Rows, NetworkPolicies) {
  auto selector = [](const std::string& text) {
    return row("networkpolicies",
               R"({"metadata":{"name":"p","namespace":"d"},"spec":{"podSelector":)" + text + "}}")["Pod-Selector"];
  };
  EXPECT_EQ(selector("{}"), "<none>");
  EXPECT_EQ(
      selector(
          R"({"matchLabels":{"z":"1","app":"web"},"matchExpressions":[{"key":"tier","operator":"In","values":["b","a"]},{"key":"x","operator":"DoesNotExist"},{"key":"y","operator":"Exists"}]})"),
      "app=web,tier in (a,b),!x,y,z=1");
}

TEST(Rows, EveryKindHasAsManyCellsAsColumns) {
  for (const auto& kind : kinds())
    if (kind.served_as.empty()) row(std::string(kind.resource).c_str(), R"({"metadata":{"name":"x","namespace":"d"}})");
}

TEST(Rows, CarryWhatWasAsked) {
  auto o = object("pods", pod(R"(,"spec":{"containers":[]})"));
  const auto& kind = *kind_of_resource("pods");
  auto metadata = make_table(kind, {o}, RowObject::metadata, kNow);
  EXPECT_EQ(text_at(metadata.at("rows").as_array()[0].as_object(), "object.kind"), "PartialObjectMetadata");
  auto whole = make_table(kind, {o}, RowObject::object, kNow);
  EXPECT_NE(at(whole.at("rows").as_array()[0], "object.spec"), nullptr);
}

TEST(ShortDuration, LikeKubectls) {
  const std::pair<long, const char*> cases[] = {{0, "0s"},       {119, "119s"},     {120, "2m"},     {150, "2m30s"},
                                                {600, "10m"},    {10'799, "179m"},  {10'800, "3h"},  {11'100, "3h5m"},
                                                {28'800, "8h"},  {172'799, "47h"},  {172'800, "2d"}, {180'000, "2d2h"},
                                                {691'200, "8d"}, {63'072'000, "2y"}};
  for (auto [seconds, text] : cases) EXPECT_EQ(base::short_duration(std::chrono::seconds(seconds)), text) << seconds;
}

}  // namespace
}  // namespace trama::api
