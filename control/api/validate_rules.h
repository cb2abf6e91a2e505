// SPDX-License-Identifier: GPL-2.0-or-later
// What the files of validation share: causes in upstream's words, and the rules of shapes that several kinds have.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include <fmt/format.h>

#include "control/api/validate.h"

namespace trama::api {

using Causes = std::vector<Cause>;

inline constexpr std::string_view kLabelRule =
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with "
    "an "
    "alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is "
    "'[a-z0-9]([-a-z0-9]*[a-z0-9])?')";
inline constexpr std::string_view kSubdomainRule =
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and "
    "end with "
    "an alphanumeric character (e.g. 'example.com', regex used for validation is "
    "'[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
inline constexpr std::string_view kServiceRule =
    "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, "
    "and end "
    "with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is "
    "'[a-z]([-a-z0-9]*[a-z0-9])?')";

std::string shown(const json::value& v);
std::string in_quotes(std::string_view v);

void invalid(Causes& out, const std::string& field, const std::string& value, std::string_view why);
void required(Causes& out, const std::string& field, std::string_view why = "");
void duplicate(Causes& out, const std::string& field, const std::string& value);
void forbidden(Causes& out, const std::string& field, std::string_view why);
// `supported` as it is shown: "\"A\", \"B\"".
void not_supported(Causes& out, const std::string& field, std::string_view value, std::string_view supported);
// The number at `path`, when it is there, is 0 or more.
void not_negative(Causes& out, const json::object& body, const std::string& path);

// Keys and values of the labels at `path`.
void labels(Causes& out, const json::object& body, const std::string& path);
// The LabelSelector at `path`.
void selector(Causes& out, const json::object& body, const std::string& path);
// The one of that name in an object that stands at `path`.
void selector(Causes& out, const json::object& in, const char* name, const std::string& path);
void port_number(Causes& out, const json::object& at_object, const char* name, const std::string& path, bool zero_ok);
// A port by number or by name.
void target_port(Causes& out, const json::value* v, const std::string& path);
void pod_spec(Causes& out, const json::object& spec, const std::string& path);
// Volumes of a pod's spec, and its containers' mounts of them.
void volumes(Causes& out, const json::object& spec, const std::string& path);
// Affinity and topologySpreadConstraints of a pod's spec.
void scheduling_rules(Causes& out, const json::object& spec, const std::string& path);

// One kind each. `old` is null on create.
void validate_pod(Causes& out, const json::object& body, const json::object* old);
void validate_replicas(Causes& out, const json::object& body, const json::object* old);  // Deployment, ReplicaSet
void validate_daemon_set(Causes& out, const json::object& body, const json::object* old);
void validate_job(Causes& out, const json::object& body, const json::object* old);
void validate_network_policy(Causes& out, const json::object& body);
void validate_config_map(Causes& out, const json::object& body, const json::object* old);
void validate_service_account(Causes& out, const json::object& body);
void validate_secret(Causes& out, const json::object& body, const json::object* old);
void validate_endpoints(Causes& out, const json::object& body);
void validate_endpoint_slice(Causes& out, const json::object& body, const json::object* old);
void validate_controller_revision(Causes& out, const json::object& body, const json::object* old);

}  // namespace trama::api
