// SPDX-License-Identifier: GPL-2.0-or-later
// When a certificate is replaced by a fresh one. Pure.
#pragma once

#include <chrono>
#include <cstdint>

#include "control/pki/certificate.h"

namespace trama::pki {

using UnixTime = std::chrono::milliseconds;  // since 1970
UnixTime unix_time();                        // now, by the machine's clock

// True once two thirds of the time between not_before and not_after are over.
bool is_aging(const Certificate& certificate, std::int64_t now);
// Time left until two thirds of its life are over and, so that a thousand certificates made together are not renewed
// together, up to another twelfth, by its serial number. Zero when it is due.
std::chrono::milliseconds until_renewal(const Certificate& certificate, UnixTime now);
// How long to wait after a renewal that failed: a fortieth of the life, at least 200 ms, at most a minute.
std::chrono::milliseconds renewal_pause(const Certificate& certificate);
}  // namespace trama::pki
