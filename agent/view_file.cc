// SPDX-License-Identifier: GPL-2.0-or-later
#include "agent/view_file.h"

#include <charconv>

#include "base/digest.h"
#include "base/file.h"
#include "control/api/json_text.h"

namespace trama::agent {
namespace {

constexpr std::size_t kLargestFile = std::size_t{1} << 30;

base::Error damaged(Kind kind, std::string_view why) {
  return base::Error::text(fmt::format("saved {}: {}", to_string(kind), why), std::errc::bad_message);
}

// Takes "<name>=<value>" and the blank after it from the front; "" when that is not what stands there.
std::string_view take_field(std::string_view& text, std::string_view name) {
  if (!text.starts_with(name) || text.size() <= name.size() || text[name.size()] != '=') return {};
  text.remove_prefix(name.size() + 1);
  auto end = std::min(text.find(' '), text.size());
  auto value = text.substr(0, end);
  text.remove_prefix(std::min(end + 1, text.size()));
  return value;
}

bool to_number(std::string_view text, std::uint64_t& out, int base = 10) {
  auto [end, ec] = std::from_chars(text.data(), text.data() + text.size(), out, base);
  return ec == std::errc{} && end == text.data() + text.size() && !text.empty();
}

}  // namespace

std::string encode_view(Kind kind, std::uint64_t revision, const std::vector<api::ObjectPtr>& objects) {
  std::string body;
  for (const auto& object : objects) {
    body += json::serialize(object->body);
    body += '\n';
  }
  auto header = fmt::format("trama-view 1 {} revision={} count={} crc32c={:08x}\n", to_string(kind), revision,
                            objects.size(), base::crc32c(body));
  return header + body;
}

base::Result<SavedKind> decode_view(Kind kind, std::string_view text) {
  auto end = text.find('\n');
  if (end == text.npos) return damaged(kind, "no header line");
  auto header = text.substr(0, end);
  auto body = text.substr(end + 1);
  auto magic = fmt::format("trama-view 1 {} ", to_string(kind));
  if (!header.starts_with(magic)) return damaged(kind, "not a view of this kind and version");
  header.remove_prefix(magic.size());
  SavedKind saved;
  std::uint64_t count = 0, crc = 0;
  if (!to_number(take_field(header, "revision"), saved.revision) || !to_number(take_field(header, "count"), count) ||
      !to_number(take_field(header, "crc32c"), crc, 16))
    return damaged(kind, "unreadable header");
  if (base::crc32c(body) != crc) return damaged(kind, "checksum does not match");
  while (!body.empty()) {
    auto stop = std::min(body.find('\n'), body.size());
    auto line = body.substr(0, stop);
    body.remove_prefix(std::min(stop + 1, body.size()));
    boost::system::error_code ec;
    auto value = api::parse_json(line, ec);
    if (ec || !value.is_object()) return damaged(kind, "a line is not a JSON object");
    auto& object = value.get_object();
    api::Key key{to_string(kind), api::text_at(object, "metadata.namespace"), api::text_at(object, "metadata.name")};
    if (key.name.empty()) return damaged(kind, "an object has no name");
    std::uint64_t revision = 0;
    if (!to_number(api::text_at(object, "metadata.resourceVersion"), revision))
      return damaged(kind, "an object has no revision");
    saved.objects.push_back(api::make_object(std::move(key), std::move(object), revision));
  }
  if (saved.objects.size() != count) return damaged(kind, "number of objects does not match");
  return saved;
}

std::string view_path(const std::string& dir, Kind kind) { return fmt::format("{}/{}.view", dir, to_string(kind)); }

base::Result<> save_view(const std::string& dir, Kind kind, std::uint64_t revision,
                         const std::vector<api::ObjectPtr>& objects) {
  if (auto made = base::make_directories(dir, 0700); !made) return made;
  return base::write_file_atomic(view_path(dir, kind), encode_view(kind, revision, objects), 0600);
}

base::Result<SavedKind> load_view(const std::string& dir, Kind kind) {
  auto text = base::read_file(view_path(dir, kind), kLargestFile);
  if (!text) return text.error();
  return decode_view(kind, *text);
}

}  // namespace trama::agent
