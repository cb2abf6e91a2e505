// SPDX-License-Identifier: GPL-2.0-or-later
// The port between what speaks with peers (overlay/mesh) and what carries packets to them over the same UDP port
// (overlay/tunnel). Neither knows the other.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "base/ip.h"
#include "base/result.h"
#include "base/unique_fd.h"

namespace trama::overlay::peers {

constexpr std::uint8_t kFirstPacketType = 16;  // datagram types from here on are the tunnel's

struct TunnelTraffic {
  std::uint64_t sent_packets = 0, sent_bytes = 0, received_packets = 0, received_bytes = 0;
  std::uint64_t no_peer = 0;     // packets to nobody's pods
  std::uint64_t no_session = 0;  // to a peer that there are no keys for
  std::uint64_t not_sent = 0;    // the kernel did not take them
  std::uint64_t forged = 0;      // datagrams of an unknown session, or not genuine
  std::uint64_t replayed = 0;
  std::uint64_t malformed = 0;     // sealed by a peer, but no packet
  std::uint64_t wrong_source = 0;  // from a peer, but not of its pods
  std::uint64_t not_delivered = 0;
  // Datagrams that we carry for others, as the third node on their way.
  std::uint64_t relayed_packets = 0, relayed_bytes = 0;
  std::uint64_t relay_refused = 0;  // not: no member's, for no member, or it has been passed on before
  std::uint64_t relay_limited = 0;  // not: one peer may ask for so much and no more
  friend bool operator==(const TunnelTraffic&, const TunnelTraffic&) = default;
};

// All of it is called on the mesh's thread, and none of it blocks.
class TunnelPort {
 public:
  using Secret = std::array<std::uint8_t, 32>;
  virtual ~TunnelPort() = default;

  // How many sockets it wants of each of our addresses; each gets the datagrams of the lanes that are the same modulo
  // that number.
  virtual unsigned sockets_wanted() const = 0;
  // Whether this machine seals with AES faster than without.
  virtual bool prefers_aes() const = 0;
  // In place of former ones, those of our first address before those of the next; none = the port is closed. `stray`
  // gets what is not the tunnel's after all (a batch of the network card may hold both), on any thread.
  using OnStray = std::function<void(std::size_t uplink, const base::IpPort& from, std::string datagram)>;
  virtual void use_sockets(std::vector<base::UniqueFd> sockets, OnStray stray) = 0;
  // Gets the probes that came over a third node, `via`; on any thread. Before use_sockets().
  using OnRelayed = std::function<void(const std::string& via, std::string datagram)>;
  virtual void on_relayed(OnRelayed then) = 0;
  // Whether datagrams of others are passed on to members that there are keys for.
  virtual void set_relaying(bool on) = 0;
  // To that peer by a third one; both have keys with us. False when it did not leave.
  virtual bool send_relayed(const std::string& via, const std::string& to, std::string_view datagram) = 0;

  struct Peer {
    std::string node;
    base::IpPort endpoint;
    std::vector<base::Cidr> pods;  // it may speak for them, and packets to them go to it
    std::string via = {};          // the peer that passes them on; "" = they go there directly
    std::size_t uplink = 0;        // which of our addresses its datagrams leave from
    friend bool operator==(const Peer&, const Peer&) = default;
  };
  virtual void set_peers(std::vector<Peer> peers) = 0;

  struct Keys {
    std::string node;
    std::uint32_t my_index = 0, their_index = 0;  // what datagrams to us, and ours, carry
    Secret sending{}, receiving{};
    bool aes = false;
  };
  // From now on what was sealed with them opens. When this returns, no datagram of that session is lost any more.
  virtual base::Result<> open(const Keys& keys) = 0;
  // Packets to the peer of that session are sealed with it from now on.
  virtual void seal_with(std::uint32_t my_index) = 0;
  virtual void close(std::uint32_t my_index) = 0;
  // How many packets the busiest lane of that session has sealed.
  virtual std::uint64_t sealed(std::uint32_t my_index) const = 0;
  // Now and then: looks whether its device is there.
  virtual void tick() = 0;
  // Why it carries nothing; "" = it does.
  virtual std::string trouble() const = 0;
  virtual TunnelTraffic traffic() const = 0;
};

}  // namespace trama::overlay::peers
