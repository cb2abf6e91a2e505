// SPDX-License-Identifier: GPL-2.0-or-later
#include "tests/contract/store/store_rig.h"

#include <filesystem>
#include <stdexcept>

#include <sqlite3.h>

#include "control/store/rows.h"
#include "tests/support/etcd_cluster.h"

namespace trama::test {

using api::Answer;
using api::ObjectPtr;
namespace json = api::json;

StoreRig::StoreRig(Behind behind, store::StoreOptions options) : options_(options), behind_(behind) {
  if (behind == Behind::etcd) {
    static int count = 0;
    etcd.gateway.urls = EtcdCluster::shared().urls();
    etcd.prefix = fmt::format("/rig-{}", ++count);
  }
  std::string pattern = std::filesystem::temp_directory_path() / "trama-store-XXXXXX";
  if (!mkdtemp(pattern.data())) throw std::runtime_error("mkdtemp failed");
  directory_ = pattern;
  if (auto r = try_open(); !r) throw std::runtime_error(r.error().to_string());
}

StoreRig::~StoreRig() {
  close();
  std::filesystem::remove_all(directory_);
}

base::Result<> StoreRig::try_open() {
  auto ex = context_.get_executor();
  auto opened = behind_ == Behind::etcd     ? run(store::open_etcd_store(etcd, options_))
                : behind_ == Behind::sqlite ? store::open_sqlite_store(path(), ex, options_, sqlite)
                                            : store::open_store(store::make_null_log(), ex, options_);
  if (!opened) return std::move(opened).error();
  store_ = std::move(*opened);
  return {};
}

void StoreRig::close() {
  if (!store_) return;
  auto task = [](store::Store& s) -> async::awaitable<int> {
    co_await s.close();
    co_return 0;
  };
  run(task(*store_));
  store_.reset();
}

void StoreRig::reopen() {
  close();
  if (auto r = try_open(); !r) throw std::runtime_error(r.error().to_string());
}

json::object StoreRig::body(const std::string& name, const std::string& data, const std::string& ns) {
  json::object out;
  auto& metadata = api::make_object_at(out, "metadata");
  metadata["name"] = name;
  metadata["namespace"] = ns;
  out["data"] = data;
  return out;
}

Answer<ObjectPtr> StoreRig::write(store::Decision decide) { return run(store_->write(std::move(decide))); }

Answer<ObjectPtr> StoreRig::try_put(const std::string& resource, const std::string& name, const std::string& data,
                                    const std::string& ns) {
  return write([&](store::Transaction& tx) -> Answer<ObjectPtr> {
    return tx.put({resource, ns, name}, body(name, data, ns));
  });
}

ObjectPtr StoreRig::put(const std::string& resource, const std::string& name, const std::string& data,
                        const std::string& ns) {
  auto got = try_put(resource, name, data, ns);
  if (!got) throw std::runtime_error(got.error().message);
  return *got;
}

void StoreRig::put_raw(const std::string& resource, const std::string& name, const std::string& nested) {
  json::parse_options options;
  options.max_depth = 200;
  auto content = body(name, "");
  content["nested"] = json::parse(nested, {}, options);
  auto got = write([&](store::Transaction& tx) -> Answer<ObjectPtr> {
    return tx.put({resource, "default", name}, content);
  });
  if (!got) throw std::runtime_error(got.error().message);
}

void StoreRig::erase(const std::string& resource, const std::string& name, const std::string& ns) {
  auto got = write([&](store::Transaction& tx) -> Answer<ObjectPtr> {
    tx.erase({resource, ns, name});
    return ObjectPtr();
  });
  if (!got) throw std::runtime_error(got.error().message);
}

std::vector<store::Event> StoreRig::events(store::Watch& watch, std::size_t count, std::chrono::milliseconds limit) {
  std::vector<store::Event> out;
  auto end = std::chrono::steady_clock::now() + limit;
  while (out.size() < count && std::chrono::steady_clock::now() < end) {
    auto left = std::chrono::duration_cast<std::chrono::milliseconds>(end - std::chrono::steady_clock::now());
    auto got = run(watch.next(left + std::chrono::milliseconds(1)));
    if (!got) throw std::runtime_error(got.error().message);
    out.insert(out.end(), got->begin(), got->end());
  }
  return out;
}

unsigned long StoreRig::largest_file() const {
  std::uintmax_t size = 0;
  for (const auto& file : std::filesystem::directory_iterator(directory_))
    if (file.is_regular_file() && file.path().extension() != ".ballast") size = std::max(size, file.file_size());
  return static_cast<unsigned long>(size);
}

void StoreRig::damage(const std::string& what) {
  sqlite3* db = nullptr;
  if (sqlite3_open(path().c_str(), &db) != SQLITE_OK) throw std::runtime_error("open for damage failed");
  std::string sql = "SELECT 1";
  if (what == "value")  // one bit of the letter in the middle of "precious"
    sql = "UPDATE obj SET val = CAST(replace(CAST(val AS TEXT), 'precious', 'precioqs') AS BLOB) WHERE name='victim'";
  if (what == "revision") sql = "UPDATE obj SET rv = rv + 2 WHERE name='victim'";
  if (what == "name") sql = "UPDATE obj SET name = 'victin' WHERE name='victim'";
  if (what == "meta") sql = "UPDATE meta SET v = replace(v, 'reserved=', 'reserved=1') WHERE k='state'";
  // Each of these leaves every row with a checksum that matches.
  if (what == "gone") sql = "DELETE FROM obj WHERE name='victim'";
  if (what == "meta gone") sql = "DELETE FROM meta WHERE k='state'";
  if (what == "all gone") sql = "DELETE FROM obj; DROP TABLE obj; DROP TABLE meta; DROP TABLE ev";
  if (what == "events gone") sql = "DELETE FROM ev WHERE slot = 0";
  if (what == "version 1") {
    auto meta = [](const std::string& name, const std::string& value) {
      return fmt::format("INSERT OR REPLACE INTO meta VALUES('{}', '{}');", name, store::seal(name, value));
    };
    sql = "DROP TABLE ev; PRAGMA application_id=0; DELETE FROM meta WHERE k='state' OR k='revision';" +
          meta("schema", "1") + meta("clean", "0") + meta("reserved", "4711");
  }
  int rc = sqlite3_exec(db, sql.c_str(), nullptr, nullptr, nullptr);
  bool changed = what == "nothing" || sqlite3_total_changes(db) > 0;
  sqlite3_close(db);
  if (rc != SQLITE_OK || !changed) throw std::runtime_error("the damage was not done: " + what);
}

}  // namespace trama::test
