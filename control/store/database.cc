// SPDX-License-Identifier: GPL-2.0-or-later
#include "control/store/database.h"

#include <sys/stat.h>

namespace trama::store {

using base::Error;
using base::Result;

void Statement::bind(int i, const std::string& text) {
  sqlite3_bind_text(s_.get(), i, text.data(), static_cast<int>(text.size()), SQLITE_STATIC);
}
void Statement::bind(int i, std::int64_t number) { sqlite3_bind_int64(s_.get(), i, number); }
void Statement::bind_blob(int i, std::string_view bytes) {
  sqlite3_bind_blob64(s_.get(), i, bytes.data(), bytes.size(), SQLITE_STATIC);
}
void Statement::bind_null(int i) { sqlite3_bind_null(s_.get(), i); }

void Statement::reset() {
  sqlite3_reset(s_.get());
  sqlite3_clear_bindings(s_.get());
}

std::string Statement::text(int column) const {
  auto* p = reinterpret_cast<const char*>(sqlite3_column_text(s_.get(), column));
  if (!p) return "";
  return std::string(p, static_cast<std::size_t>(sqlite3_column_bytes(s_.get(), column)));
}

std::string_view Statement::blob(int column) const {
  auto* p = static_cast<const char*>(sqlite3_column_blob(s_.get(), column));
  if (!p) return "";
  return std::string_view(p, static_cast<std::size_t>(sqlite3_column_bytes(s_.get(), column)));
}

bool Statement::is_null(int column) const { return sqlite3_column_type(s_.get(), column) == SQLITE_NULL; }

Result<Database> Database::open(const std::string& path, Mode mode) {
  sqlite3* raw = nullptr;
  int flags = (mode == Mode::read ? SQLITE_OPEN_READONLY : SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE);
  // What is made here holds Secrets: nobody else may read it.
  auto mask = ::umask(0077);
  int rc = sqlite3_open_v2(path.c_str(), &raw, flags | SQLITE_OPEN_NOMUTEX, nullptr);
  Database database(raw, path);
  if (rc == SQLITE_OK) {
    sqlite3_extended_result_codes(raw, 1);
    sqlite3_busy_timeout(raw, 5000);
    // Opens the file, which sqlite3_open does not.
    rc = sqlite3_exec(raw, "PRAGMA schema_version", nullptr, nullptr, nullptr);
  }
  ::umask(mask);
  if (rc != SQLITE_OK) return database.failure("open");
  return database;
}

Result<Statement> Database::prepare(const char* sql) {
  sqlite3_stmt* s = nullptr;
  if (sqlite3_prepare_v2(db_.get(), sql, -1, &s, nullptr) != SQLITE_OK) return failure(sql);
  return Statement(s);
}

Result<> Database::run(const std::string& sql) {
  if (sqlite3_exec(db_.get(), sql.c_str(), nullptr, nullptr, nullptr) != SQLITE_OK) return failure(sql);
  return {};
}

Result<std::string> Database::value(const char* sql) {
  auto s = prepare(sql);
  if (!s) return std::move(s).error();
  int rc = s->step();
  if (rc == SQLITE_ROW) return s->text(0);
  if (rc == SQLITE_DONE) return std::string();
  return failure(sql);
}

Error Database::failure(const std::string& doing) const {
  if (!db_) return Error::text(path_ + ": " + doing + ": out of memory", std::errc::not_enough_memory);
  int code = sqlite3_errcode(db_.get()) & 0xff;
  int system = code == SQLITE_IOERR || code == SQLITE_CANTOPEN ? sqlite3_system_errno(db_.get()) : 0;
  bool full = code == SQLITE_FULL || system == ENOSPC || system == EDQUOT;
  // Our statements are constant: when one of them is an error, the tables are not what they were.
  bool damaged = code == SQLITE_CORRUPT || code == SQLITE_NOTADB || code == SQLITE_ERROR;
  auto kind = damaged               ? std::errc::bad_message
              : full                ? std::errc::no_space_on_device
              : code == SQLITE_BUSY ? std::errc::device_or_resource_busy
                                    : std::errc::io_error;
  auto what = fmt::format("{}: {}: {}", path_, doing, full ? "no space left on the disk" : sqlite3_errmsg(db_.get()));
  if (damaged) what = fmt::format("{}: damaged: {} ({})", path_, sqlite3_errmsg(db_.get()), doing);
  return Error::text(what, kind);
}

}  // namespace trama::store
