// SPDX-License-Identifier: GPL-2.0-or-later
#include "cli/terminal.h"

#include <cstdlib>

#include <sys/ioctl.h>
#include <unistd.h>

namespace trama::cli {

bool is_terminal(int fd) { return isatty(fd) == 1; }

bool use_colour(int fd) {
  auto set = [](const char* name) {
    const char* v = std::getenv(name);
    return v && *v;
  };
  if (set("FORCE_COLOR")) return true;
  if (set("NO_COLOR")) return false;
  const char* term = std::getenv("TERM");
  return is_terminal(fd) && term && std::string_view(term) != "dumb";
}

std::string paint(int fd, Colour colour, std::string_view text) {
  if (!use_colour(fd)) return std::string(text);
  constexpr const char* kCodes[] = {"32", "31", "33", "1", "2"};
  return fmt::format("\x1b[{}m{}\x1b[0m", kCodes[static_cast<int>(colour)], text);
}

WindowSize window_size(int fd) {
  winsize w{};
  if (ioctl(fd, TIOCGWINSZ, &w) < 0 || w.ws_col == 0) return {};
  return {w.ws_col, w.ws_row};
}

RawTerminal::RawTerminal(int fd) : fd_(fd) {
  if (!is_terminal(fd) || tcgetattr(fd, &saved_) < 0) return;
  termios raw = saved_;
  cfmakeraw(&raw);
  active_ = tcsetattr(fd, TCSANOW, &raw) == 0;
}

RawTerminal::~RawTerminal() {
  if (active_) tcsetattr(fd_, TCSANOW, &saved_);
}

}  // namespace trama::cli
