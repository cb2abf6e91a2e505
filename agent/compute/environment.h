// SPDX-License-Identifier: GPL-2.0-or-later
// A container's environment and command line, as upstream builds them. Pure.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "base/ip.h"
#include "base/result.h"
#include "control/api/object.h"

namespace trama::agent {

namespace json = boost::json;
using Environment = std::map<std::string, std::string>;

// What the downward API knows beside the pod's own text.
struct PodFacts {
  std::string node_name;
  std::vector<base::Ip> pod_ips;
  std::vector<base::Ip> host_ips;
};

// TRAMA_POD, TRAMA_NAMESPACE, TRAMA_NODE, TRAMA_POD_IP, then the container's `env` in order: values with $(NAME)
// expanded, valueFrom.fieldRef for metadata.{name,namespace,uid,labels['x'],annotations['x']}, spec.{nodeName,
// serviceAccountName} and status.{podIP,podIPs,hostIP,hostIPs}. An error names the variable that cannot be had.
base::Result<Environment> container_environment(const api::Object& pod, const json::object& container,
                                                const PodFacts& facts);

// $(NAME) becomes the variable's value, $$ a dollar sign; an unknown $(NAME) stays as it is.
std::string expand(std::string_view text, const Environment& variables);

// command and args, expanded.
std::vector<std::string> container_command(const json::object& container, const Environment& variables);

}  // namespace trama::agent
