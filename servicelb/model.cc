// SPDX-License-Identifier: GPL-2.0-or-later
#include "servicelb/model.h"

namespace trama::servicelb {

std::string to_string(Protocol p) {
  switch (p) {
    case Protocol::tcp: return "tcp";
    case Protocol::udp: return "udp";
    case Protocol::sctp: return "sctp";
  }
  return "?";
}

}  // namespace trama::servicelb
