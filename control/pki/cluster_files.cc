// SPDX-License-Identifier: GPL-2.0-or-later
#include "control/pki/cluster_files.h"

#include <algorithm>

#include <sys/stat.h>

#include "base/file.h"
#include "control/pki/renewal.h"
#include "control/pki/rotation.h"

namespace trama::pki {

using base::Error;
using base::Result;

namespace {

bool exists(const std::string& path) {
  struct stat st {};
  return ::stat(path.c_str(), &st) == 0;
}

template <class T>
bool contains_all(const std::vector<T>& have, const std::vector<T>& want) {
  return std::all_of(want.begin(), want.end(),
                     [&](const T& w) { return std::find(have.begin(), have.end(), w) != have.end(); });
}

AltNames serving_names(const ServingNames& extra) {
  AltNames names;
  names.dns = {"localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc",
               "kubernetes.default.svc.cluster.local"};
  names.ips = {base::Ip::v4(127, 0, 0, 1), *base::Ip::parse("::1")};
  for (const auto& d : extra.dns)
    if (!contains_all(names.dns, {d})) names.dns.push_back(d);
  for (const auto& ip : extra.ips)
    if (!contains_all(names.ips, {ip})) names.ips.push_back(ip);
  return names;
}

Result<> write_secret(const std::string& path, const std::string& content) {
  auto done = base::write_file_atomic(path, content, 0600);
  if (!done) return std::move(done).error().in(fmt::format("write {}", path));
  return {};
}

Result<Authority> load_or_create_authority(const std::string& dir, std::int64_t now) {
  auto crt = dir + "/ca.crt";
  auto key = dir + "/ca.key";
  if (!exists(crt) && !exists(key)) {
    auto made = Authority::create("trama-ca", now);
    if (!made) return std::move(made).error();
    auto key_pem = made->key_pem();
    if (!key_pem) return std::move(key_pem).error();
    // The key first: a crash between the two leaves a key without certificate, which is reported, not papered over.
    if (auto w = write_secret(key, *key_pem); !w) return std::move(w).error();
    if (auto w = write_secret(crt, made->certificate_pem()); !w) return std::move(w).error();
    return made;
  }
  auto certificate_pem = base::read_file(crt);
  if (!certificate_pem)
    return std::move(certificate_pem).error().in("the cluster's CA is incomplete; restore it, or empty the folder");
  auto key_pem = base::read_file(key);
  if (!key_pem) return std::move(key_pem).error().in("the cluster's CA is incomplete; restore it, or empty the folder");
  auto authority = Authority::from_pem(*certificate_pem, *key_pem);
  if (!authority) return std::move(authority).error().in(fmt::format("{}, {}", crt, key));
  if (authority->certificate().not_after() <= now)
    return Error::text(
        fmt::format("{}: the cluster's CA has expired; a new CA means that every node joins again", crt));
  return authority;
}

// The pair on disk if it is still good for `issue`, else a fresh one that replaces it.
Result<KeyPair> load_or_issue(const std::string& dir, const std::string& name, const Authority& authority,
                              const Issue& issue) {
  auto crt = dir + "/" + name + ".crt";
  auto key = dir + "/" + name + ".key";
  auto certificate_pem = base::read_file(crt);
  auto key_pem = base::read_file(key);
  if (certificate_pem && key_pem) {
    auto certificate = Certificate::from_pem(*certificate_pem);
    auto private_key = PrivateKey::from_pem(*key_pem);
    if (certificate && private_key && certificate->matches(*private_key) &&
        certificate->signed_by(authority.certificate()) && !is_aging(*certificate, issue.now)) {
      auto names = certificate->alt_names();
      if (contains_all(names.dns, issue.names.dns) && contains_all(names.ips, issue.names.ips))
        return KeyPair{std::move(*certificate_pem), std::move(*key_pem)};
    }
  }
  auto fresh = authority.issue(issue);
  if (!fresh) return std::move(fresh).error();
  fresh->certificate_pem += authority.certificate_pem();
  if (auto w = write_secret(key, fresh->key_pem); !w) return std::move(w).error();
  if (auto w = write_secret(crt, fresh->certificate_pem); !w) return std::move(w).error();
  return fresh;
}

}  // namespace

Result<ClusterKeys> load_or_create_cluster_keys(const std::string& dir, const ServingNames& names, std::int64_t now,
                                                std::chrono::seconds life) {
  if (auto made = base::make_directories(dir, 0700); !made) return std::move(made).error();
  auto authority = load_or_create_authority(dir, now);
  if (!authority) return std::move(authority).error();

  Issue serving;
  serving.subject.common_name = "trama-controller";
  serving.names = serving_names(names);
  serving.usage.server = true;
  serving.now = now;
  serving.life = life;
  auto serving_pair = load_or_issue(dir, "server", *authority, serving);
  if (!serving_pair) return std::move(serving_pair).error();

  Issue admin;
  admin.subject.common_name = "trama:admin";
  admin.subject.organizations = {"system:masters"};
  admin.usage.client = true;
  admin.now = now;
  admin.life = life;
  auto admin_pair = load_or_issue(dir, "admin", *authority, admin);
  if (!admin_pair) return std::move(admin_pair).error();

  Issue self = admin;
  self.subject.common_name = "trama:controller";
  auto self_pair = authority->issue(self);
  if (!self_pair) return std::move(self_pair).error();
  auto all = read_authorities(dir);
  if (!all) return std::move(all).error();
  return ClusterKeys{std::move(*authority), std::move(*serving_pair), std::move(*admin_pair), all->bundle(),
                     std::move(*self_pair)};
}

}  // namespace trama::pki
