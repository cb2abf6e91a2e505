// SPDX-License-Identifier: GPL-2.0-or-later
// `trama echo`: answers who it is. One thread, one epoll, hundreds of connections; no image, no interpreter needed.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/result.h"

namespace trama::cli {

struct EchoIdentity {
  std::string pod, node, ns;
  // TRAMA_POD, TRAMA_NODE, TRAMA_NAMESPACE; the pod falls back to HOSTNAME, then to the machine's name.
  static EchoIdentity from_environment();
};

struct EchoOptions {
  std::vector<std::string> http, tcp, udp;  // ":8080", "127.0.0.1:0", "[::1]:7"
  EchoIdentity identity = EchoIdentity::from_environment();
  // Told to stop, it answers this much longer: until the nodes have taken it out of their Services.
  std::chrono::milliseconds drain{500};
};

// HTTP:  GET /             one line: pod=… node=… namespace=… client=… path=…
//        GET /healthz      "ok"
//        GET /slow?ms=N    the line after N milliseconds (at most 600000)
//        GET /bytes?n=N    N bytes (at most 64 MiB)
// TCP:   the line on connecting, then every byte comes back
// UDP:   every datagram is answered with the line and " data=<the datagram>"
class EchoServer {
 public:
  // Binds everything at once, or fails naming the address.
  static base::Result<std::unique_ptr<EchoServer>> listen(const EchoOptions& options);
  virtual ~EchoServer() = default;
  // Serves until `stop` becomes true (looked at after every event and at least every 200 ms), then drains and returns.
  virtual base::Result<> run(const std::atomic<bool>& stop) = 0;
  // The ports in the order http, tcp, udp of the options: useful after ":0".
  virtual std::vector<std::uint16_t> ports() const = 0;
};

// "pod=web-1 node=n2 namespace=default client=10.244.1.2:40000"
std::string echo_line(const EchoIdentity& identity, const std::string& client);
// The value of `key` in such a line; "" when it is not there.
std::string echo_field(std::string_view line, std::string_view key);

}  // namespace trama::cli
