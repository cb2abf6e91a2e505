// SPDX-License-Identifier: GPL-2.0-or-later
// What a log must hold after which commits, kept beside it.
#pragma once

#include <map>
#include <random>
#include <string>
#include <vector>

#include "control/store/log.h"

namespace trama::test {

struct ScratchDirectory {
  // In memory where there is a file system for that: what is proved in it does not depend on a disk.
  ScratchDirectory();
  ~ScratchDirectory();
  ScratchDirectory(const ScratchDirectory&) = delete;
  ScratchDirectory& operator=(const ScratchDirectory&) = delete;
  std::string path;
};

// How often a proof is repeated: `usual`, a fifth of it under a sanitizer, `at_length` with TRAMA_LONG in the
// environment.
int times(int usual, int at_length);

class LogModel {
 public:
  using Objects = std::map<api::Key, api::ObjectPtr>;
  explicit LogModel(unsigned seed) : random_(seed) {}
  struct Batch {
    std::vector<store::Change> changes;
    std::uint64_t reserved;
  };
  // A transaction of one to four writes: creations, changes, deletions; small and big objects, of both classes.
  Batch next();
  void acknowledged();  // the last batch is durable
  void refused();       // it has never happened; its revisions are used up
  // What is wrong with what was loaded; "" when it is the last acknowledged state, or, if a commit was under way, the
  // one after it.
  std::string check(const store::Loaded& loaded, bool under_way) const;
  const Objects& objects() const { return objects_; }
  const std::vector<store::Event>& events() const { return events_; }

 private:
  std::mt19937 random_;
  Objects objects_, next_objects_;
  std::vector<store::Event> events_, next_events_;
  std::uint64_t revision_ = 0, reserved_ = 0, next_reserved_ = 0;
};

// The same revision and the same text, for each of them.
std::string difference(const LogModel::Objects& wanted, const std::vector<api::ObjectPtr>& got);
// Every event of `got` is one of `wanted`, and none above `floor` is missing.
std::string difference(const std::vector<store::Event>& wanted, const std::vector<store::Event>& got,
                       std::uint64_t floor);

}  // namespace trama::test
