// SPDX-License-Identifier: GPL-2.0-or-later
// The nft program of this machine, which others use to look at what we made.
#pragma once

#include <string>
#include <string_view>

namespace trama::agent {

// What `nft --version` says; "" when there is none. Starts a program: some milliseconds.
std::string nft_version();

// Whether that nft lists tables with an owner as they are. Before 1.1.0 it does so as text, but `nft -j list ruleset`
// has whatever stands at a wrong address for the name of the flag, or nothing at all, with exit code 0 (nftables,
// "json: fix use after free in table_flags_json()"). No nft harms nobody.
bool lists_owned_tables(std::string_view version);

}  // namespace trama::agent
