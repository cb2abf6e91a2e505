// SPDX-License-Identifier: GPL-2.0-or-later
// Who is a member of the cluster, when the controller cannot be asked. Pure.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "overlay/peers/wire.h"

namespace trama::overlay::peers {

// While the controller is heard, what it lists is all there is, and what peers say is passed over: a node that was
// deleted does not come back by hearsay. While it is not, peers may add nodes that the last list lacks; of two such
// entries the one with the greater revision of the Node counts. Members decide who may speak on 6783 (with a
// certificate, all the same) and where it is dialed; routes come from the controller alone.
class MemberTable {
 public:
  using Entries = std::map<std::string, Member>;

  // Returns what is new or lies elsewhere now. That a Node object has changed otherwise is no news.
  std::vector<Member> controller_says(const std::vector<Member>& all, bool heard_now);
  std::vector<Member> peer_says(const std::vector<Member>& some);

  const Entries& entries() const { return entries_; }
  // Known by hearsay only.
  bool hearsay(const std::string& node) const { return entries_.contains(node) && !listed_.contains(node); }
  std::vector<Member> all() const;

  static constexpr std::size_t kMost = 10'000;

 private:
  bool put(const Member& member);
  Entries entries_, listed_;
  bool controller_heard_ = false;
};

// A header "trama-members 1 count=<n> crc32c=<hex>", then "<name> <revision> <address>" lines.
std::string encode_file(const std::vector<Member>& members);
// A damaged file is an error that says what does not fit; a part of it is never returned.
base::Result<std::vector<Member>> parse_file(std::string_view text);

}  // namespace trama::overlay::peers
