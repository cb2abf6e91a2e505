// SPDX-License-Identifier: GPL-2.0-or-later
#include "base/file.h"

#include <filesystem>

#include <fcntl.h>
#include <sys/stat.h>

#include "base/unique_fd.h"

namespace trama::base {
namespace {
Result<> write_all(int fd, std::string_view data, const std::string& path) {
  while (!data.empty()) {
    ssize_t n = ::write(fd, data.data(), data.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return Error::from_errno(errno, "write " + path);
    data.remove_prefix(static_cast<std::size_t>(n));
  }
  return {};
}
}  // namespace

Result<std::string> read_file(const std::string& path, std::size_t limit) {
  UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd) return Error::from_errno(errno, "open " + path);
  std::string out;
  char chunk[16384];
  for (;;) {
    ssize_t n = ::read(fd.get(), chunk, sizeof chunk);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return Error::from_errno(errno, "read " + path);
    if (n == 0) return out;
    if (out.size() + static_cast<std::size_t>(n) > limit) return Error::from_errno(EFBIG, "read " + path);
    out.append(chunk, static_cast<std::size_t>(n));
  }
}

namespace {
Result<> write_beside_and_rename(const std::string& path, std::string_view content, mode_t mode, bool durable) {
  std::string temporary = fmt::format("{}.{}.new", path, ::getpid());
  UniqueFd fd(::open(temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, mode));
  if (!fd) return Error::from_errno(errno, "create " + temporary);
  auto fail = [&](Error e) {
    ::unlink(temporary.c_str());
    return e;
  };
  if (::fchmod(fd.get(), mode) < 0) return fail(Error::from_errno(errno, "chmod " + temporary));
  if (auto r = write_all(fd.get(), content, temporary); !r) return fail(std::move(r).error());
  if (durable && ::fsync(fd.get()) < 0) return fail(Error::from_errno(errno, "fsync " + temporary));
  if (::rename(temporary.c_str(), path.c_str()) < 0) return fail(Error::from_errno(errno, "rename to " + path));
  if (!durable) return {};
  auto slash = path.rfind('/');
  UniqueFd dir(
      ::open(slash == std::string::npos ? "." : path.substr(0, slash + 1).c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (dir) (void)::fsync(dir.get());
  return {};
}
}  // namespace

Result<> write_file_atomic(const std::string& path, std::string_view content, mode_t mode) {
  return write_beside_and_rename(path, content, mode, true);
}
Result<> write_file_replace(const std::string& path, std::string_view content, mode_t mode) {
  return write_beside_and_rename(path, content, mode, false);
}

Result<> write_file_in_place(const std::string& path, std::string_view content, mode_t mode) {
  UniqueFd fd(::open(path.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, mode));
  if (!fd) return Error::from_errno(errno, "open " + path);
  if (auto r = write_all(fd.get(), content, path); !r) return r;
  if (::ftruncate(fd.get(), static_cast<off_t>(content.size())) < 0)
    return Error::from_errno(errno, "truncate " + path);
  return {};
}

Result<> write_knob(const std::string& path, std::string_view value) {
  UniqueFd fd(::open(path.c_str(), O_WRONLY | O_CLOEXEC | O_NOFOLLOW));
  if (!fd) return Error::from_errno(errno, "open " + path);
  if (::write(fd.get(), value.data(), value.size()) != static_cast<ssize_t>(value.size()))
    return Error::from_errno(errno ? errno : EIO, fmt::format("write \"{}\" to {}", value, path));
  return {};
}

Result<> make_directories(const std::string& path, mode_t mode) {
  for (std::size_t i = 1; i <= path.size(); ++i) {
    if (i != path.size() && path[i] != '/') continue;
    if (::mkdir(path.substr(0, i).c_str(), mode) < 0 && errno != EEXIST)
      return Error::from_errno(errno, "mkdir " + path.substr(0, i));
  }
  return {};
}

Result<> remove_tree(const std::string& path) {
  std::error_code ec;
  std::filesystem::remove_all(path, ec);
  if (ec) return Error(ec, "remove " + path);
  return {};
}

}  // namespace trama::base
