// SPDX-License-Identifier: GPL-2.0-or-later
// The controller's own keys while it runs: renewed in time, and made anew when the cluster's CA is rotated.
#include <algorithm>

#include "base/file.h"
#include "base/log.h"
#include "control/composition.h"
#include "control/controllers/bootstrap.h"
#include "control/loops/loop.h"
#include "control/pki/renewal.h"
#include "control/pki/rotation.h"

namespace trama::control {

using async::awaitable;
using base::Error;
using base::Result;

namespace {

constexpr auto kLookAgain = std::chrono::seconds(10);  // while something stands in the way

// What a node says about itself goes into an annotation: pins and commas.
bool is_pins(const std::string& text) {
  return text.size() <= 200 && text.find_first_not_of("0123456789abcdef,") == std::string::npos;
}

}  // namespace

// What is past two thirds of its life, or signed by a CA that signs no more, is made again, and used from the next
// connection on.
Result<> ControllerProcess::use_fresh_keys() {
  auto now = std::chrono::duration_cast<std::chrono::seconds>(pki::unix_time()).count();
  auto fresh = pki::load_or_create_cluster_keys(options_.given.data_dir + "/pki", names_, now,
                                                options_.given.own_certificate_life);
  if (!fresh) return std::move(fresh).error();
  auto known = known_authorities(*store_);
  for (const auto& pem : known.pems)
    if (fresh->trusted.find(pem) == std::string::npos) fresh->trusted += pem;
  *keys_ = std::move(*fresh);
  if (!server_) return {};  // not yet: it begins with these
  auto used = server_->use_tls(keys_->serving.certificate_pem, keys_->serving.key_pem, keys_->trusted);
  if (!used) return used;
  if (auto ok = proxy_->use_fresh_keys(); !ok) return ok;
  return write_admin_kubeconfig();
}

Result<> ControllerProcess::apply_authorities() {
  auto dir = options_.given.data_dir + "/pki";
  auto known = known_authorities(*store_);
  if (known.pems.empty()) return {};
  auto own = pki::read_authorities(dir);
  if (!own) return std::move(own).error();
  Result<> missing;
  if (own->pems.front() != known.pems.front()) {
    auto next = base::read_file(dir + "/ca-next.crt");
    auto split = next ? pki::split_bundle(*next) : std::vector<std::string>();
    if (split && !split->empty() && split->front() == known.pems.front()) {
      if (auto ok = pki::adopt_next_authority(dir); !ok) return ok;
    } else {
      missing = Error::text(
          fmt::format("the cluster's CA is another one now ({}), and this controller does not have it: copy ca.crt and "
                      "ca.key from the pki folder of one that does to {} as ca-next.crt and ca-next.key (mode 0600). "
                      "Until then it signs and serves with the old one",
                      pki::short_pins(known.pems.front()), dir));
    }
  }
  if (auto old = base::read_file(dir + "/ca-old.crt"); old && missing) {
    auto split = pki::split_bundle(*old);
    if (split && !split->empty() && !known.trusts(split->front()))
      if (auto ok = pki::forget_old_authority(dir); !ok) return ok;
  }
  if (auto ok = use_fresh_keys(); !ok) return ok;
  return missing;
}

// Where somebody took away what the cluster says, it says again what the files say.
awaitable<Result<>> ControllerProcess::tell_again() {
  if (!known_authorities(*store_).pems.empty()) co_return Result<>();
  auto own = pki::read_authorities(options_.given.data_dir + "/pki");
  if (!own) co_return std::move(own).error();
  auto told = publish_authorities(*store_, std::move(*own), false);
  co_return co_await std::move(told);
}

awaitable<void> ControllerProcess::follow_authorities() {
  auto log = base::logger("controller");
  base::Streak streak;
  for (bool again = false;;) {
    if (again)
      co_await authorities_changed_.wait_for(kLookAgain);
    else
      co_await authorities_changed_.wait();
    auto before = pki::short_pins(keys_->trusted);
    if (auto told = co_await tell_again(); !told) log->warn("say which CAs are trusted: {}", told.error().to_string());
    auto applied = apply_authorities();
    again = !applied;
    if (!applied) {
      streak.failed([&](const std::string& line) { log->error("{}", line); }, applied.error());
      continue;
    }
    streak.recovered([&](const std::string& line) { log->info("the cluster's CA: {}", line); });
    if (auto after = pki::short_pins(keys_->trusted); after != before)
      log->info("the CAs that are trusted, the one that signs first: {}", after);
  }
}

std::string ControllerProcess::own_authorities() const {
  auto out = pki::short_pins(keys_->authority.certificate_pem());
  if (auto next = base::read_file(options_.given.data_dir + "/pki/ca-next.crt")) out += "," + pki::short_pins(*next);
  return out;
}

// GET /trama/ca. A node says by ?trusts= and ?serving= what it has; with the CA of its certificate, which needs no
// saying, that stands on its Node for `trama controller rotate-ca`.
awaitable<server::Reply> ControllerProcess::tell_authorities(server::Request request) {
  server::Reply reply;
  reply.content_type = "application/x-pem-file";
  reply.body = keys_->trusted;
  auto node = server::node_name(request.identity);
  if (node.empty() || !request.has("trusts")) co_return reply;
  const std::pair<const char*, std::string> said[] = {{kTrustedCa, request.parameter("trusts")},
                                                      {kCertificateCa, request.authority.substr(0, 16)},
                                                      {kServingCa, request.parameter("serving")}};
  api::Key key{"nodes", "", node};
  auto have = store_->get(key);
  bool news = false;
  for (const auto& [name, value] : said) {
    if (!is_pins(value)) co_return reply;
    if (!have) continue;
    const auto* old = api::object_at(have->body, "metadata.annotations").if_contains(name);
    news |= old == nullptr || !old->is_string() || std::string_view(old->get_string()) != value;
  }
  if (!news) co_return reply;
  store::Decision decide = [&](store::Transaction& tx) -> api::Answer<api::ObjectPtr> {
    auto now = tx.get(key);
    if (!now) return api::Status::not_found(key);
    auto body = now->body;
    auto& annotations = api::make_object_at(body, "metadata.annotations");
    for (const auto& [name, value] : said) annotations[name] = value;
    return tx.put(key, std::move(body));
  };
  auto done = co_await write(*store_, std::move(decide));
  if (!done) base::logger("controller")->debug("{}", done.error().to_string());
  co_return reply;
}

}  // namespace trama::control
