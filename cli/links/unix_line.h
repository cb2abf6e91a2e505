// SPDX-License-Identifier: GPL-2.0-or-later
// One line there, one line back, over a Unix socket that only its owner may open.
#pragma once

#include <optional>
#include <string>

#include "base/result.h"
#include "base/unique_fd.h"

namespace trama::cli {

// Replaces a socket that a dead process has left there. Not blocking.
base::Result<base::UniqueFd> listen_for_lines(const std::string& path);
std::optional<base::UniqueFd> accept_line(int listener);  // nothing when nobody is waiting
// ECONNREFUSED or ENOENT when nobody listens.
base::Result<base::UniqueFd> connect_for_lines(const std::string& path);
// Without the newline; at most 4 MiB. ETIMEDOUT when the other side takes longer than ten seconds (a listener: half a
// second).
base::Result<std::string> read_line(int fd);
base::Result<> write_line(int fd, std::string line);

}  // namespace trama::cli
