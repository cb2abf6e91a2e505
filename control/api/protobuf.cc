// SPDX-License-Identifier: GPL-2.0-or-later
#include "control/api/protobuf.h"

#include <cctype>
#include <ctime>

#include <fmt/format.h>

#include "base/utf8.h"
#include "control/api/base64.h"
#include "control/api/json_text.h"
#include "control/api/schema.h"
#include "control/api/wire.h"

namespace trama::api {
namespace {

constexpr std::string_view kPrefix("k8s\0", 4);
constexpr int kDepth = kDeepestGiven;
constexpr std::size_t kValues = 1'000'000;  // a value costs two bytes on the wire and far more in memory

// JSON is UTF-8.
using base::to_utf8;

class Decoder {
 public:
  std::string failure;

  void message(std::string_view name, std::string_view bytes, json::object& into, bool whole, int depth) {
    if (depth > kDepth) return fail(fmt::format("the object nests deeper than {} levels", kDepth));
    WireReader in(bytes);
    while (auto tag = in.tag()) {
      const auto* field = wire_field(name, tag->number);
      if (!field && whole && tag->number == metadata_field().wire.number) field = &metadata_field();
      if (tag->type == WireType::end_group)
        in.fail(fmt::format("proto: {}: wiretype end group for non-group", name));
      else if (!field)
        in.skip(*tag);
      else
        value(*field, *tag, in, into, depth);
      if (!failure.empty()) return;
    }
    if (in.failed()) fail(in.error());
  }

 private:
  void fail(std::string why) {
    if (failure.empty()) failure = std::move(why);
  }

  // False when there are too many.
  bool count() {
    if (++values_ > kValues) fail("the object has too many values");
    return failure.empty();
  }

  static bool is(Tag tag, WireType wanted, const Field& f, WireReader& in) {
    if (tag.type == wanted) return true;
    std::string go(f.name);
    go[0] = static_cast<char>(std::toupper(static_cast<unsigned char>(go[0])));
    in.fail(fmt::format("proto: wrong wireType = {} for field {}", static_cast<unsigned>(tag.type), go));
    return false;
  }

  void value(const Field& f, Tag tag, WireReader& in, json::object& into, int depth) {
    if (!count()) return;
    switch (f.type) {
      case Type::integer:
      case Type::long_integer: {
        if (!is(tag, WireType::varint, f, in)) return;
        auto raw = in.varint();
        if (in.failed()) return;
        auto n = f.type == Type::integer ? static_cast<std::int32_t>(raw) : static_cast<std::int64_t>(raw);
        return set(f, into, n != 0, n);
      }
      case Type::boolean: {
        if (!is(tag, WireType::varint, f, in)) return;
        bool on = in.varint() != 0;
        if (in.failed()) return;
        return set(f, into, on, on);
      }
      case Type::long_integers: return integers(f, tag, in, into);
      default: break;
    }
    if (!is(tag, WireType::bytes, f, in)) return;
    auto bytes = in.bytes();
    if (!in.failed()) text_or_message(f, bytes, into, depth);
  }

  // Zero means unset, but where the table says otherwise.
  static void set(const Field& f, json::object& into, bool not_zero, json::value v) {
    if (not_zero || f.wire.zero_is_value)
      into[f.name] = std::move(v);
    else
      into.erase(f.name);
  }

  // One by one or packed: Go's decoder takes both.
  void integers(const Field& f, Tag tag, WireReader& in, json::object& into) {
    auto& list = array_in(into, f.name);
    if (tag.type == WireType::varint) {
      auto n = static_cast<std::int64_t>(in.varint());
      if (!in.failed()) list.emplace_back(n);
      return;
    }
    if (!is(tag, WireType::bytes, f, in)) return;
    auto packed = in.bytes();
    // Each number has exactly one byte without the continuation bit.
    std::size_t numbers = 0;
    for (char c : packed) numbers += static_cast<unsigned char>(c) < 0x80;
    WireReader items(packed);
    for (std::size_t i = 0; i < numbers && count(); ++i) {
      auto n = static_cast<std::int64_t>(items.varint());
      if (items.failed()) return fail(items.error());
      list.emplace_back(n);
    }
    if (!packed.empty() && static_cast<unsigned char>(packed.back()) >= 0x80) fail("unexpected EOF");
  }

  void text_or_message(const Field& f, std::string_view bytes, json::object& into, int depth) {
    switch (f.type) {
      case Type::text: return set(f, into, !bytes.empty(), json::value(to_utf8(bytes)));
      case Type::bytes: return set(f, into, !bytes.empty(), json::value(base64(bytes)));
      case Type::texts: array_in(into, f.name).emplace_back(to_utf8(bytes)); return;
      case Type::object: return message(f.of, bytes, object_in(into, f.name), false, depth + 1);
      case Type::inlined: return message(f.of, bytes, into, false, depth + 1);
      case Type::list: {
        json::object item;
        message(f.of, bytes, item, false, depth + 1);
        array_in(into, f.name).emplace_back(std::move(item));
        return;
      }
      case Type::number_or_text: into[f.name] = number_or_text(bytes); return;
      case Type::quantity: into[f.name] = quantity(bytes); return;
      case Type::time:
      case Type::micro_time: return time(f, bytes, into);
      case Type::map:
      case Type::quantities:
      case Type::bytes_map:
      case Type::text_lists: return entry(f, bytes, object_in(into, f.name));
      case Type::any: return raw_json(f, bytes, into, depth);
      default: return;
    }
  }

  static json::array& array_in(json::object& into, std::string_view name) {
    auto& v = into[name];
    if (!v.is_array()) v = json::array();
    return v.get_array();
  }
  static json::object& object_in(json::object& into, std::string_view name) {
    auto& v = into[name];
    if (!v.is_object()) v = json::object();
    return v.get_object();
  }

  // The bytes of field `number` of a small message whose other fields do not matter; the last one counts.
  std::string_view bytes_of(std::string_view message, unsigned number) {
    std::string_view out;
    WireReader in(message);
    while (auto tag = in.tag()) {
      if (tag->number == number && tag->type == WireType::bytes)
        out = in.bytes();
      else
        in.skip(*tag);
    }
    if (in.failed()) fail(in.error());
    return out;
  }

  json::value number_or_text(std::string_view bytes) {
    std::uint64_t type = 0;
    std::int32_t number = 0;
    std::string_view text;
    WireReader in(bytes);
    while (auto tag = in.tag()) {
      if (tag->number == 1 && tag->type == WireType::varint)
        type = in.varint();
      else if (tag->number == 2 && tag->type == WireType::varint)
        number = static_cast<std::int32_t>(in.varint());
      else if (tag->number == 3 && tag->type == WireType::bytes)
        text = in.bytes();
      else
        in.skip(*tag);
    }
    if (in.failed()) fail(in.error());
    if (type > 1) fail("impossible IntOrString.Type");
    if (type == 1) return json::value(to_utf8(text));
    return json::value(number);
  }

  json::value quantity(std::string_view bytes) {
    auto text = bytes_of(bytes, 1);
    return text.empty() ? json::value("0") : json::value(to_utf8(text));
  }

  // An empty message is Go's zero time, which means unset.
  void time(const Field& f, std::string_view bytes, json::object& into) {
    constexpr std::int64_t kFirst = -62'135'596'800, kLast = 253'402'300'799;  // years 1 to 9999
    std::int64_t seconds = 0, nanos = 0;
    WireReader in(bytes);
    while (auto tag = in.tag()) {
      if (tag->number == 1 && tag->type == WireType::varint)
        seconds = static_cast<std::int64_t>(in.varint());
      else if (tag->number == 2 && tag->type == WireType::varint)
        nanos = static_cast<std::int32_t>(in.varint());
      else
        in.skip(*tag);
    }
    if (in.failed()) return fail(in.error());
    if (nanos < 0 || nanos > 999'999'999 || seconds < kFirst || seconds > kLast)
      return fail(fmt::format("{}: {} seconds and {} nanoseconds are no time", f.name, seconds, nanos));
    if (bytes.empty() || (seconds == kFirst && nanos == 0)) {
      into.erase(f.name);
      return;
    }
    auto t = static_cast<std::time_t>(seconds);
    std::tm utc{};
    gmtime_r(&t, &utc);
    auto text = fmt::format("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}", utc.tm_year + 1900, utc.tm_mon + 1, utc.tm_mday,
                            utc.tm_hour, utc.tm_min, utc.tm_sec);
    if (f.type == Type::micro_time) text += fmt::format(".{:06}", nanos / 1000);
    into[f.name] = text + "Z";
  }

  void entry(const Field& f, std::string_view bytes, json::object& into) {
    auto key = to_utf8(bytes_of(bytes, 1));
    auto value = bytes_of(bytes, 2);
    if (!failure.empty()) return;
    if (f.type == Type::quantities)
      into[key] = quantity(value);
    else if (f.type == Type::bytes_map)
      into[key] = base64(value);
    else if (f.type == Type::map)
      into[key] = to_utf8(value);
    else
      into[key] = texts(value);
  }

  // A message whose field 1 is repeated text.
  json::array texts(std::string_view bytes) {
    json::array out;
    WireReader in(bytes);
    while (auto tag = in.tag()) {
      if (tag->number != 1 || tag->type != WireType::bytes) {
        in.skip(*tag);
        continue;
      }
      auto text = in.bytes();
      if (!count()) return out;
      if (!in.failed()) out.emplace_back(to_utf8(text));
    }
    if (in.failed()) fail(in.error());
    return out;
  }

  void raw_json(const Field& f, std::string_view bytes, json::object& into, int depth) {
    auto text = bytes_of(bytes, 1);
    if (!failure.empty() || text.empty()) return;
    boost::system::error_code ec;
    auto parsed = parse_json(text, ec, static_cast<std::size_t>(kDepth - std::min(depth, kDepth)));
    if (ec) return fail(fmt::format("{}: {}", f.name, ec.message()));
    into[f.name] = std::move(parsed);
  }

  std::size_t values_ = 0;
};

}  // namespace

Answer<Envelope> open_envelope(std::string_view body) {
  if (body.empty()) return Status::bad_request("empty data");
  if (!body.starts_with(kPrefix))
    return Status::bad_request(
        "provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]");
  body.remove_prefix(kPrefix.size());
  if (body.empty()) return Status::bad_request("empty body");
  Envelope out;
  WireReader in(body);
  while (auto tag = in.tag()) {
    if (tag->number == 2 && tag->type == WireType::bytes) {
      out.message = in.bytes();
    } else if (tag->number == 1 && tag->type == WireType::bytes) {
      WireReader meta(in.bytes());
      while (auto part = meta.tag()) {
        if (part->number <= 2 && part->type == WireType::bytes)
          (part->number == 1 ? out.api_version : out.kind) = to_utf8(meta.bytes());
        else
          meta.skip(*part);
      }
      if (meta.failed()) in.fail(meta.error());
    } else {
      in.skip(*tag);
    }
  }
  if (in.failed()) return Status::bad_request(in.error());
  return out;
}

Answer<json::object> decode_message(std::string_view message, std::string_view bytes) {
  Decoder decoder;
  json::object out;
  decoder.message(message, bytes, out, true, 1);
  if (!decoder.failure.empty()) return Status::bad_request(std::move(decoder.failure));
  return out;
}

}  // namespace trama::api
