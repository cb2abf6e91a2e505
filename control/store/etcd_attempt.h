// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include <map>
#include <set>
#include <string>
#include <vector>

#include "control/etcd/wire.h"
#include "control/store/cache.h"
#include "control/store/etcd_layout.h"
#include "control/store/store.h"

namespace trama::store {

// Where the cache stands, in etcd's own revisions.
struct EtcdPosition {
  std::uint64_t applied = 0;                    // everything of ours up to it is in the cache
  std::uint64_t session = 0;                    // mod_revision of this controller's session
  std::map<std::string, std::uint64_t> guards;  // mod_revision by key
  std::uint64_t base = 0;
  std::uint64_t commit(std::uint64_t mod_revision) const { return (base + mod_revision) * kRevisionsPerCommit; }
};

// One run of a decision against the cache. It remembers what was looked at, so that the commit can compare it.
class EtcdAttempt final : public Transaction {
 public:
  EtcdAttempt(const Cache& cache, const EtcdPosition& at) : cache_(cache), at_(at) {}

  api::ObjectPtr get(const api::Key& key) const override;
  std::vector<api::ObjectPtr> list(const std::string& resource, const std::string& ns) const override;
  api::ObjectPtr put(const api::Key& key, api::json::object body) override;
  void erase(const api::Key& key) override;
  void guard(const std::string& name) override { guards_.insert(name); }

  bool writes() const { return !writes_.empty(); }
  // Keys of etcd that it writes; a second attempt that looks at one of them has to wait for it.
  std::set<std::string> written(const EtcdLayout& layout) const;
  bool looks_at(const std::set<std::string>& keys, const EtcdLayout& layout) const;
  // Compares everything that was looked at, and this controller's session; writes, and says so in the head.
  // An error when it is more than one transaction can hold.
  api::Answer<etcd::Txn> transaction(const EtcdLayout& layout, const std::string& session,
                                     const std::string& marker) const;
  // `put` as it is now stored, when it is one of the objects that were written.
  api::ObjectPtr committed(const api::ObjectPtr& put, std::uint64_t mod_revision) const;

 private:
  struct Write {
    api::ObjectPtr object;  // null = erase
  };
  void compare(etcd::Txn& txn, const EtcdLayout& layout) const;

  const Cache& cache_;
  const EtcdPosition& at_;
  mutable std::set<api::Key> reads_;
  mutable std::set<std::pair<std::string, std::string>> lists_;  // resource, namespace
  std::set<std::string> guards_;
  std::map<api::Key, Write> writes_;
  std::vector<api::Key> order_;  // of the last write to each key
};

}  // namespace trama::store
