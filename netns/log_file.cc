// SPDX-License-Identifier: GPL-2.0-or-later
#include "netns/log_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

namespace trama::netns {
using base::Error;
using base::Result;

namespace {
constexpr std::string_view kStreamNames[] = {"stdout", "stderr"};

void append_record(std::string& out, std::string_view time, LogStream stream, bool partial, std::string_view text) {
  out.append(time).append(" ").append(kStreamNames[static_cast<int>(stream)]);
  out.append(partial ? " P " : " F ").append(text).append("\n");
}
}  // namespace

std::string format_log_line(const LogLine& line) {
  std::string out;
  append_record(out, base::format_timestamp(line.time), line.stream, line.partial, line.text);
  return out;
}

Result<LogLine> parse_log_line(std::string_view line) {
  if (line.ends_with('\n')) line.remove_suffix(1);
  auto word = [&]() -> std::string_view {
    std::size_t space = line.find(' ');
    if (space == std::string_view::npos) return {};
    std::string_view w = line.substr(0, space);
    line.remove_prefix(space + 1);
    return w;
  };
  LogLine out;
  auto time = base::parse_timestamp(word());
  if (!time) return std::move(time).error().in("log line");
  out.time = *time;
  std::string_view stream = word();
  if (stream != kStreamNames[0] && stream != kStreamNames[1])
    return Error::text("log line: the second word is neither stdout nor stderr");
  out.stream = stream == kStreamNames[0] ? LogStream::out : LogStream::err;
  std::string_view tag = word();
  if (tag != "F" && tag != "P") return Error::text("log line: the third word is neither F nor P");
  out.partial = tag == "P";
  out.text = line;
  return out;
}

void LogSplitter::feed(std::string_view bytes, base::Timestamp now, std::string& out) {
  std::string time = base::format_timestamp(now);
  while (!bytes.empty()) {
    std::size_t room = kLongestLogText - pending_.size();
    std::size_t newline = bytes.substr(0, room + 1).find('\n');
    if (newline != std::string_view::npos) {
      pending_.append(bytes.substr(0, newline));
      append_record(out, time, stream_, false, pending_);
      pending_.clear();
      bytes.remove_prefix(newline + 1);
    } else if (bytes.size() > room) {
      pending_.append(bytes.substr(0, room));
      append_record(out, time, stream_, true, pending_);
      pending_.clear();
      bytes.remove_prefix(room);
    } else {
      pending_.append(bytes);
      return;
    }
  }
}

void LogSplitter::finish(base::Timestamp now, std::string& out) {
  if (pending_.empty()) return;
  append_record(out, base::format_timestamp(now), stream_, false, pending_);
  pending_.clear();
}

Result<LogWriter> LogWriter::open(std::string path, LogBounds bounds) {
  LogWriter w(std::move(path), bounds);
  if (auto r = w.reopen(); !r) return std::move(r).error();
  return w;
}

Result<> LogWriter::reopen() {
  fd_.reset(::open(path_.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0640));
  struct stat s {};
  if (!fd_ || ::fstat(fd_.get(), &s) < 0) return Error::from_errno(errno, "open log " + path_);
  size_ = static_cast<std::uint64_t>(s.st_size);
  return {};
}

Result<> LogWriter::rotate() {
  auto numbered = [&](unsigned i) { return i == 0 ? path_ : fmt::format("{}.{}", path_, i); };
  if (bounds_.files <= 1) (void)::unlink(path_.c_str());
  for (unsigned i = bounds_.files - 1; i >= 1; --i)
    if (::rename(numbered(i - 1).c_str(), numbered(i).c_str()) < 0 && errno != ENOENT)
      return Error::from_errno(errno, "rotate log " + path_);
  return reopen();
}

Result<> LogWriter::append(std::string_view records) {
  while (!records.empty()) {
    if (!fd_)
      if (auto r = reopen(); !r) return r;
    std::uint64_t room = bounds_.file_bytes > size_ ? bounds_.file_bytes - size_ : 0;
    std::size_t fits = records.size();
    if (fits > room) {
      std::size_t newline = records.substr(0, static_cast<std::size_t>(room)).rfind('\n');
      fits = newline == std::string_view::npos ? 0 : newline + 1;
    }
    if (fits == 0) {
      if (size_ > 0) {
        if (auto r = rotate(); !r) return r;
        continue;
      }
      fits = records.find('\n');  // one record longer than a whole file
      fits = fits == std::string_view::npos ? records.size() : fits + 1;
    }
    ssize_t n = ::write(fd_.get(), records.data(), fits);
    if (n < 0 && errno == EINTR) continue;
    if (n != static_cast<ssize_t>(fits)) {
      int err = n < 0 ? errno : ENOSPC;
      // Readers see whole records only. When even this fails, they skip the torn one.
      [[maybe_unused]] int cut = ::ftruncate(fd_.get(), static_cast<off_t>(size_));
      return Error::from_errno(err, "write log " + path_);
    }
    size_ += fits;
    records.remove_prefix(fits);
  }
  return {};
}

}  // namespace trama::netns
