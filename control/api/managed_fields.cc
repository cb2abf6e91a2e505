// SPDX-License-Identifier: GPL-2.0-or-later
#include "control/api/managed_fields.h"

#include <algorithm>
#include <tuple>

#include <fmt/format.h>

#include "base/timestamp.h"
#include "control/api/field_walk.h"
#include "control/api/json_text.h"
#include "control/api/schema.h"

namespace trama::api {
namespace {

constexpr std::string_view kBefore = "before-first-apply";
constexpr std::string_view kAncient = "ancient-changes";

// What the server sets, and what names the object, belongs to nobody.
FieldSet without_system(FieldSet set) {
  auto meta = set.children.find("f:metadata");
  if (meta == set.children.end()) return set;
  for (const char* name : {"f:name", "f:namespace", "f:creationTimestamp", "f:selfLink", "f:uid", "f:generation",
                           "f:managedFields", "f:resourceVersion"})
    meta->second.children.erase(name);
  meta->second.member = false;
  if (meta->second.empty()) set.children.erase(meta);
  return set;
}

bool same_manager(const Manager& m, std::string_view name, bool applies, std::string_view api_version,
                  std::string_view subresource) {
  // An applier stays the same whatever version it writes.
  return m.name == name && m.applies == applies && m.subresource == subresource &&
         (applies || m.api_version == api_version);
}

Manager* find(std::vector<Manager>& managers, std::string_view name, bool applies, std::string_view api_version,
              std::string_view subresource) {
  for (auto& m : managers)
    if (same_manager(m, name, applies, api_version, subresource)) return &m;
  return nullptr;
}

std::string shown(const Manager& m) {
  auto out = fmt::format("\"{}\"", m.name);
  if (!m.subresource.empty()) out += fmt::format(" with subresource \"{}\"", m.subresource);
  if (!m.applies) out += " using " + m.api_version;
  return out;
}

Status conflict(const std::vector<std::pair<std::string, std::vector<std::string>>>& by_manager) {
  Status s;
  s.code = 409;
  s.reason = "Conflict";
  for (const auto& [manager, paths] : by_manager)
    for (const auto& path : paths) s.causes.push_back({"FieldManagerConflict", "conflict with " + manager, path});
  if (s.causes.size() == 1) {
    s.message = fmt::format("Apply failed with 1 conflict: {}: {}", s.causes[0].message, s.causes[0].field);
    return s;
  }
  std::string list;
  for (const auto& [manager, paths] : by_manager) {
    list += fmt::format("{}conflicts with {}:", list.empty() ? "" : "\n", manager);
    for (const auto& path : paths) list += "\n- " + path;
  }
  s.message = fmt::format("Apply failed with {} conflicts: {}", s.causes.size(), list);
  return s;
}

// From client-side to server-side apply without conflicts: kubectl may change what its annotation says that it has
// applied, where nobody has changed it since. Another manager's name opts out.
FieldSet client_side_fields(std::string_view message, const json::object& live, std::string_view applier) {
  if (applier != "kubectl") return {};
  const auto& annotations = object_at(live, "metadata.annotations");
  const auto* text = annotations.if_contains("kubectl.kubernetes.io/last-applied-configuration");
  if (!text || !text->is_string()) return {};
  boost::system::error_code ec;
  auto applied = parse_json(text->get_string(), ec, kDeepestGiven);
  if (ec || !applied.is_object()) return {};
  auto fields = fields_in(message, applied.get_object());
  if (!fields) return {};
  auto changed = compare_fields(message, applied.get_object(), live);
  return subtracted(subtracted(*fields, changed.modified), changed.removed);
}

void forget(std::vector<Manager>& managers, const FieldSet& fields, const Manager* but) {
  for (auto& m : managers)
    if (&m != but) m.fields = subtracted(m.fields, fields);
}

void drop_empty(std::vector<Manager>& managers) {
  std::erase_if(managers, [](const Manager& m) { return m.fields.empty(); });
}

// The oldest ones that did not apply become one for each version, until there are few enough.
void cap_updaters(std::vector<Manager>& managers) {
  std::stable_sort(managers.begin(), managers.end(), [](const Manager& a, const Manager& b) {
    return std::tie(a.applies, a.time, a.name) < std::tie(b.applies, b.time, b.name);
  });
  auto count = static_cast<std::size_t>(
      std::count_if(managers.begin(), managers.end(), [](const Manager& m) { return !m.applies; }));
  for (std::size_t i = 1; count > kUpdateManagers && i < managers.size() && !managers[i].applies;) {
    auto older = std::find_if(managers.begin(), managers.begin() + static_cast<std::ptrdiff_t>(i),
                              [&](const Manager& m) { return m.api_version == managers[i].api_version; });
    if (older == managers.begin() + static_cast<std::ptrdiff_t>(i)) {
      ++i;
      continue;
    }
    older->name = kAncient;
    older->subresource.clear();
    older->fields = united(std::move(older->fields), managers[i].fields);
    older->time = managers[i].time;
    managers.erase(managers.begin() + static_cast<std::ptrdiff_t>(i));
    --count;
  }
}

// True when the client asks for managedFields to be forgotten: one empty entry.
bool is_reset(const json::object& body) {
  const auto& given = array_at(body, "metadata.managedFields");
  return given.size() == 1 && given[0].is_object() && given[0].get_object().empty();
}

}  // namespace

std::vector<Manager> managers_of(const json::object& body) {
  std::vector<Manager> out;
  for (const auto& entry : array_at(body, "metadata.managedFields")) {
    if (!entry.is_object()) continue;
    const auto& e = entry.get_object();
    Manager m;
    m.name = text_at(e, "manager");
    m.applies = text_at(e, "operation") == "Apply";
    m.api_version = text_at(e, "apiVersion");
    m.subresource = text_at(e, "subresource");
    m.time = text_at(e, "time");
    if (const auto* fields = e.if_contains("fieldsV1")) m.fields = parse_fields(*fields);
    if (!m.fields.empty()) out.push_back(std::move(m));
  }
  return out;
}

void set_managers(json::object& body, const std::vector<Manager>& managers) {
  auto sorted = managers;
  std::stable_sort(sorted.begin(), sorted.end(), [](const Manager& a, const Manager& b) {
    return std::tuple(!a.applies, a.time, a.name, a.api_version, a.subresource) <
           std::tuple(!b.applies, b.time, b.name, b.api_version, b.subresource);
  });
  json::array list;
  for (const auto& m : sorted) {
    json::object entry;
    entry["manager"] = m.name;
    entry["operation"] = m.applies ? "Apply" : "Update";
    entry["apiVersion"] = m.api_version;
    entry["time"] = m.time;
    entry["fieldsType"] = "FieldsV1";
    entry["fieldsV1"] = fields_json(m.fields);
    if (!m.subresource.empty()) entry["subresource"] = m.subresource;
    list.push_back(std::move(entry));
  }
  auto& meta = make_object_at(body, "metadata");
  if (list.empty())
    meta.erase("managedFields");
  else
    meta["managedFields"] = std::move(list);
}

Answer<json::object> apply_fields(const Kind& kind, const json::object& live, json::object config,
                                  const Applier& applier, Time now) {
  auto message = message_of(kind);
  // A part that this way does not write is not owned through it either.
  if (applier.subresource == "status") {
    for (const auto* f : fields_of(message))
      if (f->name != "status") config.erase(f->name);
    auto meta = object_at(config, "metadata");
    for (const auto* f : fields_of("ObjectMeta"))
      if (f->name != "name" && f->name != "namespace" && f->name != "resourceVersion" && f->name != "uid")
        meta.erase(f->name);
    config["metadata"] = std::move(meta);
  } else if (kind.has("status")) {
    config.erase("status");
  }
  auto wanted = fields_in(message, config);
  if (!wanted)
    return Status::bad_request(fmt::format("failed to create typed patch object ({}/{}; {}, Kind={}): {}",
                                           text_at(config, "metadata.namespace"), text_at(config, "metadata.name"),
                                           kind.api_version(), kind.kind, wanted.error().message));
  auto mine = without_system(*wanted);
  auto stamp = base::format_seconds(now);
  auto managers = managers_of(live);
  if (managers.empty() && !live.empty()) {
    auto had = compare_fields(message, json::object(), live).added;
    if (kind.has("status")) had.children.erase("f:status");
    managers.push_back({std::string(kBefore), false, kind.api_version(), "", stamp, without_system(std::move(had))});
  }

  auto* before = find(managers, applier.name, true, "", applier.subresource);
  auto next = live;
  merge_fields(message, next, config);
  if (before) {
    auto kept = *wanted;
    for (const auto& m : managers)
      if (&m != before) kept = united(std::move(kept), m.fields);
    remove_fields(message, next, before->fields, kept);
  }

  auto changed = compare_fields(message, live, next);
  auto touched = united(changed.added, changed.modified);
  auto granted = client_side_fields(message, live, applier.name);
  std::vector<std::pair<std::string, std::vector<std::string>>> conflicts;
  for (auto& m : managers) {
    if (&m == before) continue;
    auto taken = intersected(m.fields, touched);
    auto disputed = applier.force ? FieldSet{} : subtracted(taken, granted);
    if (!disputed.empty()) conflicts.emplace_back(shown(m), paths_of(disputed));
    m.fields = subtracted(m.fields, taken);
  }
  if (!conflicts.empty()) {
    std::sort(conflicts.begin(), conflicts.end());
    return conflict(conflicts);
  }
  forget(managers, changed.removed, before);
  if (!before) {
    managers.push_back({applier.name, true, kind.api_version(), applier.subresource, stamp, mine});
  } else if (before->fields != mine || before->api_version != kind.api_version() || !changed.same()) {
    before->fields = mine;
    before->api_version = kind.api_version();
    before->time = stamp;
  }
  drop_empty(managers);
  set_managers(next, managers);
  return next;
}

void track_update(const Kind& kind, const json::object& before, json::object& after, std::string_view manager,
                  std::string_view subresource, Time now) {
  // A client may set managedFields itself.
  if (is_reset(after)) {
    make_object_at(after, "metadata").erase("managedFields");
    return;
  }
  auto managers = managers_of(after);
  if (managers.empty()) managers = managers_of(before);
  if (managers.empty()) return;
  auto message = message_of(kind);
  auto changed = compare_fields(message, before, after);
  auto touched = without_system(united(changed.added, changed.modified));
  forget(managers, united(touched, changed.removed), nullptr);
  if (!touched.empty()) {
    auto* mine = find(managers, manager, false, kind.api_version(), subresource);
    if (!mine) {
      managers.push_back({std::string(manager), false, kind.api_version(), std::string(subresource), "", {}});
      mine = &managers.back();
    }
    mine->fields = united(std::move(mine->fields), touched);
    mine->time = base::format_seconds(now);
  }
  drop_empty(managers);
  cap_updaters(managers);
  set_managers(after, managers);
}

void track_create(const Kind& kind, json::object& body, std::string_view manager, Time now) {
  auto managers = is_reset(body) ? std::vector<Manager>() : managers_of(body);
  auto fields = without_system(compare_fields(message_of(kind), json::object(), body).added);
  if (kind.has("status")) fields.children.erase("f:status");
  forget(managers, fields, nullptr);
  managers.push_back({std::string(manager), false, kind.api_version(), "", base::format_seconds(now), {}});
  managers.back().fields = std::move(fields);
  drop_empty(managers);
  cap_updaters(managers);
  set_managers(body, managers);
}

}  // namespace trama::api
