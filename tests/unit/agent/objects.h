// SPDX-License-Identifier: GPL-2.0-or-later
// API objects for tests, written as JSON text.
#pragma once

#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "control/api/object.h"

namespace trama::agent {

// `resource` is the plural; namespace, name, resourceVersion (1 when absent) and labels come from the text.
inline api::ObjectPtr object_from(const std::string& resource, const std::string& text) {
  boost::system::error_code ec;
  auto value = boost::json::parse(text, ec);
  if (ec || !value.is_object()) {
    ADD_FAILURE() << "not a JSON object: " << text;
    return nullptr;
  }
  auto& body = value.get_object();
  std::uint64_t revision = 1;
  if (auto rv = api::text_at(body, "metadata.resourceVersion"); !rv.empty()) revision = std::stoull(rv);
  api::Key key{resource, api::text_at(body, "metadata.namespace"), api::text_at(body, "metadata.name")};
  return api::make_object(key, std::move(body), revision);
}

}  // namespace trama::agent
