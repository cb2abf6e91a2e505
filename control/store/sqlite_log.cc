// SPDX-License-Identifier: GPL-2.0-or-later
#include <sys/stat.h>

#include "base/digest.h"
#include "base/log.h"
#include "control/store/ballast.h"
#include "control/store/contents.h"
#include "control/store/store_lock.h"

namespace trama::store {
namespace {

using base::Error;
using base::Result;

constexpr std::int64_t kPageCache = 32 << 20;  // bytes of the file that are kept in memory at most

class SqliteLog final : public Log {
 public:
  static Result<std::unique_ptr<Log>> open(const std::string& path, const SqliteOptions& options) {
    auto lock = StoreLock::take(path);
    if (!lock) return std::move(lock).error();
    struct stat file {};
    if (lock->was_used() && ::stat(path.c_str(), &file) == 0 && file.st_size == 0)
      return damage_error(path, {"the file is empty, and has not always been"});
    auto wal = check_wal(path);
    if (!wal) return std::move(wal).error();
    if (!wal->empty()) return damage_error(path, {*wal});
    Ballast ballast(path + ".ballast", options.ballast);
    auto prepared = prepared_database(path, options);
    if (!prepared && prepared.error().is(std::errc::no_space_on_device)) {
      ballast.release();
      prepared = prepared_database(path, options);
    }
    if (!prepared) return with_advice(std::move(prepared).error(), path);
    return std::unique_ptr<Log>(new SqliteLog(std::move(*prepared), std::move(*lock), std::move(ballast), options));
  }

  Result<Loaded> load() override {
    auto contents = read_contents(db_);
    if (!contents) return with_advice(std::move(contents).error(), db_.path());
    auto& c = *contents;
    if (c.fresh) {
      c.cluster_uid = base::random_uuid();
    } else {
      if (c.schema > 2)
        return Error::text(fmt::format("{} has schema version {}, this trama knows version 2; use a newer trama",
                                       db_.path(), c.schema));
      if (!c.damage.empty()) return damage_error(db_.path(), c.damage);
    }
    Loaded out;
    out.cluster_uid = c.cluster_uid;
    // After an unclean end, revisions up to `reserved` may have been seen by somebody: they are never used again.
    out.revision = c.revision();
    state_ = c.state;
    bool drop = c.schema < 2 || !c.history_damage.empty() || state_.ring != options_.ring;
    if (!c.fresh && drop) {
      if (!c.history_damage.empty())
        base::logger("store")->warn("{}: the history is damaged, watchers list again: {}", db_.path(),
                                    c.history_damage);
      state_.floor = out.revision;
      c.history = History{{}, out.revision};
    }
    if (drop) state_.ring = options_.ring, state_.next = 0, state_.newest = 0;
    if (c.schema < 2) state_.reserved = out.revision, state_.digest = c.digest;
    auto begun = begin(c, drop);
    if (!begun && begun.error().is(std::errc::no_space_on_device)) {
      ballast_.release();
      begun = begin(c, drop);
    }
    if (!begun) return with_advice(std::move(begun).error(), db_.path());
    for (auto& [key, object] : c.objects) out.objects.push_back(std::move(object));
    out.history = std::move(c.history.events);
    out.history_floor = c.history.floor;
    out.room = ballast_.take(0);
    tight_ = !out.room;
    return out;
  }

  Result<> commit(const std::vector<Change>& changes, std::uint64_t reserved) override {
    auto before = state_;
    auto work = [&]() -> Result<> {
      if (tight_ && !changes.empty())
        if (auto dropped = drop_history(changes.back().revision); !dropped) return dropped;
      return apply(changes, reserved);
    };
    auto r = in_transaction(work);
    if (!r) state_ = before;
    if (!r) return r;
    // While the reserve is given up, the write-ahead log must not eat it: it begins anew with every commit.
    if (tight_) sqlite3_wal_checkpoint_v2(db_.handle(), nullptr, SQLITE_CHECKPOINT_PASSIVE, nullptr, nullptr);
    return r;
  }

  void release_reserve() override {
    tight_ = true;
    ballast_.release();
    sqlite3_wal_checkpoint_v2(db_.handle(), nullptr, SQLITE_CHECKPOINT_PASSIVE, nullptr, nullptr);
  }

  bool restore_reserve() override {
    // Twice its size must be free: a disk that is full again at once would refuse a batch each time.
    if (!ballast_.take(ballast_.bytes())) return false;
    tight_ = false;
    return true;
  }

  Result<> finish(std::uint64_t revision) override {
    return in_transaction([&]() -> Result<> {
      if (auto r = set_meta("revision", std::to_string(revision)); !r) return r;
      return set_meta("clean", "1");
    });
  }

 private:
  SqliteLog(Database db, StoreLock lock, Ballast ballast, const SqliteOptions& options)
      : lock_(std::move(lock)), db_(std::move(db)), ballast_(std::move(ballast)), options_(options) {}

  static Result<Database> prepared_database(const std::string& path, const SqliteOptions& options) {
    auto db = Database::open(path, Database::Mode::write);
    if (!db) return std::move(db).error();
    auto mode = db->value("PRAGMA journal_mode=WAL");
    if (!mode) return std::move(mode).error();
    if (*mode != "wal") return Error::text(fmt::format("{}: no write-ahead log here, only \"{}\"", path, *mode));
    // Each row that is written is looked up before (its old checksum leaves the sum): the pages should be at hand.
    auto set = db->run(fmt::format("PRAGMA synchronous=FULL; PRAGMA wal_autocheckpoint={}; PRAGMA cache_size=-{}",
                                   options.checkpoint_pages, kPageCache >> 10));
    if (!set) return std::move(set).error();
    return std::move(*db);
  }

  template <class F>
  Result<> in_transaction(F&& work) {
    if (auto r = db_.run("BEGIN IMMEDIATE"); !r) return r;
    auto r = work();
    if (r) r = db_.run("COMMIT");
    if (!r && db_.in_transaction()) (void)db_.run("ROLLBACK");
    return r;
  }

  // From here on an end without finish() is an unclean one. Makes or changes the tables where that is due.
  Result<> begin(const Contents& c, bool drop_history) {
    auto r = in_transaction([&]() -> Result<> {
      if (c.fresh)
        for (const auto& sql : {std::string(kMetaTable), std::string(kObjectTable)})
          if (auto made = db_.run(sql); !made) return made;
      if (c.schema < 2 || drop_history)
        if (auto made = db_.run(
                fmt::format("DROP TABLE IF EXISTS ev; {}; PRAGMA application_id={}", kEventTable, kApplicationId));
            !made)
          return made;
      if (!statements_ready_)
        if (auto made = prepare_statements(); !made) return made;
      if (auto set = set_meta("schema", "2"); !set) return set;
      if (auto set = set_meta("clean", "0"); !set) return set;
      if (auto set = set_meta("cluster_uid", c.cluster_uid); !set) return set;
      return set_meta("state", state_.to_text());
    });
    if (r) lock_.mark_used();
    return r;
  }

  Result<> prepare_statements() {
    for (auto [text, slot] : {std::pair{"INSERT OR REPLACE INTO obj VALUES(?,?,?,?,?,?)", &put_},
                              {"DELETE FROM obj WHERE res=? AND ns=? AND name=?", &erase_},
                              {"SELECT rv, crc FROM obj WHERE res=? AND ns=? AND name=?", &find_},
                              {"INSERT OR REPLACE INTO ev VALUES(?,?,?,?,?,?,?,?,?)", &event_},
                              {"INSERT OR REPLACE INTO meta VALUES(?,?)", &meta_}}) {
      auto s = db_.prepare(text);
      if (!s) return std::move(s).error();
      *slot = std::move(*s);
    }
    statements_ready_ = true;
    return {};
  }

  Result<> apply(const std::vector<Change>& changes, std::uint64_t reserved) {
    for (const auto& c : changes) {
      if (!c.object && !c.previous) continue;  // there was nothing to erase
      find_.bind(1, c.key.resource), find_.bind(2, c.key.ns), find_.bind(3, c.key.name);
      int rc = find_.step();
      if (rc == SQLITE_ROW) state_.digest.remove(find_.number(0), static_cast<std::uint32_t>(find_.integer(1)));
      find_.reset();
      if (rc != SQLITE_ROW && rc != SQLITE_DONE) return db_.failure("look up " + c.key.to_string());
      auto& s = c.object ? put_ : erase_;
      s.bind(1, c.key.resource), s.bind(2, c.key.ns), s.bind(3, c.key.name);
      if (c.object) {
        auto crc = row_sum(c.key, c.revision, c.object->text());
        s.bind(4, c.revision), s.bind(5, std::int64_t{crc}), s.bind_blob(6, c.object->text());
        state_.digest.add(c.revision, crc);
      }
      rc = s.step();
      if (rc != SQLITE_DONE) return lost(s, db_.failure("write " + c.key.to_string()));
      s.reset();
      if (is_write_behind(c.key) || c.revision <= state_.floor) continue;
      if (auto r = remember(c); !r) return r;
    }
    state_.reserved = std::max(state_.reserved, reserved);
    return set_meta("state", state_.to_text());
  }

  // Without the reserve nothing may make the file grow, not even what is deleted: watchers list again after a restart.
  Result<> drop_history(std::uint64_t floor) {
    bool there = state_.newest != 0;
    state_.floor = floor, state_.next = 0, state_.newest = 0;
    if (!there) return {};
    return db_.run("DELETE FROM ev");
  }

  // The change takes the place of the oldest one in the ring.
  Result<> remember(const Change& c) {
    EventRow row;
    row.slot = state_.next, row.revision = c.revision, row.key = c.key, row.erased = !c.object;
    if (c.previous) row.previous_revision = c.previous->revision, row.previous = c.previous->text();
    event_.bind(1, row.slot), event_.bind(2, row.revision), event_.bind(3, row.key.resource);
    event_.bind(4, row.key.ns), event_.bind(5, row.key.name), event_.bind(6, std::int64_t{row.erased});
    event_.bind(7, row.previous_revision), event_.bind_blob(8, row.previous), event_.bind(9, std::int64_t{row.sum()});
    if (event_.step() != SQLITE_DONE) return lost(event_, db_.failure("write the event of " + c.key.to_string()));
    event_.reset();
    state_.next = (state_.next + 1) % state_.ring;
    state_.newest = c.revision;
    return {};
  }

  Result<> set_meta(const std::string& name, const std::string& value) {
    auto stored = seal(name, value);
    meta_.bind(1, name), meta_.bind(2, stored);
    if (meta_.step() != SQLITE_DONE) return lost(meta_, db_.failure("write the meta row " + name));
    meta_.reset();
    return {};
  }

  static Error lost(Statement& s, Error e) {
    s.reset();
    return e;
  }

  StoreLock lock_;
  Database db_;
  Statement put_, erase_, find_, event_, meta_;
  Ballast ballast_;
  SqliteOptions options_;
  LogState state_;
  bool statements_ready_ = false;
  bool tight_ = false;  // the reserve is given up
};

class NullLog final : public Log {
 public:
  Result<Loaded> load() override {
    Loaded out;
    out.cluster_uid = base::random_uuid();
    return out;
  }
  Result<> commit(const std::vector<Change>&, std::uint64_t) override { return {}; }
  Result<> finish(std::uint64_t) override { return {}; }
};

}  // namespace

base::Result<std::unique_ptr<Log>> open_sqlite_log(const std::string& path, SqliteOptions options) {
  return SqliteLog::open(path, options);
}
std::unique_ptr<Log> make_null_log() { return std::make_unique<NullLog>(); }

}  // namespace trama::store
