// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include <map>
#include <vector>

#include "control/store/cache.h"
#include "control/store/log.h"
#include "control/store/store.h"

namespace trama::store {

// The newest version of every object while a batch is being decided: committed state, earlier decisions, own writes.
class Draft final : public Transaction {
 public:
  Draft(const Objects& committed, std::uint64_t& counter) : committed_(committed), counter_(counter) {}

  api::ObjectPtr get(const api::Key& key) const override;
  std::vector<api::ObjectPtr> list(const std::string& resource, const std::string& ns) const override;
  api::ObjectPtr put(const api::Key& key, api::json::object body) override;
  void erase(const api::Key& key) override;
  void guard(const std::string&) override {}  // there is one writer: nobody else is in between

  // A decision succeeded: what it wrote is seen by the next ones.
  void keep();
  void drop();
  // Whether what the present decision wrote can go to a disk without room: nothing grows, except on its way to removal
  // (metadata.deletionTimestamp) and in memory.
  bool shrinks() const;
  const std::vector<Change>& kept() const { return kept_; }
  bool all_kept_shrink() const { return all_kept_shrink_; }

 private:
  const Objects& committed_;
  std::uint64_t& counter_;
  Objects batch_, own_;
  std::vector<Change> changes_, kept_;
  bool all_kept_shrink_ = true;
};

}  // namespace trama::store
