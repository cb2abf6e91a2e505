// SPDX-License-Identifier: GPL-2.0-or-later
// Three controllers on an etcd of three members; the leader is killed or paused every few seconds and a member of etcd
// goes, while ReplicaSets and a Deployment are created and scaled. What happened is read from etcd's own history.
#include <map>
#include <set>
#include <thread>

#include <gtest/gtest.h>

#include "control/etcd/gateway.h"
#include "control/store/etcd_layout.h"
#include "tests/e2e/support/several_controllers.h"
#include "tests/support/private_netns.h"
#include "tests/support/run_coroutine.h"

namespace trama {
namespace {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;
using store::EtcdLayout;
using test::EtcdCluster;
using test::SeveralControllers;
namespace json = api::json;

const std::vector<std::string> kQuick{"--leader-lease",    "3s", "--leader-renew", "2s", "--leader-retry", "500ms",
                                      "--etcd-compaction", "2h"};  // the proof reads all of history

std::string pod_template(const std::string& app) {
  return fmt::format(
      R"("selector":{{"matchLabels":{{"app":"{0}"}}}},"template":{{"metadata":{{"labels":{{"app":"{0}"}}}},)"
      R"("spec":{{"containers":[{{"name":"c","image":"x"}}]}}}})",
      app);
}

// One commit of etcd, as its history has it.
struct Commit {
  std::string session;                      // who made it, "" when it is no transaction of a controller
  std::map<api::Key, std::string> written;  // text; "" = removed
};
using History = std::map<std::uint64_t, Commit>;

History history_of(const EtcdCluster& etcd) {
  async::asio::io_context context;
  etcd::GatewayOptions options;
  options.urls = etcd.urls();
  auto gateway = etcd::Gateway::make(context.get_executor(), options);
  EtcdLayout layout("/trama");
  auto read = [&]() -> async::awaitable<History> {
    History out;
    auto key = layout.all();
    auto now = co_await (*gateway)->call_again("/v3/kv/range", etcd::range_json(key, "", 0, 0, true));
    auto last = etcd::parse_revision(now.text);
    auto head = co_await (*gateway)->call_again("/v3/kv/range", etcd::range_json(layout.head(), "", 0, 0, true));
    auto end = etcd::parse_range(head.text);
    if (!last || !end || end->items.empty()) co_return out;
    auto stream = co_await (*gateway)->watch(etcd::watch_json(key, etcd::prefix_end(key), 1));
    if (!stream) co_return out;
    while (out.empty() || out.rbegin()->first < end->items.front().mod_revision) {
      auto line = co_await (*stream)->next();
      auto answer = line ? etcd::parse_watch(*line) : base::Result<etcd::WatchAnswer>(line.error());
      if (!answer || answer->canceled) co_return History();
      for (const auto& e : answer->events) {
        auto& commit = out[e.item.mod_revision];
        if (e.item.key == layout.head()) commit.session = e.item.value.substr(0, e.item.value.find('/'));
        if (auto object = layout.parse_object_key(e.item.key)) commit.written[*object] = e.item.value;
      }
    }
    co_return out;
  };
  return test::run_coroutine(context, read(), 60s);
}

class ControllersOnEtcd : public testing::Test {
 protected:
  // Creates it, whatever happens meanwhile: "already exists" after an answer that was lost is success.
  void create(const std::string& path, const std::string& body) {
    auto end = Clock::now() + 30s;
    for (;;) {
      auto answer = controllers_->ask_any("POST", path, body);
      if (answer && (answer->ok() || answer->status == 409)) return;
      ASSERT_LT(Clock::now(), end) << path << ": " << (answer ? answer->message() : answer.error().to_string());
      std::this_thread::sleep_for(100ms);
    }
  }
  void replica_set(const std::string& name, int replicas) {
    create(
        "/apis/apps/v1/namespaces/default/replicasets",
        fmt::format(
            R"({{"apiVersion":"apps/v1","kind":"ReplicaSet","metadata":{{"name":"{}"}},"spec":{{"replicas":{},{}}}}})",
            name, replicas, pod_template(name)));
    sets_[name] = replicas;
  }
  std::size_t await_leader(std::size_t not_this, std::chrono::milliseconds& took) {
    auto begun = Clock::now();
    while (Clock::now() - begun < 30s) {
      auto n = controllers_->leader();
      if (n < controllers_->size() && n != not_this) {
        took = std::chrono::duration_cast<std::chrono::milliseconds>(Clock::now() - begun);
        return n;
      }
      std::this_thread::sleep_for(50ms);
    }
    return controllers_->size();
  }
  // Pods of `app` that are there to stay: no agent here confirms the end of the others.
  int pods(const std::string& app) {
    auto got = controllers_->ask_any("GET", "/api/v1/namespaces/default/pods?labelSelector=app%3D" + app);
    if (!got || !got->ok()) return -1;
    int n = 0;
    for (const auto& pod : api::array_at(got->body.as_object(), "items"))
      n += api::at(pod, "metadata.deletionTimestamp") == nullptr;
    return n;
  }
  void node(const std::string& name) {
    create("/api/v1/nodes", fmt::format(R"({{"apiVersion":"v1","kind":"Node","metadata":{{"name":"{}"}},"status":)"
                                        R"({{"capacity":{{"cpu":"64","memory":"64Gi","pods":"500"}},"allocatable":)"
                                        R"({{"cpu":"64","memory":"64Gi","pods":"500"}}}}}})",
                                        name));
    auto status =
        fmt::format(R"({{"status":{{"capacity":{{"cpu":"64","memory":"64Gi","pods":"500"}},"allocatable":)"
                    R"({{"cpu":"64","memory":"64Gi","pods":"500"}},"conditions":[{{"type":"Ready","status":"True",)"
                    R"("reason":"Test","lastHeartbeatTime":"2026-01-01T00:00:00Z",)"
                    R"("lastTransitionTime":"2026-01-01T00:00:00Z"}}]}}}})");
    auto patched = controllers_->ask_any("PATCH", "/api/v1/nodes/" + name + "/status", status);
    (void)patched;
    create("/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases",
           fmt::format(R"({{"apiVersion":"coordination.k8s.io/v1","kind":"Lease","metadata":{{"name":"{0}"}},"spec":)"
                       R"({{"holderIdentity":"{0}","leaseDurationSeconds":40}}}})",
                       name));
  }
  // The nodes say that they live, as their agents would.
  void beat(int nodes, int round) {
    for (int i = 0; i < nodes; ++i) {
      auto path = fmt::format("/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/n{}", i);
      auto body =
          fmt::format(R"({{"spec":{{"renewTime":"2026-01-01T00:{:02}:{:02}.000000Z"}}}})", round / 60, round % 60);
      (void)controllers_->ask_any("PATCH", path, body);
    }
  }

  std::unique_ptr<EtcdCluster> etcd_;
  std::unique_ptr<SeveralControllers> controllers_;
  std::map<std::string, int> sets_;
};

// Every pod that was ever created, by the ReplicaSet that owns it.
std::map<std::string, std::set<api::Key>> creations(const History& history) {
  std::map<std::string, std::set<api::Key>> out;
  for (const auto& [revision, commit] : history)
    for (const auto& [key, text] : commit.written)
      if (key.resource == "pods" && !text.empty()) {
        auto body = json::parse(text).as_object();
        out[api::text_at(body, "metadata.labels.app")].insert(key);
      }
  return out;
}

TEST_F(ControllersOnEtcd, LeadersComeAndGoAndNoPodIsLostOrDoubled) {
  etcd_ = std::make_unique<EtcdCluster>(3);
  controllers_ = std::make_unique<SeveralControllers>(*etcd_, 3, kQuick);
  std::chrono::milliseconds took{0}, worst{0};
  auto leader = await_leader(3, took);
  ASSERT_LT(leader, 3u) << controllers_->log(0);
  for (int i = 0; i < 3; ++i) node(fmt::format("n{}", i));
  create("/apis/apps/v1/namespaces/default/deployments",
         fmt::format(
             R"({{"apiVersion":"apps/v1","kind":"Deployment","metadata":{{"name":"web"}},"spec":{{"replicas":3,{}}}}})",
             pod_template("web")));
  int rounds = test::times(4, 60), sets = 0, replicas = 3, takeovers = 0;
  for (int round = 0; round < rounds; ++round) {
    SCOPED_TRACE(round);
    beat(3, round);
    // Work under way when the leader goes.
    for (int i = 0; i < 4; ++i) replica_set(fmt::format("s{}", sets++), 5);
    bool pause = round % 2 == 1;
    auto old = controllers_->leader();
    if (old == 3) old = await_leader(3, took);
    ASSERT_LT(old, 3u);
    if (pause)
      controllers_->pause(old);
    else
      controllers_->kill(old);
    auto member = static_cast<std::size_t>(round) % 3;
    if (round % 3 == 2) etcd_->kill(member);
    for (int i = 0; i < 4; ++i) replica_set(fmt::format("s{}", sets++), 5);
    replicas = 2 + (round * 7) % 9;
    auto scaled = controllers_->ask_any("PATCH", "/apis/apps/v1/namespaces/default/deployments/web/scale",
                                        fmt::format(R"({{"spec":{{"replicas":{}}}}})", replicas));
    (void)scaled;
    leader = await_leader(old, took);
    ASSERT_LT(leader, 3u) << "nobody took over";
    worst = std::max(worst, took);
    ++takeovers;
    if (pause)
      controllers_->resume(old);
    else
      controllers_->start(old);
    if (round % 3 == 2) etcd_->start(member);
    std::this_thread::sleep_for(500ms);
    if (pause) {
      // Whoever was paused knows by now that it does not lead.
      ASSERT_TRUE(test::eventually(
          [&] {
            auto m = controllers_->ask(old, "GET", "/metrics");
            return m && m->text.find("\ntrama_leader 0\n") != std::string::npos;
          },
          10'000));
    }
  }
  etcd_->wait_until_all_serve();
  EXPECT_LT(worst, 10s);
  std::string first = R"({"spec":{"replicas":7}})";
  auto scaled = controllers_->ask_any("PATCH", "/apis/apps/v1/namespaces/default/deployments/web", first);
  ASSERT_TRUE(scaled && scaled->ok()) << (scaled ? scaled->message() : scaled.error().to_string());
  auto converged = [&] {
    if (pods("web") != 7) return false;
    for (const auto& [name, wanted] : sets_)
      if (pods(name) != wanted) return false;
    return true;
  };
  ASSERT_TRUE(test::eventually(converged, 30'000));

  auto history = history_of(*etcd_);
  ASSERT_FALSE(history.empty());
  auto made = creations(history);
  for (const auto& [name, wanted] : sets_)
    EXPECT_EQ(made[name].size(), static_cast<std::size_t>(wanted)) << name << ": pods that were ever created";
  // Which session each holder of the lease had, and that none wrote as a leader after the next one had taken over.
  std::string holder, session;
  std::map<api::Key, std::string> nodes;
  std::size_t by_leaders = 0, bound = 0, terms = 0;
  for (const auto& [revision, commit] : history) {
    for (const auto& [key, text] : commit.written) {
      if (text.empty()) continue;
      auto body = json::parse(text).as_object();
      if (key == api::Key{"leases", "kube-system", "trama-controller"}) {
        auto now = api::text_at(body, "spec.holderIdentity");
        if (now != holder) {
          ++terms;
          holder = now, session = commit.session;
        }
      }
      if (key.resource == "pods") {
        ++by_leaders;
        EXPECT_EQ(commit.session, session)
            << key.to_string() << " at " << revision << " was written by a controller that did not lead";
        auto node = api::text_at(body, "spec.nodeName");
        if (node.empty()) continue;
        bound += nodes[key].empty();
        EXPECT_TRUE(nodes[key].empty() || nodes[key] == node) << key.to_string() << " was bound twice";
        nodes[key] = node;
      }
    }
  }
  EXPECT_GT(by_leaders, sets_.size() * 5);
  EXPECT_GE(terms, static_cast<std::size_t>(takeovers));
  RecordProperty("takeovers", takeovers);
  RecordProperty("worst_takeover_ms", static_cast<int>(worst.count()));
  RecordProperty("pods", static_cast<int>(by_leaders));
  fmt::print("{} takeovers, the slowest {} ms; {} ReplicaSets, {} writes of pods, {} bound, {} commits\n", takeovers,
             worst.count(), sets_.size(), by_leaders, bound, history.size());
}

TEST_F(ControllersOnEtcd, OneCaForAllOrNone) {
  etcd_ = std::make_unique<EtcdCluster>(1);
  controllers_ = std::make_unique<SeveralControllers>(*etcd_, 2, kQuick);
  const char* binary = std::getenv("TRAMA_BINARY");
  test::ScratchDirectory stranger;
  auto start = fmt::format(
      "timeout 20 {} controller --data-dir {} --store {} --listen 127.0.0.1:0 --scheduler-port 0 "
      "--controllers-port 0 2>&1",
      binary, stranger.path, etcd_->store());
  std::string said;
  EXPECT_EQ(test::shell(start, &said), 78) << said;
  EXPECT_NE(said.find("there is not the CA of the cluster"), std::string::npos) << said;
  EXPECT_NE(said.find("Copy ca.crt and ca.key"), std::string::npos) << said;
  EXPECT_NE(test::shell("ls " + stranger.path + "/pki/ca.key 2>&1", &said), 0) << "it has made a CA of its own";
  // What one has given out is good at the other: a join token, and the Service's endpoints.
  auto made = controllers_->ask(0, "POST", "/api/v1/namespaces/kube-system/secrets",
                                R"({"apiVersion":"v1","kind":"Secret","metadata":{"name":"bootstrap-token-abcdef"},)"
                                R"("type":"bootstrap.kubernetes.io/token","stringData":{"token-id":"abcdef",)"
                                R"("token-secret":"0123456789abcdef","expiration":"2099-01-01T00:00:00Z",)"
                                R"("usage-bootstrap-authentication":"true"}})");
  ASSERT_TRUE(made && made->ok()) << (made ? made->message() : made.error().to_string());
  auto seen = controllers_->ask(1, "GET", "/api/v1/namespaces/kube-system/secrets/bootstrap-token-abcdef");
  ASSERT_TRUE(seen && seen->ok());
  auto ready = controllers_->ask(1, "GET", "/readyz?verbose");
  ASSERT_TRUE(ready && ready->ok());
  EXPECT_NE(ready->text.find("[+]leader: "), std::string::npos) << ready->text;
  // Without etcd a controller says that it is not ready, and is again when it is back.
  etcd_->kill(0);
  auto not_ready = controllers_->ask(1, "GET", "/readyz");
  ASSERT_TRUE(not_ready);
  EXPECT_EQ(not_ready->status, 503);
  EXPECT_NE(not_ready->text.find("[-]store failed"), std::string::npos) << not_ready->text;
  etcd_->start(0);
  ASSERT_TRUE(test::eventually(
      [&] {
        auto again = controllers_->ask(1, "GET", "/readyz");
        return again && again->ok();
      },
      20'000));
  ASSERT_TRUE(test::eventually([&] { return controllers_->leader() < 2; }, 20'000));
  // A leader that ends gives the lease back: nobody waits for its end.
  auto leader = controllers_->leader();
  ASSERT_LT(leader, 2u);
  EXPECT_EQ(controllers_->stop(leader), 0) << controllers_->log(leader);
  std::chrono::milliseconds took{0};
  EXPECT_EQ(await_leader(leader, took), 1 - leader);
  EXPECT_LT(took, 2s);
}

// The program alone: a store moves from SQLite to an etcd that wants certificates, and back.
TEST_F(ControllersOnEtcd, AStoreMovesByTheProgramOverTls) {
  etcd_ = std::make_unique<EtcdCluster>(1, true);
  test::ScratchDirectory scratch;
  std::string said;
  auto trama = [&](const std::string& arguments) {
    said.clear();
    return test::shell(fmt::format("timeout 30 {} {} 2>&1", std::getenv("TRAMA_BINARY"), arguments), &said);
  };
  const std::string where = "--data-dir " + scratch.path + "/c ";
  const std::string store = "--store " + etcd_->store() + " ";
  const std::string ca = fmt::format("--etcd-ca {}/ca.crt ", etcd_->directory());
  const std::string certificates =
      ca + fmt::format("--etcd-cert {0}/client.crt --etcd-key {0}/client.key ", etcd_->directory());
  // Runs a controller, makes a namespace and lists them all.
  auto use = [&](const std::string& options, const std::string& name) {
    auto yaml = fmt::format("{{apiVersion: v1, kind: Namespace, metadata: {{name: {}}}}}", name);
    said.clear();
    return test::shell(
        fmt::format(
            "{0} controller {1} --listen 127.0.0.1:0 --scheduler-port 0 --controllers-port 0 --ready-fd 5 "
            "5>{2}/ready >{2}/log 2>&1 & P=$!; for i in $(seq 200); do [ -s {2}/ready ] && break; sleep 0.1; done; "
            "echo '{3}' >{2}/n.yaml; K='--kubeconfig {2}/c/admin.kubeconfig'; {0} $K apply -f {2}/n.yaml 2>&1; "
            "{0} $K get namespaces 2>&1; kill $P; wait $P; rm {2}/ready; cat {2}/log",
            std::getenv("TRAMA_BINARY"), options, scratch.path, yaml),
        &said);
  };
  use(where, "early");
  ASSERT_NE(said.find("early"), std::string::npos) << said;
  ASSERT_EQ(trama("controller export " + where + scratch.path + "/a"), 0) << said;
  EXPECT_NE(said.find("read again and compared"), std::string::npos) << said;
  EXPECT_EQ(trama("controller export " + where + scratch.path + "/a"), 4) << said;
  // Who is not trusted, and who does not trust.
  EXPECT_NE(trama("controller import " + where + store + ca + scratch.path + "/a"), 0) << said;
  EXPECT_NE(trama("controller import " + where + store + scratch.path + "/a"), 0) << said;
  EXPECT_NE(said.find("--etcd-ca"), std::string::npos) << said;
  EXPECT_NE(trama("controller import " + where + store + "--etcd-ca " + scratch.path + "/c/pki/ca.crt " + scratch.path +
                  "/a"),
            0);
  EXPECT_NE(said.find("its certificate is not acceptable"), std::string::npos) << said;
  ASSERT_EQ(trama("controller import " + where + store + certificates + scratch.path + "/a"), 0) << said;
  EXPECT_NE(said.find("revisions go on at 1000"), std::string::npos) << said;
  EXPECT_EQ(trama("controller import " + where + store + certificates + scratch.path + "/a"), 4) << said;
  EXPECT_NE(said.find("is not empty"), std::string::npos) << said;
  use(where + store + certificates, "later");
  EXPECT_NE(said.find("early"), std::string::npos) << said;
  EXPECT_NE(said.find("later"), std::string::npos) << said;
  ASSERT_EQ(trama("controller export " + where + store + certificates + scratch.path + "/b"), 0) << said;
  const std::string back = "--store sqlite:" + scratch.path + "/back.db ";
  ASSERT_EQ(trama("controller import " + where + back + scratch.path + "/b"), 0) << said;
  use(where + back, "last");
  for (const char* name : {"early", "later", "last"}) EXPECT_NE(said.find(name), std::string::npos) << name << said;
}

}  // namespace
}  // namespace trama
