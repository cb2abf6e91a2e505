// SPDX-License-Identifier: GPL-2.0-or-later
// A store in a directory of its own, with calls that wait for their answer.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "control/store/etcd_store.h"
#include "control/store/memory_store.h"
#include "tests/support/run_coroutine.h"

namespace trama::test {

class StoreRig {
 public:
  enum class Behind { null, sqlite, etcd };  // etcd: a prefix of its own in EtcdCluster::shared()
  explicit StoreRig(Behind behind, store::StoreOptions options = {});
  explicit StoreRig(bool durable, store::StoreOptions options = {})
      : StoreRig(durable ? Behind::sqlite : Behind::null, options) {}
  ~StoreRig();
  StoreRig(const StoreRig&) = delete;
  StoreRig& operator=(const StoreRig&) = delete;

  store::Store& store() { return *store_; }
  std::string path() const { return directory_ + "/store.db"; }
  static api::json::object body(const std::string& name, const std::string& data, const std::string& ns = "default");

  template <class T>
  T run(async::awaitable<T> task) {
    return run_coroutine(context_, std::move(task));
  }
  api::Answer<api::ObjectPtr> write(store::Decision decide);
  api::Answer<api::ObjectPtr> try_put(const std::string& resource, const std::string& name, const std::string& data,
                                      const std::string& ns = "default");
  // Fails the test by an exception when the write is refused.
  api::ObjectPtr put(const std::string& resource, const std::string& name, const std::string& data,
                     const std::string& ns = "default");
  void put_raw(const std::string& resource, const std::string& name, const std::string& nested);
  void erase(const std::string& resource, const std::string& name, const std::string& ns = "default");
  // At least `count` events, or those that came within `limit`.
  std::vector<store::Event> events(store::Watch& watch, std::size_t count,
                                   std::chrono::milliseconds limit = std::chrono::seconds(5));

  void close();
  void reopen();
  base::Result<> try_open();
  store::EtcdOptions etcd;      // of the next try_open()
  store::SqliteOptions sqlite;  // of the next try_open()
  // Size of the largest of the store's files.
  unsigned long largest_file() const;
  // Changes the row of pods/default/victim ("value", "revision", "name", "gone"), the meta rows ("meta", "meta gone"),
  // the tables ("all gone") or the history ("events gone") behind the store's back.
  void damage(const std::string& what);

 private:
  async::asio::io_context context_;
  store::StoreOptions options_;
  std::string directory_;
  Behind behind_;
  std::unique_ptr<store::Store> store_;
};

}  // namespace trama::test
