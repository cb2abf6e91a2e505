// SPDX-License-Identifier: GPL-2.0-or-later
// Text that may hold an object, as JSON.
#pragma once

#include <string_view>

#include <boost/json.hpp>

namespace trama::api {

// How deep JSON may nest that somebody gives us, and that was accepted once: a list and an event add levels of their
// own.
inline constexpr std::size_t kDeepestGiven = 64, kDeepestKept = 256;

// Every text that may hold an object is read by this: the library's own limit, 32 levels, is less than an object may
// have.
inline boost::json::value parse_json(std::string_view text, boost::system::error_code& ec,
                                     std::size_t deepest = kDeepestKept) {
  boost::json::parse_options options;
  options.max_depth = deepest;
  return boost::json::parse({text.data(), text.size()}, ec, {}, options);
}

}  // namespace trama::api
