// SPDX-License-Identifier: GPL-2.0-or-later
// `trama link …`: the links of a running lab.
#pragma once

#include <string>
#include <vector>

#include "cli/globals.h"
#include "cli/links/model.h"

namespace trama::cli {

struct LinkSetOptions {
  std::string link;
  ImpairmentWords words;
  std::string only, lasting;
};
int link_set(const Globals& globals, const LinkSetOptions& options);

struct LinkCutOptions {
  std::string link;
  std::string down, up;  // flap; both empty: down for good
  std::string only, lasting;
};
int link_cut(const Globals& globals, const LinkCutOptions& options);

struct LinkMendOptions {
  std::string link, only;
};
int link_mend(const Globals& globals, const LinkMendOptions& options);

struct LinkClearOptions {
  std::vector<std::string> links;  // none: all
};
int link_clear(const Globals& globals, const LinkClearOptions& options);
// Exit 1 when rules stand that nobody keeps up.
int link_show(const Globals& globals, const std::string& output);
int link_restore(const Globals& globals);

}  // namespace trama::cli
