// SPDX-License-Identifier: GPL-2.0-or-later
// Where resources live in the API's URL space.
#pragma once

#include <string>
#include <string_view>

#include "base/result.h"
#include "control/api/object.h"

namespace trama::client {

// "pods" -> "/api/v1", "endpointslices" -> "/apis/discovery.k8s.io/v1"; "" for a resource that trama does not know.
std::string group_path(std::string_view resource);
// "/api/v1/pods", "/api/v1/namespaces/default/pods"
std::string collection_path(std::string_view resource, std::string_view ns = "");
// "/api/v1/namespaces/default/pods/web-1", with "/status" and the like appended when `subresource` is given.
std::string object_path(const api::Key& key, std::string_view subresource = "");

}  // namespace trama::client
