// SPDX-License-Identifier: GPL-2.0-or-later
#include "cli/lab/screen.h"

#include <cstdio>

#include <fmt/format.h>
#include <unistd.h>

#include "cli/terminal.h"

namespace trama::cli {

namespace json = boost::json;

Screen::Screen(bool quiet, bool timings)
    : quiet_(quiet),
      timings_(timings),
      moving_(!quiet && use_colour(STDERR_FILENO)),
      begin_(Clock::now()),
      last_(begin_) {}

void Screen::progress(const std::string& stage, const std::string& text) {
  if (stage_ == stage && text_ == text) return;
  stage_ = stage;
  text_ = text;
  if (!moving_) return;
  fmt::print(stderr, "\r\x1b[K   {:<11} {}", stage, text);
  std::fflush(stderr);
  open_ = true;
}

void Screen::done(const std::string& stage) {
  auto now = Clock::now();
  auto ms = [](Clock::duration d) { return std::chrono::duration<double, std::milli>(d).count(); };
  Stage s{stage, ms(now - last_), ms(now - begin_)};
  last_ = now;
  stages_.push_back(s);
  if (quiet_) return;
  std::string time =
      timings_ ? fmt::format("  {:7.1f} ms   at {:7.1f} ms", s.took_ms, s.at_ms) : fmt::format("  {:.0f} ms", s.at_ms);
  fmt::print(stderr, "{}{} {:<11} {:<44}{}\n", moving_ ? "\r\x1b[K " : " ",
             paint(STDERR_FILENO, Colour::green, moving_ ? "✓" : "ok"), stage, stage_ == stage ? text_ : "",
             paint(STDERR_FILENO, Colour::dim, time));
  open_ = false;
}

void Screen::warn(const std::string& text) {
  stop();
  fmt::print(stderr, "warning: {}\n", text);
}

void Screen::stop() {
  if (open_) std::fputs("\n", stderr);
  open_ = false;
}

double Screen::seconds() const { return std::chrono::duration<double>(Clock::now() - begin_).count(); }

json::value Screen::report() const {
  json::array stages;
  for (const auto& s : stages_) {
    json::object o;
    o["name"] = s.name;
    o["milliseconds"] = s.took_ms;
    o["at"] = s.at_ms;
    stages.push_back(std::move(o));
  }
  json::object all;
  all["stages"] = std::move(stages);
  all["milliseconds"] = std::chrono::duration<double, std::milli>(Clock::now() - begin_).count();
  json::value v = std::move(all);
  return v;
}

}  // namespace trama::cli
