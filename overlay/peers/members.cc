// SPDX-License-Identifier: GPL-2.0-or-later
#include "overlay/peers/members.h"

#include <charconv>

#include "base/digest.h"

namespace trama::overlay::peers {

using base::Error;
using base::Result;

namespace {

constexpr std::string_view kFileMagic = "trama-members 1 ";

Error damaged(const char* what) { return Error::text(fmt::format("saved members: {}", what), std::errc::bad_message); }

std::string_view take_word(std::string_view& line) {
  auto end = std::min(line.find(' '), line.size());
  auto word = line.substr(0, end);
  line.remove_prefix(std::min(end + 1, line.size()));
  return word;
}

bool to_number(std::string_view text, std::uint64_t& out, int base = 10) {
  auto [end, ec] = std::from_chars(text.data(), text.data() + text.size(), out, base);
  return ec == std::errc{} && end == text.data() + text.size() && !text.empty();
}

}  // namespace

bool MemberTable::put(const Member& member) {
  auto found = entries_.find(member.node);
  if (found == entries_.end()) {
    if (entries_.size() >= kMost) return false;
    entries_.emplace(member.node, member);
    return true;
  }
  if (found->second.revision >= member.revision) return false;
  bool news = found->second.underlay != member.underlay;
  found->second = member;
  return news;
}

std::vector<Member> MemberTable::controller_says(const std::vector<Member>& all, bool heard_now) {
  controller_heard_ = heard_now;
  listed_.clear();
  for (const auto& m : all) listed_[m.node] = m;
  std::vector<Member> news;
  if (heard_now) std::erase_if(entries_, [&](const auto& e) { return !listed_.contains(e.first); });
  for (const auto& m : all) {
    auto found = entries_.find(m.node);
    bool known = found != entries_.end() && found->second.underlay == m.underlay;
    entries_[m.node] = m;
    if (!known) news.push_back(m);
  }
  return news;
}

std::vector<Member> MemberTable::peer_says(const std::vector<Member>& some) {
  std::vector<Member> news;
  if (controller_heard_) return news;
  for (const auto& m : some)
    if (!listed_.contains(m.node) && put(m)) news.push_back(m);
  return news;
}

std::vector<Member> MemberTable::all() const {
  std::vector<Member> out;
  for (const auto& [name, member] : entries_) out.push_back(member);
  return out;
}

std::string encode_file(const std::vector<Member>& members) {
  std::string body;
  for (const auto& m : members) body += fmt::format("{} {} {}\n", m.node, m.revision, m.underlay.to_string());
  return fmt::format("{}count={} crc32c={:08x}\n", kFileMagic, members.size(), base::crc32c(body)) + body;
}

Result<std::vector<Member>> parse_file(std::string_view text) {
  auto end = text.find('\n');
  if (end == text.npos || !text.starts_with(kFileMagic)) return damaged("not a list of members of this version");
  auto header = text.substr(kFileMagic.size(), end - kFileMagic.size());
  auto body = text.substr(end + 1);
  std::uint64_t count = 0, crc = 0;
  auto first = take_word(header), second = take_word(header);
  if (!first.starts_with("count=") || !to_number(first.substr(6), count) || !second.starts_with("crc32c=") ||
      !to_number(second.substr(7), crc, 16))
    return damaged("unreadable header");
  if (base::crc32c(body) != crc) return damaged("checksum does not match");
  std::vector<Member> out;
  while (!body.empty()) {
    auto stop = std::min(body.find('\n'), body.size());
    auto line = body.substr(0, stop);
    body.remove_prefix(std::min(stop + 1, body.size()));
    Member m;
    m.node = std::string(take_word(line));
    auto revision = take_word(line);
    auto address = Ip::parse(take_word(line));
    if (m.node.empty() || !to_number(revision, m.revision) || !address || !line.empty())
      return damaged("unreadable line");
    m.underlay = *address;
    out.push_back(std::move(m));
  }
  if (out.size() != count) return damaged("number of members does not match");
  return out;
}

}  // namespace trama::overlay::peers
