// SPDX-License-Identifier: GPL-2.0-or-later
// A whole store in one file that nobody uses: how it is made, and read again.
#pragma once

#include <string>

#include "base/result.h"
#include "control/store/contents.h"

namespace trama::store {

bool exists(const std::string& path);
base::Result<> sync_directory_of(const std::string& path);
// A store of its own with these objects, durable, in one file. What is left of a failed one is removed.
base::Result<> write_store(const std::string& file, const Contents& contents, std::uint64_t revision);
// The same under a name that must be free: the file is there whole, or not at all.
base::Result<> write_new_store(const std::string& file, const Contents& contents, std::uint64_t revision);
// Everything at one moment, whoever writes meanwhile. What is damaged is named in it and left out.
base::Result<Contents> read_store(const std::string& path);

}  // namespace trama::store
