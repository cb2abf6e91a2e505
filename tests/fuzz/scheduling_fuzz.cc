// SPDX-License-Identifier: GPL-2.0-or-later
// A pod's scheduling rules, valid or not: reading them never fails, a choice has a node or a reason, and a pod that
// comes and goes leaves the picture as it was.
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "control/api/kinds.h"
#include "control/api/validate.h"
#include "control/scheduler/choice.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace trama;
  namespace json = api::json;
  boost::system::error_code bad;
  json::parse_options options;
  options.max_depth = 64;
  auto body = json::parse({reinterpret_cast<const char*>(data), size}, bad, {}, options);
  if (bad || !body.is_object()) return 0;
  for (const auto& cause : api::validate(*api::kind_of_resource("pods"), body.get_object(), nullptr))
    if (cause.message.empty() || cause.field.empty()) std::abort();

  control::Cluster cluster;
  cluster.put_namespace("d", {{"team", "red"}});
  for (int i = 0; i < 4; ++i) {
    control::NodeState node;
    node.name = std::string("n") + static_cast<char>('0' + i);
    node.labels = {{"kubernetes.io/hostname", node.name}, {"disk", i % 2 == 0 ? "ssd" : "hdd"}};
    if (i < 3) node.labels["topology.kubernetes.io/zone"] = i == 0 ? "a" : "b";
    node.allocatable.cpu_milli = 4'000;
    cluster.put_node(node);
  }
  auto object = api::make_object({"pods", "d", "p"}, body.get_object(), 1);
  auto pod = control::needs_of(*object);
  auto first = control::choose_node(pod, cluster, 7);
  if (first.node.has_value() != first.message.empty()) std::abort();
  if (!first.node) {
    if ((first.help & control::node_came) == 0) std::abort();
    return 0;
  }
  for (const auto* where : {first.node->c_str(), "n1", "n3"}) {
    cluster.place(pod, where);
    (void)control::choose_node(pod, cluster, 7);
    cluster.remove(pod, where);
  }
  auto again = control::choose_node(pod, cluster, 7);
  if (again.node != first.node) std::abort();
  return 0;
}
