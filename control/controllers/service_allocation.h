// SPDX-License-Identifier: GPL-2.0-or-later
// Cluster addresses and node ports of Services, given out inside the transaction that writes the Service.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/ip.h"
#include "control/controllers/number_pool.h"
#include "control/store/store.h"

namespace trama::control {

struct ServiceRanges {
  std::vector<base::Cidr> addresses;  // one per family; the first one is the default family
  std::uint16_t node_port_first = 30000;
  std::uint16_t node_port_last = 32767;
};

class ServiceAllocator {
 public:
  explicit ServiceAllocator(ServiceRanges ranges);

  // Call at start for every Service in the store, and for every one that is written from then on (Store::observe): what
  // another controller gave out must be known here before a transaction that could give it out again is decided anew.
  void remember(const api::Object& service);

  // Completes `service` before it is written: families, clusterIP(s), nodePorts, healthCheckNodePort. On an update
  // what `old` has was carried over already (api::carry_service_allocations). An answer means: refuse with it.
  // The dynamic picks follow upstream's rule: upper band first, the lower one is for static requests.
  std::optional<api::Status> admit(store::Transaction& tx, const api::Key& key, api::json::object& service,
                                   const api::Object* old);

  // The address of default/kubernetes: the first one of each range.
  std::vector<base::Ip> first_addresses() const;

 private:
  struct Range {
    base::Cidr cidr;
    NumberPool pool;
  };
  Range* range_of(base::Family family);
  std::optional<std::uint64_t> offset_in(const Range& range, const base::Ip& ip) const;
  std::optional<api::Status> choose_families(const api::Key& key, api::json::object& spec,
                                             const api::json::object* old);
  std::optional<api::Status> choose_addresses(store::Transaction& tx, const api::Key& key, api::json::object& spec,
                                              const api::json::object* old);
  std::optional<api::Status> choose_ports(store::Transaction& tx, const api::Key& key, api::json::object& spec);
  std::optional<api::Status> take_port(store::Transaction& tx, const api::Key& key, std::int64_t port,
                                       const std::string& field);

  std::vector<Range> ranges_;
  std::uint16_t port_first_;
  NumberPool ports_;
};

}  // namespace trama::control
