// SPDX-License-Identifier: GPL-2.0-or-later
// What `lab up` shows while it works: one line per stage on stderr; a line that moves only where a person watches.
#pragma once

#include <chrono>
#include <string>
#include <vector>

#include <boost/json.hpp>

namespace trama::cli {

class Screen {
 public:
  // quiet: nothing is shown; the report is all there is.
  Screen(bool quiet, bool timings);
  ~Screen() { stop(); }
  Screen(const Screen&) = delete;
  Screen& operator=(const Screen&) = delete;

  void progress(const std::string& stage, const std::string& text);
  // The stage has ended: its last text becomes a line that stays.
  void done(const std::string& stage);
  void warn(const std::string& text);
  // Ends a line that is still moving.
  void stop();
  double seconds() const;
  // {"stages": [{"name": "network", "milliseconds": 12.3, "at": 15.1}, …], "milliseconds": …}
  boost::json::value report() const;

 private:
  using Clock = std::chrono::steady_clock;
  struct Stage {
    std::string name;
    double took_ms = 0, at_ms = 0;
  };
  bool quiet_, timings_, moving_;
  Clock::time_point begin_, last_;
  std::string stage_, text_;
  bool open_ = false;  // an unfinished line is on the screen
  std::vector<Stage> stages_;
};

}  // namespace trama::cli
