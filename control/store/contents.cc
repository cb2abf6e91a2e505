// SPDX-License-Identifier: GPL-2.0-or-later
#include "control/store/contents.h"

#include <algorithm>

#include "base/file.h"
#include "control/store/wal.h"

namespace trama::store {

using api::Key;
using base::Error;
using base::Result;

namespace {

constexpr std::size_t kNamed = 8;  // sentences about damage that an error shows

// Reads into `out`; what SQLite itself can not read ends a table and is damage too.
class Reader {
 public:
  Reader(Database& database, Contents& out) : db_(database), out_(out) {}

  void everything() {
    tables();
    meta();
    objects();
    if (out_.schema > 1) history();
    pages();
  }

 private:
  void wrong(std::string sentence) { out_.damage.push_back(std::move(sentence)); }

  // A table's definition is a row like any other: one flipped letter and its columns mean something else.
  void tables() {
    std::map<std::string, std::string> known{{"meta", kMetaTable}, {"obj", kObjectTable}, {"ev", kEventTable}};
    each("the list of tables", "SELECT name, sql FROM sqlite_master", [&](Statement& s) {
      auto name = s.text(0), sql = s.text(1);
      auto it = known.find(name);
      if (it == known.end()) return;
      if (it->second != sql) wrong(fmt::format("the definition of the table {} has changed", name));
      known.erase(it);
    });
    has_events_ = !known.contains("ev");
    known.erase("ev");
    for (const auto& [name, sql] : known) wrong(fmt::format("the table {} is missing", name));
  }

  void meta() {
    std::map<std::string, std::string> found;
    each("the meta table", "SELECT k, v FROM meta", [&](Statement& s) {
      auto name = s.text(0);
      auto value = unseal(name, s.text(1));
      if (!value)
        wrong(fmt::format("the meta row \"{}\": its checksum does not match", name));
      else
        found[name] = *value;
    });
    out_.schema = std::atoi(found["schema"].c_str());
    out_.clean = found["clean"] == "1";
    out_.cluster_uid = found["cluster_uid"];
    out_.newest = std::strtoull(found["revision"].c_str(), nullptr, 10);
    for (const char* name : {"schema", "clean", "cluster_uid"})
      if (found[name].empty()) wrong(fmt::format("the meta row \"{}\" is missing", name));
    if (out_.schema == 1) {
      out_.state.reserved = std::strtoull(found["reserved"].c_str(), nullptr, 10);
    } else if (auto state = LogState::parse(found["state"])) {
      out_.state = *state;
    } else {
      wrong("the meta row \"state\" is missing");
    }
  }

  void objects() {
    auto& digest = out_.digest;
    const Key* last = nullptr;
    Key key;
    each("the objects", "SELECT res, ns, name, rv, crc, val FROM obj ORDER BY res, ns, name", [&](Statement& s) {
      key = Key{s.text(0), s.text(1), s.text(2)};
      auto rv = s.number(3);
      auto value = s.blob(5);
      auto crc = row_sum(key, rv, value);
      if (crc != static_cast<std::uint32_t>(s.integer(4)) || s.integer(4) < 0) {
        wrong(fmt::format("the row of {} (revision {}): its checksum does not match", key.to_string(), rv));
        return;
      }
      if (last && !(*last < key)) wrong(fmt::format("the row of {} is out of order", key.to_string()));
      auto object = parse_object(key, rv, value);
      if (!object) {
        wrong(object.error().to_string());
        return;
      }
      digest.add(rv, crc);
      out_.newest = std::max(out_.newest, rv);
      last = &out_.objects.insert_or_assign(key, *object).first->first;
    });
    if (out_.schema < 2 || !out_.damage.empty() || digest == out_.state.digest) return;
    if (digest.objects != out_.state.digest.objects)
      wrong(fmt::format("{} objects are there, {} were written", digest.objects, out_.state.digest.objects));
    else
      wrong("the objects are not the ones that were written last");
  }

  // Damage here costs history, not content: watchers list again.
  void history() {
    std::vector<EventRow> rows;
    auto damage = out_.damage.size();
    each("the events", "SELECT slot, rv, res, ns, name, erased, prv, prev, crc FROM ev", [&](Statement& s) {
      EventRow row;
      row.slot = s.integer(0), row.revision = s.number(1);
      row.key = Key{s.text(2), s.text(3), s.text(4)};
      row.erased = s.integer(5) != 0, row.previous_revision = s.number(6);
      row.previous = std::string(s.blob(7));
      if (row.sum() != static_cast<std::uint32_t>(s.integer(8)))
        wrong(fmt::format("event {}: its checksum does not match", row.revision));
      rows.push_back(std::move(row));
    });
    if (!has_events_ || out_.damage.size() > damage) {
      out_.history_damage = out_.damage.size() > damage ? out_.damage[damage] : "the table ev is missing";
      out_.damage.resize(damage);
      return;
    }
    auto rebuilt = rebuild_history(out_.objects, std::move(rows), out_.state);
    if (!rebuilt)
      out_.history_damage = rebuilt.error().to_string();
    else
      out_.history = std::move(*rebuilt);
  }

  // The pages between the rows: a free list that names a page in use would destroy it later.
  void pages() {
    auto said = db_.value("PRAGMA quick_check(1)");
    if (!said)
      wrong(said.error().to_string());
    else if (*said != "ok")
      wrong(*said);
  }

  template <class F>
  void each(const char* what, const char* sql, F&& row) {
    auto s = db_.prepare(sql);
    if (!s) return wrong(fmt::format("{}: {}", what, s.error().to_string()));
    int rc;
    while ((rc = s->step()) == SQLITE_ROW) row(*s);
    if (rc != SQLITE_DONE) wrong(db_.failure(what).to_string());
  }

  Database& db_;
  Contents& out_;
  bool has_events_ = false;
};

}  // namespace

Result<std::string> check_wal(const std::string& path) {
  auto wal = base::read_file(path + "-wal", std::size_t{4} << 30);
  if (!wal && wal.error().is(std::errc::no_such_file_or_directory)) return std::string();
  if (!wal) return std::move(wal).error();
  return wal_damage(*wal);
}

Result<Contents> read_contents(Database& database) {
  Contents out;
  auto application = database.value("PRAGMA application_id");
  if (!application) return std::move(application).error();
  auto tables = database.value("SELECT count(*) FROM sqlite_master");
  if (!tables) return std::move(tables).error();
  out.fresh = *application == "0" && *tables == "0";
  if (out.fresh) return out;
  Reader(database, out).everything();
  return out;
}

std::uint64_t Contents::revision() const { return clean ? newest : std::max(newest, state.reserved); }

Error damage_error(const std::string& path, const std::vector<std::string>& damage) {
  std::string text = path + " is damaged";
  for (std::size_t i = 0; i < damage.size() && i < kNamed; ++i) text += (i ? "; " : ": ") + damage[i];
  if (damage.size() > kNamed) text += fmt::format("; and {} more", damage.size() - kNamed);
  return Error::text(text +
                         ". Nothing of it is served. Restore a backup (trama controller restore FILE), or save what "
                         "is whole (trama controller backup --salvage FILE) and restore that",
                     std::errc::bad_message);
}

Error with_advice(Error e, const std::string& path) {
  if (!e.is(std::errc::bad_message)) return e;
  return damage_error(path, {e.to_string()});
}

}  // namespace trama::store
