// SPDX-License-Identifier: GPL-2.0-or-later
// What a lab's links shall do now, and until when. Pure; it is kept as JSON beside the lab's record, so that a service
// that starts again goes on where the last one was. Times are of the clock that does not stop (CLOCK_BOOTTIME).
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "cli/links/model.h"

namespace trama::cli {

// How something on a link came about, and when it ends by itself.
struct Term {
  Nanoseconds since{0};
  std::optional<Nanoseconds> until;
  bool of_file = false;  // the Lab document says so
  friend bool operator==(const Term&, const Term&) = default;
};

struct LinkRule {
  LinkKey key;
  Match only;
  std::optional<Impairment> shape;
  Term shape_term;
  std::optional<Cut> cut;
  Term cut_term;
  friend bool operator==(const LinkRule&, const LinkRule&) = default;
};

// One thing that somebody wants of the links.
struct LinkChange {
  enum class What { set, cut, mend, clear, file } what = What::set;
  std::vector<LinkKey> keys;  // clear: none = all links
  Match only;
  Impairment shape;                    // set
  Cut cut_how;                         // cut
  std::optional<Nanoseconds> lasting;  // set, cut
  std::vector<LinkSpec> specs;         // file: what the document says of all links
};
json::object to_json(const LinkChange& change);
base::Result<LinkChange> parse_change(const json::object& o);

class LinkState {
 public:
  explicit LinkState(std::uint64_t seed = 1) : seed_(seed) {}

  // set: replaces what the links' rule did to frames. cut, mend: pull the cable, put it back; the rest stays. clear:
  // everything of these links, whatever `only` it has. file: what another document said goes, what was set by hand
  // stays; where both speak of one rule the document wins.
  // ENOENT for mending or clearing what is not there.
  base::Result<> apply(const LinkChange& change, Nanoseconds now);
  // Drops what has come to its end.
  bool expire(Nanoseconds now);
  // When something changes by itself: an end, or a flapping link turns.
  std::optional<Nanoseconds> next(Nanoseconds now) const;

  const std::vector<LinkRule>& rules() const { return rules_; }  // by key, the most specific first
  std::uint64_t seed() const { return seed_; }
  void seed(std::uint64_t value) { seed_ = value; }

  std::string to_json_text() const;
  static base::Result<LinkState> parse(std::string_view text);

 private:
  LinkRule& at(const LinkKey& key, const Match& only);
  void tidy();

  std::vector<LinkRule> rules_;
  std::uint64_t seed_;
};

}  // namespace trama::cli
