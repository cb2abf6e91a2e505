// SPDX-License-Identifier: GPL-2.0-or-later
#include "agent/identity.h"

#include <algorithm>

#include "base/backoff.h"
#include "base/file.h"
#include "base/log.h"
#include "control/client/join.h"
#include "control/client/kubeconfig.h"
#include "control/pki/certificate.h"

namespace trama::agent {
namespace {

constexpr mode_t kSecret = 0600;

base::Result<> write_pair(const std::string& certificate_path, const std::string& certificate,
                          const std::string& key_path, const std::string& key) {
  if (auto ok = base::write_file_atomic(key_path, key, kSecret); !ok) return ok;
  return base::write_file_atomic(certificate_path, certificate, kSecret);
}

base::Result<> check_pair(const std::string& certificate_pem, const std::string& key_pem) {
  auto certificate = pki::Certificate::from_pem(certificate_pem);
  if (!certificate) return certificate.error();
  auto key = pki::PrivateKey::from_pem(key_pem);
  if (!key) return key.error();
  if (!certificate->matches(*key)) return base::Error::text("certificate and key do not belong together");
  return {};
}

std::string trimmed(std::string text) {
  while (!text.empty() && (text.back() == '\n' || text.back() == ' ')) text.pop_back();
  return text;
}

}  // namespace

client::ClientOptions Identity::client_options() const {
  client::ClientOptions options;
  options.server = server;
  options.ca_pem = ca_pem;
  options.certificate_pem = certificate_pem;
  options.key_pem = key_pem;
  options.server_name = server_name;
  options.bearer_token = bearer_token;
  options.user_agent = "trama-agent/" TRAMA_VERSION;
  return options;
}

base::Result<Identity> IdentityFiles::load(const std::string& node_name) const {
  Identity identity;
  struct Item {
    const char* name;
    std::string& to;
  };
  const Item items[] = {
      {"node.crt", identity.certificate_pem}, {"node.key", identity.key_pem}, {"ca.crt", identity.ca_pem}};
  for (const auto& item : items) {
    auto text = base::read_file(path(item.name));
    if (!text) return text.error();
    item.to = std::move(*text);
  }
  if (auto server = base::read_file(dir_ + "/server")) identity.server = trimmed(std::move(*server));
  if (auto ok = check_pair(identity.certificate_pem, identity.key_pem); !ok)
    return base::Error(ok.error()).in(path("node.crt"));
  auto subject = pki::Certificate::from_pem(identity.certificate_pem)->subject();
  if (subject.common_name != "system:node:" + node_name)
    return base::Error::text(fmt::format("{} belongs to {}, not to node {}: use another --data-dir, or that node name",
                                         path("node.crt"), subject.common_name, node_name));
  return identity;
}

base::Result<> IdentityFiles::save(const Identity& identity) const {
  if (auto ok = base::make_directories(dir_ + "/pki", 0700); !ok) return ok;
  if (auto ok = base::write_file_atomic(path("ca.crt"), identity.ca_pem, kSecret); !ok) return ok;
  if (auto ok = base::write_file_atomic(dir_ + "/server", identity.server + "\n", kSecret); !ok) return ok;
  return write_pair(path("node.crt"), identity.certificate_pem, path("node.key"), identity.key_pem);
}

base::Result<ServingIdentity> IdentityFiles::load_serving(const std::vector<std::string>& addresses,
                                                          const std::vector<std::string>& names) const {
  ServingIdentity serving;
  auto certificate = base::read_file(path("serving.crt"));
  if (!certificate) return certificate.error();
  auto key = base::read_file(path("serving.key"));
  if (!key) return key.error();
  serving.certificate_pem = std::move(*certificate);
  serving.key_pem = std::move(*key);
  if (auto ok = check_pair(serving.certificate_pem, serving.key_pem); !ok)
    return base::Error(ok.error()).in(path("serving.crt"));
  auto alt = pki::Certificate::from_pem(serving.certificate_pem)->alt_names();
  auto covers = [](const auto& have, const auto& want) {
    return std::find(have.begin(), have.end(), want) != have.end();
  };
  for (const auto& address : addresses) {
    auto ip = base::Ip::parse(address);
    if (!ip || !covers(alt.ips, *ip)) return base::Error::from_errno(ENOENT, "serving certificate for " + address);
  }
  for (const auto& name : names)
    if (!covers(alt.dns, name)) return base::Error::from_errno(ENOENT, "serving certificate for " + name);
  return serving;
}

base::Result<> IdentityFiles::save_serving(const ServingIdentity& serving) const {
  if (auto ok = base::make_directories(dir_ + "/pki", 0700); !ok) return ok;
  return write_pair(path("serving.crt"), serving.certificate_pem, path("serving.key"), serving.key_pem);
}

awaitable<base::Result<Identity>> obtain_identity(IdentityOptions options) {
  auto log = base::logger("identity");
  if (!options.kubeconfig.empty()) {
    auto config = client::read_kubeconfig(options.kubeconfig);
    if (!config) co_return base::Error(config.error()).in("kubeconfig");
    Identity identity;
    identity.server = options.server.empty() ? config->server : options.server;
    identity.ca_pem = config->ca_pem;
    identity.certificate_pem = config->certificate_pem;
    identity.key_pem = config->key_pem;
    identity.server_name = config->server_name;
    identity.bearer_token = config->token;
    co_return identity;
  }
  IdentityFiles files(options.data_dir);
  auto have = files.load(options.node_name);
  if (have) {
    if (!options.server.empty()) have->server = options.server;
    if (have->server.empty()) co_return base::Error::text("no server is known: give --server https://ADDRESS:6443");
    co_return have;
  }
  if (!have.error().is(std::errc::no_such_file_or_directory)) co_return have.error();
  if (options.join.empty())
    co_return base::Error::text(
        fmt::format("this node has not joined a cluster yet ({} holds no identity): run `trama token create` on the "
                    "controller and give its output with --join",
                    options.data_dir));
  if (options.server.empty()) co_return base::Error::text("to join, give --server https://ADDRESS:6443 as well");
  client::JoinOptions join;
  auto token = client::JoinString::parse(options.join);
  if (!token) co_return token.error();
  join.server = options.server;
  join.token = *token;
  join.node_name = options.node_name;
  base::Backoff backoff(std::chrono::milliseconds(100), std::chrono::milliseconds(10'000));
  base::Streak streak;
  for (;;) {
    auto got = co_await client::join_cluster(join);
    if (got) {
      streak.recovered([&](const std::string& line) { log->info("join: {}", line); });
      Identity identity;
      identity.server = options.server;
      identity.ca_pem = got->ca_pem;
      identity.certificate_pem = got->certificate_pem;
      identity.key_pem = got->key_pem;
      if (auto saved = files.save(identity); !saved)
        co_return base::Error(saved.error()).in("keep the node's identity");
      log->info("joined {} as node {}", options.server, options.node_name);
      co_return identity;
    }
    const auto& error = got.error();
    if (client::is_forbidden(error) || error.is(std::errc::permission_denied) || error.is(std::errc::invalid_argument))
      co_return error;
    streak.failed([&](const std::string& line) { log->warn("{}; trying again until it works", line); }, error);
    backoff.failed();
    co_await async::sleep_for(backoff.delay());
  }
}

}  // namespace trama::agent
