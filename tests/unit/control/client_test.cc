// SPDX-License-Identifier: GPL-2.0-or-later
// The API client and the reflector against a server that follows a script.
#include <gtest/gtest.h>

#include "base/async/task_group.h"
#include "control/client/api_client.h"
#include "control/client/join.h"
#include "control/client/reflector.h"
#include "tests/unit/control/run.h"
#include "tests/unit/control/tls_script.h"

namespace trama::client {
namespace {

using control::test::Runner;
using control::test::TestPki;
using control::test::TlsScript;
using namespace std::chrono_literals;

ClientOptions trusting(const TestPki& pki, const TlsScript& server) {
  ClientOptions o;
  o.server = server.url();
  o.ca_pem = pki.authority.certificate_pem();
  o.request_timeout = 2s;
  return o;
}

void answer_all(TlsScript::Connection& c, int) {
  while (!c.read_request().empty()) c.reply(200, R"({"kind":"Pod","metadata":{"name":"a"}})");
}

TEST(ApiClient, KeepsItsConnection) {
  TestPki pki;
  TlsScript server(pki.serving, answer_all);
  Runner run;
  auto client = *ApiClient::make(run.executor(), trusting(pki, server));
  for (int i = 0; i < 3; ++i) {
    auto pod = run(client->get("/api/v1/namespaces/d/pods/a"));
    ASSERT_TRUE(pod) << pod.error().to_string();
  }
  EXPECT_EQ(server.connections(), 1);
  client->close_idle();
  EXPECT_EQ(client->verified_ca_pem(), pki.authority.certificate_pem());
}

TEST(ApiClient, AClosedIdleConnectionIsReplaced) {
  TestPki pki;
  TlsScript server(pki.serving, [](TlsScript::Connection& c, int) {
    c.read_request();
    c.reply(200, "{}");
  });
  Runner run;
  auto client = *ApiClient::make(run.executor(), trusting(pki, server));
  for (int i = 0; i < 3; ++i) {
    auto answer = run(client->get("/x"));
    EXPECT_TRUE(answer) << answer.error().to_string();
  }
  EXPECT_EQ(server.connections(), 3);
}

TEST(ApiClient, RefusalsKeepCodeReasonAndSentence) {
  TestPki pki;
  TlsScript server(pki.serving, [](TlsScript::Connection& c, int) {
    c.read_request();
    c.reply(409, R"({"kind":"Status","reason":"AlreadyExists","message":"pods \"a\" already exists","code":409})");
    c.read_request();
    c.reply(409, R"({"kind":"Status","reason":"Conflict","message":"stale","code":409})");
    c.read_request();
    c.reply(404, R"({"kind":"Status","reason":"NotFound","message":"pods \"a\" not found","code":404})");
    c.read_request();
    c.write("HTTP/1.1 502 Bad\r\nContent-Length: 5\r\n\r\noops\n");
  });
  Runner run;
  auto client = *ApiClient::make(run.executor(), trusting(pki, server));
  auto exists = run(client->create("/api/v1/namespaces/d/pods", json::object()));
  ASSERT_FALSE(exists);
  EXPECT_TRUE(is_already_exists(exists.error()));
  EXPECT_FALSE(is_conflict(exists.error()));
  EXPECT_TRUE(exists.error().is(std::errc::file_exists));
  EXPECT_EQ(http_status(exists.error()), 409);
  EXPECT_EQ(exists.error().to_string(), "pods \"a\" already exists");
  auto conflict = run(client->update("/p", json::object()));
  EXPECT_TRUE(is_conflict(conflict.error()));
  auto missing = run(client->get("/p"));
  EXPECT_TRUE(is_not_found(missing.error()));
  auto odd = run(client->get("/p"));
  EXPECT_EQ(http_status(odd.error()), 502);
  EXPECT_NE(odd.error().to_string().find("oops"), std::string::npos);
}

TEST(ApiClient, DeadlinesHold) {
  TestPki pki;
  TlsScript server(pki.serving, [](TlsScript::Connection& c, int) {
    c.read_request();
    c.wait_closed();  // never answers
  });
  Runner run;
  auto options = trusting(pki, server);
  options.request_timeout = 200ms;
  auto client = *ApiClient::make(run.executor(), options);
  auto before = std::chrono::steady_clock::now();
  auto answer = run(client->get("/x"));
  ASSERT_FALSE(answer);
  EXPECT_TRUE(answer.error().is(std::errc::timed_out)) << answer.error().to_string();
  EXPECT_LT(std::chrono::steady_clock::now() - before, 3s);
}

TEST(ApiClient, OnlyTheRightServerIsSpokenTo) {
  TestPki pki, stranger;
  TlsScript server(pki.serving, answer_all);
  Runner run;
  auto options = trusting(stranger, server);
  auto client = *ApiClient::make(run.executor(), options);
  auto answer = run(client->get("/secret"));
  ASSERT_FALSE(answer);
  options = trusting(pki, server);
  options.server_name = "somebody.else";
  client = *ApiClient::make(run.executor(), options);
  EXPECT_FALSE(run(client->get("/secret")));
  EXPECT_EQ(server.received(), "");
  options.server_name = "";
  client = *ApiClient::make(run.executor(), options);
  EXPECT_TRUE(run(client->get("/secret"))) << "the control: nothing else stood in the way";
}

TEST(ApiClient, AnAnswerToHeadHasNoBody) {
  TestPki pki;
  TlsScript server(pki.serving, [](TlsScript::Connection& c, int) {
    while (!c.read_request().empty()) c.write("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n");
  });
  Runner run;
  auto client = *ApiClient::make(run.executor(), trusting(pki, server));
  for (int i = 0; i < 2; ++i) {
    auto answer = run(client->request("HEAD", "/x"));
    ASSERT_TRUE(answer) << answer.error().to_string();
    EXPECT_EQ(answer->status, 200);
  }
  EXPECT_EQ(server.connections(), 1);
}

// A server that says who it is; `status` may change.
TlsScript::Script says(const char* name, std::atomic<int>& status) {
  return [name, &status](TlsScript::Connection& c, int) {
    while (!c.read_request().empty()) c.reply(status, fmt::format(R"({{"name":"{}"}})", name));
  };
}

TEST(SeveralServers, OneIsUsedUntilItIsOfNoUse) {
  TestPki pki;
  std::atomic<int> first{200}, second{200};
  auto a = std::make_unique<TlsScript>(pki.serving, says("a", first));
  TlsScript b(pki.serving, says("b", second));
  Runner run;
  auto options = trusting(pki, b);
  options.server = a->url() + "," + b.url();
  auto client = *ApiClient::make(run.executor(), options);
  auto who = [&] {
    auto got = run(client->get("/x"));
    return got ? std::string(got->at("name").as_string()) : got.error().to_string();
  };
  EXPECT_EQ(who(), "a");
  EXPECT_EQ(who(), "a");
  EXPECT_EQ(client->current_server(), a->url());
  first = 404;  // an answer
  EXPECT_NE(who(), "b");
  EXPECT_EQ(client->current_server(), a->url());
  first = 503;  // it can not serve: the caller is told, the next request goes elsewhere
  EXPECT_NE(who(), "b");
  EXPECT_EQ(who(), "b");
  first = 200;
  EXPECT_EQ(who(), "b") << "it stays where it is well";
  second = 503;
  who();
  EXPECT_EQ(who(), "a");
  second = 200;
  client->close_idle();
  a.reset();
  EXPECT_EQ(who(), "b") << "it can not be reached: the same request goes to the next one";
  EXPECT_EQ(client->current_server(), b.url());
}

TEST(SeveralServers, NoneIsAnErrorThatNamesAll) {
  TestPki pki;
  std::atomic<int> ok{200};
  std::string urls;
  {
    TlsScript a(pki.serving, says("a", ok)), b(pki.serving, says("b", ok));
    urls = a.url() + "," + b.url();
  }
  Runner run;
  ClientOptions options;
  options.ca_pem = pki.authority.certificate_pem();
  options.server = urls;
  auto client = *ApiClient::make(run.executor(), options);
  auto answer = run(client->get("/x"));
  ASSERT_FALSE(answer);
  auto said = answer.error().to_string();
  for (std::size_t at = 0, end = 0; at < urls.size(); at = end + 1) {
    end = std::min(urls.find(',', at), urls.size());
    EXPECT_NE(said.find(urls.substr(at + 8, end - at - 8)), std::string::npos) << said;
  }
  options.server = urls + ",nonsense";
  auto bad = ApiClient::make(run.executor(), options);
  ASSERT_FALSE(bad);
  EXPECT_NE(bad.error().to_string().find("nonsense"), std::string::npos);
}

// What was sent may have been done: a POST is not sent to the next one by itself.
TEST(SeveralServers, APostIsNotRepeated) {
  TestPki pki;
  std::atomic<int> ok{200}, asked{0};
  TlsScript a(pki.serving, [&](TlsScript::Connection& c, int) {
    if (!c.read_request().empty()) ++asked;
  });
  TlsScript b(pki.serving, says("b", ok));
  Runner run;
  auto options = trusting(pki, a);
  options.server = a.url() + "," + b.url();
  auto client = *ApiClient::make(run.executor(), options);
  EXPECT_FALSE(run(client->create("/x", json::object())));
  EXPECT_EQ(asked, 1);
  EXPECT_EQ(b.requests().size(), 0u);
  EXPECT_TRUE(run(client->create("/x", json::object()))) << "the next one goes to the other";
}

TEST(ApiClient, ListsAllPagesOrNothing) {
  TestPki pki;
  std::atomic<bool> fail{false};
  TlsScript server(pki.serving, [&](TlsScript::Connection& c, int) {
    for (;;) {
      auto request = c.read_request();
      if (request.empty()) return;
      if (request.find("continue=") == std::string::npos)
        c.reply(
            200,
            R"({"kind":"PodList","apiVersion":"v1","metadata":{"resourceVersion":"7","continue":"t"},"items":[{"metadata":{"name":"a"}}]})");
      else if (fail)
        c.reply(410, R"({"kind":"Status","reason":"Expired","message":"gone","code":410})");
      else
        c.reply(
            200,
            R"({"kind":"PodList","apiVersion":"v1","metadata":{"resourceVersion":"7"},"items":[{"metadata":{"name":"b"}}]})");
    }
  });
  Runner run;
  auto client = *ApiClient::make(run.executor(), trusting(pki, server));
  auto all = run(client->list("/api/v1/pods"));
  ASSERT_TRUE(all);
  EXPECT_EQ(all->items.size(), 2u);
  EXPECT_EQ(all->items[0].at("kind").as_string(), "Pod");
  fail = true;
  auto part = run(client->list("/api/v1/pods"));
  ASSERT_FALSE(part);
  EXPECT_TRUE(is_expired(part.error()));
  client->close_idle();
}

// The join string's pin: a server with another CA gets a handshake and not one byte more.
TEST(Join, NothingIsSentToAServerWithAnotherCa) {
  TestPki pki, expected;
  TlsScript server(pki.serving, answer_all);
  Runner run;
  JoinOptions o;
  o.server = server.url();
  o.node_name = "n1";
  o.token.id = "abc123";
  o.token.secret = std::string(32, 'a');
  o.token.ca_pin = expected.authority.pin();
  auto joined = run(join_cluster(o));
  ASSERT_FALSE(joined);
  EXPECT_NE(joined.error().to_string().find("pinned key"), std::string::npos) << joined.error().to_string();
  EXPECT_EQ(server.received(), "");
  EXPECT_GE(server.connections(), 1);
  // The control: with the right pin the same call does send its token.
  o.token.ca_pin = pki.authority.pin();
  o.patience = 200ms;
  (void)run(join_cluster(o));
  EXPECT_NE(server.received().find("Bearer abc123."), std::string::npos);
}

TEST(Join, ALeafOfThePinnedCaIsNotEnough) {
  // A server that shows the pinned CA's certificate but cannot prove a chain to it.
  TestPki pki, other;
  auto forged = other.serving;
  auto leaf = *pki::Certificate::from_pem(other.serving.certificate_pem);
  forged.certificate_pem = *leaf.to_pem() + pki.authority.certificate_pem();
  TlsScript server(forged, answer_all);
  Runner run;
  ClientOptions o;
  o.server = server.url();
  o.ca_pin = pki.authority.pin();
  auto client = *ApiClient::make(run.executor(), o);
  EXPECT_FALSE(run(client->get("/x")));
  EXPECT_EQ(server.received(), "");
}

std::string event(const char* type, const std::string& name, int revision) {
  return fmt::format(
             R"({{"type":"{}","object":{{"kind":"Pod","metadata":{{"namespace":"d","name":"{}","resourceVersion":"{}"}}}}}})",
             type, name, revision) +
         "\n";
}
std::string list(const std::string& names, int revision) {
  std::string items;
  for (char c : names)
    items += fmt::format(R"({}{{"metadata":{{"namespace":"d","name":"{}","resourceVersion":"1"}}}})",
                         items.empty() ? "" : ",", c);
  return fmt::format(R"({{"kind":"PodList","apiVersion":"v1","metadata":{{"resourceVersion":"{}"}},"items":[{}]}})",
                     revision, items);
}

// What a reflector told its owner, as text.
struct Heard {
  std::vector<std::string> lines;
  ReflectorHandlers handlers() {
    ReflectorHandlers h;
    h.synced = [this](std::vector<api::ObjectPtr> all, std::uint64_t revision) {
      std::string line = fmt::format("list@{}:", revision);
      for (const auto& o : all) line += " " + o->key.name;
      lines.push_back(line);
    };
    h.changed = [this](Change change, api::ObjectPtr o) {
      const char* verb = change == Change::added ? "+" : change == Change::modified ? "~" : "-";
      lines.push_back(verb + o->key.name + "@" + std::to_string(o->revision));
    };
    return h;
  }
};

struct ReflectorRun {
  ReflectorRun(TlsScript::Script script, std::size_t wanted, milliseconds read_timeout = 5s)
      : server(pki.serving, std::move(script)) {
    auto client = *ApiClient::make(run.executor(), trusting(pki, server));
    ReflectorOptions o;
    o.resource = "pods";
    o.read_timeout = read_timeout;
    o.backoff_lowest = 5ms;
    o.backoff_highest = 20ms;
    Reflector reflector(*client, o, heard.handlers());
    async::TaskGroup group(run.executor());
    group.spawn("reflector", reflector.run());
    done = run.until([&] { return heard.lines.size() >= wanted; });
    lists = reflector.lists();
    revision = reflector.revision();
    auto stop = [](async::TaskGroup& g) -> async::awaitable<int> {
      co_await g.stop();
      co_return 0;
    };
    run(stop(group));
  }
  TestPki pki;
  Heard heard;
  Runner run;
  TlsScript server;
  bool done = false;
  std::uint64_t lists = 0, revision = 0;
};

TEST(Reflector, ListsThenFollows) {
  ReflectorRun r(
      [](TlsScript::Connection& c, int n) {
        c.read_request();
        if (n == 0) {
          c.reply(200, list("ab", 5));
          c.wait_closed();
          return;
        }
        c.begin_chunks();
        // Events need not coincide with chunks.
        auto bytes = event("ADDED", "c", 6) + event("MODIFIED", "a", 7);
        for (std::size_t i = 0; i < bytes.size(); i += 7) c.chunk(bytes.substr(i, 7));
        c.chunk(R"({"type":"BOOKMARK","object":{"kind":"Pod","metadata":{"resourceVersion":"20"}}})"
                "\n");
        c.chunk(event("DELETED", "b", 21));
        c.wait_closed();
      },
      4);
  ASSERT_TRUE(r.done);
  EXPECT_EQ(r.heard.lines, (std::vector<std::string>{"list@5: a b", "+c@6", "~a@7", "-b@21"}));
  EXPECT_NE(r.server.requests()[1].find("resourceVersion=5"), std::string::npos) << r.server.requests()[1];
}

TEST(Reflector, ACutStreamIsResumedWhereItStopped) {
  ReflectorRun r(
      [](TlsScript::Connection& c, int n) {
        auto request = c.read_request();
        if (n == 0) return c.reply(200, list("a", 5));
        c.begin_chunks();
        if (n == 1)
          return c.chunk(event("ADDED", "b", 6) + event("ADDED", "half", 7).substr(0, 30));  // cut inside an event
        c.chunk(request.find("resourceVersion=6&") != std::string::npos ? event("ADDED", "half", 7)
                                                                        : event("ADDED", "wrong", 7));
        c.wait_closed();
      },
      3);
  ASSERT_TRUE(r.done);
  EXPECT_EQ(r.heard.lines, (std::vector<std::string>{"list@5: a", "+b@6", "+half@7"}));
  EXPECT_EQ(r.lists, 1u) << "nothing was read twice";
}

TEST(Reflector, GoneMeansANewList) {
  for (bool as_event : {true, false}) {
    ReflectorRun r(
        [as_event](TlsScript::Connection& c, int n) {
          while (true) {
            auto request = c.read_request();
            if (request.empty()) return;
            if (request.find("watch=true") == std::string::npos) {
              c.reply(200, n == 0 ? list("a", 5) : list("z", 50));
              continue;
            }
            if (request.find("resourceVersion=5&") == std::string::npos) return c.wait_closed();
            if (as_event) {
              c.begin_chunks();
              c.chunk(R"({"type":"ERROR","object":{"kind":"Status","code":410,"reason":"Expired","message":"too old"}})"
                      "\n");
              return;
            }
            return c.reply(410, R"({"kind":"Status","code":410,"reason":"Expired","message":"too old"})");
          }
        },
        2);
    ASSERT_TRUE(r.done);
    EXPECT_EQ(r.lists, 2u);
    EXPECT_EQ(r.heard.lines.size(), 2u);
  }
}

TEST(Reflector, SilenceBeyondTheBookmarksIsADeadPeer) {
  ReflectorRun r(
      [](TlsScript::Connection& c, int n) {
        c.read_request();
        if (n == 0) return c.reply(200, list("a", 5));
        c.begin_chunks();
        if (n == 1) return c.wait_closed();  // says nothing at all
        c.chunk(event("ADDED", "b", 6));
        c.wait_closed();
      },
      2, 100ms);
  ASSERT_TRUE(r.done);
  EXPECT_EQ(r.heard.lines[1], "+b@6");
}

TEST(Reflector, ABrokenListIsNeverDelivered) {
  ReflectorRun r(
      [](TlsScript::Connection& c, int n) {
        auto request = c.read_request();
        auto whole = list("abcdef", 9);
        if (n == 0)
          return (void)c.write(
              fmt::format("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{}",
                          whole.size(), whole.substr(0, 90)));
        if (n == 1) return c.reply(200, R"({"kind":"PodList","items":"not a list"})");
        if (n == 2) return c.reply(500, "{}");
        if (request.find("watch=true") == std::string::npos) c.reply(200, whole);
        c.wait_closed();
      },
      1);
  ASSERT_TRUE(r.done);
  EXPECT_EQ(r.heard.lines, std::vector<std::string>{"list@9: a b c d e f"});
}

}  // namespace
}  // namespace trama::client
