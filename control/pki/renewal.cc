// SPDX-License-Identifier: GPL-2.0-or-later
#include "control/pki/renewal.h"

#include <algorithm>
#include <charconv>

namespace trama::pki {

using std::chrono::milliseconds;

UnixTime unix_time() {
  return std::chrono::duration_cast<milliseconds>(std::chrono::system_clock::now().time_since_epoch());
}

bool is_aging(const Certificate& certificate, std::int64_t now) {
  auto from = certificate.not_before();
  auto to = certificate.not_after();
  return now >= from + (to - from) / 3 * 2;
}

milliseconds until_renewal(const Certificate& certificate, UnixTime now) {
  unsigned digits = 0;
  auto serial = certificate.serial();
  if (serial.size() > 4) std::from_chars(serial.data() + serial.size() - 4, serial.data() + serial.size(), digits, 16);
  auto spread = static_cast<double>(digits) / 0x10000;
  auto from = certificate.not_before() * 1000, to = certificate.not_after() * 1000;
  auto share = static_cast<double>(to - from) * (2.0 / 3 + spread / 12);
  auto due = milliseconds(from + static_cast<std::int64_t>(share));
  return std::max(due - now, milliseconds(0));
}

milliseconds renewal_pause(const Certificate& certificate) {
  auto life = milliseconds((certificate.not_after() - certificate.not_before()) * 1000);
  return std::clamp(life / 40, milliseconds(200), milliseconds(60'000));
}

}  // namespace trama::pki
