// SPDX-License-Identifier: GPL-2.0-or-later
// How a cluster's CA is replaced: a second one is trusted beside it, then signs in its place, then is the only one.
// Which files of a controller's pki folder that means. docs/ca.md has the whole of it.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "control/pki/certificate.h"

namespace trama::pki {

enum class RotationPhase {
  steady,   // one CA
  started,  // a new one is trusted beside it: ca-next.crt, ca-next.key
  switched  // the new one signs; the old one is still trusted: ca-old.crt
};
std::string_view to_string(RotationPhase phase);
RotationPhase rotation_phase(std::string_view text);  // steady for everything else

// The CAs that a cluster trusts, the one that signs first. What several controllers and their nodes agree on.
struct Authorities {
  RotationPhase phase = RotationPhase::steady;
  std::vector<std::string> pems;
  std::string bundle() const;  // all of them as one text
  bool trusts(const std::string& pem) const;
};

// A text with PEM certificates as one text each, in OpenSSL's own form, so that equal ones are equal.
base::Result<std::vector<std::string>> split_bundle(std::string_view pem);
// The first 16 hex digits of each certificate's key pin, with commas between them: enough for people and for equality.
std::string short_pins(std::string_view bundle);

// What the files in `dir` say.
base::Result<Authorities> read_authorities(const std::string& dir);
// The next CA's certificate: the one that is there already, or a fresh one.
base::Result<std::string> make_next_authority(const std::string& dir, std::int64_t now);
// ca-next becomes ca, ca becomes ca-old. Done again after it was interrupted, it completes.
base::Result<> adopt_next_authority(const std::string& dir);
// Completes a switch that was interrupted: only then there is a next CA and an old one. Before the files are read.
base::Result<> complete_switch(const std::string& dir);
// Removes what is left of the old CA, its key included.
base::Result<> forget_old_authority(const std::string& dir);

}  // namespace trama::pki
