// SPDX-License-Identifier: GPL-2.0-or-later
// The loops behind a Service over a real store: slices, Endpoints, and Endpoints mirrored into slices.
#include "control/controllers/endpoints_loop.h"

#include "control/controllers/endpoint_mirror_loop.h"
#include "control/controllers/endpoint_slice_loop.h"
#include "control/store/memory_store.h"
#include "tests/unit/control/run.h"
#include "tests/unit/control/world.h"

namespace trama::control {
namespace {

using namespace test;

constexpr std::string_view kOfPods = "endpointslice-controller.k8s.io";
constexpr std::string_view kMirrored = "endpointslicemirroring-controller.k8s.io";

class EndpointLoops : public testing::Test {
 protected:
  EndpointLoops() { start(); }
  ~EndpointLoops() override {
    stop();
    auto close = [&]() -> awaitable<int> {
      co_await store_->close();
      co_return 0;
    };
    run_(close());
  }
  void start() {
    events_ = std::make_unique<EventRecorder>(run_.executor(), *store_);
    slices_ = std::make_unique<EndpointSliceLoop>(run_.executor(), *store_, 1);
    endpoints_ = std::make_unique<EndpointsLoop>(run_.executor(), *store_, slices_->pods());
    mirror_ = std::make_unique<EndpointMirrorLoop>(run_.executor(), *store_, *events_, 2);
    slices_->when_pods_change([this](const std::string& s, const std::string& t) { endpoints_->touch(s, t); });
    group_ = std::make_unique<async::TaskGroup>(run_.executor());
    for (auto* loop : {&slices_->loop(), &endpoints_->loop(), &mirror_->loop()}) loop->start(*group_);
  }
  void stop() {
    auto end = [&]() -> awaitable<int> {
      co_await group_->stop();
      co_return 0;
    };
    run_(end());
  }

  void put(const std::string& resource, const std::string& name, const std::string& text) {
    auto write = [&]() -> awaitable<int> {
      store::Decision decide = [&](store::Transaction& tx) -> api::Answer<api::ObjectPtr> {
        auto body = object(text);
        auto& meta = api::make_object_at(body, "metadata");
        meta["name"] = name;
        meta["namespace"] = "d";
        api::Key key{resource, "d", name};
        auto have = tx.get(key);
        if (!meta.contains("uid")) meta["uid"] = have ? have->uid : "uid-" + name;
        return tx.put(key, std::move(body));
      };
      auto done = co_await store_->write(std::move(decide));
      EXPECT_TRUE(done);
      co_return 0;
    };
    run_(write());
  }
  void erase(const std::string& resource, const std::string& name) {
    auto write = [&]() -> awaitable<int> {
      store::Decision decide = [&](store::Transaction& tx) -> api::Answer<api::ObjectPtr> {
        api::Key key{resource, "d", name};
        auto have = tx.get(key);
        tx.erase(key);
        return have;
      };
      co_await store_->write(std::move(decide));
      co_return 0;
    };
    run_(write());
  }
  void pod(const std::string& name, const std::string& app, const std::string& ip, bool ready = true) {
    put("pods", name,
        fmt::format(R"({{"metadata":{{"labels":{{"app":"{}"}}}},"spec":{{"nodeName":"n1","containers":[]}},
      "status":{{"phase":"Running","podIP":"{}","conditions":[{{"type":"Ready","status":"{}"}}]}}}})",
                    app, ip, ready ? "True" : "False"));
  }
  void service(const std::string& name, bool selector = true) {
    put("services", name,
        fmt::format(
            R"({{"apiVersion":"v1","kind":"Service","spec":{{{}"clusterIP":"10.96.0.9","ports":[{{"port":80,"protocol":"TCP"}}]}}}})",
            selector ? fmt::format(R"("selector":{{"app":"{}"}},)", name) : ""));
  }
  api::ObjectPtr get(const std::string& name) { return store_->get({"endpoints", "d", name}); }
  // "10.0.0.1 10.0.0.2/10.0.0.3": ready ones and others; "-" when there is no object.
  std::string shown(const std::string& name) {
    auto e = get(name);
    if (!e) return "-";
    std::string ready, waiting;
    for (const auto& s : api::array_at(e->body, "subsets")) {
      for (const auto& a : api::array_at(s.as_object(), "addresses")) ready += " " + api::text_at(a.as_object(), "ip");
      for (const auto& a : api::array_at(s.as_object(), "notReadyAddresses"))
        waiting += " " + api::text_at(a.as_object(), "ip");
    }
    return ready + "/" + waiting;
  }
  api::ObjectPtr mirrored_db() {
    for (const auto& s : store_->list("endpointslices", "d"))
      if (s->key.name.starts_with("db-")) return s;
    return nullptr;
  }
  std::size_t slices(const std::string& service, std::string_view manager) {
    std::size_t n = 0;
    for (const auto& s : store_->list("endpointslices", "d")) {
      auto labels = api::strings_at(s->body, "metadata.labels");
      n += labels["kubernetes.io/service-name"] == service &&
           labels["endpointslice.kubernetes.io/managed-by"] == manager;
    }
    return n;
  }
  // Everything that was written before has been seen and worked off: what came later has been, by every loop.
  bool caught_up() {
    auto n = std::to_string(++marks_);
    service("mark" + n);
    pod("mark" + n, "mark" + n, "10.9.9.9");
    service("own" + n, false);
    put("endpoints", "own" + n,
        R"({"apiVersion":"v1","kind":"Endpoints","subsets":[{"addresses":[{"ip":"192.0.2.9"}]}]})");
    return settled([&] {
      return shown("mark" + n) == " 10.9.9.9/" && slices("own" + n, kMirrored) == 1 && slices("mark" + n, kOfPods) == 1;
    });
  }
  bool settled(const std::function<bool()>& done) {
    return run_.until(
        [&] { return done() && slices_->loop().depth() + endpoints_->loop().depth() + mirror_->loop().depth() == 0; });
  }

  int marks_ = 0;
  Runner run_;
  std::unique_ptr<store::Store> store_ = std::move(*store::open_store(store::make_null_log(), run_.executor()));
  std::unique_ptr<EventRecorder> events_;
  std::unique_ptr<EndpointSliceLoop> slices_;
  std::unique_ptr<EndpointsLoop> endpoints_;
  std::unique_ptr<EndpointMirrorLoop> mirror_;
  std::unique_ptr<async::TaskGroup> group_;
};

TEST_F(EndpointLoops, APodChangesItsOwnServiceAlone) {
  for (const char* name : {"web", "api"}) {
    service(name);
    pod(std::string(name) + "-1", name, std::string(name) == "web" ? "10.0.0.1" : "10.0.0.2");
  }
  ASSERT_TRUE(settled([&] { return shown("web") == " 10.0.0.1/" && shown("api") == " 10.0.0.2/"; }));
  auto other = get("api")->revision;
  auto passes = endpoints_->loop().handled();
  for (int i = 0; i < 10; ++i) {
    pod("web-1", "web", "10.0.0.1", i % 2 == 1);
    ASSERT_TRUE(settled([&] { return shown("web") == (i % 2 ? " 10.0.0.1/" : "/ 10.0.0.1"); }));
  }
  EXPECT_EQ(get("api")->revision, other);
  // A change wakes the Service, what is written wakes it once more; nobody else is looked at.
  EXPECT_LE(endpoints_->loop().handled() - passes, 2u * 10);
  auto written = get("web")->revision;
  put("pods", "web-1",
      R"({"metadata":{"labels":{"app":"web"},"annotations":{"beat":"1"}},"spec":{"nodeName":"n1","containers":[]},
      "status":{"phase":"Running","podIP":"10.0.0.1","conditions":[{"type":"Ready","status":"True"}]}})");
  ASSERT_TRUE(caught_up());
  EXPECT_EQ(get("web")->revision, written) << "what no Service sees writes nothing";
}

TEST_F(EndpointLoops, WhatSomebodyChangesComesBackAndGoesWithTheService) {
  service("web");
  pod("a", "web", "10.0.0.1");
  ASSERT_TRUE(settled([&] { return shown("web") == " 10.0.0.1/"; }));
  erase("endpoints", "web");
  ASSERT_TRUE(settled([&] { return shown("web") == " 10.0.0.1/"; }));
  put("endpoints", "web", R"({"apiVersion":"v1","kind":"Endpoints"})");
  ASSERT_TRUE(settled([&] { return shown("web") == " 10.0.0.1/"; }));
  erase("services", "web");
  ASSERT_TRUE(settled([&] { return shown("web") == "-"; }));

  // Gone while nobody looked.
  service("web");
  ASSERT_TRUE(settled([&] { return shown("web") == " 10.0.0.1/"; }));
  stop();
  erase("services", "web");
  EXPECT_EQ(shown("web"), " 10.0.0.1/");
  start();
  ASSERT_TRUE(settled([&] { return shown("web") == "-"; }));
}

TEST_F(EndpointLoops, EndpointsOfPeopleReachNodesAsSlices) {
  auto write = [&](const std::string& ip, const std::string& labels = "") {
    put("endpoints", "db",
        fmt::format(R"({{"apiVersion":"v1","kind":"Endpoints","metadata":{{"labels":{{{}}}}},
        "subsets":[{{"addresses":[{{"ip":"{}"}}],"ports":[{{"port":5432,"protocol":"TCP"}}]}}]}})",
                    labels, ip));
  };
  write("192.0.2.1");
  ASSERT_TRUE(caught_up());
  EXPECT_EQ(slices("db", kMirrored), 0u) << "no Service yet";
  service("db", false);
  ASSERT_TRUE(settled([&] { return slices("db", kMirrored) == 1; }));
  EXPECT_EQ(shown("db"), " 192.0.2.1/") << "the person's object stays as it is";
  write("192.0.2.2");
  ASSERT_TRUE(settled([&] {
    return slices("db", kMirrored) == 1 &&
           json::serialize(mirrored_db()->body.at("endpoints")).find("192.0.2.2") != std::string::npos;
  }));
  // Somebody deletes the slice: it comes back.
  auto name = mirrored_db()->key.name;
  erase("endpointslices", name);
  ASSERT_TRUE(settled([&] { return slices("db", kMirrored) == 1 && mirrored_db()->key.name != name; }));
  write("192.0.2.2", R"("endpointslice.kubernetes.io/skip-mirror":"true")");
  ASSERT_TRUE(settled([&] { return slices("db", kMirrored) == 0; }));
  write("192.0.2.2");
  ASSERT_TRUE(settled([&] { return slices("db", kMirrored) == 1; }));
  // With a selector the pods are what counts, for both forms.
  service("db");
  pod("p", "db", "10.0.0.7");
  ASSERT_TRUE(settled(
      [&] { return shown("db") == " 10.0.0.7/" && slices("db", kMirrored) == 0 && slices("db", kOfPods) == 1; }));
  // And without one again: the address stays, and is a person's to change.
  service("db", false);
  ASSERT_TRUE(settled([&] { return slices("db", kMirrored) == 1 && slices("db", kOfPods) == 0; }));
  EXPECT_EQ(shown("db"), " 10.0.0.7/");
  EXPECT_EQ(api::object_at(get("db")->body, "metadata.labels").size(), 0u);
  erase("services", "db");
  ASSERT_TRUE(settled([&] { return shown("db") == "-"; }))
      << "Endpoints go with their Service, whoever wrote them last";
}

}  // namespace
}  // namespace trama::control
