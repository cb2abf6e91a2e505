// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include <string>

#include <boost/json.hpp>

namespace trama::cli {

// Where `apply` keeps what it was last given, so that it can take away what is no longer wanted (kubectl's own name).
constexpr const char* kLastApplied = "kubectl.kubernetes.io/last-applied-configuration";

// `desired` as it is applied: with the annotation that remembers it.
boost::json::object with_last_applied(boost::json::object desired);

// The strategic merge patch that makes an object what `desired` says and takes away what `last_applied` said and
// `desired` no longer does. What neither mentions stays as it is.
boost::json::object apply_patch(const boost::json::object& desired, const boost::json::object& last_applied);

}  // namespace trama::cli
