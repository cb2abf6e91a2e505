// SPDX-License-Identifier: GPL-2.0-or-later
// A lab as a value: its nodes and addresses, and the objects that shall live in it. No I/O.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "base/ip.h"
#include "base/result.h"
#include "cli/links/model.h"
#include "cli/manifest.h"

namespace trama::cli {

struct NodeSpec {
  std::string name;
  base::Ip address;
  std::map<std::string, std::string> labels;
};

struct LabSpec {
  std::string name;
  std::string file;     // for messages; "" = built in
  base::Cidr underlay;  // the network between the nodes; its first address is the switch's and the controller's
  base::Ip switch_address;
  std::vector<NodeSpec> nodes;  // in the order of the document
  std::vector<LinkSpec> links;
  std::vector<std::string> pod_cidrs, service_cidrs;
  std::string encryption = "off";  // between nodes; or "required"
  std::string wireguard = "auto";  // with encryption; or "off"
  bool direct_routing = false;     // between nodes: pods' packets as they are
  unsigned uplinks = 1;            // of each node; the second one leads to a switch of its own
  base::Cidr second_underlay{};    // the range behind `underlay`, of the same size; with two uplinks
  base::Ip second_address(const NodeSpec& node) const;  // as far into it as the node's first one into `underlay`
  std::vector<Manifest> manifests;
};

// The documents of one file: exactly one Lab (apiVersion trama.dev/v1), the others are ordinary objects.
//   spec.nodes        {n1: {labels: {…}, address: …}, n2: {}} or [{name: n1}, n2]; at least one
//   spec.links        {n1-n2: {delay: 20ms, loss: 1%}} or a list with `link`; see docs/links.md
//   spec.encryption   off (default) or required, between nodes
//   spec.wireguard    auto (default) or off: with encryption, whether packets may take the kernel's WireGuard
//   spec.directRouting  true: pods' packets go as they are between nodes; not with encryption
//   spec.uplinks      1 (default) or 2: a second link (eth1) and switch, so that one of them can fail
//   spec.underlay     172.30.0.0/24      spec.podCIDR, spec.serviceCIDR   one prefix, or one per family with a comma
// Every mistake is an error with file, line, field and what was expected.
base::Result<LabSpec> parse_lab(std::vector<YamlDocument> documents);

// What `trama lab up` brings up when it is given nothing.
std::string_view hello_lab();

}  // namespace trama::cli
