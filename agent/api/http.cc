// SPDX-License-Identifier: GPL-2.0-or-later
#include "agent/api/http.h"

namespace trama::agent {
namespace {

int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

}  // namespace

std::string percent_decode(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (std::size_t i = 0; i < text.size(); ++i) {
    int high = text[i] == '%' && i + 2 < text.size() ? hex_digit(text[i + 1]) : -1;
    int low = high >= 0 ? hex_digit(text[i + 2]) : -1;
    if (low >= 0) {
      out += static_cast<char>(high * 16 + low);
      i += 2;
    } else {
      out += text[i];
    }
  }
  return out;
}

std::map<std::string, std::vector<std::string>> parse_query(std::string_view query) {
  std::map<std::string, std::vector<std::string>> out;
  auto decode = [](std::string_view part) {
    std::string plain(part);
    for (char& c : plain)
      if (c == '+') c = ' ';
    return percent_decode(plain);
  };
  while (!query.empty()) {
    auto end = std::min(query.find('&'), query.size());
    auto item = query.substr(0, end);
    query.remove_prefix(std::min(end + 1, query.size()));
    if (item.empty()) continue;
    auto equals = std::min(item.find('='), item.size());
    auto value = equals < item.size() ? item.substr(equals + 1) : std::string_view();
    out[decode(item.substr(0, equals))].push_back(decode(value));
  }
  return out;
}

std::string HttpRequest::parameter(const std::string& name) const {
  auto it = query.find(name);
  return it == query.end() || it->second.empty() ? "" : it->second.front();
}

bool HttpRequest::flag(const std::string& name) const {
  auto value = parameter(name);
  return value == "1" || value == "true";
}

}  // namespace trama::agent
