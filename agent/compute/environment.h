// SPDX-License-Identifier: GPL-2.0-or-later
// A container's environment and command line, as upstream builds them. Pure.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "agent/compute/downward.h"
#include "agent/compute/sources.h"
#include "base/result.h"
#include "control/api/object.h"

namespace trama::agent {

using Environment = std::map<std::string, std::string>;

// `variables` to begin with; then envFrom in order, then `env` in order, each later one over the earlier: values with
// $(NAME) expanded from what stands so far, or valueFrom a field, a resource, a key of a ConfigMap or Secret. An error
// names the variable that can never be had; `problem` tells what is missing as yet (the first thing, in upstream's
// words).
base::Result<Environment> container_environment(const api::Object& pod, const json::object& container,
                                                const PodFacts& facts, const Sources& sources, Environment variables,
                                                std::optional<SourceProblem>& problem);

// TRAMA_POD, TRAMA_NAMESPACE, TRAMA_NODE, TRAMA_POD_IP.
Environment own_variables(const api::Object& pod, const PodFacts& facts);

// KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT[_HTTPS]: where a client in a pod finds the API server.
void add_api_server(Environment& variables, const std::string& host, std::uint16_t port);

// $(NAME) becomes the variable's value, $$ a dollar sign; an unknown $(NAME) stays as it is.
std::string expand(std::string_view text, const Environment& variables);

// command and args, expanded.
std::vector<std::string> container_command(const json::object& container, const Environment& variables);

}  // namespace trama::agent
