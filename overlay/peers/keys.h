// SPDX-License-Identifier: GPL-2.0-or-later
// Datagrams of one session, sealed and opened: ChaCha20-Poly1305 (RFC 8439) with keys from the TLS exporter (RFC 8446
// section 7.5). Each direction has its own key, so that nothing can be reflected; the nonce is the datagram's counter.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"
#include "overlay/peers/replay_window.h"
#include "overlay/peers/wire.h"

namespace trama::overlay::peers {

constexpr const char* kExporterLabel = "EXPORTER-trama-peer-datagrams-v1";
// Of what carries packets: overlay/tunnel.
constexpr const char* kTunnelExporterLabel = "EXPORTER-trama-peer-tunnel-v1";
constexpr std::size_t kTunnelExportedSize = 2 * 32;  // dialer to acceptor first
constexpr std::size_t kKeySize = 32, kSaltSize = 4;
constexpr std::size_t kExportedSize = 2 * (kKeySize + kSaltSize);  // dialer to acceptor first

enum class Side : std::uint8_t { dialer, acceptor };

// Owns its keys and wipes them. Sealing counts up; a session ends long before a counter could.
class DatagramKeys {
 public:
  // `exported` is what both sides got from their TLS session. `my_index` is what datagrams to us carry.
  static base::Result<DatagramKeys> make(std::string_view exported, Side side, std::uint32_t my_index,
                                         std::uint32_t their_index);
  DatagramKeys(DatagramKeys&&) noexcept;
  DatagramKeys& operator=(DatagramKeys&&) noexcept;
  ~DatagramKeys();

  std::string seal(DatagramType type, std::string_view body);
  struct Opened {
    DatagramType type;
    std::string body;
    bool newest = false;  // sealed after all that have been opened before
  };
  // Nothing for what is not for us, not genuine, or has been here before; only a genuine one changes the window.
  std::optional<Opened> open(std::string_view datagram);

  std::uint32_t my_index() const;
  std::uint64_t opened() const;   // genuine datagrams so far
  std::uint64_t refused() const;  // the others

 private:
  struct Impl;
  explicit DatagramKeys(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace trama::overlay::peers
