// SPDX-License-Identifier: GPL-2.0-or-later
#include "control/store/rows.h"

#include <algorithm>
#include <cstdio>
#include <set>

#include "base/digest.h"
#include "control/api/json_text.h"

namespace trama::store {

using api::Key;
using api::ObjectPtr;
using base::Error;
using base::Result;

namespace {

// Spreads the bits (splitmix64's finaliser), so that sums of neighbours do not cancel.
std::uint64_t spread(std::uint64_t x) {
  x += 0x9e3779b97f4a7c15u;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
  return x ^ (x >> 31);
}

std::uint64_t row_hash(std::uint64_t revision, std::uint32_t crc) { return spread(spread(revision) ^ crc); }

}  // namespace

std::uint32_t row_sum(const Key& key, std::uint64_t revision, std::string_view value) {
  std::string text = fmt::format("{}\n{}\n{}\n{}\n", key.resource, key.ns, key.name, revision);
  text += value;
  return base::crc32c(text);
}

std::string seal(const std::string& name, const std::string& value) {
  return fmt::format("{}|{:08x}", value, base::crc32c(name + "\n" + value));
}

std::optional<std::string> unseal(const std::string& name, const std::string& stored) {
  auto value = stored.substr(0, stored.rfind('|'));
  if (seal(name, value) != stored) return std::nullopt;
  return value;
}

void Digest::add(std::uint64_t revision, std::uint32_t crc) {
  ++objects;
  sum += row_hash(revision, crc);
}
void Digest::remove(std::uint64_t revision, std::uint32_t crc) {
  --objects;
  sum -= row_hash(revision, crc);
}

std::string LogState::to_text() const {
  return fmt::format("reserved={} objects={} sum={:016x} ring={} next={} newest={} floor={}", reserved, digest.objects,
                     digest.sum, ring, next, newest, floor);
}

std::optional<LogState> LogState::parse(const std::string& text) {
  LogState s;
  unsigned long reserved, objects, sum, newest, floor;
  long ring, next;
  if (std::sscanf(text.c_str(), "reserved=%lu objects=%lu sum=%lx ring=%ld next=%ld newest=%lu floor=%lu", &reserved,
                  &objects, &sum, &ring, &next, &newest, &floor) != 7)
    return std::nullopt;
  s.reserved = reserved;
  s.digest = Digest{objects, sum};
  s.ring = ring, s.next = next, s.newest = newest, s.floor = floor;
  return s;
}

std::uint32_t EventRow::sum() const {
  std::string text = fmt::format("{}\n{}\n{}\n{}\n{}\n{}\n{}\n", slot, revision, key.resource, key.ns, key.name,
                                 erased ? 1 : 0, previous_revision);
  return base::crc32c(text + previous);
}

Result<ObjectPtr> parse_object(const Key& key, std::uint64_t revision, std::string_view text) {
  boost::system::error_code ec;
  auto parsed = api::parse_json(text, ec);
  if (ec) return Error::text(fmt::format("the row of {} does not parse: {}", key.to_string(), ec.message()));
  if (!parsed.is_object()) return Error::text(fmt::format("the row of {} is not an object", key.to_string()));
  return api::make_object(key, std::move(parsed.get_object()), revision);
}

Result<History> rebuild_history(const std::map<Key, ObjectPtr>& objects, std::vector<EventRow> rows,
                                const LogState& state) {
  History out;
  out.floor = state.floor;
  std::sort(rows.begin(), rows.end(), [](const EventRow& a, const EventRow& b) { return a.revision < b.revision; });
  auto count = static_cast<std::int64_t>(rows.size());
  if (count > state.ring) return Error::text(fmt::format("{} events in {} slots", count, state.ring));
  std::int64_t first = count == state.ring ? state.next : 0;
  if (count < state.ring && state.next != count)
    return Error::text(fmt::format("{} events are there, {} should be", count, state.next));
  for (std::int64_t i = 0; i < count; ++i)
    if (auto slot = rows[static_cast<std::size_t>(i)].slot; slot != (first + i) % state.ring)
      return Error::text(fmt::format("event {} is out of place", slot));
  if ((rows.empty() ? 0 : rows.back().revision) != state.newest) return Error::text("the newest event is missing");
  // What was overwritten is older than the oldest that is left.
  if (count == state.ring && count > 0) out.floor = std::max(out.floor, rows.front().revision - 1);

  std::map<Key, ObjectPtr> after;  // content after the event that is looked at, newest first
  for (auto row = rows.rbegin(); row != rows.rend(); ++row) {
    auto seen = after.find(row->key);
    auto stored = objects.find(row->key);
    auto now = seen != after.end() ? seen->second : stored != objects.end() ? stored->second : nullptr;
    if (row->erased != !now || (now && now->revision != row->revision) || (row->erased && !row->previous_revision))
      return Error::text(
          fmt::format("event {} of {} does not fit what came after it", row->revision, row->key.to_string()));
    Event e;
    e.revision = row->revision;
    if (row->previous_revision) {
      auto previous = parse_object(row->key, row->previous_revision, row->previous);
      if (!previous) return std::move(previous).error();
      e.previous = *previous;
    }
    e.type = row->erased ? Event::Type::deleted : e.previous ? Event::Type::modified : Event::Type::added;
    e.object = row->erased ? api::make_object(row->key, e.previous->body, row->revision) : now;
    after[row->key] = e.previous;
    out.events.push_back(std::move(e));
  }
  for (const auto& [key, object] : objects)
    if (object->revision > out.floor && !is_write_behind(key) && !after.contains(key))
      return Error::text(fmt::format("the event of {} (revision {}) is missing", key.to_string(), object->revision));
  std::reverse(out.events.begin(), out.events.end());
  return out;
}

bool is_write_behind(const Key& key) {
  return key.resource == "events" || (key.resource == "leases" && key.ns == "kube-node-lease");
}
bool may_be_behind(const std::string& resource) { return resource == "events" || resource == "leases"; }

}  // namespace trama::store
