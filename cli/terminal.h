// SPDX-License-Identifier: GPL-2.0-or-later
// What the streams are connected to. Colour and animation only where a person watches.
#pragma once

#include <string>
#include <string_view>

#include <termios.h>

#include "base/result.h"

namespace trama::cli {

bool is_terminal(int fd);
// NO_COLOR, TERM=dumb and pipes mean plain text; FORCE_COLOR overrides all of them.
bool use_colour(int fd);

enum class Colour { green, red, yellow, bold, dim };
// `text`, wrapped in escape codes when colour is used on `fd`.
std::string paint(int fd, Colour colour, std::string_view text);

struct WindowSize {
  unsigned short columns = 80, rows = 24;
};
WindowSize window_size(int fd);

// Puts a terminal into raw mode for as long as it lives; does nothing for other descriptors.
class RawTerminal {
 public:
  explicit RawTerminal(int fd);
  ~RawTerminal();
  RawTerminal(const RawTerminal&) = delete;
  RawTerminal& operator=(const RawTerminal&) = delete;

 private:
  int fd_;
  bool active_ = false;
  termios saved_{};
};

}  // namespace trama::cli
