// SPDX-License-Identifier: GPL-2.0-or-later
// SQLite with errors as values. One thread at a time.
#pragma once

#include <memory>
#include <string>

#include <sqlite3.h>

#include "base/c_ptr.h"
#include "base/result.h"

namespace trama::store {

// A prepared statement. Values bound as text or blob must outlive step().
class Statement {
 public:
  Statement() = default;
  explicit Statement(sqlite3_stmt* s) : s_(s) {}
  void bind(int i, const std::string& text);
  void bind(int i, std::int64_t number);
  void bind(int i, std::uint64_t number) { bind(i, static_cast<std::int64_t>(number)); }
  void bind_blob(int i, std::string_view bytes);
  void bind_null(int i);
  int step() { return sqlite3_step(s_.get()); }
  void reset();
  std::string text(int column) const;
  std::string_view blob(int column) const;  // until the next step()
  bool is_null(int column) const;
  std::int64_t integer(int column) const { return sqlite3_column_int64(s_.get(), column); }
  std::uint64_t number(int column) const { return static_cast<std::uint64_t>(integer(column)); }

 private:
  base::CPtr<sqlite3_stmt, sqlite3_finalize> s_;
};

class Database {
 public:
  enum class Mode { read, write };
  // Mode::write makes the file when it is missing.
  static base::Result<Database> open(const std::string& path, Mode mode);
  base::Result<Statement> prepare(const char* sql);
  base::Result<> run(const std::string& sql);
  // The first column of the first row; "" without a row.
  base::Result<std::string> value(const char* sql);
  bool in_transaction() const { return !sqlite3_get_autocommit(db_.get()); }
  // What SQLite says about the call that has just failed. no_space_on_device: the disk is full;
  // bad_message: the file is damaged.
  base::Error failure(const std::string& doing) const;
  sqlite3* handle() const { return db_.get(); }
  const std::string& path() const { return path_; }

 private:
  Database(sqlite3* raw, std::string path) : db_(raw), path_(std::move(path)) {}
  base::CPtr<sqlite3, sqlite3_close_v2> db_;
  std::string path_;
};

}  // namespace trama::store
