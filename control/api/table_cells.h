// SPDX-License-Identifier: GPL-2.0-or-later
// The cells that upstream's printers show of one object, by kind. Pure.
#pragma once

#include <cstdint>

#include "control/api/object.h"

namespace trama::api::cells {

struct Context {
  const Object& object;
  const json::object& body;
  std::int64_t now;  // seconds since 1970
};
using Cells = json::array;

Cells pod(const Context& c);
Cells service(const Context& c);
Cells node(const Context& c);
Cells deployment(const Context& c);
Cells replicaset(const Context& c);
Cells daemonset(const Context& c);
Cells job(const Context& c);
Cells slice(const Context& c);
Cells event(const Context& c);
Cells csr(const Context& c);
Cells endpoints(const Context& c);
Cells controller_revision(const Context& c);

// Since the time in the field: "5m12s"; "<unknown>" without it.
std::string age_of(const Context& c, std::string_view path = "metadata.creationTimestamp");
// A LabelSelector in the grammar of labelSelector=: "app=web,tier in (a,b),!canary".
std::string label_selector_text(const json::object& selector);

}  // namespace trama::api::cells
