// SPDX-License-Identifier: GPL-2.0-or-later
// Bad TLS against the two ports that speak it, as they really run: the controller's 6443 and an agent's 10250.
#include <filesystem>
#include <thread>

#include <fcntl.h>
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <openssl/ssl.h>
#include <sched.h>
#include <unistd.h>

#include "tests/e2e/support/cluster.h"
#include "tests/support/forge.h"
#include "tests/support/private_netns.h"

namespace trama::test {
namespace {

struct Case {
  std::string name;
  Offer offer;
  // What each port does; "refused" where nothing else is said. 6443 lets the nameless in as anonymous: 403 then.
  std::string controller = "refused", agent = "refused";
};

class BadTls : public ::testing::Test {
 protected:
  void up() {
    cluster.start_controller();
    cluster.add_node("n1");
    ASSERT_TRUE(cluster.ok() && cluster.wait_node_ready("n1"));
    auto pki = cluster.directory() + "/controller/pki/";
    ca = {read_all(pki + "ca.crt"), read_all(pki + "ca.key")};
    ASSERT_FALSE(ca.key_pem.empty());
    auto node_pki = cluster.directory() + "/n1/data/pki/";
    node = {read_all(node_pki + "node.crt"), read_all(node_pki + "node.key")};
    ASSERT_TRUE(eventually([&] { return std::filesystem::exists(node_pki + "serving.crt"); }));
    serving = {read_all(node_pki + "serving.crt"), read_all(node_pki + "serving.key")};
  }
  // On a thread of its own in the switch's namespace, from where both ports can be reached.
  void inside(const std::function<void()>& job) {
    std::thread([&] {
      int fd = ::open(("/run/netns/" + cluster.netns("hub")).c_str(), O_RDONLY | O_CLOEXEC);
      ASSERT_EQ(::setns(fd, CLONE_NEWNET), 0);
      ::close(fd);
      job();
    }).join();
  }
  static Offer with(const Pair& pair) {
    Offer o;
    o.certificate_pem = pair.certificate_pem;
    o.key_pem = pair.key_pem;
    return o;
  }
  Offer forged(const std::function<void(Forgery&)>& change, const Pair& by) {
    Forgery f;
    change(f);
    return with(forge(f, by));
  }
  static Pair authority(const std::string& name, const Pair& by) {
    Forgery f;
    f.common_name = name;
    f.organizations.clear();
    f.usage.clear();
    f.authority = true;
    return forge(f, by);
  }
  std::vector<Case> bad_cases();
  std::vector<Case> good_cases();

  Cluster cluster;
  Pair ca, node, serving;
};

std::vector<Case> BadTls::bad_cases() {
  std::vector<Case> out;
  auto none = [](Forgery&) {};
  out.push_back({"expired", forged([](auto& f) { f.from = -7200, f.to = -60; }, ca)});
  out.push_back({"not yet valid", forged([](auto& f) { f.from = 3600, f.to = 7200; }, ca)});
  out.push_back({"self-signed", forged(none, {})});
  // The same name as ours has, another key.
  auto stranger = authority("trama-ca", {});
  out.push_back({"another CA of the same name", forged(none, stranger)});
  auto with_root = forged(none, stranger);
  with_root.certificate_pem += stranger.certificate_pem;
  out.push_back({"another CA, brought along", with_root});
  out.push_back({"for servers only", forged([](auto& f) { f.usage = "serverAuth"; }, ca)});
  out.push_back({"a node's serving certificate", with(serving)});
  out.push_back({"for e-mail only", forged([](auto& f) { f.usage = "emailProtection"; }, ca)});
  out.push_back({"RSA of 1024 bit", forged([](auto& f) { f.key = "RSA-1024"; }, ca)});
  // No TLS of today signs with it: such a client comes as nobody.
  out.push_back({"EC of 192 bit", forged([](auto& f) { f.key = "P-192"; }, ca), "403", "refused"});
  out.push_back({"signed with SHA-1", forged([](auto& f) { f.digest = "SHA1"; }, ca)});
  auto middle = authority("middle", ca);
  auto below = forged(none, middle);
  out.push_back({"chain cut short", below});
  below.certificate_pem += middle.certificate_pem;
  out.push_back({"below a second authority that ours does not allow", below});
  auto by_node = forged(none, node);
  by_node.certificate_pem += node.certificate_pem;
  out.push_back({"signed by a node", by_node});
  // The last of a line of authorities, each signed by the one before.
  Pair last = ca;
  std::string line;
  for (int i = 0; i < 12; ++i) {
    last = authority(fmt::format("a{}", i), last);
    line = last.certificate_pem + line;
  }
  auto end = forged(none, last);
  end.certificate_pem += line;
  out.push_back({"a long chain", end});
  auto good = forge({}, ca);
  auto heavy = with(good);
  for (int i = 0; i < 200; ++i) heavy.certificate_pem += middle.certificate_pem;
  out.push_back({"a chain of 100 KiB", heavy});
  auto changed = with(good);
  changed.certificate_pem = tampered(good.certificate_pem, "mallory");
  out.push_back({"another name written in", changed});

  auto version = [&](int low, int high) {
    auto o = with(good);
    o.lowest = low, o.highest = high;
    return o;
  };
  out.push_back({"TLS 1.1", version(TLS1_1_VERSION, TLS1_1_VERSION)});
  out.push_back({"TLS 1.0", version(TLS1_VERSION, TLS1_VERSION)});
  auto without_cipher = version(TLS1_2_VERSION, TLS1_2_VERSION);
  without_cipher.ciphers = "ECDHE-ECDSA-NULL-SHA:@SECLEVEL=0";
  out.push_back({"no encryption", without_cipher});
  auto nobody = version(TLS1_2_VERSION, TLS1_2_VERSION);
  nobody.ciphers = "AECDH-AES256-SHA:ADH-AES256-SHA:@SECLEVEL=0";
  out.push_back({"no authentication of the server", nobody});
  auto down = version(TLS1_2_VERSION, TLS1_2_VERSION);
  down.fallback = true;
  out.push_back({"talked down to 1.2", down});
  auto again = version(TLS1_2_VERSION, TLS1_2_VERSION);
  again.renegotiate = true;
  out.push_back({"renegotiation", again});

  auto raw = [](std::string bytes) {
    Offer o;
    o.raw = std::move(bytes);
    return o;
  };
  std::string noise;
  for (unsigned x = 1, i = 0; i < 2000; ++i) noise += static_cast<char>((x = x * 1103515245 + 12345) >> 16);
  out.push_back({"noise", raw(noise)});
  out.push_back({"plain HTTP", raw("GET /api/v1/nodes HTTP/1.1\r\nHost: x\r\n\r\n")});
  out.push_back({"half a hello, then nothing", raw(std::string("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 11))});
  out.push_back({"a hello of SSL 2", raw(std::string("\x80\x2e\x01\x00\x02\x00\x15\x00\x00\x00\x10\x01\x00\x80", 14))});

  // Nobody is anonymous there, and not nobody here.
  out.push_back({"no certificate", Offer{}, "403", "refused"});
  // Of our CA, and yet not for this: the port of another one, a name without its group, a group without a name.
  out.push_back({"a node at an agent", with(node), "200", "403"});
  out.push_back({"a name without its group",
                 forged([](auto& f) { f.common_name = "system:node:n1", f.organizations = {}; }, ca), "403", "403"});
  out.push_back({"a group without a name", forged([](auto& f) { f.common_name = ""; }, ca), "403", "403"});
  return out;
}

std::vector<Case> BadTls::good_cases() {
  std::vector<Case> out;
  auto add = [&](const char* name, Offer o) { out.push_back({name, std::move(o), "200", "200"}); };
  auto plain = [](Forgery&) {};
  add("an administrator", forged(plain, ca));
  add("RSA of 2048 bit", forged([](auto& f) { f.key = "RSA-2048"; }, ca));
  add("EC of 384 bit", forged([](auto& f) { f.key = "P-384"; }, ca));
  for (int version : {TLS1_2_VERSION, TLS1_3_VERSION}) {
    auto o = forged(plain, ca);
    o.lowest = o.highest = version;
    add(version == TLS1_2_VERSION ? "TLS 1.2" : "TLS 1.3", o);
  }
  auto whole = forged(plain, ca);
  whole.certificate_pem += ca.certificate_pem;
  add("with the CA in the chain", whole);
  return out;
}

TEST_F(BadTls, IsRefusedByBothPorts) {
  ASSERT_NO_FATAL_FAILURE(up());
  auto bad = bad_cases(), good = good_cases();
  EXPECT_GE(bad.size(), 30u);
  inside([&] {
    for (const auto* list : {&good, &bad, &good}) {  // and neither port is the worse for it
      std::vector<std::thread> clients;              // each takes the namespace of this one along
      for (const auto& c : *list)
        clients.emplace_back([&] {
          auto at_controller = offer("10.90.0.1", 6443, c.offer, "/api/v1/nodes/n1");
          auto at_agent = offer(cluster.node_ip("n1"), 10250, c.offer, "/status");
          EXPECT_EQ(at_controller, c.controller) << "6443: " << c.name;
          EXPECT_EQ(at_agent, c.agent) << "10250: " << c.name;
        });
      for (auto& client : clients) client.join();
    }
  });
  EXPECT_TRUE(cluster.wait_node_ready("n1"));
}

}  // namespace
}  // namespace trama::test
