// SPDX-License-Identifier: GPL-2.0-or-later
// Small files, whole: every read is bounded, every write is all or nothing.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include <sys/types.h>

#include "base/result.h"

namespace trama::base {

// The whole file; EFBIG when it holds more than `limit` bytes.
Result<std::string> read_file(const std::string& path, std::size_t limit = 1 << 20);
// Writes beside the target, fsyncs, renames: a reader sees the old or the new content, never a mixture.
Result<> write_file_atomic(const std::string& path, std::string_view content, mode_t mode = 0644);
// The same without fsync: whole against readers and a killed writer, not against a power cut. For state that a reboot
// ends anyway.
Result<> write_file_replace(const std::string& path, std::string_view content, mode_t mode = 0644);
// Rewrites an existing file in place (same inode): for files that are bind-mounted into sandboxes.
Result<> write_file_in_place(const std::string& path, std::string_view content, mode_t mode = 0644);
// One write(2) to a file that must exist: sysctls and cgroup knobs.
Result<> write_knob(const std::string& path, std::string_view value);
// mkdir -p; existing directories are fine.
Result<> make_directories(const std::string& path, mode_t mode = 0755);
// rm -r on one file system level; a missing path is fine.
Result<> remove_tree(const std::string& path);

}  // namespace trama::base
