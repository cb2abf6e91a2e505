// SPDX-License-Identifier: GPL-2.0-or-later
// The node's own certificate, and whom the node trusts, over time.
#include <algorithm>

#include "agent/node_agent.h"
#include "control/client/join.h"
#include "control/pki/renewal.h"
#include "control/pki/rotation.h"

namespace trama::agent {

namespace {

constexpr auto kLowestLook = std::chrono::milliseconds(500), kLongestLook = std::chrono::milliseconds(60'000);
constexpr auto kForeignPause = std::chrono::milliseconds(5'000);  // the controller has not followed the rotation itself

// A hundredth of a certificate's life: who lives short looks often.
std::chrono::milliseconds look_of(const std::string& certificate_pem) {
  auto certificate = pki::Certificate::from_pem(certificate_pem);
  if (!certificate) return kLongestLook;
  auto life = std::chrono::milliseconds((certificate->not_after() - certificate->not_before()) * 1000);
  return std::clamp(life / 100, kLowestLook, kLongestLook);
}

// All nodes hear of a new CA at once; they do not all ask it for certificates at once.
std::chrono::milliseconds own_turn(const std::string& certificate_pem) {
  auto most = look_of(certificate_pem).count();
  auto mixed = std::hash<std::string>()(certificate_pem);
  return std::chrono::milliseconds(static_cast<std::int64_t>(mixed % static_cast<std::size_t>(most)));
}

std::string issuer_pin(const std::string& certificate_pem, const std::string& bundle_pem) {
  auto certificate = pki::Certificate::from_pem(certificate_pem);
  auto all = pki::Certificate::chain_from_pem(bundle_pem);
  if (!certificate || !all) return "";
  for (const auto& ca : *all)
    if (certificate->signed_by(ca)) return pki::short_pins(ca.to_pem().value_or(""));
  return "";
}

}  // namespace

bool NodeAgent::is_of_signing_ca(const std::string& certificate_pem) const {
  auto certificate = pki::Certificate::from_pem(certificate_pem);
  auto ca = pki::Certificate::from_pem(identity_.ca_pem);
  return certificate && ca && certificate->signed_by(*ca);
}

awaitable<void> NodeAgent::renew_certificates() {
  IdentityFiles files(settings_.options.data_dir);
  for (;;) {
    auto certificate = pki::Certificate::from_pem(identity_.certificate_pem);
    if (!certificate) co_return;  // it was loaded before: this cannot be
    bool foreign = !is_of_signing_ca(identity_.certificate_pem);
    auto wait = foreign ? own_turn(identity_.certificate_pem) : pki::until_renewal(*certificate, pki::unix_time());
    bool told = co_await renew_identity_.wait_for(std::min(wait, kRenewalLook));
    if (told || wait > kRenewalLook) continue;  // look again
    auto renewed = co_await client::renew_node_certificate(*client_, settings_.options.node_name);
    if (!renewed) {
      log_->warn("renew the node's certificate: {}; trying again", renewed.error().to_string());
      co_await async::sleep_for(pki::renewal_pause(*certificate));
      continue;
    }
    identity_.certificate_pem = renewed->certificate_pem;
    identity_.key_pem = renewed->key_pem;
    auto used = client_->use_certificate(identity_.certificate_pem, identity_.key_pem);
    peers_->set_identity(identity_, true);
    if (used) used = files.save(identity_);
    if (used)
      log_->info("renewed the node's certificate");
    else
      log_->error("the renewed certificate: {}", used.error().to_string());
    if (!is_of_signing_ca(identity_.certificate_pem)) co_await async::sleep_for(kForeignPause);
  }
}

base::Result<> NodeAgent::use_authorities(const std::string& bundle_pem) {
  auto split = pki::split_bundle(bundle_pem);
  if (!split) return std::move(split).error();
  // Whoever tells us must be among those whom we are told to trust: nobody talks us into strangers alone.
  auto here = pki::split_bundle(client_->verified_ca_pem());
  if (!here || std::find(split->begin(), split->end(), here->front()) == split->end())
    return base::Error::text("the CA of the server that we talk to is not among them");
  auto fresh = identity_;
  fresh.ca_pem.clear();
  for (const auto& pem : *split) fresh.ca_pem += pem;
  if (fresh.ca_pem == identity_.ca_pem) return {};
  // First on disk: what we trust after a restart is never less than what we trust now.
  if (auto saved = IdentityFiles(settings_.options.data_dir).save(fresh); !saved) return saved;
  if (auto used = client_->use_trust(fresh.ca_pem); !used) return used;
  identity_.ca_pem = std::move(fresh.ca_pem);
  peers_->set_identity(identity_, true);
  log_->info("the CAs that are trusted, the one that signs first: {}", pki::short_pins(identity_.ca_pem));
  renew_identity_.set();
  renew_serving_.set();
  return {};
}

awaitable<void> NodeAgent::follow_authorities() {
  base::Streak streak;
  std::string told;
  for (;;) {
    auto saying = fmt::format("/trama/ca?trusts={}&serving={}", pki::short_pins(identity_.ca_pem),
                              issuer_pin(serving_pem_, identity_.ca_pem));
    auto answer = co_await client_->request("GET", saying);
    auto used = answer ? base::Result<>() : base::Result<>(answer.error());
    if (answer && answer->status == 404) co_return;  // not one of ours
    if (answer && !answer->ok()) used = client::error_of(*answer);
    if (answer && answer->ok()) used = use_authorities(answer->text);
    if (used)
      streak.recovered([this](const std::string& line) { log_->info("the cluster's CA: {}", line); });
    else
      streak.failed([this](const std::string& line) { log_->warn("the cluster's CA: {}; trying again", line); },
                    base::Error(used.error()).in("ask whom to trust"));
    auto now = fmt::format("/trama/ca?trusts={}&serving={}", pki::short_pins(identity_.ca_pem),
                           issuer_pin(serving_pem_, identity_.ca_pem));
    bool news = used && now != saying;
    co_await async::sleep_for(news ? std::chrono::milliseconds(10) : look_of(identity_.certificate_pem));
  }
}

}  // namespace trama::agent
