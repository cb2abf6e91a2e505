// SPDX-License-Identifier: GPL-2.0-or-later
// What this node knows of the cluster: the newest version of every object it watches, and what changed since last
// asked.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "control/api/object.h"
#include "servicelb/model.h"

namespace trama::agent {

enum class Kind : std::size_t { services, slices, nodes, pods };
constexpr std::array<Kind, 4> kKinds = {Kind::services, Kind::slices, Kind::nodes, Kind::pods};
const char* to_string(Kind kind);  // the API's plural: "endpointslices"

namespace json = boost::json;
using servicelb::ServiceKey;

// Owned by the brain thread. The objects are immutable and shared; the index around them changes in place, because
// copying it for each of a hundred thousand Services would cost more than everything else an event causes. Whoever
// reads it does so without awaiting in between, and therefore always sees one consistent state.
//
// A list that is empty or less than half as long as what was known removes nothing: the missing objects become
// `suspects` until a second list (confirm(), or the next list()) lacks them too. Events are always believed.
class ClusterView {
 public:
  using Objects = std::map<std::string, api::ObjectPtr>;  // by "namespace/name", or "name" without a namespace

  // What the three kernel rooms have to look at again.
  struct Dirty {
    bool nodes = false;
    bool pods = false;
    bool service_names = false;     // a Service came, went or changed its addresses: hosts files
    std::set<ServiceKey> services;  // the Service itself or one of its slices
    bool any() const { return nodes || pods || service_names || !services.empty(); }
  };

  // From the disk, before anything was listed. The objects count as known, but not as synced.
  void load(Kind kind, std::vector<api::ObjectPtr> objects, std::uint64_t revision);
  // A complete list. Returns how many missing objects were kept as suspects; 0 = the view now equals the list.
  std::size_t list(Kind kind, const std::vector<api::ObjectPtr>& all, std::uint64_t revision);
  // The second opinion: suspects that this list lacks too are removed; nothing else of it is used.
  void confirm(Kind kind, const std::vector<api::ObjectPtr>& all);
  void put(Kind kind, const api::ObjectPtr& object);
  void remove(Kind kind, const api::ObjectPtr& object);

  const Objects& services() const { return of(Kind::services).objects; }
  const Objects& nodes() const { return of(Kind::nodes).objects; }
  const Objects& pods() const { return of(Kind::pods).objects; }
  const Objects& objects(Kind kind) const { return of(kind).objects; }
  api::ObjectPtr service(const ServiceKey& key) const;
  api::ObjectPtr node(const std::string& name) const;
  api::ObjectPtr pod(const std::string& ns, const std::string& name) const;
  // The EndpointSlices that carry this Service's name, by their own name.
  std::vector<api::ObjectPtr> slices_of(const ServiceKey& key) const;

  // Loaded or listed: enough to compute from.
  bool known(Kind kind) const { return of(kind).known; }
  // Listed by a server in this process's life.
  bool synced(Kind kind) const { return of(kind).synced; }
  bool all_known() const;
  std::uint64_t revision(Kind kind) const { return of(kind).revision; }
  std::size_t suspects(Kind kind) const { return of(kind).suspects.size(); }
  // Grows with every change of the kind's content: tells when the copy on disk is old.
  std::uint64_t edits(Kind kind) const { return of(kind).edits; }

  Dirty take_dirty();

 private:
  struct Collection {
    Objects objects;
    std::set<std::string> suspects;
    std::uint64_t revision = 0;
    std::uint64_t edits = 0;
    bool known = false, synced = false;
  };
  const Collection& of(Kind kind) const { return collections_[static_cast<std::size_t>(kind)]; }
  Collection& of(Kind kind) { return collections_[static_cast<std::size_t>(kind)]; }
  void set(Kind kind, const std::string& name, api::ObjectPtr object);  // nullptr removes
  void note(Kind kind, const api::Object* before, const api::Object* after);

  std::array<Collection, kKinds.size()> collections_;
  std::map<ServiceKey, Objects> slices_by_service_;
  Dirty dirty_;
};

// The Service that an EndpointSlice belongs to (label kubernetes.io/service-name); an empty name if none.
ServiceKey service_of_slice(const api::Object& slice);

}  // namespace trama::agent
