// SPDX-License-Identifier: GPL-2.0-or-later
// What one client can cost the others, over real HTTPS. Every limit has its control: what stays below it is served.
#include <atomic>
#include <ctime>
#include <thread>

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <malloc.h>

#include "tests/contract/server/https_rig.h"

namespace trama::test {
namespace {

using namespace std::chrono_literals;
using std::chrono::milliseconds;
using std::chrono::steady_clock;
using testing::HasSubstr;

#if defined(__SANITIZE_ADDRESS__)
constexpr int kTimes = 3;  // everything else takes longer, too
#else
constexpr int kTimes = 1;
#endif
constexpr milliseconds kSlow = 400ms * kTimes, kIdle = 1'200ms * kTimes;
constexpr auto kSlack = 900ms;  // for a machine that has more to do

server::Options quick() {
  server::Options o;
  o.slow_client = kSlow;
  o.idle = kIdle;
  return o;
}

RawClient::Options as(const pki::KeyPair& identity) {
  RawClient::Options o;
  o.identity = identity;
  return o;
}
RawClient::Options from(const std::string& address, bool tls = true) {
  RawClient::Options o;
  o.from = address;
  o.tls = tls;
  return o;
}

// Somebody else's request, and how long it took.
milliseconds bystander(const HttpsRig& rig) {
  auto start = steady_clock::now();
  RawClient client(rig, from("127.0.0.99"));
  EXPECT_EQ(client.ask("GET", "/version").status, 200);
  return std::chrono::duration_cast<milliseconds>(steady_clock::now() - start);
}

// Sends a byte at a time until it is told to stop or the connection ends; how long that took.
milliseconds drip(RawClient& client, const std::string& text, milliseconds pause) {
  auto start = steady_clock::now();
  for (char c : text) {
    if (!client.send(std::string(1, c))) break;
    std::this_thread::sleep_for(pause);
  }
  return std::chrono::duration_cast<milliseconds>(steady_clock::now() - start);
}

// What the session owes every client, before anything is limited.
TEST(Session, RequestsFollowEachOtherAndABodyIsAskedFor) {
  HttpsRig rig(quick());
  RawClient client(rig, as(rig.identity("root", "system:masters")));
  const std::string get = "GET /version HTTP/1.1\r\nHost: x\r\n\r\n";
  ASSERT_TRUE(client.send(get + get));  // before the first answer
  EXPECT_EQ(client.reply().status, 200);
  EXPECT_EQ(client.reply().status, 200);
  const std::string body = R"({"metadata":{"name":"asked"}})";
  ASSERT_TRUE(
      client.send(fmt::format("POST /api/v1/namespaces/default/configmaps HTTP/1.1\r\nHost: x\r\nContent-Type: "
                              "application/json\r\nContent-Length: {}\r\nExpect: 100-continue\r\n\r\n",
                              body.size())));
  EXPECT_EQ(client.read_some(), "HTTP/1.1 100 Continue\r\n\r\n");
  ASSERT_TRUE(client.send(body));
  EXPECT_EQ(client.reply().status, 201);
  ASSERT_TRUE(client.send("HEAD /version HTTP/1.1\r\nHost: x\r\n\r\n"));
  auto head = client.read_some();
  EXPECT_THAT(head, HasSubstr("Content-Length: "));
  EXPECT_THAT(head, testing::EndsWith("\r\n\r\n")) << "and no body";
  RawClient old(rig), closing(rig), nonsense(rig);
  old.send("GET /version HTTP/1.0\r\n\r\n");
  EXPECT_EQ(old.reply().status, 200);
  EXPECT_LT(old.until_closed(5s), kSlow);
  closing.send("GET /version HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
  EXPECT_EQ(closing.reply().status, 200);
  EXPECT_LT(closing.until_closed(5s), kSlow);
  nonsense.send("what is this\r\n\r\n");
  auto refused = nonsense.reply();
  EXPECT_EQ(refused.status, 400);
  EXPECT_THAT(refused.body, HasSubstr("not HTTP/1.1"));
}

TEST(Limits, AHandshakeIsFinishedOrOver) {
  HttpsRig rig(quick());
  RawClient silent(rig, from("127.0.0.2", false)), half(rig, from("127.0.0.3", false));
  ASSERT_TRUE(half.send_raw(std::string("\x16\x03\x01\x02\x00\x01\x00", 7)));  // the beginning of a ClientHello
  EXPECT_LT(bystander(rig), kSlow) << "nobody waits for them";
  EXPECT_LT(silent.until_closed(5s), kSlow + kSlack);
  EXPECT_LT(half.until_closed(5s), kSlow + kSlack);
}

TEST(Limits, AHeaderThatComesByTheByteIsNotWaitedFor) {
  HttpsRig rig(quick());
  const std::string request = "GET /version HTTP/1.1\r\nHost: x\r\n\r\n";
  RawClient slow(rig);
  EXPECT_LT(drip(slow, request, 100ms), kSlow + kSlack) << "a byte now and then does not buy more time";
  EXPECT_EQ(slow.reply().status, 0);
  RawClient quick_enough(rig);
  drip(quick_enough, request, 2ms);
  EXPECT_EQ(quick_enough.reply().status, 200);
}

TEST(Limits, NeitherIsABody) {
  HttpsRig rig(quick());
  auto admin = rig.identity("root", "system:masters");
  const std::string body = R"({"metadata":{"name":"a"},"data":{"x":"y"}})";
  auto head = [&](const char* path) {
    return fmt::format("POST {} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
                       path, body.size());
  };
  const char* path = "/api/v1/namespaces/default/configmaps";
  RawClient slow(rig, as(admin)), quick_enough(rig, as(admin));
  ASSERT_TRUE(slow.send(head(path)));
  EXPECT_LT(drip(slow, body, 100ms), kSlow + kSlack);
  EXPECT_EQ(slow.reply().status, 0);
  RawClient look(rig, as(admin));
  EXPECT_EQ(look.ask("GET", std::string(path) + "/a").status, 404) << "half a body is no body";
  ASSERT_TRUE(quick_enough.send(head(path)));
  drip(quick_enough, body, 2ms);
  EXPECT_EQ(quick_enough.reply().status, 201);
}

TEST(Limits, WhoHasNotSaidWhoItIsMayNotLinger) {
  HttpsRig rig(quick());
  RawClient nobody(rig), somebody(rig, as(rig.identity("root", "system:masters")));
  ASSERT_EQ(nobody.ask("GET", "/version").status, 200);
  ASSERT_EQ(somebody.ask("GET", "/version").status, 200);
  auto start = steady_clock::now();
  EXPECT_LT(nobody.until_closed(5s), kSlow + kSlack);
  std::this_thread::sleep_until(start + kSlow + 300ms);
  EXPECT_EQ(somebody.ask("GET", "/version").status, 200) << "its connection is still good";
  EXPECT_LT(somebody.until_closed(6s), kIdle + kSlack);
}

TEST(Limits, AnAddressHasSoManyConnections) {
  auto options = quick();
  options.strangers_per_address = 5;
  HttpsRig rig(options);
  auto admin = rig.identity("root", "system:masters");
  std::vector<std::unique_ptr<RawClient>> known, strangers;
  for (int i = 0; i < 12; ++i) {
    known.push_back(std::make_unique<RawClient>(rig, as(admin)));
    ASSERT_EQ(known.back()->ask("GET", "/version").status, 200) << "who is known is not counted";
  }
  for (int i = 0; i < 5; ++i) strangers.push_back(std::make_unique<RawClient>(rig, from("127.0.0.1", false)));
  std::this_thread::sleep_for(50ms);
  RawClient sixth(rig);
  EXPECT_FALSE(sixth.connected());
  EXPECT_LT(bystander(rig), kSlow) << "another address has room";
  EXPECT_EQ(known.front()->ask("GET", "/version").status, 200);
  strangers.clear();
  std::this_thread::sleep_for(50ms);
  RawClient again(rig);
  EXPECT_EQ(again.ask("GET", "/version").status, 200) << "and here, once they are gone";
}

TEST(Limits, TooManyRequestsAreToldWhenToComeBack) {
  auto options = quick();
  options.limits.strangers_per_second = 0.9;
  options.limits.strangers_burst = 3;
  options.limits.per_second = 0.5;
  options.limits.burst = 4;
  HttpsRig rig(options);
  RawClient nobody(rig), user(rig, as(rig.identity("ann", "trama:view")));
  for (int i = 0; i < 3; ++i) EXPECT_EQ(nobody.ask("GET", "/version").status, 200);
  auto refused = nobody.ask("GET", "/version");
  EXPECT_EQ(refused.status, 429);
  EXPECT_EQ(refused.header("Retry-After"), "2") << refused.head;
  EXPECT_THAT(refused.body, HasSubstr(R"("reason":"TooManyRequests")"));
  EXPECT_THAT(refused.body, HasSubstr(R"("retryAfterSeconds":2)"));
  EXPECT_EQ(nobody.ask("GET", "/version").status, 429) << "on the same connection";
  RawClient elsewhere(rig, from("127.0.0.7"));
  EXPECT_EQ(elsewhere.ask("GET", "/version").status, 200);
  for (int i = 0; i < 4; ++i)
    EXPECT_EQ(user.ask("GET", "/api/v1/namespaces").status, 200) << "a name counts for itself";
  EXPECT_EQ(user.ask("GET", "/api/v1/namespaces").status, 429);
  RawClient admin(rig, as(rig.identity("root", "system:masters")));
  for (int i = 0; i < 20; ++i) ASSERT_EQ(admin.ask("GET", "/api/v1/namespaces").status, 200);
  std::this_thread::sleep_for(1'500ms);
  RawClient later(rig);
  EXPECT_EQ(later.ask("GET", "/version").status, 200);
}

TEST(Limits, GuessingTokensIsSlow) {
  auto options = quick();
  options.limits.strangers_per_second = 0.5;
  options.limits.strangers_burst = 3;
  std::atomic<int> asked{0};
  options.authenticate_token = [&](std::string token) -> std::optional<server::Identity> {
    ++asked;
    if (token != "right") return std::nullopt;
    return server::Identity{"ann", {"trama:view", "system:authenticated"}};
  };
  HttpsRig rig(options);
  auto try_token = [&](const std::string& token, const std::string& address) {
    RawClient client(rig, from(address));
    client.send("GET /api/v1/namespaces HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + token + "\r\n\r\n");
    return client.reply().status;
  };
  EXPECT_EQ(try_token("right", "127.0.0.1"), 200);
  for (int i = 0; i < 3; ++i) EXPECT_EQ(try_token("wrong", "127.0.0.1"), 401);
  EXPECT_EQ(try_token("wrong", "127.0.0.1"), 429);
  EXPECT_EQ(asked, 4) << "nobody looks at it any more";
  EXPECT_EQ(try_token("right", "127.0.0.8"), 200) << "from elsewhere";
}

TEST(Limits, SizesOfHeadersBodiesAndDepth) {
  HttpsRig rig(quick());
  auto admin = rig.identity("root", "system:masters");
  const std::string path = "/api/v1/namespaces/default/configmaps";
  auto with_header = [&](std::size_t size) {
    RawClient client(rig, as(admin));
    client.send("GET /version HTTP/1.1\r\nHost: x\r\nX-Fill: " + std::string(size, 'x') + "\r\n\r\n");
    return client.reply();
  };
  EXPECT_EQ(with_header(15 << 10).status, 200);
  auto large = with_header(17 << 10);
  EXPECT_EQ(large.status, 431);
  EXPECT_THAT(large.body, HasSubstr("16384"));
  auto with_body = [&](std::size_t size, bool chunked) {
    RawClient client(rig, as(admin));
    auto text = fmt::format(R"({{"metadata":{{"name":"b{}{}"}},"data":{{"x":"{}"}}}})", size, chunked ? "c" : "",
                            std::string(size, 'x'));
    auto head = "POST " + path + " HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n";
    if (chunked)
      client.send(head + fmt::format("Transfer-Encoding: chunked\r\n\r\n{:x}\r\n{}\r\n0\r\n\r\n", text.size(), text));
    else
      client.send(head + fmt::format("Content-Length: {}\r\n\r\n{}", text.size(), text));
    return client.reply();
  };
  for (bool chunked : {false, true}) {
    EXPECT_EQ(with_body(1 << 20, chunked).status, 201);
    auto over = with_body((3 << 20) + 1, chunked);
    EXPECT_EQ(over.status, 413) << chunked;
    EXPECT_THAT(over.body, HasSubstr("limit is 3145728"));
  }
  // An announcement alone is enough to be refused: nothing is read for it.
  RawClient boaster(rig, as(admin));
  boaster.send("POST " + path + " HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\n");
  EXPECT_EQ(boaster.reply().status, 413);
  auto nested = [&](int levels) {
    RawClient client(rig, as(admin));
    return client.ask("POST", path,
                      R"({"metadata":{"name":"d"},"data":)" + std::string(static_cast<std::size_t>(levels), '[') +
                          std::string(static_cast<std::size_t>(levels), ']') + "}");
  };
  EXPECT_THAT(nested(10).body, HasSubstr("data")) << "the control: it is the type that is wrong";
  auto deep = nested(100);
  EXPECT_EQ(deep.status, 400);
  EXPECT_THAT(deep.body, HasSubstr("too deep"));
  EXPECT_EQ(nested(1 << 20).status, 400);
  EXPECT_LT(bystander(rig), kSlow);
}

std::size_t heap() {
  auto info = ::mallinfo2();
  return info.uordblks + info.hblkhd;
}

// Watchers that take nothing: each costs at most its MiB, then only itself.
TEST(Limits, ASlowWatcherEndsAndCostsNobodyElse) {
  constexpr std::size_t kWatchers = 20, kWrites = 300, kSize = 100 << 10;
  store::StoreOptions small;
  small.history_bytes = 1 << 20;
  HttpsRig rig(quick(), small);
  auto admin = rig.identity("root", "system:masters");
  const std::string path = "/api/v1/namespaces/default/configmaps";
  RawClient writer(rig, as(admin));
  ASSERT_EQ(writer.ask("POST", path, R"({"metadata":{"name":"a"}})").status, 201);
  std::vector<std::unique_ptr<RawClient>> slow;
  auto watch = "GET " + path + "?watch=true HTTP/1.1\r\nHost: x\r\n\r\n";
  for (std::size_t i = 0; i < kWatchers; ++i) {
    auto o = as(admin);
    o.receive_buffer = 8 << 10;
    slow.push_back(std::make_unique<RawClient>(rig, o));
    slow.back()->send(watch);
    ASSERT_THAT(slow.back()->read_some(), HasSubstr("200 OK"));
  }
  RawClient reader(rig, as(admin));
  reader.send(watch);
  std::atomic<std::size_t> seen{0};
  std::thread follow([&] {
    std::string last;
    while (seen < kWrites) {
      auto piece = reader.read_some(10s);
      if (piece.empty()) return;
      last += piece;
      for (std::size_t at; (at = last.find("\"MODIFIED\"")) != std::string::npos; ++seen) last.erase(0, at + 10);
      if (last.size() > 16) last.erase(0, last.size() - 16);
    }
  });
  auto before = heap(), most = before;
  milliseconds longest{0};
  const std::string filling(kSize, 'x');
  for (std::size_t i = 0; i < kWrites; ++i) {
    auto start = steady_clock::now();
    auto body = fmt::format(R"({{"metadata":{{"name":"a"}},"data":{{"n":"{}","x":"{}"}}}})", i, filling);
    ASSERT_EQ(writer.ask("PUT", path + "/a", body).status, 200);
    longest = std::max(longest, std::chrono::duration_cast<milliseconds>(steady_clock::now() - start));
    most = std::max(most, heap());
  }
  follow.join();
  EXPECT_EQ(seen, kWrites) << "who reads gets everything";
  EXPECT_LT(longest, kSlow) << "and no write waits for who does not";
  auto each = (most - before) / kWatchers;
#if !defined(__SANITIZE_ADDRESS__)  // its allocator keeps what was freed
  EXPECT_LT(each, std::size_t{1} << 20) << "bytes of heap for each";
#endif
  RecordProperty("heap_per_slow_watcher", static_cast<int>(each));
  // Each ends: what is read to the end was cut, not finished.
  for (auto& client : slow) EXPECT_LT(client->until_closed(10s), 10s);
}

// A CA that is dropped takes with it whoever came in by it, watches and idle connections alike.
TEST(Limits, WhoCameInByADroppedCaIsOut) {
  HttpsRig rig(quick());
  auto other = *pki::Authority::create("test-ca", std::time(nullptr));  // of the same name
  auto of_old = rig.identity("root", "system:masters"), of_new = HttpsRig::identity_of(other, "root", "system:masters");
  const std::string watch = "GET /api/v1/namespaces?watch=true HTTP/1.1\r\nHost: x\r\n\r\n",
                    list = "/api/v1/namespaces";
  ASSERT_TRUE(rig.trust(rig.authority().certificate_pem() + other.certificate_pem()));
  RawClient old_watch(rig, as(of_old)), old_idle(rig, as(of_old)), new_watch(rig, as(of_new)),
      new_idle(rig, as(of_new));
  for (auto* client : {&old_watch, &new_watch}) {
    ASSERT_TRUE(client->send(watch));
    ASSERT_THAT(client->read_some(), HasSubstr("200 OK"));
  }
  for (auto* client : {&old_idle, &new_idle}) ASSERT_EQ(client->ask("GET", list).status, 200);
  ASSERT_TRUE(rig.trust(other.certificate_pem()));
  EXPECT_LT(old_watch.until_closed(5s), kIdle);
  EXPECT_LT(old_idle.until_closed(5s), kIdle);
  EXPECT_EQ(new_idle.ask("GET", list).status, 200);
  EXPECT_EQ(new_watch.until_closed(300ms), 300ms);
  RawClient late(rig, as(of_old)), welcome(rig, as(of_new));
  EXPECT_EQ(late.ask("GET", list).status, 0);
  EXPECT_EQ(welcome.ask("GET", list).status, 200);
}

// What a command or a log writes waits for its reader instead of being kept here.
TEST(Limits, AStreamThatNobodyReadsIsHeldBack) {
  auto options = quick();
  std::atomic<std::size_t> log_bytes{0}, raw_bytes{0};
  std::atomic<bool> log_ended{false}, raw_ended{false};
  options.raw = [&](server::SubresourcePath path, server::Request, server::Stream& stream) -> async::awaitable<void> {
    std::string type = "text/plain", head = "HTTP/1.1 101 Switching Protocols\r\n\r\n", piece(64 << 10, 'x');
    bool log = path.subresource == "log";
    base::Result<> ok;
    if (log)
      ok = co_await stream.begin(200, type);
    else
      ok = co_await stream.write(head);
    while (ok) {
      if (log)
        ok = co_await stream.chunk(piece);
      else
        ok = co_await stream.write(piece);
      if (ok) (log ? log_bytes : raw_bytes) += piece.size();
    }
    (log ? log_ended : raw_ended) = true;
  };
  HttpsRig rig(options);
  auto o = as(rig.identity("root", "system:masters"));
  o.receive_buffer = 8 << 10;
  RawClient log(rig, o);
  auto exec = std::make_unique<RawClient>(rig, o);
  log.send("GET /api/v1/namespaces/default/pods/a/log HTTP/1.1\r\nHost: x\r\n\r\n");
  exec->send("GET /api/v1/namespaces/default/pods/a/exec HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n\r\n");
  ASSERT_THAT(log.read_some(), HasSubstr("200 OK"));
  ASSERT_THAT(exec->read_some(), HasSubstr("101"));
  std::this_thread::sleep_for(kSlow + kSlack);
  EXPECT_TRUE(log_ended) << "a log that is not read ends";
  EXPECT_FALSE(raw_ended) << "a command waits for whoever pressed Ctrl-S";
  EXPECT_LT(log_bytes, 8u << 20) << "what the kernel's buffers take";
  EXPECT_LT(raw_bytes, 8u << 20);
  auto held = raw_bytes.load();
  std::this_thread::sleep_for(100ms);
  EXPECT_EQ(raw_bytes, held);
  // The control: a reader gets on.
  RawClient reader(rig, as(o.identity));
  reader.send("GET /api/v1/namespaces/default/pods/a/log HTTP/1.1\r\nHost: x\r\n\r\n");
  std::size_t got = 0;
  while (got < 16u << 20) {
    auto piece = reader.read_some();
    ASSERT_FALSE(piece.empty());
    got += piece.size();
  }
  EXPECT_LT(bystander(rig), kSlow);
  exec.reset();
  for (int i = 0; i < 100 && !raw_ended; ++i) std::this_thread::sleep_for(20ms);
  EXPECT_TRUE(raw_ended) << "and ends with its client";
}

}  // namespace
}  // namespace trama::test
