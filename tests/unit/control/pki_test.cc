// SPDX-License-Identifier: GPL-2.0-or-later
#include <set>

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/digest.h"
#include "base/file.h"
#include "control/client/join.h"
#include "control/client/kubeconfig.h"
#include "control/pki/base64.h"
#include "control/pki/cluster_files.h"
#include "control/pki/join_token.h"
#include "control/pki/renewal.h"
#include "control/pki/rotation.h"

namespace trama::pki {
namespace {

constexpr std::int64_t kNow = 1'800'000'000;

Authority authority() { return std::move(*Authority::create("test-ca", kNow)); }

class Directory {
 public:
  Directory() : path("/tmp/trama-pki-test-" + std::to_string(getpid()) + "-" + base::random_hex(4)) {}
  ~Directory() { (void)base::remove_tree(path); }
  std::string path;
};

TEST(Authority, SignsWhatWasAsked) {
  auto ca = authority();
  Issue issue;
  issue.subject = {"system:node:n1", {"system:nodes"}, false};
  issue.names.dns = {"n1"};
  issue.names.ips = {base::Ip::v4(10, 0, 0, 1), *base::Ip::parse("fd00::1")};
  issue.usage.server = true;
  issue.now = kNow;
  auto pair = ca.issue(issue);
  ASSERT_TRUE(pair) << pair.error().to_string();
  auto c = Certificate::from_pem(pair->certificate_pem);
  ASSERT_TRUE(c);
  EXPECT_EQ(c->subject(), issue.subject);
  EXPECT_EQ(c->alt_names(), issue.names);
  EXPECT_TRUE(c->is_for_servers());
  EXPECT_FALSE(c->is_for_clients());
  EXPECT_FALSE(c->is_ca());
  EXPECT_TRUE(c->signed_by(ca.certificate()));
  EXPECT_TRUE(c->matches(*PrivateKey::from_pem(pair->key_pem)));
  EXPECT_EQ(c->not_before(), kNow - 300);
  EXPECT_EQ(c->not_after(), kNow + 7 * 24 * 3600);
}

TEST(Authority, OfTheSameNameIsNotTheSame) {
  auto ca = authority();
  auto impostor = authority();
  Issue issue;
  issue.subject.common_name = "x";
  issue.usage.client = true;
  issue.now = kNow;
  auto c = Certificate::from_pem(impostor.issue(issue)->certificate_pem);
  EXPECT_FALSE(c->signed_by(ca.certificate()));
  EXPECT_NE(ca.pin(), impostor.pin());
}

TEST(Authority, NothingOutlivesIt) {
  auto ca = authority();
  Issue issue;
  issue.subject.common_name = "x";
  issue.usage.client = true;
  issue.now = kNow;
  issue.life = std::chrono::hours(24 * 365 * 50);
  auto c = Certificate::from_pem(ca.issue(issue)->certificate_pem);
  EXPECT_EQ(c->not_after(), ca.certificate().not_after());
}

TEST(Authority, RefusesACertificateThatIsNoAuthority) {
  auto ca = authority();
  Issue issue;
  issue.subject.common_name = "x";
  issue.usage.client = true;
  issue.now = kNow;
  auto leaf = ca.issue(issue);
  auto loaded = Authority::from_pem(leaf->certificate_pem, leaf->key_pem);
  ASSERT_FALSE(loaded);
  EXPECT_NE(loaded.error().to_string().find("not a CA"), std::string::npos);
  auto other = authority();
  EXPECT_FALSE(Authority::from_pem(ca.certificate_pem(), *other.key_pem()));
}

TEST(SigningRequest, RoundTrip) {
  auto key = PrivateKey::generate();
  Subject subject{"system:node:n1", {"system:nodes"}, false};
  AltNames names;
  names.dns = {"n1"};
  names.ips = {base::Ip::v4(10, 0, 0, 1)};
  auto pem = make_signing_request(*key, subject, names);
  ASSERT_TRUE(pem) << pem.error().to_string();
  auto request = SigningRequest::from_pem(*pem);
  ASSERT_TRUE(request) << request.error().to_string();
  EXPECT_EQ(request->subject, subject);
  EXPECT_EQ(request->alt_names, names);
}

TEST(SigningRequest, DamagedOnesAreRefused) {
  EXPECT_FALSE(SigningRequest::from_pem(""));
  EXPECT_FALSE(
      SigningRequest::from_pem("-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n"));
  auto key = PrivateKey::generate();
  auto pem = *make_signing_request(*key, {"system:node:n1", {"system:nodes"}, false}, {});
  // One flipped bit anywhere in the signed part must be noticed: by the parser or by the self-signature.
  auto der_start = pem.find('\n') + 1;
  auto body = pem.substr(der_start, pem.find("-----END") - der_start);
  auto der = *from_base64(body);
  int accepted = 0;
  for (std::size_t i = 0; i < der.size(); ++i) {
    auto bad = der;
    bad[i] = static_cast<char>(bad[i] ^ 1);
    auto text = "-----BEGIN CERTIFICATE REQUEST-----\n" + to_base64(bad) + "\n-----END CERTIFICATE REQUEST-----\n";
    if (SigningRequest::from_pem(text)) ++accepted;
  }
  EXPECT_EQ(accepted, 0);
  EXPECT_TRUE(SigningRequest::from_pem(pem)) << "the control: the untouched one is fine";
}

TEST(ClusterFiles, AreMadeOnceAndPrivate) {
  Directory d;
  auto first = load_or_create_cluster_keys(d.path, {}, kNow);
  ASSERT_TRUE(first) << first.error().to_string();
  for (const char* name : {"ca.crt", "ca.key", "server.crt", "server.key", "admin.crt", "admin.key"}) {
    struct stat st {};
    ASSERT_EQ(::stat((d.path + "/" + name).c_str(), &st), 0) << name;
    EXPECT_EQ(st.st_mode & 0777, 0600u) << name;
  }
  auto again = load_or_create_cluster_keys(d.path, {}, kNow + 3600);
  ASSERT_TRUE(again);
  EXPECT_EQ(again->authority.pin(), first->authority.pin());
  EXPECT_EQ(again->serving.certificate_pem, first->serving.certificate_pem);
  EXPECT_NE(again->controller.certificate_pem, first->controller.certificate_pem);
}

TEST(Rotation, ThreeStepsInFiles) {
  Directory d;
  auto first = load_or_create_cluster_keys(d.path, {}, kNow);
  ASSERT_TRUE(first);
  EXPECT_EQ(first->trusted, first->authority.certificate_pem());
  auto next = make_next_authority(d.path, kNow);
  ASSERT_TRUE(next) << next.error().to_string();
  EXPECT_EQ(*make_next_authority(d.path, kNow), *next) << "made once";
  auto started = load_or_create_cluster_keys(d.path, {}, kNow);
  EXPECT_EQ(started->trusted, first->authority.certificate_pem() + *next);
  EXPECT_EQ(started->serving.certificate_pem, first->serving.certificate_pem) << "nothing is made anew yet";
  EXPECT_EQ(read_authorities(d.path)->phase, RotationPhase::started);

  ASSERT_TRUE(adopt_next_authority(d.path));
  auto switched = load_or_create_cluster_keys(d.path, {}, kNow);
  ASSERT_TRUE(switched) << switched.error().to_string();
  EXPECT_EQ(switched->trusted, *next + first->authority.certificate_pem());
  for (const auto* pair : {&switched->serving, &switched->admin, &switched->controller})
    EXPECT_TRUE(Certificate::from_pem(pair->certificate_pem)->signed_by(switched->authority.certificate()));
  EXPECT_FALSE(Certificate::from_pem(first->serving.certificate_pem)->signed_by(switched->authority.certificate()));
  EXPECT_EQ(read_authorities(d.path)->phase, RotationPhase::switched);

  ASSERT_TRUE(forget_old_authority(d.path));
  EXPECT_EQ(load_or_create_cluster_keys(d.path, {}, kNow)->trusted, *next);
  EXPECT_EQ(read_authorities(d.path)->phase, RotationPhase::steady);
  EXPECT_FALSE(adopt_next_authority(d.path)) << "there is none";
}

// Killed after each of its writes: the key may be new and the certificate old.
TEST(Rotation, AnInterruptedSwitchIsCompleted) {
  for (bool key_only : {true, false}) {
    Directory d;
    auto first = load_or_create_cluster_keys(d.path, {}, kNow);
    auto next = make_next_authority(d.path, kNow);
    auto file = [&](const char* name) { return d.path + "/" + name; };
    ASSERT_TRUE(base::write_file_atomic(file("ca-old.key"), *base::read_file(file("ca.key")), 0600));
    ASSERT_TRUE(base::write_file_atomic(file("ca-old.crt"), *base::read_file(file("ca.crt")), 0600));
    ASSERT_TRUE(base::write_file_atomic(file("ca.key"), *base::read_file(file("ca-next.key")), 0600));
    if (key_only) {
      EXPECT_FALSE(load_or_create_cluster_keys(d.path, {}, kNow)) << "the control: it is broken";
    } else {
      ASSERT_TRUE(base::write_file_atomic(file("ca.crt"), *next, 0600));
    }
    ASSERT_TRUE(complete_switch(d.path));
    auto whole = load_or_create_cluster_keys(d.path, {}, kNow);
    ASSERT_TRUE(whole) << whole.error().to_string();
    EXPECT_EQ(whole->trusted, *next + first->authority.certificate_pem());
  }
}

TEST(Rotation, BundlesAreListsOfAuthorities) {
  auto a = *Authority::create("a", kNow), b = *Authority::create("b", kNow);
  auto both = split_bundle(a.certificate_pem() + "words between\n" + b.certificate_pem() + a.certificate_pem());
  ASSERT_TRUE(both);
  EXPECT_EQ(*both, (std::vector<std::string>{a.certificate_pem(), b.certificate_pem()}));
  EXPECT_EQ(short_pins(a.certificate_pem() + b.certificate_pem()), a.pin().substr(0, 16) + "," + b.pin().substr(0, 16));
  EXPECT_FALSE(split_bundle(""));
  EXPECT_FALSE(split_bundle("nothing"));
  Issue issue;
  issue.now = kNow;
  issue.subject.common_name = "leaf";
  issue.usage.client = true;
  EXPECT_FALSE(split_bundle(a.issue(issue)->certificate_pem)) << "a leaf is nobody's authority";
}

TEST(ClusterFiles, ServingCertificateFollowsItsNames) {
  Directory d;
  auto first = load_or_create_cluster_keys(d.path, {}, kNow);
  ServingNames more;
  more.dns = {"lab"};
  more.ips = {base::Ip::v4(10, 9, 9, 9)};
  auto second = load_or_create_cluster_keys(d.path, more, kNow);
  ASSERT_TRUE(second);
  EXPECT_NE(second->serving.certificate_pem, first->serving.certificate_pem);
  auto names = Certificate::from_pem(second->serving.certificate_pem)->alt_names();
  EXPECT_NE(std::find(names.dns.begin(), names.dns.end(), "kubernetes.default.svc"), names.dns.end());
  EXPECT_NE(std::find(names.ips.begin(), names.ips.end(), base::Ip::v4(10, 9, 9, 9)), names.ips.end());
  // Past two thirds of its life it is made anew.
  auto later = load_or_create_cluster_keys(d.path, more, kNow + 300LL * 24 * 3600);
  ASSERT_TRUE(later);
  EXPECT_NE(later->serving.certificate_pem, second->serving.certificate_pem);
}

TEST(ClusterFiles, DamageIsReportedNeverReplaced) {
  Directory d;
  ASSERT_TRUE(load_or_create_cluster_keys(d.path, {}, kNow));
  auto good = *base::read_file(d.path + "/ca.key");
  ASSERT_TRUE(base::write_file_atomic(d.path + "/ca.key", good.substr(0, good.size() / 2), 0600));
  EXPECT_FALSE(load_or_create_cluster_keys(d.path, {}, kNow));
  ASSERT_EQ(::unlink((d.path + "/ca.key").c_str()), 0);
  auto missing = load_or_create_cluster_keys(d.path, {}, kNow);
  ASSERT_FALSE(missing);
  EXPECT_NE(missing.error().to_string().find("ca.key"), std::string::npos);
  ASSERT_TRUE(base::write_file_atomic(d.path + "/ca.key", good, 0600));
  EXPECT_TRUE(load_or_create_cluster_keys(d.path, {}, kNow));
  EXPECT_FALSE(load_or_create_cluster_keys(d.path, {}, kNow + 11LL * 365 * 24 * 3600)) << "an expired CA";
}

TEST(Base64, RoundTripAndRefusal) {
  for (std::string text : {"", "a", "ab", "abc", "abcd"}) EXPECT_EQ(*from_base64(to_base64(text)), text);
  EXPECT_EQ(*from_base64("YW\nJj\n"), "abc");
  EXPECT_FALSE(from_base64("YWJ"));
  EXPECT_FALSE(from_base64("Y*Jj"));
}

TEST(JoinToken, SecretIsStoredHashedOnly) {
  TokenRecord r;
  r.id = "abc123";
  auto secret = new_token_secret();
  r.secret_hash = base::sha256_hex(secret);
  r.expires = std::chrono::system_clock::from_time_t(kNow);
  r.uses = 3;
  r.node = "n1";
  auto body = token_body(r);
  auto text = boost::json::serialize(body);
  EXPECT_EQ(text.find(secret), std::string::npos);
  EXPECT_EQ(text.find(to_base64(secret)), std::string::npos);
  auto back = token_of(body);
  ASSERT_TRUE(back);
  EXPECT_EQ(back->id, r.id);
  EXPECT_EQ(back->uses, 3);
  EXPECT_EQ(back->node, "n1");
  EXPECT_EQ(back->expires, r.expires);
  EXPECT_TRUE(secret_matches(*back, secret));
  EXPECT_FALSE(secret_matches(*back, secret.substr(1) + "0"));
  EXPECT_FALSE(secret_matches(*back, ""));
}

TEST(JoinToken, BearerShape) {
  EXPECT_TRUE(parse_bearer("abc123.00ff"));
  for (const char* bad : {"", "abc123", "abc12.x", "ABC123.x", "abc1234.x", ".x"})
    EXPECT_FALSE(parse_bearer(bad)) << bad;
}

TEST(JoinString, Parse) {
  auto text = "trama1.abc123." + std::string(32, 'a') + "." + std::string(64, 'b');
  auto j = client::JoinString::parse(text);
  ASSERT_TRUE(j) << j.error().to_string();
  EXPECT_EQ(j->to_string(), text);
  EXPECT_EQ(j->bearer(), "abc123." + std::string(32, 'a'));
  for (const auto& bad : {std::string(), text + "0", text.substr(1), text + ".x", "trama2" + text.substr(6),
                          std::string("trama1.abc123.zz.") + std::string(64, 'b')})
    EXPECT_FALSE(client::JoinString::parse(bad)) << bad;
}

TEST(Kubeconfig, WrittenAndReadBack) {
  client::Kubeconfig k;
  k.server = "https://127.0.0.1:6443";
  k.ca_pem = "CA\n";
  k.certificate_pem = "CERT\n";
  k.key_pem = "KEY\n";
  k.ns = "lab";
  auto back = client::parse_kubeconfig(k.to_text());
  ASSERT_TRUE(back) << back.error().to_string();
  EXPECT_EQ(back->server, k.server);
  EXPECT_EQ(back->ca_pem, k.ca_pem);
  EXPECT_EQ(back->certificate_pem, k.certificate_pem);
  EXPECT_EQ(back->key_pem, k.key_pem);
  EXPECT_EQ(back->ns, "lab");
}

TEST(Kubeconfig, YamlAndRefusals) {
  constexpr const char* kText = R"(
apiVersion: v1
current-context: a
contexts:
- name: a
  context: {cluster: c, user: u}
- name: b
  context: {cluster: insecure, user: u}
clusters:
- name: c
  cluster: {server: "https://x:1", certificate-authority-data: YWJj}
- name: insecure
  cluster: {server: "https://x:1", insecure-skip-tls-verify: true}
users:
- name: u
  user: {token: secret}
)";
  auto a = client::parse_kubeconfig(kText);
  ASSERT_TRUE(a) << a.error().to_string();
  EXPECT_EQ(a->token, "secret");
  EXPECT_EQ(a->ca_pem, "abc");
  EXPECT_FALSE(client::parse_kubeconfig(kText, ".", "b"));
  EXPECT_FALSE(client::parse_kubeconfig(kText, ".", "nowhere"));
  EXPECT_FALSE(client::parse_kubeconfig("[", "."));
  EXPECT_FALSE(client::parse_kubeconfig("just text", "."));
}

TEST(Renewal, IsDueAtTwoThirdsAndABit) {
  auto authority = Authority::create("ca", 1'000'000);
  ASSERT_TRUE(authority);
  std::set<std::int64_t> dues;
  for (int i = 0; i < 50; ++i)
    for (std::int64_t life : {12LL, 600LL, 7LL * 24 * 3600}) {
      Issue issue;
      issue.subject.common_name = "x";
      issue.usage.client = true;
      issue.now = 1'000'000;
      issue.life = std::chrono::seconds(life);
      auto pair = authority->issue(issue);
      ASSERT_TRUE(pair);
      auto certificate = Certificate::from_pem(pair->certificate_pem);
      auto from = certificate->not_before(), to = certificate->not_after();
      EXPECT_EQ(to, 1'000'000 + life);
      EXPECT_LE(1'000'000 - from, life / 12) << "most of a short life is not over when it begins";
      auto due = until_renewal(*certificate, UnixTime(from * 1000)).count();
      EXPECT_GE(due, (to - from) * 2000 / 3 - 1);
      EXPECT_LE(due, (to - from) * 3000 / 4);
      EXPECT_TRUE(is_aging(*certificate, from + due / 1000 + 1)) << "what is due is also replaced";
      EXPECT_EQ(until_renewal(*certificate, UnixTime(from * 1000 + due)).count(), 0);
      EXPECT_EQ(until_renewal(*certificate, UnixTime(to * 1000)).count(), 0);
      EXPECT_GE(renewal_pause(*certificate), std::chrono::milliseconds(200));
      EXPECT_LE(renewal_pause(*certificate), std::chrono::minutes(1));
      if (life > 1000) dues.insert(due);
    }
  EXPECT_GT(dues.size(), 40u) << "not all at once";
}

}  // namespace
}  // namespace trama::pki
