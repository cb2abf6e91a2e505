// SPDX-License-Identifier: GPL-2.0-or-later
#include "netns/json_fields.h"

#include <algorithm>

#include <boost/json/parse.hpp>

namespace trama::netns {
namespace json = boost::json;
using base::Error;
using base::Result;

Result<json::object> parse_json_object(std::string_view text, std::string_view what) {
  if (text.size() > 1 << 20) return Error::text(fmt::format("{} is longer than 1 MiB", what));
  boost::system::error_code error;
  json::parse_options options;
  options.max_depth = 16;
  json::value value = json::parse(text, error, {}, options);
  if (error) return Error::text(fmt::format("{} is not valid JSON: {}", what, error.message()));
  if (!value.is_object()) return Error::text(fmt::format("{}: expected an object", what));
  return std::move(value.get_object());
}

void JsonFields::fail(std::string_view key, std::string_view expected) {
  if (!failure_) failure_ = Error::text(fmt::format("{}.{}: expected {}", where_, key, expected));
}

Result<> JsonFields::result() const {
  if (failure_) return *failure_;
  return {};
}

void JsonFields::read(std::string_view key, std::string& out) {
  const json::value* v = find(key);
  if (!v) return;
  if (!v->is_string()) return fail(key, "a string");
  out = std::string_view(v->get_string());
}

void JsonFields::read(std::string_view key, bool& out) {
  const json::value* v = find(key);
  if (!v) return;
  if (!v->is_bool()) return fail(key, "true or false");
  out = v->get_bool();
}

void JsonFields::read(std::string_view key, std::vector<std::string>& out) {
  const json::value* v = find(key);
  if (!v) return;
  if (!v->is_array()) return fail(key, "a list of strings");
  out.clear();
  for (const json::value& item : v->get_array()) {
    if (!item.is_string()) return fail(key, "a list of strings");
    out.emplace_back(std::string_view(item.get_string()));
  }
}

void JsonFields::read(std::string_view key, std::map<std::string, std::string>& out) {
  const json::value* v = find(key);
  if (!v) return;
  if (!v->is_object()) return fail(key, "an object of strings");
  out.clear();
  for (const auto& item : v->get_object()) {
    if (!item.value().is_string()) return fail(key, "an object of strings");
    out[std::string(item.key())] = std::string_view(item.value().get_string());
  }
}

std::optional<std::int64_t> JsonFields::integer(std::string_view key, std::int64_t least, std::int64_t most) {
  const json::value* v = find(key);
  if (!v) return std::nullopt;
  if (v->is_int64() && v->get_int64() >= least && v->get_int64() <= most) return v->get_int64();
  fail(key, fmt::format("a whole number from {} to {}", least, most));
  return std::nullopt;
}

void JsonFields::read_one_of(std::string_view key, const std::vector<std::string_view>& names, int& out) {
  std::string text;
  if (!find(key)) return;
  read(key, text);
  auto at = std::find(names.begin(), names.end(), text);
  if (at == names.end()) return fail(key, fmt::format("one of {}", fmt::join(names, ", ")));
  out = static_cast<int>(at - names.begin());
}

const json::object* JsonFields::object(std::string_view key) {
  const json::value* v = find(key);
  if (!v) return nullptr;
  if (!v->is_object()) fail(key, "an object");
  return v->if_object();
}

const json::array* JsonFields::array(std::string_view key) {
  const json::value* v = find(key);
  if (!v) return nullptr;
  if (!v->is_array()) fail(key, "a list");
  return v->if_array();
}

}  // namespace trama::netns
