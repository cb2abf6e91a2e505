// SPDX-License-Identifier: GPL-2.0-or-later
// Container output on disk, one line each in the CRI's format, in a bounded set of files:
//   2026-01-02T15:04:05.123456789Z stdout F the text
// F = the line is whole, P = it goes on in the next record (lines are cut at kLongestLogText bytes).
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"
#include "base/timestamp.h"
#include "base/unique_fd.h"
#include "netns/pod_spec.h"

namespace trama::netns {

constexpr std::size_t kLongestLogText = 16 * 1024;

enum class LogStream { out, err };

struct LogLine {
  base::Timestamp time;
  LogStream stream = LogStream::out;
  bool partial = false;
  std::string text;
  friend bool operator==(const LogLine&, const LogLine&) = default;
};
std::string format_log_line(const LogLine& line);             // with the newline
base::Result<LogLine> parse_log_line(std::string_view line);  // with or without the newline

// Cuts a byte stream into records. One per stream; pure.
class LogSplitter {
 public:
  explicit LogSplitter(LogStream stream) : stream_(stream) {}
  // Appends the records that `bytes` completes to `out`.
  void feed(std::string_view bytes, base::Timestamp now, std::string& out);
  // The end of the stream: what is pending becomes a whole line.
  void finish(base::Timestamp now, std::string& out);

 private:
  LogStream stream_;
  std::string pending_;
};

// Appends records to `path`; when the bound is reached path becomes path.1, path.1 becomes path.2, … and the oldest
// goes.
class LogWriter {
 public:
  // Takes up an existing file.
  static base::Result<LogWriter> open(std::string path, LogBounds bounds);
  // `records` are whole lines. A full disk loses them: the error is returned once, the next call tries again.
  base::Result<> append(std::string_view records);

 private:
  LogWriter(std::string path, LogBounds bounds) : path_(std::move(path)), bounds_(bounds) {}
  base::Result<> reopen();
  base::Result<> rotate();

  std::string path_;
  LogBounds bounds_;
  base::UniqueFd fd_;
  std::uint64_t size_ = 0;
};

struct LogQuery {
  std::optional<std::size_t> tail;       // only the last n lines of what exists now
  std::optional<base::Timestamp> since;  // only lines at or after this time
  std::uint64_t limit_bytes = 0;         // stop after this many bytes of text; 0 = no limit
};

// Reads a log across rotation, in bounded memory. To follow: call read() again whenever inotify or a timer says that
// the directory changed; lines appear exactly once unless more than the whole bound was written in between, in which
// case the gap is skipped and `lost()` says so.
class LogReader {
 public:
  // `path` need not exist yet.
  LogReader(std::string path, LogQuery query);
  // Gives up to `max_bytes` of file content to `sink`, line by line; returns false when there was nothing new.
  // The sink may return false to stop; reading resumes after that line.
  base::Result<bool> read(const std::function<bool(const LogLine&)>& sink, std::size_t max_bytes = 256 * 1024);
  bool lost() const { return lost_; }
  // limit_bytes was reached: there will be no more lines.
  bool ended() const { return ended_; }

 private:
  base::Result<> begin();
  base::Result<bool> advance();

  std::string path_;
  LogQuery query_;
  base::UniqueFd fd_;
  std::uint64_t inode_ = 0, offset_ = 0, sent_ = 0;
  std::string pending_;
  bool begun_ = false, lost_ = false, ended_ = false;
};

}  // namespace trama::netns
