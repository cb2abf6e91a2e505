// SPDX-License-Identifier: GPL-2.0-or-later
// Kinds and objects as people name them on the command line and in files; the kinds themselves are control/api's.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "control/api/kinds.h"

namespace trama::cli {

using api::Kind;

// By plural, singular, short name or kind, in any case. The error names the nearest one.
base::Result<const Kind*> find_kind(std::string_view name);
// For manifests: by apiVersion and kind exactly. The error says what was expected.
base::Result<const Kind*> find_kind(std::string_view api_version, std::string_view kind);

// "/api/v1/namespaces/default/pods" or, without a name space or for a cluster-wide kind, "/api/v1/pods".
std::string path_of(const Kind& kind, std::string_view ns, std::string_view name = "");
// "pod/web-1", "deployment.apps/web": as `-o name` prints it.
std::string display_name(const Kind& kind, std::string_view name);

// One thing on the command line: a kind, and one name or none (all of them).
struct Reference {
  const Kind* kind = nullptr;
  std::string name;
  friend bool operator==(const Reference&, const Reference&) = default;
};
// "pods", "pods,svc", "pod web-1 web-2", "pod/web-1 svc/web" -> references. With `names_required` a bare kind is an
// error.
base::Result<std::vector<Reference>> parse_references(const std::vector<std::string>& words, bool names_required);

}  // namespace trama::cli
