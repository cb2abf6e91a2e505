// SPDX-License-Identifier: GPL-2.0-or-later
#include <algorithm>
#include <vector>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "netns/log_file.h"

namespace trama::netns {
using base::Error;
using base::Result;
using base::UniqueFd;

namespace {
constexpr std::size_t kChunk = 16 * 1024;
constexpr std::size_t kLongestRecord = kLongestLogText + 256;

struct Part {
  std::string path;
  std::uint64_t inode;
  friend bool operator==(const Part&, const Part&) = default;
};

std::vector<Part> parts_once(const std::string& path) {
  std::vector<Part> parts;
  unsigned missing = 0;
  for (unsigned i = 0; missing < 2; ++i) {  // in the middle of a rotation one number may be absent
    struct stat s {};
    std::string name = i == 0 ? path : fmt::format("{}.{}", path, i);
    if (::stat(name.c_str(), &s) == 0) {
      parts.push_back({name, s.st_ino});
      missing = 0;
    } else {
      ++missing;
    }
  }
  return parts;
}

// The files of a log, newest first, as they were at one moment.
std::vector<Part> parts_of(const std::string& path) {
  auto a = parts_once(path);
  for (int tries = 0; tries < 20; ++tries) {
    auto b = parts_once(path);
    if (a == b) break;
    a = std::move(b);
  }
  return a;
}

// Where the last `lines` lines of a file begin; lowers `lines` by the number of lines found behind that place.
Result<std::uint64_t> tail_offset(int fd, std::size_t& lines) {
  struct stat s {};
  if (::fstat(fd, &s) < 0) return Error::from_errno(errno, "stat log");
  auto at = static_cast<std::uint64_t>(s.st_size);
  if (lines == 0) return at;
  char chunk[kChunk];
  bool last = true;  // the newline that ends the file starts no line
  while (at > 0) {
    std::size_t n = static_cast<std::size_t>(std::min<std::uint64_t>(at, sizeof chunk));
    ssize_t got = ::pread(fd, chunk, n, static_cast<off_t>(at - n));
    if (got != static_cast<ssize_t>(n)) return Error::from_errno(got < 0 ? errno : EIO, "read log");
    for (std::size_t i = n; i-- > 0;) {
      if (chunk[i] == '\n' && !last && --lines == 0) return at - n + i + 1;
      last = false;
    }
    at -= n;
  }
  if (!last) --lines;
  return 0;
}
}  // namespace

LogReader::LogReader(std::string path, LogQuery query) : path_(std::move(path)), query_(query) {}

Result<> LogReader::begin() {
  auto parts = parts_of(path_);
  if (parts.empty()) return {};
  std::size_t from = query_.tail ? 0 : parts.size() - 1;
  std::uint64_t offset = 0;
  UniqueFd fd;
  std::size_t lines = query_.tail.value_or(0);
  for (std::size_t i = from; i < parts.size(); ++i) {
    UniqueFd next(::open(parts[i].path.c_str(), O_RDONLY | O_CLOEXEC));
    if (!next) {
      if (errno == ENOENT) break;  // rotated away: what we have is the oldest
      return Error::from_errno(errno, "open log " + parts[i].path);
    }
    if (query_.tail) {
      auto at = tail_offset(next.get(), lines);
      if (!at) return std::move(at).error();
      offset = *at;
    }
    fd = std::move(next);
    if (query_.tail && lines == 0) break;
  }
  struct stat s {};
  if (!fd || ::fstat(fd.get(), &s) < 0) return {};
  fd_ = std::move(fd), inode_ = s.st_ino, offset_ = offset, begun_ = true;
  return {};
}

// Moves on to the file that was written after the present one. False: there is none yet.
Result<bool> LogReader::advance() {
  auto parts = parts_of(path_);
  auto here = std::find_if(parts.begin(), parts.end(), [&](const Part& p) { return p.inode == inode_; });
  if (here == parts.begin()) return false;
  bool gap = here == parts.end();
  if (parts.empty()) return false;
  const Part& next = gap ? parts.back() : *(here - 1);
  UniqueFd fd(::open(next.path.c_str(), O_RDONLY | O_CLOEXEC));
  struct stat s {};
  if (!fd || ::fstat(fd.get(), &s) < 0 || s.st_ino != next.inode) return false;  // rotated again: next time
  lost_ = lost_ || gap;
  fd_ = std::move(fd), inode_ = next.inode, offset_ = 0;
  pending_.clear();
  return true;
}

Result<bool> LogReader::read(const std::function<bool(const LogLine&)>& sink, std::size_t max_bytes) {
  if (ended_) return false;
  if (!begun_) {
    if (auto r = begin(); !r) return std::move(r).error();
    if (!begun_) return false;
  }
  bool any = false, rotated = false;
  std::size_t taken = 0;
  for (;;) {
    std::size_t done = 0;
    bool stopped = false;
    for (std::size_t end; !stopped && (end = pending_.find('\n', done)) != std::string::npos; done = end + 1) {
      auto line = parse_log_line(std::string_view(pending_).substr(done, end - done));
      if (!line || (query_.since && line->time < *query_.since)) continue;
      any = true;
      if (query_.limit_bytes) {
        std::uint64_t room = query_.limit_bytes - sent_;
        if (line->text.size() + 1 > room) line->text.resize(static_cast<std::size_t>(room));
        sent_ = std::min<std::uint64_t>(query_.limit_bytes, sent_ + line->text.size() + 1);
        ended_ = sent_ == query_.limit_bytes;
      }
      stopped = !sink(*line) || ended_;
    }
    pending_.erase(0, done);
    if (stopped || taken >= max_bytes) return any;
    if (pending_.size() > kLongestRecord) pending_.clear();  // not one of our lines

    char chunk[kChunk];
    ssize_t n = ::pread(fd_.get(), chunk, sizeof chunk, static_cast<off_t>(offset_));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return Error::from_errno(errno, "read log " + path_);
    if (n > 0) {
      pending_.append(chunk, static_cast<std::size_t>(n));
      offset_ += static_cast<std::uint64_t>(n);
      taken += static_cast<std::size_t>(n);
      continue;
    }
    struct stat s {};
    if (::stat(path_.c_str(), &s) == 0 && s.st_ino == inode_) return any;
    if (!rotated) {  // the writer may have added to the old file before it turned to the new one
      rotated = true;
      continue;
    }
    auto moved = advance();
    if (!moved) return std::move(moved).error();
    if (!*moved) return any;
    rotated = false;
  }
}

}  // namespace trama::netns
