// SPDX-License-Identifier: GPL-2.0-or-later
// From Services to elements. Pure: no I/O, no clock of its own. Incremental: planning costs what the dirty services
// are big, never how many services there are.
#pragma once

#include <functional>
#include <set>
#include <unordered_map>
#include <unordered_set>

#include "base/nft/batch.h"
#include "servicelb/ids.h"
#include "servicelb/ruleset.h"

namespace trama::servicelb {

struct Slot {
  Ip ip;
  std::uint16_t port = 0;
  std::string pod;
  bool same_address(const Slot& o) const { return ip == o.ip && port == o.port; }
  friend bool operator==(const Slot&, const Slot&) = default;
};

// What the kernel holds, or should hold, for one service port.
struct PortPlacement {
  std::string name;
  Protocol protocol = Protocol::tcp;
  std::uint32_t id = 0;
  std::vector<Front> fronts;               // sorted
  std::array<std::vector<Slot>, 2> slots;  // by family; a slot keeps its endpoint as long as both live
  std::array<std::uint32_t, 2> classes{};  // by family; 0 = the family has no front end
  friend bool operator==(const PortPlacement&, const PortPlacement&) = default;
};
struct Placement {
  std::vector<PortPlacement> ports;  // sorted by protocol and name
  std::vector<Front> vips;
  bool empty() const { return ports.empty() && vips.empty(); }
  friend bool operator==(const Placement&, const Placement&) = default;
};

// Which endpoint takes which slot: endpoints that had one below the new size keep it, the others fill the holes in
// order. Deterministic.
std::vector<Slot> assign_slots(const std::vector<Slot>& before, std::vector<Slot> wanted);

// All elements of one family, by set; what the kernel shall hold, or what was seen there.
using Contents = std::unordered_map<nft::Value, nft::Element, nft::ValueHash>;
struct FamilyContents {
  Contents vips, services, nodeports, slots, classes, hairpin, pods, service_cidrs;
  Contents& of(const nft::Set& set);
};

// Two transactions: the second starts when the first is in the kernel, so that no packet can see a class whose slots
// are not there yet, nor lose a slot that its class still draws.
struct Step {
  nft::Batch first, second;
  std::vector<std::pair<ServiceKey, Placement>> targets;  // what accept() will take as done
  std::array<Classes, 2> new_classes;
  bool facts = false;  // the sets of node facts are part of it
  bool empty() const { return first.empty() && second.empty(); }
};

// UDP flows of one service id whose answering endpoint is not one of these must go.
struct FlowsOf {
  Family family = Family::v4;
  std::uint32_t id = 0;
  std::vector<base::IpPort> endpoints;
  // Flows that began before this front end existed and still go nowhere; empty = none.
  std::vector<Front> untranslated;
};

class Planner {
 public:
  // ---- what is wanted. Cheap; marks services dirty.
  void put(Change change);
  void set_node(NodeFacts facts);
  // The kernel cannot do this family: it is planned no more.
  void disable(Family family);
  bool enabled(Family family) const { return enabled_[index_of(family)]; }
  const NodeFacts& node() const { return facts_; }
  bool dirty() const { return !dirty_.empty() || facts_dirty_; }
  std::vector<ServiceKey> dirty_services() const { return {dirty_.begin(), dirty_.end()}; }

  // ---- what an earlier agent left in the kernel: ids, slots and classes are taken over from there. Once, at the
  // start, after the first full list of services.
  void adopt(Family family, const FamilyContents& seen, Clock::time_point now);

  // ---- changes. All dirty services and node facts, or only these services (and those whose front ends they take over:
  // both must change in one transaction), or only the node facts.
  Step plan(Clock::time_point now);
  Step plan(Clock::time_point now, const std::vector<ServiceKey>& only);
  Step plan_node() const;
  // The step is in the kernel.
  void accept(Step step, Clock::time_point now);
  // Settles all dirty services without a step; for a full write or comparison afterwards.
  void settle(Clock::time_point now);

  // ---- the whole, as accepted
  const Classes& classes(Family family) const { return classes_[index_of(family)]; }
  std::size_t elements(Family family) const;  // how many
  std::size_t endpoints_wanted() const;       // of all services; walks them
  void for_each_element(Family family, const std::function<void(const nft::Set&, const nft::Element&)>& fn) const;
  // One transaction that makes the table anew.
  nft::Batch rebuild(Family family) const;
  // Makes a table that does not exist yet, in transactions of at most so many elements: the kernel's hash tables grow
  // between them. It works on no packet before the last one, which brings the rules.
  std::vector<nft::Batch> build(Family family, std::size_t elements_each) const;
  // What to change so that `seen` (consumed) becomes what is accepted.
  Step repair(Family family, FamilyContents& seen) const;
  // Removes class chains that no service has used for a while.
  nft::Batch collect(Clock::time_point now);

  // ---- conntrack. Ids whose flows must be checked, until done() says they have been.
  std::vector<FlowsOf> stale_flows() const;
  void flows_done(const std::vector<FlowsOf>& done);
  void all_udp_flows_stale();

  // ---- what could not be honoured, by service. Readable lines that name the service.
  const std::map<ServiceKey, std::vector<std::string>>& failures() const { return failures_; }
  std::size_t services() const { return records_.size(); }

 private:
  struct Record {
    Service wanted;
    bool present = false;
    Placement placed;
  };
  struct FrontHash {
    std::size_t operator()(const Front& f) const;
  };
  struct Use {
    std::size_t users = 0;
    Clock::time_point unused_since{};
  };
  Placement target(const ServiceKey& key, const Record& record, Clock::time_point now,
                   std::vector<std::string>& complaints);
  void claim(const ServiceKey& key, const Service& service, bool add);
  static std::vector<Front> fronts_of(const Service& service);
  std::string endpoint_problem(const Endpoint& e) const;
  std::uint32_t class_for(Family family, std::uint32_t slots);
  void remember_flows(const PortPlacement* before, const PortPlacement* after);
  void finish(const ServiceKey& key, Placement next, Clock::time_point now);
  void count_classes(const Placement& p, bool add, Clock::time_point now);
  void plan_facts(Step& step) const;

  std::map<ServiceKey, Record> records_;
  std::set<ServiceKey> dirty_;
  // Who asks for a front end, smallest key first: the first one has it.
  std::unordered_map<Front, std::vector<const ServiceKey*>, FrontHash> claims_;
  // Who has it in the kernel. Differs from the first claim while a change of owner waits for its transaction.
  std::unordered_map<Front, const ServiceKey*, FrontHash> holders_;
  IdPool ids_;
  NodeFacts facts_, facts_placed_;
  bool facts_dirty_ = false;
  std::array<bool, 2> enabled_{true, true};
  std::array<Classes, 2> classes_;  // chains in the kernel
  std::array<Classes, 2> large_;    // number of slots above kDirectClasses -> its class
  std::array<std::map<std::uint32_t, Use>, 2> uses_;
  std::array<std::size_t, 2> element_count_{};
  std::map<ServiceKey, std::vector<std::string>> failures_;
  std::array<std::unordered_map<std::uint32_t, std::vector<Slot>>, 2> adopted_slots_;
  std::unordered_map<Front, std::uint32_t, FrontHash> adopted_ids_;
  struct Stale {
    std::vector<base::IpPort> endpoints;
    std::vector<Front> untranslated;
  };
  std::map<std::pair<Family, std::uint32_t>, Stale> stale_;
};

}  // namespace trama::servicelb
