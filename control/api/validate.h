// SPDX-License-Identifier: GPL-2.0-or-later
// Rules about content that types cannot express, in upstream's words. Everything behind this door may rely on them.
#pragma once

#include <vector>

#include "control/api/kinds.h"
#include "control/api/object.h"
#include "control/api/status.h"

namespace trama::api {

// `old` is null on create; with it, what may not change is compared.
std::vector<Cause> validate(const Kind& kind, const json::object& body, const json::object* old);

bool is_dns_label(std::string_view text);      // RFC 1123: [a-z0-9]([-a-z0-9]*[a-z0-9])?, at most 63
bool is_dns_subdomain(std::string_view text);  // labels joined by dots, at most 253
bool is_service_name(std::string_view text);   // RFC 1035 label: starts with a letter
bool is_label_key(std::string_view text);
bool is_label_value(std::string_view text);
bool is_port_name(std::string_view text);  // IANA service name: at most 15, with a letter

}  // namespace trama::api
