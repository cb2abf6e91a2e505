// SPDX-License-Identifier: GPL-2.0-or-later
#include "tests/contract/store/linearizable.h"

#include <algorithm>
#include <optional>
#include <set>

#include <fmt/format.h>

namespace trama::test {
namespace {

struct Register {
  std::uint64_t revision = 0, value = 0;  // revision 0 = nothing there
  std::uint64_t last = 0;                 // revision of the last write, deletions included
};

// What the register is after `o`, or nothing when it would have answered differently.
std::optional<Register> step(const Register& r, const Operation& o) {
  using enum Operation::Kind;
  bool there = r.revision != 0;
  if (o.kind == get) {
    bool same = o.revision == r.revision && (!there || o.value == r.value);
    return same ? std::optional(r) : std::nullopt;
  }
  bool takes = o.kind == put || (o.kind == create && !there) ||
               (o.kind == replace && there && r.revision == o.expected) || (o.kind == erase && there);
  if (takes != o.done) return std::nullopt;
  if (!o.done) return r;
  if (o.revision <= r.last) return std::nullopt;  // revisions only rise
  if (o.kind == erase) return Register{0, 0, o.revision};
  return Register{o.revision, o.value, o.revision};
}

class Search {
 public:
  explicit Search(std::vector<Operation> history) : ops_(std::move(history)), taken_(ops_.size(), '0') {
    std::sort(ops_.begin(), ops_.end(), [](const auto& a, const auto& b) { return a.called < b.called; });
  }
  bool from(const Register& r, std::size_t count, std::size_t first) {
    longest_ = std::max(longest_, count);
    if (count == ops_.size()) return true;
    while (taken_[first] == '1') ++first;
    if (!seen_.insert(fmt::format("{} {} {} {}", taken_.substr(first), first, r.revision, r.last)).second) return false;
    // The next one in the order must have been called before any of those left was answered.
    std::uint64_t end = UINT64_MAX;
    for (std::size_t i = first; i < ops_.size() && ops_[i].called < end; ++i)
      if (taken_[i] == '0') end = std::min(end, ops_[i].answered);
    for (std::size_t i = first; i < ops_.size() && ops_[i].called < end; ++i) {
      if (taken_[i] == '1') continue;
      auto next = step(r, ops_[i]);
      if (!next) continue;
      taken_[i] = '1';
      if (from(*next, count + 1, first)) return true;
      taken_[i] = '0';
    }
    return false;
  }
  std::size_t longest() const { return longest_; }

 private:
  std::vector<Operation> ops_;
  std::string taken_;
  std::set<std::string> seen_;
  std::size_t longest_ = 0;
};

}  // namespace

std::string not_linearizable(const std::vector<Operation>& history) {
  Search search(history);
  if (search.from(Register{}, 0, 0)) return "";
  return fmt::format("no order for {} operations; the longest attempt has {}", history.size(), search.longest());
}

}  // namespace trama::test
