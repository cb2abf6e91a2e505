// SPDX-License-Identifier: GPL-2.0-or-later
// From Services to elements. Pure: no I/O, no clock of its own. Incremental: planning costs what the dirty services
// are big, never how many services there are.
#pragma once

#include <algorithm>
#include <array>
#include <functional>
#include <set>
#include <unordered_map>
#include <unordered_set>

#include "base/nft/batch.h"
#include "servicelb/flows.h"
#include "servicelb/placement.h"

namespace trama::servicelb {

// All elements of one family, by home; what the kernel shall hold, or what was seen there.
using Contents = std::unordered_map<nft::Value, nft::Element, nft::ValueHash>;
using FamilyContents = std::array<Contents, kHomes>;
// Homes whose elements the planner decides; what is in the others is the rules' affair.
constexpr bool is_planned(Home h) { return h != Home::affinity; }

// Up to three transactions, each of which starts when the one before is in the kernel: what will be pointed at, then
// what points at it, then goes what nothing points at any more. So a packet, whose lookups may fall on both sides of a
// commit, neither meets a class whose slots are not there yet, nor loses a slot or a map that it was led to.
struct Step {
  std::array<nft::Batch, 3> batches;
  nft::Batch& first() { return batches[0]; }
  nft::Batch& second() { return batches[1]; }
  nft::Batch& third() { return batches[2]; }
  std::vector<std::pair<ServiceKey, Placement>> targets;  // what accept() will take as done
  std::array<Classes, 2> new_classes;
  bool facts = false;  // the sets of node facts are part of it
  // A service goes on with another id: not one slot goes but all of the old one, and a packet that was led there must
  // be through before the third transaction.
  bool moves = false;
  bool empty() const {
    return std::all_of(batches.begin(), batches.end(), [](const nft::Batch& b) { return b.empty(); });
  }
};

// Changes of `allowed`. The kernel takes no range that overlaps another one of the same front end: old ones go before
// new ones come, in one transaction. Where none come the front end is not guarded any more, and they go last.
struct RangeChanges {
  std::vector<nft::Element> deletions, puts;
  void emit(Step& step, Family family) const;
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
  // Marks what changes by the time alone: slow start.
  void tick(Clock::time_point now);

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

  // Nothing of any service is in the kernel; all of them are to be planned from there. Ids stay.
  void unplace(Clock::time_point now);

  // ---- the whole, as accepted
  Shape shape(Family family) const;
  std::size_t elements(Family family) const;  // how many
  std::size_t endpoints_wanted() const;       // of all services; walks them
  void for_each_element(Family family, const std::function<void(Home, const nft::Element&)>& fn) const;
  // One transaction that makes the table anew.
  nft::Batch rebuild(Family family) const;
  // Makes a table that does not exist yet, in transactions of at most so many elements: the kernel's hash tables grow
  // between them. It works on no packet before the last one, which brings the rules.
  std::vector<nft::Batch> build(Family family, std::size_t elements_each) const;
  // What to change so that `seen` (consumed) becomes what is accepted.
  Step repair(Family family, FamilyContents& seen) const;
  // Removes class chains that no service has used for a while.
  nft::Batch collect(Clock::time_point now);

  // ---- conntrack: flows to endpoints that are gone
  Flows& flows() { return flows_; }
  const Flows& flows() const { return flows_; }
  void all_flows_stale(Clock::time_point now);
  void rules_were_missing();

  // ---- what could not be honoured, by service. Readable lines that name the service.
  const std::map<ServiceKey, std::vector<std::string>>& failures() const { return failures_; }
  std::size_t services() const { return records_.size(); }
  struct Known {
    const Service& wanted;
    const Placement& placed;
  };
  std::optional<Known> find(const ServiceKey& key) const;
  void for_each(const std::function<void(const Service&, const Placement&)>& fn) const;

 private:
  struct Record {
    Service wanted;
    bool present = false;
    Placement placed;
    std::array<std::size_t, 2> elements{};  // of `placed`
  };
  struct FrontHash {
    std::size_t operator()(const Front& f) const;
  };
  struct Use {
    std::size_t users = 0;
    Clock::time_point unused_since{};
  };
  struct SlotsOf {  // what shares slots: an id, with affinity a way into it as well
    std::uint32_t id = 0;
    Protocol protocol = Protocol::tcp;
    std::uint16_t port = 0;
    friend auto operator<=>(const SlotsOf&, const SlotsOf&) = default;
  };
  struct Adopted {
    std::map<std::pair<Home, Front>, std::uint32_t> ids;
    std::array<std::map<SlotsOf, std::vector<base::IpPort>>, 2> slots;
    std::array<std::map<std::uint32_t, std::map<Member, std::uint32_t>>, 2> numbers;  // by id
  };
  // Every element, grouped by home, so that many share a message.
  void put_all(Family family, const std::function<void(Home, const nft::Element&)>& put) const;
  void adopt_affinity(Family family, const FamilyContents& seen);
  Placement target(const ServiceKey& key, const Record& record, Clock::time_point now,
                   std::vector<std::string>& complaints);
  bool fill_pool(Pool& pool, const Service& service, std::size_t port, const Placement& before, Placement& out,
                 Clock::time_point now, std::vector<std::string>& complaints);
  void claim(const ServiceKey& key, const Service& service, bool add);
  std::string endpoint_problem(const Endpoint& e) const;
  std::uint32_t class_for(Family family, const Draw& draw);
  void finish(const ServiceKey& key, Placement next, Clock::time_point now);
  void count_classes(const Placement& p, bool add, Clock::time_point now);
  void plan_facts(Step& step) const;
  bool is_service_address(const Ip& ip) const;

  std::map<ServiceKey, Record> records_;
  std::set<ServiceKey> dirty_;
  std::map<ServiceKey, Clock::time_point> growing_;  // when to look at a service in slow start again
  // Who asks for a front end, smallest key first: the first one has it.
  std::unordered_map<Front, std::vector<const ServiceKey*>, FrontHash> claims_;
  // Who has it in the kernel. Differs from the first claim while a change of owner waits for its transaction.
  std::unordered_map<Front, const ServiceKey*, FrontHash> holders_;
  IdPool ids_;
  NodeFacts facts_, facts_placed_;
  bool facts_dirty_ = false;
  std::array<bool, 2> enabled_{true, true};
  std::array<Classes, 2> classes_;                         // chains in the kernel
  std::array<std::map<Draw, std::uint32_t>, 2> allotted_;  // classes that are not the number of slots
  std::array<std::map<std::uint32_t, Use>, 2> uses_;
  std::array<std::size_t, 2> element_count_{};
  std::map<ServiceKey, std::vector<std::string>> failures_;
  Adopted adopted_;
  Flows flows_;
};

}  // namespace trama::servicelb
