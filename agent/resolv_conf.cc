// SPDX-License-Identifier: GPL-2.0-or-later
#include "agent/resolv_conf.h"

#include <sstream>

namespace trama::agent {

ResolvConf read_resolv_conf(std::string_view text) {
  ResolvConf out;
  std::istringstream lines{std::string(text)};
  for (std::string line; std::getline(lines, line);) {
    std::istringstream words(line);
    std::string keyword, word;
    words >> keyword;
    while (words >> word) {
      if (keyword == "nameserver") {
        if (auto ip = base::Ip::parse(word)) out.nameservers.push_back(*ip);
        break;
      }
      if (keyword == "search" || keyword == "domain") out.searches.push_back(word);
      if (keyword == "options") out.options.push_back(word);
    }
  }
  return out;
}

}  // namespace trama::agent
