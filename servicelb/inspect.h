// SPDX-License-Identifier: GPL-2.0-or-later
// What one node has programmed for one Service, for people who ask why. Values, made on demand; nothing is driven by
// them.
#pragma once

#include "servicelb/model.h"

namespace trama::servicelb {

struct ServiceView {
  // An address at which the Service answers, and where it stands in the kernel, in nft's words.
  struct Front {
    enum class Kind : std::uint8_t { cluster_ip, node_port, external_ip, load_balancer };
    Kind kind = Kind::cluster_ip;
    std::optional<Ip> address;  // nothing: every address of the node that has node ports
    std::uint16_t port = 0;
    std::uint32_t mark = 0;       // what the ct mark of its connections becomes; 0 = not in the kernel
    std::string table, map, key;  // "ip trama", "services", "10.96.0.10 . tcp . 80"; "" = nowhere
  };
  struct Backend {
    Endpoint endpoint;
    bool local = false;                        // on this node
    std::uint32_t slots = 0;                   // of the port's; 0 = gets no new connections
    std::optional<std::uint64_t> connections;  // so far, where the Service counts them
  };
  struct Port {
    std::string name;  // "" when the Service has one unnamed port
    Protocol protocol = Protocol::tcp;
    std::uint16_t port = 0;
    std::uint32_t id = 0;       // ct mark >> kViewIdShift of its connections; 0 = none yet
    std::string chain;          // that draws an endpoint: "n3"; "" = none
    std::string endpoints_map;  // where the endpoints stand: "slots"; "" = nowhere
    std::vector<Front> fronts;
    std::vector<Backend> backends;  // all that were told, in the order of the model
    std::optional<std::size_t>
        affinity_entries;  // clients that have an endpoint; nothing = no affinity, or not counted
  };
  ServiceKey key;
  bool programmed = false;  // all that was told of it is in the kernel
  Algorithm algorithm = Algorithm::random;
  Policy internal = Policy::cluster, external = Policy::cluster;
  std::chrono::seconds affinity{0};
  std::vector<Port> ports;
  std::vector<std::string> failures;  // readable lines, why something of it is not in the kernel
  // Its elements as the nft tool reads them: "add element ip trama services { 10.96.0.10 . tcp . 80 … }".
  std::vector<std::string> elements;
};
// Connections that one endpoint of one port has got.
struct ConnectionCount {
  ServiceKey service;
  std::string port;  // its name
  Protocol protocol = Protocol::tcp;
  base::IpPort endpoint;
  std::string pod;
  std::uint64_t connections = 0;
};
constexpr unsigned kViewIdShift = 12;

}  // namespace trama::servicelb
