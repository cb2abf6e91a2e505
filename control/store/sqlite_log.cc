// SPDX-License-Identifier: GPL-2.0-or-later
#include <sqlite3.h>

#include "base/c_ptr.h"
#include "base/digest.h"
#include "base/log.h"
#include "control/store/log.h"

namespace trama::store {
namespace {

using base::Error;
using base::Result;
using Database = base::CPtr<sqlite3, sqlite3_close>;
using Statement = base::CPtr<sqlite3_stmt, sqlite3_finalize>;

constexpr std::size_t kDepth = 256;  // of a stored object; the API takes 64

constexpr const char* kSchema =
    "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA wal_autocheckpoint=2000;"
    "CREATE TABLE IF NOT EXISTS meta(k TEXT PRIMARY KEY, v TEXT NOT NULL) WITHOUT ROWID;"
    "CREATE TABLE IF NOT EXISTS obj(res TEXT NOT NULL, ns TEXT NOT NULL, name TEXT NOT NULL, rv INTEGER NOT NULL,"
    " crc INTEGER NOT NULL, val BLOB NOT NULL, PRIMARY KEY(res, ns, name)) WITHOUT ROWID;";

// SQLite's own pages carry no checksum of content: a flipped bit would be served. The row's key is part of the sum,
// so that a row which moved to another key is found too.
std::uint32_t row_sum(const api::Key& key, std::uint64_t revision, std::string_view value) {
  std::string text = fmt::format("{}\n{}\n{}\n{}\n", key.resource, key.ns, key.name, revision);
  text += value;
  return base::crc32c(text);
}

std::string meta_sum(const std::string& key, const std::string& value) {
  return fmt::format("{:08x}", base::crc32c(key + "\n" + value));
}

class SqliteLog final : public Log {
 public:
  static Result<std::unique_ptr<Log>> open(const std::string& path) {
    sqlite3* raw = nullptr;
    int rc =
        sqlite3_open_v2(path.c_str(), &raw, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX, nullptr);
    auto log = std::unique_ptr<SqliteLog>(new SqliteLog(Database(raw), path));
    if (rc != SQLITE_OK) return log->failure("open");
    sqlite3_busy_timeout(raw, 5000);
    if (auto r = log->run("PRAGMA locking_mode=EXCLUSIVE;"); !r) return std::move(r).error();
    if (auto r = log->run(kSchema); !r) return std::move(r).error();
    for (auto [text, slot] : {std::pair{"INSERT OR REPLACE INTO obj VALUES(?,?,?,?,?,?)", &log->put_},
                              {"DELETE FROM obj WHERE res=? AND ns=? AND name=?", &log->erase_},
                              {"INSERT OR REPLACE INTO meta VALUES(?,?)", &log->meta_}}) {
      auto s = log->prepare(text);
      if (!s) return std::move(s).error();
      *slot = std::move(*s);
    }
    return std::unique_ptr<Log>(std::move(log));
  }

  Result<Loaded> load() override {
    Loaded out;
    auto meta = prepare("SELECT k, v FROM meta");
    if (!meta) return std::move(meta).error();
    std::string schema, clean;
    std::uint64_t reserved = 0, revision = 0;
    int rc;
    while ((rc = sqlite3_step(meta->get())) == SQLITE_ROW) {
      auto key = text(meta->get(), 0), stored = text(meta->get(), 1);
      auto bar = stored.rfind('|');
      auto value = stored.substr(0, bar);
      if (bar == std::string::npos || stored.substr(bar + 1) != meta_sum(key, value))
        return Error::text(
            fmt::format("{}: the meta row \"{}\" is damaged: its checksum does not match; restore a backup", path_,
                        key),
            std::errc::io_error);
      if (key == "schema") schema = value;
      if (key == "clean") clean = value;
      if (key == "cluster_uid") out.cluster_uid = value;
      if (key == "reserved") reserved = std::strtoull(value.c_str(), nullptr, 10);
      if (key == "revision") revision = std::strtoull(value.c_str(), nullptr, 10);
    }
    if (rc != SQLITE_DONE) return failure("read the meta table");
    if (!schema.empty() && schema != "1")
      return Error::text(
          fmt::format("{} has schema version {}, this trama knows version 1; use a newer trama", path_, schema));
    auto rows = prepare("SELECT res, ns, name, rv, crc, val FROM obj");
    if (!rows) return std::move(rows).error();
    while ((rc = sqlite3_step(rows->get())) == SQLITE_ROW) {
      api::Key key{text(rows->get(), 0), text(rows->get(), 1), text(rows->get(), 2)};
      auto rv = static_cast<std::uint64_t>(sqlite3_column_int64(rows->get(), 3));
      auto sum = static_cast<std::uint32_t>(sqlite3_column_int64(rows->get(), 4));
      std::string_view value(static_cast<const char*>(sqlite3_column_blob(rows->get(), 5)),
                             static_cast<std::size_t>(sqlite3_column_bytes(rows->get(), 5)));
      if (row_sum(key, rv, value) != sum)
        return Error::text(
            fmt::format("{}: the row of {} (revision {}) is damaged: its checksum does not match; restore a "
                        "backup, or delete that row with sqlite3 and create the object again",
                        path_, key.to_string(), rv),
            std::errc::io_error);
      boost::system::error_code ec;
      api::json::parse_options options;
      options.max_depth = kDepth;
      auto parsed = api::json::parse({value.data(), value.size()}, ec, {}, options);
      if (ec || !parsed.is_object())
        return Error::text(fmt::format("{}: the row of {} does not parse: {}", path_, key.to_string(), ec.message()),
                           std::errc::io_error);
      out.objects.push_back(api::make_object(std::move(key), std::move(parsed.get_object()), rv));
      revision = std::max(revision, rv);
    }
    if (rc != SQLITE_DONE) return failure("read the objects");
    // After an unclean end, revisions up to `reserved` may have been seen by somebody: they are never used again.
    out.revision = clean == "1" ? revision : std::max(revision, reserved);
    bool fresh = out.cluster_uid.empty();
    if (fresh) out.cluster_uid = base::random_uuid();
    if (auto r = run("BEGIN IMMEDIATE"); !r) return std::move(r).error();
    auto written = set_meta("clean", "0");
    if (written && fresh) written = set_meta("schema", "1");
    if (written && fresh) written = set_meta("cluster_uid", out.cluster_uid);
    if (written) written = run("COMMIT");
    if (!written) return std::move(written).error();
    return out;
  }

  Result<> commit(const std::vector<Change>& changes, std::uint64_t reserved) override {
    if (auto r = run("BEGIN IMMEDIATE"); !r) return r;
    auto r = apply(changes, reserved);
    if (r) r = run("COMMIT");
    if (!r && !sqlite3_get_autocommit(db_.get())) (void)run("ROLLBACK");
    return r;
  }

  Result<> finish(std::uint64_t revision) override {
    if (auto r = run("BEGIN IMMEDIATE"); !r) return r;
    auto r = set_meta("revision", std::to_string(revision));
    if (r) r = set_meta("clean", "1");
    if (r) r = run("COMMIT");
    return r;
  }

 private:
  SqliteLog(Database db, std::string path) : db_(std::move(db)), path_(std::move(path)) {}

  Result<> apply(const std::vector<Change>& changes, std::uint64_t reserved) {
    for (const auto& c : changes) {
      auto* s = c.object ? put_.get() : erase_.get();
      sqlite3_reset(s);
      bind(s, 1, c.key.resource), bind(s, 2, c.key.ns), bind(s, 3, c.key.name);
      if (c.object) {
        const auto& value = c.object->text();
        sqlite3_bind_int64(s, 4, static_cast<sqlite3_int64>(c.revision));
        sqlite3_bind_int64(s, 5, row_sum(c.key, c.revision, value));
        sqlite3_bind_blob64(s, 6, value.data(), value.size(), SQLITE_STATIC);
      }
      if (sqlite3_step(s) != SQLITE_DONE) return failure("write " + c.key.to_string());
    }
    return set_meta("reserved", std::to_string(reserved));
  }

  Result<> set_meta(const std::string& key, const std::string& value) {
    sqlite3_reset(meta_.get());
    auto stored = value + "|" + meta_sum(key, value);
    bind(meta_.get(), 1, key), bind(meta_.get(), 2, stored);
    bool done = sqlite3_step(meta_.get()) == SQLITE_DONE;
    auto result = done ? Result<>() : Result<>(failure("write meta " + key));
    sqlite3_reset(meta_.get());
    if (!done) return result;
    return {};
  }

  static void bind(sqlite3_stmt* s, int i, const std::string& text) {
    sqlite3_bind_text(s, i, text.data(), static_cast<int>(text.size()), SQLITE_STATIC);
  }
  static std::string text(sqlite3_stmt* s, int i) {
    auto* p = reinterpret_cast<const char*>(sqlite3_column_text(s, i));
    return p ? p : "";
  }

  Result<Statement> prepare(const char* sql) {
    sqlite3_stmt* s = nullptr;
    if (sqlite3_prepare_v2(db_.get(), sql, -1, &s, nullptr) != SQLITE_OK) return failure(sql);
    return Statement(s);
  }
  Result<> run(const char* sql) {
    if (sqlite3_exec(db_.get(), sql, nullptr, nullptr, nullptr) != SQLITE_OK) return failure(sql);
    return {};
  }
  Error failure(const std::string& doing) {
    int code = db_ ? sqlite3_errcode(db_.get()) : SQLITE_NOMEM;
    auto kind = code == SQLITE_FULL   ? std::errc::no_space_on_device
                : code == SQLITE_BUSY ? std::errc::device_or_resource_busy
                                      : std::errc::io_error;
    auto hint = code == SQLITE_BUSY ? " (does another controller use it?)" : "";
    return Error::text(
        fmt::format("{}: {}: {}{}", path_, doing, db_ ? sqlite3_errmsg(db_.get()) : "out of memory", hint), kind);
  }

  Database db_;
  std::string path_;
  Statement put_, erase_, meta_;
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

base::Result<std::unique_ptr<Log>> open_sqlite_log(const std::string& path) { return SqliteLog::open(path); }
std::unique_ptr<Log> make_null_log() { return std::make_unique<NullLog>(); }

}  // namespace trama::store
