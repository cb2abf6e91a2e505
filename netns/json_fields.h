// SPDX-License-Identifier: GPL-2.0-or-later
// Reading our own small JSON files strictly: the first field of the wrong kind is remembered as one sentence.
#pragma once

#include <cstdint>
#include <limits>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <boost/json/object.hpp>
#include <boost/json/value.hpp>

#include "base/result.h"

namespace trama::netns {

// Parses one object, at most 16 levels deep and 1 MiB long; `what` names the file in errors.
base::Result<boost::json::object> parse_json_object(std::string_view text, std::string_view what);

// A cursor over one object. Absent fields keep the caller's default. failure() is set by the first bad field; reading
// on after it is harmless.
class JsonFields {
 public:
  explicit JsonFields(const boost::json::object& object, std::string where)
      : object_(object), where_(std::move(where)) {}

  void read(std::string_view key, std::string& out);
  void read(std::string_view key, bool& out);
  void read(std::string_view key, std::vector<std::string>& out);
  void read(std::string_view key, std::map<std::string, std::string>& out);
  template <class Integer>
  requires std::is_integral_v<Integer>
  void read(std::string_view key, Integer& out) {
    if (auto n = integer(key, static_cast<std::int64_t>(std::numeric_limits<Integer>::min()),
                         sizeof(Integer) >= 8 ? std::numeric_limits<std::int64_t>::max()
                                              : static_cast<std::int64_t>(std::numeric_limits<Integer>::max())))
      out = static_cast<Integer>(*n);
  }
  // The value must be one of `names`; out becomes its index.
  void read_one_of(std::string_view key, const std::vector<std::string_view>& names, int& out);
  // nullptr when absent.
  const boost::json::object* object(std::string_view key);
  const boost::json::array* array(std::string_view key);
  // Notes a failure from elsewhere.
  void fail(std::string_view key, std::string_view expected);
  base::Result<> result() const;
  const std::string& where() const { return where_; }

 private:
  std::optional<std::int64_t> integer(std::string_view key, std::int64_t least, std::int64_t most);
  const boost::json::value* find(std::string_view key) const { return object_.if_contains(key); }

  const boost::json::object& object_;
  std::string where_;
  std::optional<base::Error> failure_;
};

}  // namespace trama::netns
