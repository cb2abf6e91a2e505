// SPDX-License-Identifier: GPL-2.0-or-later
// The keys of one session with a peer, and the tables that workers look things up in. Tables never change: who changes
// something publishes new ones.
#pragma once

#include <atomic>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include <sys/socket.h>

#include "base/ip.h"
#include "overlay/peers/tunnel_port.h"
#include "overlay/tunnel/envelope.h"
#include "overlay/tunnel/lane.h"
#include "overlay/tunnel/packet.h"

namespace trama::overlay::tunnel {

class Session {
 public:
  // `workers` lanes seal, one for each worker, and one for the mesh.
  static base::Result<std::shared_ptr<Session>> make(const peers::TunnelPort::Keys& keys, unsigned workers);
  ~Session();

  // By worker number `lane` alone.
  bool seal(unsigned lane, std::byte* datagram, std::size_t size, std::uint8_t type = kDataType);
  // By the thread of the mesh alone.
  bool seal_for_mesh(std::byte* datagram, std::size_t size, std::uint8_t type) {
    return seal(static_cast<unsigned>(sealing_.size()) - 1, datagram, size, type);
  }
  // By any thread.
  OpeningLane::Verdict open(const DataHeader& header, Bytes datagram, Bytes& body);
  std::uint64_t busiest() const;
  // Whether the peer may have so much passed on now. By any thread.
  bool may_relay(std::size_t bytes);

  const std::string& node() const { return node_; }
  std::uint64_t number() const { return number_; }  // of its node, in envelopes
  std::uint32_t my_index() const { return my_index_; }

 private:
  Session() = default;
  struct Sealing {
    SealingLane lane;
    std::atomic<std::uint64_t> sealed{0};
  };
  struct Opening {
    std::mutex mutex;
    std::optional<OpeningLane> lane;  // made when the first datagram comes
  };
  std::string node_;
  std::uint64_t number_ = 0;
  std::uint32_t my_index_ = 0, their_index_ = 0;
  std::mutex budget_mutex_;
  RelayBudget budget_;
  Cipher cipher_ = Cipher::chacha20_poly1305;
  Secret receiving_{};
  std::vector<std::unique_ptr<Sealing>> sealing_;
  std::array<Opening, kLanes> opening_;
};

// A prefix as bytes: the test that every packet goes through.
struct Prefix {
  explicit Prefix(const base::Cidr& cidr);
  bool v4;
  std::array<std::uint8_t, 16> address{}, mask{};
  bool contains(const std::byte* ip) const;
};

struct Target {
  std::string node;
  sockaddr_storage to{};
  socklen_t to_size = 0;
  std::size_t uplink = 0;  // whose sockets its datagrams leave by
  std::vector<Prefix> pods;
  std::shared_ptr<Session> sealing;
  std::int32_t via = -1;  // the target that passes packets on to this one
  bool speaks_for(const PacketView& packet) const;
};

struct Tables {
  std::vector<Target> targets;
  // Pod ranges of all targets, disjoint, by first address.
  struct Range {
    std::array<std::uint8_t, 16> first{}, last{};
    std::uint32_t target = 0;
  };
  std::vector<Range> ranges4, ranges6;
  struct Receiving {
    std::shared_ptr<Session> session;
    std::uint32_t target = 0;
  };
  std::unordered_map<std::uint32_t, Receiving> by_index;
  std::unordered_map<std::uint64_t, std::uint32_t> by_number;  // targets, as envelopes name them
  bool relays = true;                                          // for others
  std::vector<std::shared_ptr<const base::UniqueFd>> devices;  // one for each worker, or none
  std::vector<std::shared_ptr<const base::UniqueFd>> sockets;  // the same for each uplink, one uplink after the other
  std::size_t workers = 1;

  const Target* to(const PacketView& packet) const;
};

}  // namespace trama::overlay::tunnel
