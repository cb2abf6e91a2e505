// SPDX-License-Identifier: GPL-2.0-or-later
// Where things are in etcd, and what a revision means there. Pure.
//
//   PREFIX/o/RESOURCE/NAMESPACE/NAME   an object: its JSON, with metadata.resourceVersion = its place in its
//   transaction PREFIX/head                        written by every transaction: who made it. Its mod_revision is the
//   store's revision PREFIX/gone/RESOURCE               written by every transaction that removes an object of RESOURCE
//   PREFIX/guard/N                     written by every transaction that guards a name which falls into N
//   PREFIX/session/ID                  one per running controller; every transaction of it compares its mod_revision
//   PREFIX/meta                        {"format":1,"base":…}; with "importing" while an import is unfinished
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"
#include "control/api/object.h"

namespace trama::store {

// etcd gives all writes of a transaction one revision. Here every write has its own, or a client that has seen half of
// a transaction could not resume behind that half: revision = (base + mod_revision) * 4096 + place in the transaction.
inline constexpr std::uint64_t kRevisionsPerCommit = 4096;
inline constexpr std::size_t kGuards = 1024;

class EtcdLayout {
 public:
  explicit EtcdLayout(std::string prefix) : prefix_(std::move(prefix)) {}
  const std::string& prefix() const { return prefix_; }
  std::string all() const { return prefix_ + "/"; }  // everything begins with it
  std::string object(const api::Key& key) const;
  std::string objects(const std::string& resource, const std::string& ns) const;  // a prefix; both may be empty
  std::string head() const { return prefix_ + "/head"; }
  std::string gone(const std::string& resource) const { return prefix_ + "/gone/" + resource; }
  std::string guard(const std::string& name) const;
  std::string guards() const { return prefix_ + "/guard/"; }  // a prefix
  std::string session(const std::string& id) const { return prefix_ + "/session/" + id; }
  std::string meta() const { return prefix_ + "/meta"; }
  // Nothing when it is not an object's key.
  std::optional<api::Key> parse_object_key(std::string_view key) const;

 private:
  std::string prefix_;
};

struct EtcdMeta {
  std::uint64_t base = 0;  // added to every mod_revision, since an import: revisions go on above what was before it
  bool importing = false;
  std::string cluster_uid;  // as a file has it that was imported; "" = it began in etcd
  std::string to_text() const;
  static base::Result<EtcdMeta> parse(std::string_view text);
};

// The stored text of an object, and back. `place` is the write's place in its transaction.
std::string encode_object(const api::Key& key, api::json::object body, std::uint64_t place);
// `commit` is the revision of place 0.
base::Result<api::ObjectPtr> decode_object(const api::Key& key, std::string_view value, std::uint64_t commit);

}  // namespace trama::store
