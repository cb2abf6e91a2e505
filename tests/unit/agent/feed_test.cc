// SPDX-License-Identifier: GPL-2.0-or-later
#include <gtest/gtest.h>

#include "agent/machine.h"
#include "agent/reporter.h"
#include "agent/service_feed.h"
#include "agent/status_page.h"
#include "tests/unit/agent/metrics_check.h"
#include "tests/unit/agent/objects.h"

namespace trama::agent {
namespace {

api::ObjectPtr service(const std::string& name, const std::string& ip, int revision) {
  return object_from("services",
                     fmt::format(R"({{"metadata":{{"name":"{}","namespace":"default","resourceVersion":"{}"}},
    "spec":{{"clusterIP":"{}","clusterIPs":["{}"],"ports":[{{"port":80}}]}}}})",
                                 name, revision, ip, ip));
}
api::ObjectPtr slice(const std::string& service_name, const std::string& ip, int revision) {
  return object_from("endpointslices",
                     fmt::format(R"({{"metadata":{{"name":"{0}-x","namespace":"default","resourceVersion":"{2}",
    "labels":{{"kubernetes.io/service-name":"{0}"}}}},"addressType":"IPv4","ports":[{{"name":"","port":8080}}],
    "endpoints":[{{"addresses":["{1}"]}}]}})",
                                 service_name, ip, revision));
}

struct Told {
  std::vector<std::string> log;
  std::uint64_t generation = 0;
  ServiceSink sink() {
    ServiceSink s;
    s.update = [this](const ServiceKey& key, std::optional<servicelb::Service> service) {
      log.push_back(key.name + (service ? fmt::format("={}", service->ports.at(0).endpoints.size()) : " gone"));
      return ++generation;
    };
    s.set_node = [this](servicelb::NodeFacts) {
      log.push_back("node");
      return ++generation;
    };
    s.synced = [this] { log.push_back("synced"); };
    return s;
  }
};

TEST(ServiceFeed, TellsEverythingOnceThenOnlyWhatChanged) {
  ClusterView view;
  view.list(Kind::services, {service("a", "10.96.0.1", 1), service("b", "10.96.0.2", 2)}, 5);
  view.list(Kind::slices, {slice("a", "10.244.1.1", 3)}, 5);
  Told told;
  ServiceFeed feed(told.sink());
  feed.update(view, view.take_dirty(), {}, {});
  EXPECT_EQ(told.log, (std::vector<std::string>{"node", "a=1", "b=0", "synced"}));
  told.log.clear();
  view.put(Kind::slices, slice("b", "10.244.1.2", 6));
  feed.update(view, view.take_dirty(), {}, {});
  EXPECT_EQ(told.log, (std::vector<std::string>{"b=1"}));
  told.log.clear();
  feed.update(view, view.take_dirty(), {}, {});
  EXPECT_TRUE(told.log.empty());
  view.remove(Kind::services, service("a", "10.96.0.1", 7));
  feed.update(view, view.take_dirty(), {}, {});
  EXPECT_EQ(told.log, (std::vector<std::string>{"a gone"}));
  EXPECT_EQ(feed.totals().services, 1u);
  told.log.clear();
  view.put(Kind::slices, slice("a", "10.244.1.9", 8));  // a slice of no Service
  feed.update(view, view.take_dirty(), {}, {});
  EXPECT_TRUE(told.log.empty());
  ServiceContext other;
  other.node_addresses = {base::Ip::v4(192, 0, 2, 1)};
  feed.update(view, view.take_dirty(), other, {});
  EXPECT_EQ(told.log, (std::vector<std::string>{"b=1"})) << "another context: everything is judged again";
}

TEST(ServiceFeed, RevisionsFollowTheKernelNotTheView) {
  ClusterView view;
  view.list(Kind::services, {service("a", "10.96.0.1", 1)}, 5);
  view.list(Kind::slices, {}, 5);
  Told told;
  ServiceFeed feed(told.sink());
  feed.update(view, view.take_dirty(), {}, {});
  feed.seen(5, 5);
  EXPECT_EQ(feed.revisions().both(), 0u) << "nothing is in the kernel yet";
  auto first = told.generation;
  view.put(Kind::slices, slice("a", "10.244.1.1", 9));
  feed.update(view, view.take_dirty(), {}, {});
  feed.seen(5, 9);
  feed.programmed(first);
  EXPECT_EQ(feed.revisions().services, 5u);
  EXPECT_EQ(feed.revisions().slices, 5u);
  feed.programmed(told.generation);
  EXPECT_EQ(feed.revisions().slices, 9u);
  EXPECT_EQ(feed.revisions().both(), 5u);
  feed.seen(12, 12);  // bookmarks: nothing to program
  EXPECT_EQ(feed.revisions().both(), 12u);
}

TEST(ServiceFeed, RefusalsAreKeptPerServiceAndGoWithTheirCause) {
  ClusterView view;
  view.list(Kind::services, {service("a", "10.96.0.1", 1)}, 5);
  view.list(Kind::slices, {slice("a", "127.0.0.1", 3)}, 5);
  Told told;
  ServiceFeed feed(told.sink());
  feed.update(view, view.take_dirty(), {}, {});
  EXPECT_EQ(feed.refusals(),
            (std::vector<std::string>{"default/a: endpoint 127.0.0.1 of a-x refused: loopback address"}));
  view.put(Kind::slices, slice("a", "10.244.1.1", 6));
  feed.update(view, view.take_dirty(), {}, {});
  EXPECT_TRUE(feed.refusals().empty());
}

TEST(ServiceFeed, TellsWhatAChangeIsAboutAndWhatThereIs) {
  ClusterView view;
  view.list(Kind::services, {service("a", "10.96.0.1", 1)}, 5);
  view.list(Kind::slices, {slice("a", "10.244.1.1", 3)}, 5);
  Told told;
  auto sink = told.sink();
  std::string log;
  sink.told = [&](const ToldChange& c) {
    log += fmt::format("{}{}{} ", c.generation, c.service ? "s" : "", c.endpoints ? "e" : "");
  };
  sink.heard = [&](const ServiceKey& key, const api::ObjectPtr& object, const ServiceOutcome& out) {
    log += fmt::format("{}{}{} ", key.name, object ? "" : "-", out.service ? out.service->ports.size() : 0);
  };
  ServiceFeed feed(std::move(sink));
  feed.update(view, view.take_dirty(), {}, {});
  EXPECT_EQ(log, "1 a1 2se ");
  EXPECT_EQ(feed.totals().endpoints, 1u);
  log.clear();
  view.put(Kind::slices, slice("a", "10.244.1.2", 6));
  feed.update(view, view.take_dirty(), {}, {});
  view.put(Kind::services, service("a", "10.96.0.1", 7));
  feed.update(view, view.take_dirty(), {}, {});
  view.remove(Kind::services, service("a", "10.96.0.1", 8));
  feed.update(view, view.take_dirty(), {}, {});
  EXPECT_EQ(log, "a1 3e a1 4s a-0 5s ");
  EXPECT_EQ(feed.totals().services, 0u);
  EXPECT_EQ(feed.totals().endpoints, 0u);
  EXPECT_EQ(feed.totals().ports, 0u);
}

TEST(StatusPatch, OnlyWhatChangedAndNullForWhatIsGone) {
  auto parse = [](const char* text) { return json::parse(text).as_object(); };
  auto from = parse(R"({"phase":"Pending","reason":"X","podIP":"10.0.0.1","conditions":[1]})");
  EXPECT_EQ(json::serialize(status_patch(from, parse(R"({"phase":"Running","podIP":"10.0.0.1","conditions":[1,2]})"))),
            R"({"phase":"Running","conditions":[1,2],"reason":null})");
  EXPECT_TRUE(status_patch(from, from).empty());
}

TEST(Machine, ReadsWhatTheNodeTells) {
  EXPECT_EQ(pretty_name("NAME=x\nPRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\n"), "Debian GNU/Linux 12 (bookworm)");
  EXPECT_EQ(pretty_name(""), "Linux");
  EXPECT_EQ(total_memory("MemTotal:        2048 kB\nMemFree: 1 kB\n"), 2048u * 1024);
  EXPECT_EQ(total_memory("nothing"), 0u);
  EXPECT_GT(read_machine().memory_bytes, 0u);
}

AgentFacts facts() {
  AgentFacts f;
  f.node = "n1";
  f.started_at = "2026-01-01T00:00:00Z";
  f.now = "2026-01-01T00:01:00Z";
  f.sandboxes.name = "sandboxes";
  f.overlay.name = "overlay";
  f.services.name = "services";
  f.services.heals = 3;
  f.service_revision = 12;
  f.slice_revision = 9;
  return f;
}

TEST(StatusPage, HealthIsKubeProxys) {
  int code = 0;
  EXPECT_EQ(health_page(facts(), true, code),
            R"({"lastUpdated":"2026-01-01T00:01:00Z","currentTime":"2026-01-01T00:01:00Z","nodeEligible":true})");
  EXPECT_EQ(code, 200);
  EXPECT_EQ(health_page(facts(), false, code),
            R"({"lastUpdated":"2026-01-01T00:01:00Z","currentTime":"2026-01-01T00:01:00Z"})");
  for (auto why : {&AgentFacts::node_deleting, &AgentFacts::node_excluded}) {
    auto going = facts();
    going.*why = true;
    EXPECT_EQ(health_page(going, true, code),
              R"({"lastUpdated":"2026-01-01T00:01:00Z","currentTime":"2026-01-01T00:01:00Z","nodeEligible":false})");
    EXPECT_EQ(code, 503);
    health_page(going, false, code);
    EXPECT_EQ(code, 200) << "/livez ignores the node";
  }
  auto stale = facts();
  stale.stale = true;
  stale.services_updated_at = "2026-01-01T00:00:01Z";
  for (bool with_node : {true, false}) {
    auto page = health_page(stale, with_node, code);
    EXPECT_TRUE(page.starts_with(R"({"lastUpdated":"2026-01-01T00:00:01Z")")) << page;
    EXPECT_EQ(code, 503);
  }
}

TEST(StatusPage, StatusAndMetrics) {
  auto page = status_page(facts());
  EXPECT_EQ(page.at("servicesProgrammedRevision").as_uint64(), 9u);
  EXPECT_EQ(page.at("reconcilers").as_object().at("services").as_object().at("heals").as_uint64(), 3u);
  auto metrics = metrics_page(facts());
  EXPECT_NE(metrics.find("# TYPE trama_room_heals_total counter\n"), std::string::npos);
  EXPECT_NE(metrics.find("trama_room_heals_total{room=\"services\"} 3\n"), std::string::npos);
  EXPECT_EQ(check_metrics(metrics + ServiceMetrics({{}, base::now()}).text({})), "") << "together they are one page";
}

}  // namespace
}  // namespace trama::agent
