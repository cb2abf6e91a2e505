// SPDX-License-Identifier: GPL-2.0-or-later
// Carries packets between a TUN device and peers, sealed, over the port that the mesh owns.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "overlay/tunnel/worker.h"

namespace trama::overlay::tunnel {

class Tunnel final : public peers::TunnelPort {
 public:
  struct Options {
    std::string device = "trama1";
    unsigned workers = 0;  // 0 = one for each CPU, at most four
  };
  // The device may come later. Threads start with the first sockets.
  explicit Tunnel(Options options);
  ~Tunnel() override;

  unsigned sockets_wanted() const override { return options_.workers; }
  bool prefers_aes() const override { return aes_is_fast(); }
  void use_sockets(std::vector<base::UniqueFd> sockets, OnStray stray) override;
  void on_relayed(OnRelayed then) override { relayed_ = std::move(then); }
  void set_relaying(bool on) override;
  bool send_relayed(const std::string& via, const std::string& to, std::string_view datagram) override;
  void set_peers(std::vector<Peer> peers) override;
  base::Result<> open(const Keys& keys) override;
  void seal_with(std::uint32_t my_index) override;
  void close(std::uint32_t my_index) override;
  std::uint64_t sealed(std::uint32_t my_index) const override;
  void tick() override;
  std::string trouble() const override;
  peers::TunnelTraffic traffic() const override;  // on any thread

 private:
  void publish();
  std::shared_ptr<Session> session_with(const std::string& node) const;  // that seals; null = none

  Options options_;
  Counters counters_;
  Board board_;
  std::vector<Peer> peers_;
  OnRelayed relayed_;
  bool relaying_ = true;
  std::map<std::uint32_t, std::shared_ptr<Session>> sessions_;
  std::map<std::string, std::uint32_t> sealing_;  // node -> session
  std::vector<std::shared_ptr<const base::UniqueFd>> devices_, sockets_;
  std::string trouble_ = "the tunnel's device does not stand yet";
  std::vector<std::unique_ptr<Worker>> workers_;  // last: they go first
};

}  // namespace trama::overlay::tunnel
