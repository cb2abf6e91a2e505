// SPDX-License-Identifier: GPL-2.0-or-later
#include "control/loops/meta.h"

#include <algorithm>
#include <ctime>

#include <fmt/format.h>

#include "base/digest.h"

namespace trama::control {

namespace {

std::tm to_utc(Time t) {
  auto seconds = std::chrono::floor<std::chrono::seconds>(t);
  std::time_t raw = std::chrono::system_clock::to_time_t(seconds);
  std::tm tm{};
  gmtime_r(&raw, &tm);
  return tm;
}

// Reads exactly `n` digits at `at`; false when there are none.
bool digits(std::string_view text, std::size_t at, std::size_t n, int& out) {
  if (at + n > text.size()) return false;
  out = 0;
  for (std::size_t i = at; i < at + n; ++i) {
    if (text[i] < '0' || text[i] > '9') return false;
    out = out * 10 + (text[i] - '0');
  }
  return true;
}

json::value sorted(const json::value& v) {
  if (const auto* o = v.if_object()) {
    std::vector<std::string_view> keys;
    for (const auto& [k, unused] : *o) keys.push_back(k);
    std::sort(keys.begin(), keys.end());
    json::object out;
    for (auto k : keys) out[k] = sorted(o->at(k));
    return json::value(std::move(out));
  }
  if (const auto* a = v.if_array()) {
    json::array out;
    for (const auto& e : *a) out.push_back(sorted(e));
    return json::value(std::move(out));
  }
  return v;
}

json::array& array_in(json::object& o, std::string_view name) {
  auto& v = o[name];
  if (!v.is_array()) v = json::array();
  return v.get_array();
}

}  // namespace

std::string timestamp(Time t) {
  auto tm = to_utc(t);
  return fmt::format("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}Z", tm.tm_year + 1900, tm.tm_mon + 1, tm.tm_mday, tm.tm_hour,
                     tm.tm_min, tm.tm_sec);
}

std::optional<Time> parse_timestamp(std::string_view s) {
  std::tm tm{};
  int year = 0, month = 0;
  bool ok = digits(s, 0, 4, year) && s[4] == '-' && digits(s, 5, 2, month) && s.size() >= 20 && s[7] == '-' &&
            digits(s, 8, 2, tm.tm_mday) && (s[10] == 'T' || s[10] == 't') && digits(s, 11, 2, tm.tm_hour) &&
            s[13] == ':' && digits(s, 14, 2, tm.tm_min) && s[16] == ':' && digits(s, 17, 2, tm.tm_sec);
  if (!ok) return std::nullopt;
  tm.tm_year = year - 1900;
  tm.tm_mon = month - 1;
  auto t = std::chrono::system_clock::from_time_t(timegm(&tm));
  std::size_t at = 19;
  if (s[at] == '.') {
    std::int64_t scale = 100'000'000, nanoseconds = 0;
    for (++at; at < s.size() && s[at] >= '0' && s[at] <= '9'; ++at, scale /= 10) nanoseconds += (s[at] - '0') * scale;
    t += std::chrono::duration_cast<std::chrono::system_clock::duration>(std::chrono::nanoseconds(nanoseconds));
  }
  if (at >= s.size()) return std::nullopt;
  if (s[at] == 'Z' || s[at] == 'z') return at + 1 == s.size() ? std::optional<Time>(t) : std::nullopt;
  int hours = 0, minutes = 0;
  if ((s[at] != '+' && s[at] != '-') || s.size() != at + 6 || !digits(s, at + 1, 2, hours) || s[at + 3] != ':' ||
      !digits(s, at + 4, 2, minutes))
    return std::nullopt;
  auto offset = std::chrono::hours(hours) + std::chrono::minutes(minutes);
  return s[at] == '+' ? t - offset : t + offset;
}

json::object new_object(std::string_view api_version, std::string_view kind, const api::Key& key, Time now) {
  json::object metadata;
  metadata["name"] = key.name;
  if (!key.ns.empty()) metadata["namespace"] = key.ns;
  metadata["uid"] = base::random_uuid();
  metadata["creationTimestamp"] = timestamp(now);
  json::object body;
  body["apiVersion"] = api_version;
  body["kind"] = kind;
  body["metadata"] = std::move(metadata);
  return body;
}

std::string generated_name(std::string_view prefix, std::uint64_t random) {
  constexpr std::string_view kAlphabet = "bcdfghjklmnpqrstvwxz2456789";
  std::string name(prefix.substr(0, 58));  // names are at most 63 characters
  for (int i = 0; i < 5; ++i, random /= kAlphabet.size()) name += kAlphabet[random % kAlphabet.size()];
  return name;
}

json::object owner_reference(const api::Object& owner) {
  json::object ref;
  ref["apiVersion"] = api::text_at(owner.body, "apiVersion");
  ref["kind"] = api::text_at(owner.body, "kind");
  ref["name"] = owner.key.name;
  ref["uid"] = owner.uid;
  ref["controller"] = true;
  ref["blockOwnerDeletion"] = true;
  return ref;
}

const json::object* controller_of(const json::object& body) {
  for (const auto& r : api::array_at(body, "metadata.ownerReferences"))
    if (const auto* o = r.if_object(); o != nullptr && api::bool_at(*o, "controller")) return o;
  return nullptr;
}

bool is_controlled_by(const json::object& body, std::string_view uid) {
  const auto* owner = controller_of(body);
  return owner != nullptr && api::text_at(*owner, "uid") == uid;
}

bool is_terminating(const json::object& body) { return !api::text_at(body, "metadata.deletionTimestamp").empty(); }

bool has_finalizer(const json::object& body, std::string_view finalizer) {
  const auto& list = api::array_at(body, "metadata.finalizers");
  return std::any_of(list.begin(), list.end(),
                     [&](const json::value& v) { return v.is_string() && v.get_string() == finalizer; });
}

bool remove_finalizer(json::object& body, std::string_view finalizer) {
  if (!has_finalizer(body, finalizer)) return false;
  auto& metadata = api::make_object_at(body, "metadata");
  json::array kept;
  for (const auto& v : api::array_at(body, "metadata.finalizers"))
    if (!(v.is_string() && v.get_string() == finalizer)) kept.push_back(v);
  if (kept.empty())
    metadata.erase("finalizers");
  else
    metadata["finalizers"] = std::move(kept);
  return true;
}

const json::object* condition(const json::object& body, std::string_view type) {
  for (const auto& c : api::array_at(body, "status.conditions"))
    if (const auto* o = c.if_object(); o != nullptr && api::text_at(*o, "type") == type) return o;
  return nullptr;
}

std::string condition_status(const json::object& body, std::string_view type) {
  const auto* c = condition(body, type);
  return c == nullptr ? "" : api::text_at(*c, "status");
}

bool set_condition(json::object& body, std::string_view type, std::string_view status, std::string_view reason,
                   std::string_view message, Time now) {
  auto& list = array_in(api::make_object_at(body, "status"), "conditions");
  json::object* found = nullptr;
  for (auto& c : list)
    if (auto* o = c.if_object(); o != nullptr && api::text_at(*o, "type") == type) found = o;
  if (found == nullptr) {
    json::object fresh;
    fresh["type"] = type;
    list.push_back(std::move(fresh));
    found = &list.back().get_object();
  }
  bool flipped = api::text_at(*found, "status") != status;
  bool changed = flipped || api::text_at(*found, "reason") != reason || api::text_at(*found, "message") != message;
  if (flipped) {
    (*found)["status"] = status;
    (*found)["lastTransitionTime"] = timestamp(now);
  }
  auto put = [found](std::string_view field, std::string_view text) {
    if (text.empty())
      found->erase(field);
    else
      (*found)[field] = text;
  };
  put("reason", reason);
  put("message", message);
  return changed;
}

bool is_pod_ready(const json::object& pod) { return condition_status(pod, "Ready") == "True"; }

bool is_pod_active(const json::object& pod) {
  auto phase = api::text_at(pod, "status.phase");
  return phase != "Succeeded" && phase != "Failed" && !is_terminating(pod);
}

bool is_pod_available(const json::object& pod, std::int64_t min_ready_seconds, Time now) {
  if (!is_pod_ready(pod)) return false;
  if (min_ready_seconds <= 0) return true;
  auto since = parse_timestamp(api::text_at(*condition(pod, "Ready"), "lastTransitionTime"));
  return since && *since + std::chrono::seconds(min_ready_seconds) <= now;
}

std::string canonical_text(const json::value& v) { return json::serialize(sorted(v)); }

}  // namespace trama::control
