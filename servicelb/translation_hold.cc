// SPDX-License-Identifier: GPL-2.0-or-later
#include "servicelb/translation_hold.h"

namespace trama::servicelb {

base::Result<TranslationHold> TranslationHold::open() {
  auto session = nft::Session::open();
  if (!session) return std::move(session).error().in("hold translation");
  constexpr std::uint32_t kOwned = 2;  // NFT_TABLE_F_OWNER, which older headers do not have
  nft::Table table{nft::Family::inet, kTable,
                   "trama: established connections stay translated while other tables are flushed", kOwned};
  nft::Chain chain;
  chain.name = "prerouting", chain.comment = "decides nothing";
  chain.base = nft::Chain::Base{nft::ChainType::nat, nft::Hook::prerouting, 300, false};
  nft::Rule rule("ct status dnat accept");
  rule.add(nft::match_ct_status(nft::kCtStatusDnat)).add(nft::accept());
  nft::Batch batch;
  batch.put_table(table).put_chain(table, chain).add_rule(table, chain.name, rule);
  if (auto done = session->commit(batch); !done) return std::move(done).error().in("hold translation");
  return TranslationHold(std::move(*session));
}

}  // namespace trama::servicelb
