// SPDX-License-Identifier: GPL-2.0-or-later
// The table of roles.h as people read it.
#pragma once

#include <string>
#include <vector>

#include "control/server/roles.h"

namespace trama::server {

// Letters of the verbs that a role has on a resource ("pods", "pods/log"): of every object first, of some in brackets:
// "glw[cupdD]". "-" = nothing.
std::string matrix_cell(Role role, std::string_view resource);
// A row for each resource and subresource, a column for each role that has objects.
struct Matrix {
  std::vector<std::string> header;
  std::vector<std::vector<std::string>> rows;
  std::string legend;
};
Matrix matrix();

}  // namespace trama::server
