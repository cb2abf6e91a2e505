// SPDX-License-Identifier: GPL-2.0-or-later
// One thread that carries packets: from its queue of the device to its socket, and back. It waits for nobody: tables
// come by an atomic number, and all its buffers are its own from the start.
#pragma once

#include <atomic>
#include <memory>
#include <mutex>
#include <thread>

#include "overlay/tunnel/session.h"

namespace trama::overlay::tunnel {

struct Counters {
  std::atomic<std::uint64_t> sent_packets{0}, sent_bytes{0}, received_packets{0}, received_bytes{0};
  std::atomic<std::uint64_t> no_peer{0};     // packets to nobody's pods
  std::atomic<std::uint64_t> no_session{0};  // to a peer that there are no keys for
  std::atomic<std::uint64_t> not_sent{0};    // the kernel did not take them
  std::atomic<std::uint64_t> forged{0};      // unknown session, or not genuine
  std::atomic<std::uint64_t> replayed{0};
  std::atomic<std::uint64_t> malformed{0};     // sealed by a peer, but no packet
  std::atomic<std::uint64_t> wrong_source{0};  // a peer sent what is not its pods'
  std::atomic<std::uint64_t> not_delivered{0};
  std::atomic<std::uint64_t> relayed_packets{0}, relayed_bytes{0}, relay_refused{0}, relay_limited{0};
};

// The tables in force. Written by one thread.
class Board {
 public:
  void publish(std::shared_ptr<const Tables> tables);
  std::uint64_t generation() const { return generation_.load(std::memory_order_acquire); }
  std::shared_ptr<const Tables> read(std::uint64_t& generation) const;

 private:
  mutable std::mutex mutex_;
  std::shared_ptr<const Tables> tables_ = std::make_shared<Tables>();
  std::atomic<std::uint64_t> generation_{0};
};

class Worker {
 public:
  Worker(unsigned number, const Board& board, Counters& counters, peers::TunnelPort::OnStray stray,
         peers::TunnelPort::OnRelayed relayed);
  ~Worker();  // stops and joins
  void wake();
  // Its queue has died: the device was deleted. Until new tables come, it only receives.
  bool device_lost() const { return lost_.load(); }

 private:
  struct Buffers;
  struct Sending;
  void run();
  void refresh();
  void transmit();
  void queue(const Target* to, std::size_t size);
  void flush();
  bool send_singly(std::size_t message, int socket);
  void receive(std::size_t uplink);
  void take(std::size_t uplink, const sockaddr_storage& from, Bytes datagram);
  int socket_of(const Target& target) const {
    return target.uplink < sockets_.size() ? sockets_[target.uplink] : sockets_.empty() ? -1 : sockets_.front();
  }
  bool opened(const Tables::Receiving& from, const DataHeader& header, Bytes datagram, Bytes& body);
  void take_packet(const Tables::Receiving& from, const DataHeader& header, Bytes datagram);
  void take_envelope(const Tables::Receiving& from, Bytes body);
  void pass_on(const Tables::Receiving& from, const Envelope& envelope);
  void deliver(Joiner::Pieces pieces);

  unsigned number_;
  const Board& board_;
  Counters& counters_;
  peers::TunnelPort::OnStray stray_;
  peers::TunnelPort::OnRelayed relayed_;
  base::UniqueFd wake_;
  std::atomic<bool> stop_{false}, lost_{false};
  std::uint64_t generation_ = ~std::uint64_t{0};
  std::shared_ptr<const Tables> tables_;
  int device_ = -1;
  std::vector<int> sockets_;  // of each uplink, in the order of the tables
  bool segments_ = true;      // the kernel cuts what is sent (UDP_SEGMENT, Linux 4.18)
  std::unique_ptr<Buffers> buffers_;
  Joiner joiner_;
  std::thread thread_;
};

}  // namespace trama::overlay::tunnel
