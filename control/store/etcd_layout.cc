// SPDX-License-Identifier: GPL-2.0-or-later
#include "control/store/etcd_layout.h"

#include <charconv>

#include "control/api/json_text.h"

namespace trama::store {

using api::Key;
using api::ObjectPtr;
using base::Error;
using base::Result;

namespace {

std::optional<std::uint64_t> whole_number(std::string_view text) {
  std::uint64_t out = 0;
  auto [end, ec] = std::from_chars(text.data(), text.data() + text.size(), out);
  if (ec != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return out;
}

}  // namespace

std::string EtcdLayout::object(const Key& key) const {
  return prefix_ + "/o/" + key.resource + "/" + key.ns + "/" + key.name;
}

std::string EtcdLayout::objects(const std::string& resource, const std::string& ns) const {
  auto out = prefix_ + "/o/";
  if (!resource.empty()) out += resource + "/";
  if (!ns.empty()) out += ns + "/";
  return out;
}

std::string EtcdLayout::guard(const std::string& name) const {
  std::uint64_t hash = 14695981039346656037ULL;  // FNV-1a: the same on every controller
  for (unsigned char c : name) hash = (hash ^ c) * 1099511628211ULL;
  return fmt::format("{}/guard/{}", prefix_, hash % kGuards);
}

std::optional<Key> EtcdLayout::parse_object_key(std::string_view text) const {
  auto front = prefix_ + "/o/";
  if (!text.starts_with(front)) return std::nullopt;
  text.remove_prefix(front.size());
  auto a = text.find('/');
  auto b = a == std::string_view::npos ? a : text.find('/', a + 1);
  if (b == std::string_view::npos || a == 0 || b + 1 == text.size()) return std::nullopt;
  if (text.find('/', b + 1) != std::string_view::npos) return std::nullopt;
  return Key{std::string(text.substr(0, a)), std::string(text.substr(a + 1, b - a - 1)),
             std::string(text.substr(b + 1))};
}

std::string EtcdMeta::to_text() const {
  api::json::object o;
  o["format"] = 1;
  o["base"] = std::to_string(base);
  if (importing) o["importing"] = true;
  if (!cluster_uid.empty()) o["cluster_uid"] = cluster_uid;
  return api::json::serialize(o);
}

Result<EtcdMeta> EtcdMeta::parse(std::string_view text) {
  boost::system::error_code ec;
  auto v = api::json::parse({text.data(), text.size()}, ec);
  if (ec || !v.is_object()) return Error::text("it is not JSON");
  const auto& o = v.get_object();
  if (auto format = api::int_at(o, "format"); format != 1)
    return Error::text(fmt::format("its format is {}, which this version of trama does not know", format));
  auto base = whole_number(api::text_at(o, "base"));
  if (!base) return Error::text("its base is not a number");
  return EtcdMeta{*base, api::bool_at(o, "importing"), api::text_at(o, "cluster_uid")};
}

std::string encode_object(const Key& key, api::json::object body, std::uint64_t place) {
  return api::make_object(key, std::move(body), place)->text();
}

Result<ObjectPtr> decode_object(const Key& key, std::string_view value, std::uint64_t commit) {
  boost::system::error_code ec;
  auto parsed = api::parse_json(value, ec);
  if (ec || !parsed.is_object())
    return Error::text(
        fmt::format("{} in etcd is not an object's JSON; something other than trama has written it", key.to_string()));
  auto place = whole_number(api::text_at(parsed.get_object(), "metadata.resourceVersion"));
  if (!place || *place >= kRevisionsPerCommit)
    return Error::text(
        fmt::format("{} in etcd has no place in its transaction (metadata.resourceVersion); something "
                    "other than trama has written it",
                    key.to_string()));
  return api::make_object(key, std::move(parsed.get_object()), commit + *place);
}

}  // namespace trama::store
