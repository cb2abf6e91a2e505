// SPDX-License-Identifier: GPL-2.0-or-later
#include "control/controllers/api_servers.h"

#include <algorithm>
#include <map>

#include "base/log.h"
#include "control/controllers/bootstrap.h"
#include "control/loops/loop.h"
#include "control/loops/meta.h"

namespace trama::control {

namespace {

using Clock = std::chrono::steady_clock;
constexpr const char* kAddress = "trama.dev/address";
constexpr const char* kPort = "trama.dev/port";

api::Key lease_key(const std::string& identity) {
  std::string name = "apiserver-";
  for (char c : identity) {
    bool plain = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '.';
    name += plain ? c : c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : '-';
  }
  return {"leases", "kube-system", name};
}

bool is_api_server(const api::Object& lease) {
  return lease.key.ns == "kube-system" && lease.key.name.starts_with("apiserver-");
}

}  // namespace

async::awaitable<void> announce_api_server(store::Store& store, ApiServer self, std::chrono::milliseconds period) {
  auto key = lease_key(self.identity);
  for (;;) {
    auto now = std::chrono::system_clock::now();
    store::Decision decide = [&](store::Transaction& tx) -> api::Answer<api::ObjectPtr> {
      auto have = tx.get(key);
      auto body = have ? have->body : new_object("coordination.k8s.io/v1", "Lease", key, now);
      auto& annotations = api::make_object_at(body, "metadata.annotations");
      annotations[kAddress] = self.address.ip.to_string();
      annotations[kPort] = std::to_string(self.address.port);
      if (self.authorities) annotations[kApiServerCa] = self.authorities();
      auto& spec = api::make_object_at(body, "spec");
      spec["holderIdentity"] = self.identity;
      spec["leaseDurationSeconds"] =
          std::max<std::int64_t>(1, std::chrono::ceil<std::chrono::seconds>(period * 3).count());
      spec["renewTime"] = base::format_micros(now);
      return tx.put(key, std::move(body));
    };
    auto done = co_await write(store, std::move(decide));
    if (!done) base::logger("apiservers")->debug("{}", done.error().to_string());
    co_await async::sleep_for(period);
  }
}

async::awaitable<void> withdraw_api_server(store::Store& store, ApiServer self) {
  auto key = lease_key(self.identity);
  store::Decision decide = [&](store::Transaction& tx) -> api::Answer<api::ObjectPtr> {
    auto have = tx.get(key);
    tx.erase(key);
    return have;
  };
  auto done = co_await write(store, std::move(decide));
  if (!done) base::logger("apiservers")->debug("{}", done.error().to_string());
}

async::awaitable<void> follow_api_servers(store::Store& store, std::uint16_t port, std::chrono::milliseconds period) {
  struct Seen {
    std::uint64_t revision = 0;
    Clock::time_point since;
  };
  std::map<api::Key, Seen> seen;
  for (;;) {
    auto now = Clock::now();
    BootstrapFacts facts;
    facts.port = port;
    std::vector<api::ObjectPtr> silent;
    for (const auto& lease : store.list("leases", "kube-system")) {
      if (!is_api_server(*lease)) continue;
      auto& s = seen[lease->key];
      if (s.revision != lease->revision) s = {lease->revision, now};
      if (now - s.since > period * 3) {
        silent.push_back(lease);
        continue;
      }
      auto said = api::strings_at(lease->body, "metadata.annotations");
      auto ip = base::Ip::parse(said[kAddress]);
      if (ip && said[kPort] == std::to_string(port)) facts.addresses.push_back(*ip);
    }
    std::sort(facts.addresses.begin(), facts.addresses.end());
    if (!silent.empty()) {
      store::Decision decide = [&](store::Transaction& tx) -> api::Answer<api::ObjectPtr> {
        for (const auto& lease : silent)
          if (unchanged(tx, lease->key, lease->revision)) tx.erase(lease->key);
        return silent.front();
      };
      (void)co_await write(store, std::move(decide));
      for (const auto& lease : silent) seen.erase(lease->key);
    }
    if (!facts.addresses.empty())
      if (auto done = co_await write_kubernetes_slice(store, facts); !done)
        base::logger("apiservers")->debug("{}", done.error().to_string());
    co_await async::sleep_for(period);
  }
}

}  // namespace trama::control
