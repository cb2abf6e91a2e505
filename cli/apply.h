// SPDX-License-Identifier: GPL-2.0-or-later
// Making the cluster what a manifest says: for `apply`, `create` and `lab up`.
#pragma once

#include <string>
#include <vector>

#include "cli/api.h"
#include "cli/manifest.h"
#include "cli/verbs/verbs.h"

namespace trama::cli {

enum class Outcome { created, configured, unchanged };
const char* to_text(Outcome o);

struct Applied {
  Outcome outcome = Outcome::created;
  json::object object;  // as the server has it now
  std::vector<std::string> warnings;
};

// Creates the object, or patches the existing one (see cli/patch.h). The server's complaints come back as an error with
// file and line. `fallback_ns` is for manifests that name no namespace.
base::Result<Applied> apply_one(Api& api, const Manifest& manifest, const std::string& fallback_ns,
                                DryRun dry_run = DryRun::none);

}  // namespace trama::cli
