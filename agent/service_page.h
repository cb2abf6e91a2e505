// SPDX-License-Identifier: GPL-2.0-or-later
// /debug/service and /debug/nft: what this node has programmed for one Service. Pure.
#pragma once

#include <functional>
#include <optional>
#include <string>

#include <boost/json.hpp>

#include "base/async/event.h"
#include "base/result.h"
#include "servicelb/inspect.h"

namespace trama::agent {

// Who knows what is in the kernel. Nothing: this Service is not programmed here.
using DescribeService =
    std::function<async::awaitable<base::Result<std::optional<servicelb::ServiceView>>>(servicelb::ServiceKey)>;

// The view of what was told, without anything of the kernel: no ids, marks, slots and elements.
servicelb::ServiceView told_view(const servicelb::Service& service, const std::string& node);

// What is known about the kernel, with the failures of both; what was told where nothing is, or an error.
servicelb::ServiceView best_view(servicelb::ServiceView told,
                                 base::Result<std::optional<servicelb::ServiceView>> described);

// {"namespace", "name", "node", "programmed", "algorithm", "affinitySeconds", "internalPolicy", "externalPolicy",
//  "failures": [], "ports": [{"name", "protocol", "port", "id", "conntrackMark": "0x3000/0xfffff000", "chain",
//  "endpointsMap", "affinityEntries", "fronts": [{"kind", "address", "port", "mark", "table", "map", "key"}],
//  "endpoints": [{"address", "port", "pod", "node", "weight", "ready", "serving", "terminating", "local", "slots",
//  "connections"}]}]}. What is not known is absent.
boost::json::object service_page(const servicelb::ServiceView& view, const std::string& node);
// One command a line; comments say what is missing.
std::string nft_page(const servicelb::ServiceView& view);

}  // namespace trama::agent
