// SPDX-License-Identifier: GPL-2.0-or-later
// Join tokens from the administrator's side. The secret half is made here and never sent; the API keeps its hash.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

#include "base/result.h"
#include "cli/api.h"
#include "cli/globals.h"

namespace trama::cli {

struct TokenOptions {
  std::chrono::seconds lifetime{24 * 3600};
  std::int64_t uses = 1;  // how many nodes may join with it
  std::string node;       // "" = any
  std::string description;
  std::string output = "string";  // or "command"
};
// Makes a token in the cluster and returns the join string for `trama agent --join`.
base::Result<std::string> create_token(Api& api, const std::string& ca_pem, const TokenOptions& options);

int token_create(const Globals& globals, const TokenOptions& options);
int token_list(const Globals& globals);
int token_delete(const Globals& globals, const std::vector<std::string>& ids);

}  // namespace trama::cli
