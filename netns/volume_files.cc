// SPDX-License-Identifier: GPL-2.0-or-later
#include "netns/volume_files.h"

#include <algorithm>
#include <filesystem>
#include <set>

#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/timestamp.h"

namespace trama::netns {
namespace fs = std::filesystem;
using base::Error;
using base::Result;

namespace {
constexpr const char* kData = "..data";

// "..2026_01_02_15_04_05.000000001"
std::string version_name() {
  auto time = base::format_timestamp(base::now());
  time.pop_back();
  std::replace_if(
      time.begin(), time.end(), [](char c) { return c == '-' || c == ':' || c == 'T'; }, '_');
  return ".." + time;
}

std::string first_part(const std::string& path) { return path.substr(0, path.find('/')); }

Result<> write_version(const std::string& directory, const Volume& volume) {
  if (::mkdir(directory.c_str(), 0755) < 0 || ::chmod(directory.c_str(), 0755) < 0)
    return Error::from_errno(errno, "mkdir " + directory);
  for (const auto& [path, file] : volume.files) {
    if (!is_file_path(path)) return Error::text(fmt::format("\"{}\" cannot be a file of a volume", path));
    for (auto slash = path.find('/'); slash != path.npos; slash = path.find('/', slash + 1)) {
      auto parent = directory + "/" + path.substr(0, slash);
      if ((::mkdir(parent.c_str(), 0755) < 0 && errno != EEXIST) || ::chmod(parent.c_str(), 0755) < 0)
        return Error::from_errno(errno, "mkdir " + parent);
    }
    if (auto r = base::write_file_replace(directory + "/" + path, file.content, file.mode & 0777); !r) return r;
  }
  return {};
}

Result<> point(const std::string& link, const std::string& target) {
  auto beside = link + ".new";
  (void)::unlink(beside.c_str());
  if (::symlink(target.c_str(), beside.c_str()) < 0) return Error::from_errno(errno, "link " + beside);
  if (::rename(beside.c_str(), link.c_str()) < 0) return Error::from_errno(errno, "rename to " + link);
  return {};
}
}  // namespace

Result<> write_volume_files(const std::string& directory, const Volume& volume) {
  auto version = version_name();
  if (auto r = write_version(directory + "/" + version, volume); !r) {
    (void)base::remove_tree(directory + "/" + version);
    return r;
  }
  if (auto r = point(directory + "/" + kData, version); !r) return r;
  std::set<std::string> names{kData, version};
  for (const auto& [path, file] : volume.files) {
    auto name = first_part(path);
    if (!names.insert(name).second) continue;
    std::error_code ec;
    auto target = fmt::format("{}/{}", kData, name);
    if (fs::read_symlink(directory + "/" + name, ec) == target) continue;
    if (auto r = point(directory + "/" + name, target); !r) return r;
  }
  // Last of all what is of no version that anybody can reach now.
  std::error_code ec;
  for (const auto& entry : fs::directory_iterator(directory, ec))
    if (!names.contains(entry.path().filename()))
      if (auto r = base::remove_tree(entry.path()); !r) return r;
  if (ec) return Error(ec, "read " + directory);
  return {};
}

Result<> write_volume(const std::string& volumes, const std::string& name, const Volume& volume) {
  if (auto r = write_volume_files(fmt::format("{}/{}", volumes, name), volume); !r)
    return std::move(r).error().in("volume " + name);
  return base::write_file_replace(fmt::format("{}/{}/{}", volumes, kDigests, name), digest(volume), 0600);
}

std::string written_digest(const std::string& volumes, const std::string& name) {
  return base::read_file(fmt::format("{}/{}/{}", volumes, kDigests, name)).value_or(std::string());
}

}  // namespace trama::netns
