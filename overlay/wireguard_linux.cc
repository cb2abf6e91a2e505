// SPDX-License-Identifier: GPL-2.0-or-later
#include "overlay/wireguard_linux.h"

#include <linux/netlink.h>
#include <linux/wireguard.h>
#include <string.h>

namespace trama::overlay {

using base::Error;
using base::Result;

Result<> WireguardLinux::ready() {
  if (client_ && family_) return {};
  if (!client_) {
    auto opened = netlink::Client::open(NETLINK_GENERIC);
    if (!opened) return std::move(opened).error();
    client_.emplace(std::move(*opened));
  }
  auto request = netlink::find_family(WG_GENL_NAME);
  auto reply = client_->call(request);
  if (!reply) return std::move(reply).error();
  if (reply->empty()) return Error::from_errno(EBADMSG, "find generic netlink family wireguard: no answer");
  auto family = netlink::decode_family(reply->front());
  if (!family) return std::move(family).error();
  family_ = *family;
  return {};
}

Result<netlink::Wireguard> WireguardLinux::look(base::IfIndex link) {
  if (auto done = ready(); !done) return std::move(done).error();
  auto request = netlink::dump_wireguard(family_, link);
  auto reply = client_->dump(request);
  if (!reply) return std::move(reply).error();
  auto seen = netlink::decode_wireguard(*reply);
  for (auto& part : *reply) explicit_bzero(part.payload.data(), part.payload.size());  // the private key
  return seen;
}

namespace {

void fill(const netlink::Wireguard& seen, const std::optional<base::WireguardKey>& key, WireguardDevice& out) {
  out.key = seen.public_key;
  out.own_key = key && *key == seen.private_key;
  out.port = seen.port;
  out.mark = seen.mark;
  out.peers.clear();
  for (const auto& peer : seen.peers) out.peers.emplace(peer.key, peer);
}

}  // namespace

Result<> WireguardLinux::observe(base::IfIndex link, WireguardDevice& out) {
  auto seen = look(link);
  if (!seen) return std::move(seen).error();
  if (!key_ && !seen->private_key.is_zero()) key_ = seen->private_key;
  fill(*seen, key_, out);
  seen->private_key.wipe();
  last_ = out;
  return {};
}

Result<bool> WireguardLinux::touched() {
  if (!last_) return false;
  auto seen = look(last_->index);
  if (!seen) return true;
  WireguardDevice now = *last_;
  fill(*seen, key_, now);
  seen->private_key.wipe();
  return now.key != last_->key || now.own_key != last_->own_key || now.port != last_->port || now.mark != last_->mark ||
         now.peers != last_->peers;
}

Result<> WireguardLinux::configure(base::IfIndex link, std::uint16_t port) {
  if (auto done = ready(); !done) return done;
  if (!key_) key_ = base::WireguardKey::random();
  auto request = netlink::set_wireguard(family_, link, *key_, port);
  auto done = client_->call(request);
  request.wipe();
  if (!done) return std::move(done).error();
  return {};
}

Result<> WireguardLinux::put(base::IfIndex link, const netlink::WireguardPeer& peer) {
  if (auto done = ready(); !done) return done;
  auto request = netlink::put_wireguard_peer(family_, link, peer);
  auto done = client_->call(request);
  if (!done) return std::move(done).error();
  return {};
}

Result<> WireguardLinux::remove(base::IfIndex link, const base::WireguardKey& key) {
  if (auto done = ready(); !done) return done;
  auto request = netlink::remove_wireguard_peer(family_, link, key);
  auto done = client_->call(request);
  if (!done) return std::move(done).error();
  return {};
}

}  // namespace trama::overlay
