// SPDX-License-Identifier: GPL-2.0-or-later
#include "control/etcd/wire.h"

#include <array>
#include <charconv>

#include "control/api/base64.h"

namespace trama::etcd {

using api::base64;
using base::Error;
using base::Result;

namespace {

constexpr std::size_t kNested = 60;

Result<json::object> parse(std::string_view text) {
  boost::system::error_code ec;
  auto parsed = json::parse({text.data(), text.size()}, ec);
  if (ec) return Error::text(fmt::format("etcd's answer is not JSON: {}", ec.message()), std::errc::protocol_error);
  if (!parsed.is_object()) return Error::text("etcd's answer is not a JSON object", std::errc::protocol_error);
  return std::move(parsed.get_object());
}

// A 64-bit number, which may be a string or a number; absent is 0.
Result<std::uint64_t> number(const json::object& in, std::string_view name) {
  const auto* v = in.if_contains(name);
  if (v == nullptr) return std::uint64_t{0};
  if (v->is_int64() && v->get_int64() >= 0) return static_cast<std::uint64_t>(v->get_int64());
  if (v->is_uint64()) return v->get_uint64();
  std::uint64_t out = 0;
  if (v->is_string()) {
    std::string_view text = v->get_string();
    auto [end, ec] = std::from_chars(text.data(), text.data() + text.size(), out);
    if (ec == std::errc() && end == text.data() + text.size() && !text.empty()) return out;
  }
  return Error::text(fmt::format("etcd's answer: {} is not a number", name), std::errc::protocol_error);
}

bool flag(const json::object& in, std::string_view name) {
  const auto* v = in.if_contains(name);
  return v != nullptr && v->is_bool() && v->get_bool();
}

Result<std::string> bytes(const json::object& in, std::string_view name) {
  const auto* v = in.if_contains(name);
  if (v == nullptr) return std::string();
  if (!v->is_string())
    return Error::text(fmt::format("etcd's answer: {} is not text", name), std::errc::protocol_error);
  return from_base64(v->get_string());
}

Result<KeyValue> key_value(const json::value& from) {
  if (!from.is_object()) return Error::text("etcd's answer: a key is not an object", std::errc::protocol_error);
  const auto& o = from.get_object();
  KeyValue out;
  auto key = bytes(o, "key"), value = bytes(o, "value");
  if (!key) return std::move(key).error();
  if (!value) return std::move(value).error();
  auto revision = number(o, "mod_revision");
  if (!revision) return std::move(revision).error();
  out.key = std::move(*key), out.value = std::move(*value), out.mod_revision = *revision;
  return out;
}

Result<std::vector<KeyValue>> key_values(const json::object& in) {
  std::vector<KeyValue> out;
  const auto* list = in.if_contains("kvs");
  if (list == nullptr) return out;
  if (!list->is_array()) return Error::text("etcd's answer: kvs is not a list", std::errc::protocol_error);
  for (const auto& v : list->get_array()) {
    auto item = key_value(v);
    if (!item) return std::move(item).error();
    out.push_back(std::move(*item));
  }
  return out;
}

Result<std::uint64_t> header_revision(const json::object& in) {
  const auto* header = in.if_contains("header");
  if (header == nullptr || !header->is_object())
    return Error::text("etcd's answer has no header", std::errc::protocol_error);
  return number(header->get_object(), "revision");
}

std::string text_of(const json::object& in, std::string_view name) {
  const auto* v = in.if_contains(name);
  return v != nullptr && v->is_string() ? std::string(v->get_string()) : "";
}

}  // namespace

Result<std::string> from_base64(std::string_view text) {
  static const auto kValues = [] {
    std::array<signed char, 256> t{};
    t.fill(-1);
    constexpr std::string_view kLetters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (std::size_t i = 0; i < kLetters.size(); ++i)
      t[static_cast<unsigned char>(kLetters[i])] = static_cast<signed char>(i);
    return t;
  }();
  auto bad = [] { return Error::text("etcd's answer: a key or value is not base64", std::errc::protocol_error); };
  if (text.size() % 4 != 0) return bad();
  std::size_t padding = text.ends_with("==") ? 2 : text.ends_with("=") ? 1 : 0;
  std::string out;
  out.reserve(text.size() / 4 * 3);
  std::uint32_t v = 0;
  for (std::size_t i = 0; i < text.size(); ++i) {
    auto six = i >= text.size() - padding ? 0 : kValues[static_cast<unsigned char>(text[i])];
    if (six < 0) return bad();
    v = v << 6 | static_cast<std::uint32_t>(six);
    if (i % 4 != 3) continue;
    for (int shift : {16, 8, 0}) out += static_cast<char>(v >> shift & 0xff);
    v = 0;
  }
  out.resize(out.size() - padding);
  return out;
}

Result<RangeAnswer> parse_range(std::string_view text) {
  auto parsed = parse(text);
  if (!parsed) return std::move(parsed).error();
  RangeAnswer out;
  auto revision = header_revision(*parsed);
  if (!revision) return std::move(revision).error();
  auto items = key_values(*parsed);
  if (!items) return std::move(items).error();
  out.revision = *revision, out.items = std::move(*items), out.more = flag(*parsed, "more");
  return out;
}

Result<TxnAnswer> parse_txn(std::string_view text) {
  auto parsed = parse(text);
  if (!parsed) return std::move(parsed).error();
  TxnAnswer out;
  auto revision = header_revision(*parsed);
  if (!revision) return std::move(revision).error();
  out.revision = *revision, out.succeeded = flag(*parsed, "succeeded");
  const auto* responses = parsed->if_contains("responses");
  if (responses == nullptr) return out;
  if (!responses->is_array()) return Error::text("etcd's answer: responses is not a list", std::errc::protocol_error);
  for (const auto& r : responses->get_array()) {
    const auto* range = r.is_object() ? r.get_object().if_contains("response_range") : nullptr;
    if (range == nullptr || !range->is_object()) continue;
    auto items = key_values(range->get_object());
    if (!items) return std::move(items).error();
    out.read.insert(out.read.end(), items->begin(), items->end());
  }
  return out;
}

Result<WatchAnswer> parse_watch(std::string_view line) {
  auto parsed = parse(line);
  if (!parsed) return std::move(parsed).error();
  WatchAnswer out;
  if (const auto* error = parsed->if_contains("error")) {  // the stream's own end
    out.canceled = true;
    out.reason = error->is_object() ? text_of(error->get_object(), "message") : json::serialize(*error);
    return out;
  }
  const auto* result = parsed->if_contains("result");
  if (result == nullptr || !result->is_object())
    return Error::text("etcd's watch: a line has no result", std::errc::protocol_error);
  const auto& r = result->get_object();
  if (auto revision = header_revision(r); !revision)
    return std::move(revision).error();
  else
    out.revision = *revision;
  out.created = flag(r, "created"), out.canceled = flag(r, "canceled");
  auto compacted = number(r, "compact_revision");
  if (!compacted) return std::move(compacted).error();
  out.compacted = *compacted;
  out.reason = text_of(r, "cancel_reason");
  const auto* events = r.if_contains("events");
  if (events == nullptr) return out;
  if (!events->is_array()) return Error::text("etcd's watch: events is not a list", std::errc::protocol_error);
  for (const auto& e : events->get_array()) {
    const auto* kv = e.is_object() ? e.get_object().if_contains("kv") : nullptr;
    if (kv == nullptr) return Error::text("etcd's watch: an event has no key", std::errc::protocol_error);
    auto item = key_value(*kv);
    if (!item) return std::move(item).error();
    out.events.push_back({text_of(e.get_object(), "type") == "DELETE", std::move(*item)});
  }
  return out;
}

Result<std::uint64_t> parse_revision(std::string_view text) {
  auto parsed = parse(text);
  if (!parsed) return std::move(parsed).error();
  return header_revision(*parsed);
}

Failure parse_failure(int http_status, std::string_view text) {
  Failure out;
  auto parsed = parse(text);
  auto message = parsed ? text_of(*parsed, "message") : "";
  if (parsed && message.empty()) message = text_of(*parsed, "error");
  if (message.empty()) {
    out.message = fmt::format("HTTP {}: {}", http_status, text.substr(0, 200));
    return out;
  }
  out.message = std::move(message);
  auto code = number(*parsed, "code");
  if (!code) return out;
  for (auto known : {Code::invalid, Code::exhausted, Code::out_of_range, Code::unavailable})
    if (*code == static_cast<std::uint64_t>(known)) out.code = known;
  return out;
}

std::string prefix_end(std::string prefix) {
  while (!prefix.empty() && static_cast<unsigned char>(prefix.back()) == 0xff) prefix.pop_back();
  if (!prefix.empty()) prefix.back() = static_cast<char>(static_cast<unsigned char>(prefix.back()) + 1);
  return prefix;
}

void Txn::expect_revision(std::string_view key, std::uint64_t mod_revision) {
  ++compares_;
  compare_ += fmt::format(R"({}{{"key":"{}","target":"MOD","result":"EQUAL","mod_revision":"{}"}})",
                          compare_.empty() ? "" : ",", base64(key), mod_revision);
}

void Txn::expect_older(std::string_view key, std::string_view range_end, std::uint64_t mod_revision) {
  ++compares_;
  compare_ += fmt::format(R"({}{{"key":"{}","range_end":"{}","target":"MOD","result":"LESS","mod_revision":"{}"}})",
                          compare_.empty() ? "" : ",", base64(key), base64(range_end), mod_revision);
}

void Txn::put(std::string_view key, std::string_view value) {
  bytes_ += key.size() + value.size();
  operations_.push_back(fmt::format(R"({{"request_put":{}}})", put_json(key, value)));
}

void Txn::erase(std::string_view key) {
  bytes_ += key.size();
  operations_.push_back(fmt::format(R"({{"request_delete_range":{}}})", erase_json(key)));
}

void Txn::otherwise_read(std::string_view key) {
  otherwise_ +=
      fmt::format(R"({}{{"request_range":{}}})", otherwise_.empty() ? "" : ",", range_json(key, "", 0, 0, true));
}

std::string Txn::to_json() const {
  std::string out = fmt::format(R"({{"compare":[{}],"success":[)", compare_);
  bool nested = operations_.size() > kNested;
  for (std::size_t i = 0; i < operations_.size(); ++i) {
    bool first = nested && i % kNested == 0;
    if (first) out += i == 0 ? R"({"request_txn":{"success":[)" : R"(]}},{"request_txn":{"success":[)";
    if (i > 0 && !first) out += ',';
    out += operations_[i];
  }
  if (nested) out += "]}}";
  out += fmt::format(R"(],"failure":[{}]}})", otherwise_);
  return out;
}

std::string range_json(std::string_view key, std::string_view range_end, std::uint64_t limit, std::uint64_t revision,
                       bool keys_only) {
  std::string out = fmt::format(R"({{"key":"{}")", base64(key));
  if (!range_end.empty()) out += fmt::format(R"(,"range_end":"{}")", base64(range_end));
  if (limit > 0) out += fmt::format(R"(,"limit":"{}")", limit);
  if (revision > 0) out += fmt::format(R"(,"revision":"{}")", revision);
  return out + (keys_only ? R"(,"keys_only":true})" : "}");
}

std::string put_json(std::string_view key, std::string_view value) {
  return fmt::format(R"({{"key":"{}","value":"{}"}})", base64(key), base64(value));
}

std::string erase_json(std::string_view key) { return fmt::format(R"({{"key":"{}"}})", base64(key)); }

std::string watch_json(std::string_view key, std::string_view range_end, std::uint64_t from) {
  return fmt::format(R"({{"create_request":{{"key":"{}","range_end":"{}","start_revision":"{}"}}}})", base64(key),
                     base64(range_end), from);
}

std::string compaction_json(std::uint64_t revision) { return fmt::format(R"({{"revision":"{}"}})", revision); }

}  // namespace trama::etcd
