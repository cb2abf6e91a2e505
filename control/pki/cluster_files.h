// SPDX-License-Identifier: GPL-2.0-or-later
// The controller's keys on disk: made on first start, kept until their CA is rotated (rotation.h).
#pragma once

#include <string>
#include <vector>

#include "control/pki/authority.h"

namespace trama::pki {

constexpr std::chrono::seconds kYear{365LL * 24 * 3600};

struct ServingNames {
  std::vector<std::string> dns;
  std::vector<base::Ip> ips;
};

// What a controller needs to serve and to speak for itself.
struct ClusterKeys {
  Authority authority;
  KeyPair serving;      // the PEM holds leaf and CA, so that a joining agent finds the pinned CA in the chain
  KeyPair admin;        // CN=trama:admin, O=system:masters
  std::string trusted;  // every CA that is trusted, the one that signs first: more than one during a rotation
  KeyPair controller;   // CN=trama:controller, O=system:masters: made anew at every start, never written down
};

// Loads or makes <dir>/ca.crt, ca.key, server.crt, server.key, admin.crt, admin.key (directory 0700, files 0600).
// `life` is that of all three pairs. A CA that is there is never replaced here: a damaged file is an error that names
// it. Serving and admin certificates are made again when missing, unusable, past two thirds of their life, or (serving)
// when `names` are not all covered. `names` is what the caller adds to 127.0.0.1, ::1, localhost and
// kubernetes[.default[.svc[.cluster.local]]].
base::Result<ClusterKeys> load_or_create_cluster_keys(const std::string& dir, const ServingNames& names,
                                                      std::int64_t now, std::chrono::seconds life = kYear);

}  // namespace trama::pki
