// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include <functional>

#include "control/store/store.h"

namespace trama::control {

// A store whose every write also looks at a condition, inside its transaction: what the loops of a leader get. A leader
// that was paused and has been replaced meanwhile writes nothing, however late its writes arrive: what the condition
// read is compared by the commit like everything else.
class FencedStore final : public store::Store {
 public:
  // An answer refuses the write.
  using Fence = std::function<std::optional<api::Status>(const store::Transaction&)>;
  FencedStore(store::Store& store, Fence fence) : store_(store), fence_(std::move(fence)) {}

  api::ObjectPtr get(const api::Key& key) const override { return store_.get(key); }
  std::vector<api::ObjectPtr> list(const std::string& resource, const std::string& ns) const override {
    return store_.list(resource, ns);
  }
  std::uint64_t revision() const override { return store_.revision(); }
  store::awaitable<api::Answer<std::uint64_t>> current() override { return store_.current(); }
  store::awaitable<bool> reached(std::uint64_t revision, std::chrono::milliseconds limit) override {
    return store_.reached(revision, limit);
  }
  void observe(const std::string& resource, std::function<void(const store::Event&)> seen) override {
    store_.observe(resource, std::move(seen));
  }
  store::awaitable<api::Answer<api::ObjectPtr>> write(store::Decision decide) override {
    store::Decision fenced = [this, decide = std::move(decide)](store::Transaction& tx) -> api::Answer<api::ObjectPtr> {
      if (auto refused = fence_(tx)) return *refused;
      return decide(tx);
    };
    return store_.write(std::move(fenced));
  }
  api::Answer<std::unique_ptr<store::Watch>> watch(const std::string& resource, std::uint64_t after) override {
    return store_.watch(resource, after);
  }
  store::awaitable<void> maintain() override { return store_.maintain(); }
  std::string metrics() const override { return store_.metrics(); }
  store::awaitable<void> close() override { return store_.close(); }

 private:
  store::Store& store_;
  Fence fence_;
};

}  // namespace trama::control
