// SPDX-License-Identifier: GPL-2.0-or-later
// Servers that do it wrong, in every way that we could think of: each gives an error that says what is wrong, in
// bounded time and memory, and a reflector that met one goes on with the next good answer.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <malloc.h>

#include "base/async/task_group.h"
#include "control/client/api_client.h"
#include "control/client/reflector.h"
#include "tests/unit/control/run.h"
#include "tests/unit/control/tls_script.h"

namespace trama::client {
namespace {

using control::test::Runner;
using control::test::TestPki;
using control::test::TlsScript;
using testing::HasSubstr;
using Connection = TlsScript::Connection;
using namespace std::chrono_literals;
using std::chrono::steady_clock;

constexpr std::size_t kLimit = 4u << 20;

ClientOptions options_for(const TestPki& pki, const TlsScript& server) {
  ClientOptions o;
  o.server = server.url();
  o.ca_pem = pki.authority.certificate_pem();
  o.connect_timeout = 1s;
  o.request_timeout = 1s;
  o.response_limit = kLimit;
  o.line_limit = kLimit;
  return o;
}

const std::string kPod = R"({"kind":"Pod","metadata":{"name":"a"}})";

std::string head(const std::string& more, int status = 200) {
  return fmt::format("HTTP/1.1 {} X\r\nContent-Type: application/json\r\n{}\r\n", status, more);
}
std::string with_length(std::size_t n, const std::string& more = "") {
  return head(fmt::format("Content-Length: {}\r\n{}", n, more));
}

// Until the client has had enough; it must not be us who ends it.
void pour(Connection& c, const std::string& first, const std::string& piece) {
  c.write(first);
  for (int i = 0; i < 4096 && c.write(piece); ++i) {
  }
}

struct Case {
  const char* name;
  std::function<void(Connection&)> answer;
  const char* says;  // "" = it is served all the same
};

std::vector<Case> cases() {
  return {
      {"good", [](Connection& c) { c.reply(200, kPod); }, ""},
      {"nothing", [](Connection&) {}, "the server hung up"},
      {"silence", [](Connection& c) { c.wait_closed(); }, "timed out"},
      {"garbage", [](Connection& c) { c.write("\x01\x02\x03 what is this\r\n\r\n"); }, "not HTTP/1.1"},
      {"another protocol", [](Connection& c) { c.write("SSH-2.0-OpenSSH_9.2\r\n\r\n"); }, "not HTTP/1.1"},
      {"length too short", [](Connection& c) { c.write(with_length(kPod.size() - 5) + kPod); }, "JSON is broken"},
      {"length too long", [](Connection& c) { c.write(with_length(kPod.size() + 5) + kPod); },
       "hung up before its answer was whole"},
      {"length that is no number", [](Connection& c) { c.write(head("Content-Length: many\r\n") + kPod); },
       "not HTTP/1.1"},
      {"two lengths", [](Connection& c) { c.write(head("Content-Length: 4\r\nContent-Length: 5\r\n") + kPod); },
       "not HTTP/1.1"},
      {"length beyond everything", [](Connection& c) { c.write(with_length(99'999'999'999)); }, "larger than any"},
      {"endless header",
       [](Connection& c) { pour(c, "HTTP/1.1 200 OK\r\n", "X-Fill: " + std::string(1000, 'x') + "\r\n"); },
       "header of the answer is larger"},
      {"one endless header line", [](Connection& c) { pour(c, "HTTP/1.1 200 OK\r\nX: ", std::string(4096, 'x')); },
       "header of the answer is larger"},
      {"endless body", [](Connection& c) { pour(c, head(""), std::string(65536, ' ')); }, "larger than any"},
      {"endless chunks",
       [](Connection& c) {
         pour(c, head("Transfer-Encoding: chunked\r\n"), "10000\r\n" + std::string(65536, ' ') + "\r\n");
       },
       "larger than any"},
      {"a chunk without a size",
       [](Connection& c) { c.write(head("Transfer-Encoding: chunked\r\n") + "zz\r\nabc\r\n"); }, "not HTTP/1.1"},
      {"a chunk of more than all memory",
       [](Connection& c) { c.write(head("Transfer-Encoding: chunked\r\n") + "ffffffffffffffff\r\nabc"); },
       "larger than any"},
      {"a chunk longer than said",
       [](Connection& c) { c.write(head("Transfer-Encoding: chunked\r\n") + "3\r\n{}{}{}{}\r\n0\r\n\r\n"); },
       "not HTTP/1.1"},
      {"cut within a chunk", [](Connection& c) { c.write(head("Transfer-Encoding: chunked\r\n") + "100\r\n" + kPod); },
       "hung up before its answer was whole"},
      {"cut within the header", [](Connection& c) { c.write("HTTP/1.1 200 OK\r\nContent-Ty"); },
       "hung up before its answer was whole"},
      {"a byte now and then",
       [](Connection& c) {
         for (char ch : with_length(kPod.size()) + kPod) {
           if (!c.write(std::string(1, ch))) return;
           std::this_thread::sleep_for(100ms);
         }
       },
       "timed out"},
      {"a redirect",
       [](Connection& c) { c.write(head("Location: https://evil.example/\r\nContent-Length: 0\r\n", 302)); },
       "https://evil.example/; that is not followed"},
      {"interim answers first",
       [](Connection& c) {
         c.write("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n");
         c.reply(200, kPod);
       },
       ""},
      {"interim answers only", [](Connection& c) { pour(c, "", "HTTP/1.1 100 Continue\r\n\r\n"); }, "not HTTP/1.1"},
      {"compressed", [](Connection& c) { c.write(with_length(4, "Content-Encoding: gzip\r\n") + "\x1f\x8b\x08."); },
       "encoded (gzip), which was not asked for"},
      {"HTTP/1.0", [](Connection& c) { c.write("HTTP/1.0 200 OK\r\nContent-Type: application/json\r\n\r\n" + kPod); },
       ""},
      {"HTTP/2", [](Connection& c) { c.write("HTTP/2 200\r\n\r\n"); }, "not HTTP/1.1"},
      {"another page",
       [](Connection& c) { c.write("HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 6\r\n\r\n<html>"); },
       "it is text/html"},
      {"JSON of another kind", [](Connection& c) { c.reply(200, "[1,2]"); }, "JSON of another kind"},
      {"half a character", [](Connection& c) { c.reply(200, "{\"kind\":\"Pod\xc3\"}"); }, "JSON is broken"},
      {"broken JSON", [](Connection& c) { c.reply(200, R"({"kind":"Pod",)"); }, "JSON is broken"},
      {"JSON as deep as memory", [](Connection& c) { c.reply(200, std::string(1u << 20, '[')); }, "JSON is broken"},
      {"an error without a Status", [](Connection& c) { c.reply(500, "no JSON\nat all"); }, "HTTP 500: no JSON"},
      {"an error that says nothing", [](Connection& c) { c.write(head("Content-Length: 0\r\n", 503)); }, "HTTP 503"},
      {"more than was asked for",
       [](Connection& c) { c.write(with_length(kPod.size()) + kPod + "HTTP/1.1 200 OK\r\n\r\n"); }, ""},
  };
}

TEST(BadServers, EachIsAnErrorThatSaysWhatIsWrong) {
  TestPki pki;
  for (const auto& c : cases()) {
    SCOPED_TRACE(c.name);
    TlsScript server(pki.serving, [&c](Connection& connection, int) {
      if (!connection.read_request().empty()) c.answer(connection);
    });
    Runner run;
    auto client = *ApiClient::make(run.executor(), options_for(pki, server));
    auto before = ::mallinfo2();
    auto start = steady_clock::now();
    auto answer = run(client->get("/api/v1/namespaces/d/pods/a"));
    auto after = ::mallinfo2();
    EXPECT_LT(steady_clock::now() - start, 3s);
    EXPECT_LT(after.uordblks + after.hblkhd, before.uordblks + before.hblkhd + 4 * kLimit);
    EXPECT_EQ(answer.has_value(), c.says[0] == '\0') << (answer ? "served" : answer.error().to_string());
    if (!answer) {
      EXPECT_THAT(answer.error().to_string(), HasSubstr(c.says));
    }
  }
}

// What came behind an answer is not the next one: the connection is not used again.
TEST(BadServers, WhatNobodyAskedForIsNobodysAnswer) {
  TestPki pki;
  TlsScript server(pki.serving, [](Connection& c, int) {
    while (!c.read_request().empty()) c.write(with_length(kPod.size()) + kPod + with_length(2) + "{}");
  });
  Runner run;
  auto client = *ApiClient::make(run.executor(), options_for(pki, server));
  for (int i = 0; i < 3; ++i) {
    auto pod = run(client->get("/x"));
    ASSERT_TRUE(pod) << pod.error().to_string();
    EXPECT_EQ(json::serialize(*pod), kPod);
  }
}

TEST(BadServers, TheWrongNameIsRefusedInWords) {
  TestPki pki;
  TlsScript server(pki.serving, [](Connection& c, int) { c.reply(200, kPod); });
  Runner run;
  auto options = options_for(pki, server);
  options.server_name = "somebody.else";
  auto client = *ApiClient::make(run.executor(), options);
  auto answer = run(client->get("/x"));
  ASSERT_FALSE(answer);
  EXPECT_THAT(answer.error().to_string(), HasSubstr("certificate is not acceptable"));
  EXPECT_EQ(server.received(), "");
}

TEST(BadServers, AListWithoutAnEndEnds) {
  TestPki pki;
  TlsScript server(pki.serving, [](Connection& c, int) {
    while (!c.read_request().empty())
      c.reply(200, R"({"kind":"PodList","metadata":{"resourceVersion":"1","continue":"again"},"items":[]})");
  });
  Runner run;
  auto client = *ApiClient::make(run.executor(), options_for(pki, server));
  auto all = run(client->list("/api/v1/pods"));
  ASSERT_FALSE(all);
  EXPECT_THAT(all.error().to_string(), HasSubstr("does not end"));
}

std::string event(const std::string& type, const std::string& name, int revision, const std::string& more = "") {
  return fmt::format(
             R"({{"type":"{}","object":{{"kind":"Pod","metadata":{{"namespace":"d","name":"{}","resourceVersion":"{}"{}}}}}}})",
             type, name, revision, more) +
         "\n";
}

// The watches of a bad server, one after the other; after each the reflector is still right.
TEST(BadServers, AReflectorRecoversFromEachWatch) {
  const std::string chunked = "Transfer-Encoding: chunked\r\n";
  auto chunk = [](const std::string& text) { return fmt::format("{:x}\r\n{}\r\n", text.size(), text); };
  const std::string large(10u << 20, 'x');
  const std::vector<Case> watches = {
      {"garbage", [](Connection& c) { c.write("\x7f\x45\x4c\x46"); }, ""},
      {"hangs up at once", [](Connection&) {}, ""},
      {"no JSON", [&](Connection& c) { c.write(head(chunked) + chunk("hello\n")); }, ""},
      {"broken JSON", [&](Connection& c) { c.write(head(chunked) + chunk("{\"type\":\n")); }, ""},
      {"half a character", [&](Connection& c) { c.write(head(chunked) + chunk("{\"type\":\"\xe2\x82\"}\n")); }, ""},
      {"an event of nothing", [&](Connection& c) { c.write(head(chunked) + chunk("{\"type\":\"ADDED\"}\n")); }, ""},
      {"an object without a name",
       [&](Connection& c) {
         c.write(head(chunked) + chunk(R"({"type":"ADDED","object":{"kind":"Pod"}})"
                                       "\n"));
       },
       ""},
      {"an unknown error",
       [&](Connection& c) {
         c.write(head(chunked) + chunk(R"({"type":"ERROR","object":{"code":"x"}})"
                                       "\n"));
       },
       ""},
      {"cut within a chunk", [&](Connection& c) { c.write(head(chunked) + "ffff\r\n{\"type\""); }, ""},
      {"chunk lies", [&](Connection& c) { c.write(head(chunked) + "3\r\n{\"type\":\"ADDED\"}\r\n"); }, ""},
      {"a line without an end", [&](Connection& c) { pour(c, head(chunked), chunk(std::string(65536, 'x'))); }, ""},
      {"compressed", [&](Connection& c) { c.write(head(chunked + "Content-Encoding: gzip\r\n") + chunk("\x1f\x8b")); },
       ""},
      {"a byte now and then",
       [&](Connection& c) {
         c.write(head(chunked));
         for (int i = 0; i < 60 && c.write(chunk("x")); ++i) std::this_thread::sleep_for(50ms);
       },
       ""},
      {"silence", [&](Connection& c) { c.write(head(chunked)), c.wait_closed(); }, ""},
      {"a redirect", [](Connection& c) { c.write(head("Location: /\r\nContent-Length: 0\r\n", 307)); }, ""},
      {"an error page", [](Connection& c) { c.reply(502, "<html>"); }, ""},
  };
  for (const auto& w : watches) {
    SCOPED_TRACE(w.name);
    TestPki pki;
    std::atomic<int> watched{0};
    TlsScript server(pki.serving, [&](Connection& c, int) {
      for (;;) {
        auto request = c.read_request();
        if (request.empty()) return;
        if (request.find("watch=true") == std::string::npos) {
          c.reply(200, R"({"kind":"PodList","metadata":{"resourceVersion":"5"},"items":[]})");
          continue;
        }
        if (watched++ == 0) return w.answer(c);
        c.write(head(chunked) + chunk(event("ADDED", "after", 6)));
        return c.wait_closed();
      }
    });
    Runner run;
    auto client = *ApiClient::make(run.executor(), options_for(pki, server));
    ReflectorOptions o;
    o.resource = "pods";
    o.read_timeout = 400ms;
    o.backoff_lowest = 5ms;
    o.backoff_highest = 20ms;
    std::string why;
    bool recovered = false;
    ReflectorHandlers h;
    h.changed = [&](Change, api::ObjectPtr object) { recovered = object->key.name == "after"; };
    h.connection = [&](bool up, const std::string& reason) {
      if (!up && why.empty()) why = reason;
    };
    Reflector reflector(*client, o, h);
    async::TaskGroup group(run.executor());
    group.spawn("reflector", reflector.run());
    auto before = ::mallinfo2();
    EXPECT_TRUE(run.until([&] { return recovered; }, 5s));
    auto after = ::mallinfo2();
    EXPECT_LT(after.uordblks + after.hblkhd, before.uordblks + before.hblkhd + 4 * kLimit);
    EXPECT_NE(why, "") << "it was said what is wrong";
    auto stop = [](async::TaskGroup& g) -> async::awaitable<int> {
      co_await g.stop();
      co_return 0;
    };
    run(stop(group));
  }
}

// The control of the line's limit: an event of 10 MiB is an event.
TEST(BadServers, ALargeEventIsNoBadOne) {
  TestPki pki;
  TlsScript server(pki.serving, [](Connection& c, int) {
    c.read_request();
    auto text = event("ADDED", "large", 6, R"(,"annotations":{"x":")" + std::string(10u << 20, 'x') + R"("})");
    c.begin_chunks();
    for (std::size_t i = 0; i < text.size(); i += 65536) c.chunk(text.substr(i, 65536));
    c.wait_closed();
  });
  Runner run;
  auto options = options_for(pki, server);
  options.line_limit = ClientOptions().line_limit;
  auto client = *ApiClient::make(run.executor(), options);
  auto stream = run(client->stream("/api/v1/pods?watch=true"));
  ASSERT_TRUE(stream) << stream.error().to_string();
  auto line = run((*stream)->read_line(10s));
  ASSERT_TRUE(line) << line.error().to_string();
  EXPECT_GT(line->size(), 10u << 20);
}

}  // namespace
}  // namespace trama::client
