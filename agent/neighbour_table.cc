// SPDX-License-Identifier: GPL-2.0-or-later
#include "agent/neighbour_table.h"

#include <charconv>

#include "base/file.h"
#include "base/log.h"

namespace trama::agent {
namespace {

constexpr std::size_t kLargest = 1 << 20;

std::string_view take_word(std::string_view& line) {
  auto start = std::min(line.find_first_not_of(' '), line.size());
  line.remove_prefix(start);
  auto word = line.substr(0, line.find(' '));
  line.remove_prefix(word.size());
  return word;
}

std::string_view take_line(std::string_view& text) {
  auto line = text.substr(0, text.find('\n'));
  text.remove_prefix(std::min(line.size() + 1, text.size()));
  return line;
}

}  // namespace

std::optional<std::uint64_t> neighbour_drops(std::string_view text) {
  auto names = take_line(text);
  std::size_t column = 0;
  for (;; ++column) {
    auto name = take_word(names);
    if (name.empty()) return std::nullopt;
    if (name == "table_fulls") break;
  }
  std::uint64_t sum = 0;
  while (!text.empty()) {
    auto line = take_line(text);
    std::string_view word;
    for (std::size_t i = 0; i <= column; ++i) word = take_word(line);
    std::uint64_t n = 0;
    auto [end, ec] = std::from_chars(word.data(), word.data() + word.size(), n, 16);
    if (word.empty() || ec != std::errc{} || end != word.data() + word.size()) return std::nullopt;
    sum += n;
  }
  return sum;
}

std::string NeighbourTables::look(const std::string& proc) {
  struct Table {
    const char *file, *family, *knob;
  };
  constexpr Table kTables[] = {{"arp_cache", "IPv4", "net.ipv4.neigh.default.gc_thresh3"},
                               {"ndisc_cache", "IPv6", "net.ipv6.neigh.default.gc_thresh3"}};
  std::string out;
  for (std::size_t i = 0; i < 2; ++i) {
    auto text = base::read_file(proc + "/net/stat/" + kTables[i].file, kLargest);
    auto now = text ? neighbour_drops(*text) : std::nullopt;
    if (now && before_[i] && *now > *before_[i])
      out += fmt::format(
          "{}{} packets were dropped because the kernel's table of {} neighbours is full, which all namespaces of this "
          "machine share: raise {}",
          out.empty() ? "" : "; ", *now - *before_[i], kTables[i].family, kTables[i].knob);
    before_[i] = now;
  }
  return out;
}

}  // namespace trama::agent
