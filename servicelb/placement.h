// SPDX-License-Identifier: GPL-2.0-or-later
// What one Service is in the kernel: its ids, who has which slot, which marks its front ends carry. Compact; its
// elements are rendered when they are needed. Pure.
#pragma once

#include <chrono>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "servicelb/ids.h"
#include "servicelb/ruleset.h"

namespace trama::servicelb {

enum class Scope : std::uint8_t { cluster, local };

struct Backend {
  Ip ip;
  std::uint16_t port = 0;
  std::string pod;
  Clock::time_point since{};  // of slow start; the epoch = long ago
  base::IpPort at() const { return {ip, port}; }
  friend bool operator==(const Backend& a, const Backend& b) {
    return a.ip == b.ip && a.port == b.port && a.pod == b.pod;
  }
};

// What a client is remembered by: the same on every port of a service. An address, and which one of several endpoints
// of one port that share it (pods in the host's network), counted from 0 in the order of their ports.
using Member = std::pair<Ip, std::uint16_t>;
// Of backends in their order.
std::vector<Member> members_of(const std::vector<Backend>& backends);

// The endpoints of one port as one kind of client sees them. One service id, or with affinity one for all ports of the
// service, because clients are remembered by it.
struct Pool {
  std::string name;  // of the port
  Protocol protocol = Protocol::tcp;
  Scope scope = Scope::cluster;
  PortKey key;  // whose id it is
  std::uint32_t id = 0;
  Draw::How how = Draw::How::random;
  bool counted = false;
  std::chrono::seconds timeout{0};  // of affinity
  struct Side {                     // by family
    std::vector<Backend> backends;
    std::vector<std::uint16_t> slots;  // index of a backend each
    std::uint32_t cls = 0;             // 0 = the family has no front end
    // Serving endpoints that get nothing new: their flows go on. Kept where flows are looked after at all.
    std::vector<base::IpPort> retired;
    friend bool operator==(const Side&, const Side&) = default;
  };
  std::array<Side, 2> sides;
  Draw draw(Family family) const;  // how a slot of this family is drawn
};

// One element whose data is a mark.
struct Door {
  Home home = Home::services;
  Front front;
  std::size_t port = 0;  // index: of Service::ports; in a placement of Placement::pools
  Scope scope = Scope::cluster;
  std::uint32_t fixed = 0;  // a class of fixed_classes(): the mark leads on to another home
  bool masquerade = false;
  // A front end of its own, which one service alone can have; the others belong to one.
  bool outer() const { return home == Home::services || home == Home::nodeports; }
  friend bool operator==(const Door&, const Door&) = default;
};

struct Placement {
  std::vector<Ip> vips;                  // sorted
  std::vector<std::pair<Ip, Ip>> pings;  // ClusterIP, who answers
  std::vector<Pool> pools;
  std::vector<Door> doors;
  std::vector<std::pair<Front, Cidr>> allowed;             // who may use a guarded front end
  std::array<std::map<Member, std::uint32_t>, 2> numbers;  // affinity: of endpoints
  std::array<std::uint32_t, 2> last_number{};              // given out
  std::optional<std::chrono::seconds> drain;               // how long flows to endpoints that go may go on
  // Ids that it had, newest last: a change of affinity, counters or policies changes the id, but flows that carry the
  // old one go on for as long as their endpoint is there.
  std::vector<std::uint32_t> former_ids;
  static constexpr std::size_t kMostFormerIds = 64;
  bool empty() const { return pools.empty() && vips.empty(); }
};

// Nothing may be sent to a loopback, link-local or multicast address, so nothing can be served there either.
bool can_be_front(const Ip& ip);
std::string label_of(const ServiceKey& key, const std::string& port);  // "default/web:http"
std::uint32_t mark_of(const Placement& placement, const Door& door);

struct Item {
  Home home = Home::services;
  nft::Element element;
  std::uint32_t id = 0;   // whose slots the mark draws from
  std::size_t slots = 0;  // how many there are
};
// Every element of the service in this family; without comments when nobody reads them.
void render(const ServiceKey& key, const Placement& placement, Family family, const std::function<void(Item)>& fn);
std::size_t count_elements(const Placement& placement, Family family);
// What connections to the service are addressed to: vips and outer doors.
std::vector<Front> fronts_of(const Placement& placement);

// The doors that a Service asks for: pure, endpoints aside. Addresses that cannot be front ends are left out and told
// of by complain.
std::vector<Door> doors_of(const Service& service, bool masquerade_all,
                           const std::function<void(std::string)>& complain);
// The key of the id behind a door.
PortKey pool_key(const Service& service, std::size_t port, Scope scope);

}  // namespace trama::servicelb
