// SPDX-License-Identifier: GPL-2.0-or-later
// Puts IP packets on a link for one station there, whatever routes say. Receives nothing.
#pragma once

#include <string_view>

#include "base/ip.h"
#include "base/result.h"
#include "base/strong.h"
#include "base/unique_fd.h"

namespace trama::overlay::mesh {

class LinkSocket {
 public:
  // In the network namespace of the calling thread.
  static base::Result<LinkSocket> open();
  base::Result<> send(base::IfIndex link, const base::Mac& to, base::Family family, std::string_view packet);

 private:
  explicit LinkSocket(base::UniqueFd fd) : fd_(std::move(fd)) {}
  base::UniqueFd fd_;
};

}  // namespace trama::overlay::mesh
