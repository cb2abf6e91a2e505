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

std::string to_string(Algorithm a) {
  switch (a) {
    case Algorithm::random: return "random";
    case Algorithm::round_robin: return "round-robin";
    case Algorithm::source_hash: return "source-hash";
    case Algorithm::maglev: return "maglev";
  }
  return "?";
}

}  // namespace trama::servicelb
