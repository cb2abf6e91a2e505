// SPDX-License-Identifier: GPL-2.0-or-later
// Reading and watching objects, as several verbs need it.
#pragma once

#include <chrono>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "base/result.h"
#include "cli/api.h"
#include "cli/kinds.h"

namespace trama::cli {

// All items of a collection, apiVersion and kind filled in. `query` is encoded.
base::Result<std::vector<json::object>> list_items(Api& api, const std::string& path, const std::string& query = "");

// The objects that references and a selector name, in order. A name that does not exist is an error.
base::Result<std::vector<json::object>> fetch(Api& api, const std::vector<Reference>& references, const std::string& ns,
                                              const std::string& selector = "");

// A collection as it is now, by "namespace/name" or "name".
using ObjectSet = std::map<std::string, json::object>;
// Follows a collection: `check` is called with all that is there, then after every change (`changed` is what came or
// changed; null at first and after a deletion), until it returns true. ETIMEDOUT at the deadline.
// A watch that ends or expires is begun again.
using Check = std::function<bool(const ObjectSet& now, const json::object* changed)>;
base::Result<> watch_until(Api& api, const std::string& path, const std::string& query, const Check& check,
                           std::chrono::steady_clock::time_point deadline);

// Waits until the object of that name is gone, or is another one (another uid).
base::Result<> wait_until_gone(Api& api, const Kind& kind, const std::string& ns, const std::string& name,
                               const std::string& uid, std::chrono::steady_clock::time_point deadline);

std::string joined_query(const std::vector<std::string>& parts);  // "?a=1&b=2", or ""

}  // namespace trama::cli
