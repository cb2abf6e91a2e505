// SPDX-License-Identifier: GPL-2.0-or-later
#include "servicelb/select.h"

#include <algorithm>

namespace trama::servicelb {
namespace {
using List = std::vector<const Endpoint*>;

bool has(const std::vector<std::string>& list, const std::string& item) {
  return std::find(list.begin(), list.end(), item) != list.end();
}
template <class Keep>
List those(const List& from, Keep keep) {
  List out;
  std::copy_if(from.begin(), from.end(), std::back_inserter(out), [&](const Endpoint* e) { return keep(*e); });
  return out;
}
// The ones whose hints name `here`; nothing when hints do not apply.
List hinted(const List& ready, std::vector<std::string> Endpoint::*hints, const std::string& here) {
  if (here.empty()) return {};
  if (std::any_of(ready.begin(), ready.end(), [&](const Endpoint* e) { return (e->*hints).empty(); })) return {};
  return those(ready, [&](const Endpoint& e) { return has(e.*hints, here); });
}
List ready_or_terminating(const List& from) {
  List ready = those(from, [](const Endpoint& e) { return e.ready; });
  if (!ready.empty()) return ready;
  return those(from, [](const Endpoint& e) { return e.serving && e.terminating; });
}
}  // namespace

Chosen select(const List& all, const std::string& node, const std::string& zone) {
  List usable = those(all, [](const Endpoint& e) { return e.weight > 0; });
  Chosen out;
  out.local = ready_or_terminating(those(usable, [&](const Endpoint& e) { return !node.empty() && e.node == node; }));
  List ready = those(usable, [](const Endpoint& e) { return e.ready; });
  out.cluster = hinted(ready, &Endpoint::nodes, node);
  if (out.cluster.empty()) out.cluster = hinted(ready, &Endpoint::zones, zone);
  if (out.cluster.empty()) out.cluster = ready_or_terminating(usable);
  return out;
}

}  // namespace trama::servicelb
