// SPDX-License-Identifier: GPL-2.0-or-later
// The last known objects of one kind as a file, so that a restarted agent can work while the controller is away.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "agent/cluster_view.h"
#include "base/result.h"

namespace trama::agent {

struct SavedKind {
  std::uint64_t revision = 0;
  std::vector<api::ObjectPtr> objects;
};

// One header line "trama-view 1 <kind> revision=<n> count=<n> crc32c=<hex>", then one JSON object per line. The
// checksum covers everything after the header line, the count guards against a cut at a line's end.
std::string encode_view(Kind kind, std::uint64_t revision, const std::vector<api::ObjectPtr>& objects);
// A damaged file is an error that says what does not fit; a part of it is never returned.
base::Result<SavedKind> decode_view(Kind kind, std::string_view text);

// "<dir>/<kind>.view"
std::string view_path(const std::string& dir, Kind kind);
// Blocking; mode 0600, atomic.
base::Result<> save_view(const std::string& dir, Kind kind, std::uint64_t revision,
                         const std::vector<api::ObjectPtr>& objects);
// ENOENT when there is none.
base::Result<SavedKind> load_view(const std::string& dir, Kind kind);

}  // namespace trama::agent
