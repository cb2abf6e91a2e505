// SPDX-License-Identifier: GPL-2.0-or-later
// Lines out of text that comes in pieces.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <utility>

namespace trama::base {

class LineBuffer {
 public:
  void add(std::string_view piece) { rest_ += piece; }
  // The next whole line without its end; empty ones are passed over. Nothing until more has come.
  std::optional<std::string> next() {
    for (;;) {
      auto end = rest_.find('\n', scanned_);
      if (end == std::string::npos) break;
      auto line = rest_.substr(0, end);
      rest_.erase(0, end + 1);
      scanned_ = 0;
      if (!line.empty()) return line;
    }
    scanned_ = rest_.size();
    return std::nullopt;
  }
  // How much has come and is not given out yet.
  std::size_t waiting() const { return rest_.size(); }
  // What has come and is not given out yet, whole lines or not.
  std::string take() {
    scanned_ = 0;
    return std::exchange(rest_, {});
  }

 private:
  std::string rest_;
  std::size_t scanned_ = 0;  // no line end before this offset of rest_
};

}  // namespace trama::base
