// SPDX-License-Identifier: GPL-2.0-or-later
// Keeps established connections to Services alive while somebody else has deleted the tables.
#pragma once

#include "base/nft/session.h"

namespace trama::servicelb {

// The kernel translates packets of established connections, whatever the rules, as long as the namespace has any nat
// chain and any rule that looks at conntrack. When the last of them goes, as by `nft flush ruleset`, translation stops
// at once: the node refuses what comes to its node ports, and clients refuse answers from pods they have never heard
// of, so that connections are reset before the tables can be back. This is a table with one such chain, which decides
// nothing. It belongs to a socket (NFT_TABLE_F_OWNER, Linux 5.12): nobody else can delete it, `nft flush ruleset`
// passes it over, and it is gone with the socket. The price: `nft -f` refuses a saved ruleset that contains it.
class TranslationHold {
 public:
  static constexpr const char* kTable = "trama-hold";
  // In the namespace of the calling thread. Another agent's hold there is EPERM, an old kernel EOPNOTSUPP or EINVAL.
  static base::Result<TranslationHold> open();

 private:
  explicit TranslationHold(nft::Session session) : session_(std::move(session)) {}
  nft::Session session_;
};

}  // namespace trama::servicelb
