// SPDX-License-Identifier: GPL-2.0-or-later
// Which node is asked about a Service, and where its page is.
#pragma once

#include <string>

#include "base/result.h"
#include "cli/api.h"

namespace trama::cli {

// `wanted` itself, or else the first node that is Ready; ENOENT when there is none.
base::Result<std::string> node_to_ask(Api& api, const std::string& wanted);
std::string service_page_path(const std::string& node, const std::string& ns, const std::string& name);

}  // namespace trama::cli
