// SPDX-License-Identifier: GPL-2.0-or-later
#include "control/controllers/bootstrap.h"

#include "control/controllers/endpoint_slice_plan.h"
#include "control/loops/loop.h"
#include "control/store/writes.h"

namespace trama::control {

using base::Result;

namespace {

json::object kubernetes_service(const std::vector<base::Ip>& first) {
  json::object port;
  port["name"] = "https";
  port["port"] = 443;
  port["protocol"] = "TCP";
  port["targetPort"] = 6443;
  json::array ports;
  ports.push_back(std::move(port));
  json::array ips;
  ips.emplace_back(first.front().to_string());
  json::object labels;
  labels["component"] = "apiserver";
  labels["provider"] = "kubernetes";
  json::object body;
  api::make_object_at(body, "metadata")["labels"] = std::move(labels);
  auto& spec = api::make_object_at(body, "spec");
  spec["type"] = "ClusterIP";
  spec["clusterIP"] = first.front().to_string();
  spec["clusterIPs"] = std::move(ips);
  spec["ports"] = std::move(ports);
  spec["sessionAffinity"] = "None";
  return body;
}

json::object kubernetes_slice(const BootstrapFacts& facts, bool v4) {
  json::array endpoints;
  for (const auto& ip : facts.addresses) {
    if (ip.is_v4() != v4 || ip.is_loopback() || ip.is_unspecified()) continue;
    json::array addresses;
    addresses.emplace_back(ip.to_string());
    json::object e, conditions;
    conditions["ready"] = true;
    e["addresses"] = std::move(addresses);
    e["conditions"] = std::move(conditions);
    endpoints.push_back(std::move(e));
  }
  json::object port;
  port["name"] = "https";
  port["port"] = facts.port;
  port["protocol"] = "TCP";
  json::array ports;
  ports.push_back(std::move(port));
  json::object body;
  api::make_object_at(body, "metadata.labels")[kServiceNameLabel] = "kubernetes";
  body["addressType"] = v4 ? "IPv4" : "IPv6";
  body["endpoints"] = std::move(endpoints);
  body["ports"] = std::move(ports);
  return body;
}

}  // namespace

async::awaitable<Result<>> ensure_defaults(store::Store& store, ServiceAllocator& allocator, BootstrapFacts facts) {
  auto first = allocator.first_addresses();
  if (first.empty()) co_return base::Error::text("no service address range is configured");
  auto now = std::chrono::system_clock::now();
  store::Decision decide = [&](store::Transaction& tx) -> api::Answer<api::ObjectPtr> {
    api::ObjectPtr last;
    for (const char* name : {"default", "kube-system", "kube-public", "kube-node-lease"}) {
      api::Key key{"namespaces", "", name};
      last = tx.get(key);
      if (last) continue;
      auto made = store::create(tx, *api::kind_of_resource("namespaces"), key, {}, now);
      if (!made) return made.error();
      last = *made;
    }
    api::Key service{"services", "default", "kubernetes"};
    if (!tx.get(service)) {
      store::Hook allocate = [&](store::Transaction& t, const api::Key& k, const api::Object* old,
                                 json::object* body) -> std::optional<api::Status> {
        return allocator.admit(t, k, *body, old);
      };
      auto made =
          store::create(tx, *api::kind_of_resource("services"), service, kubernetes_service(first), now, allocate);
      if (!made) return made.error();
    }
    bool v4 = first.front().is_v4();
    api::Key slice{"endpointslices", "default", "kubernetes"};
    auto wanted = kubernetes_slice(facts, v4);
    const auto& kind = *api::kind_of_resource("endpointslices");
    auto have = tx.get(slice);
    auto made = have ? store::update(tx, kind, slice, wanted, api::Part::all, now)
                     : store::create(tx, kind, slice, wanted, now);
    if (!made) return made.error();
    return *made;
  };
  auto done = co_await write(store, std::move(decide));
  if (!done) co_return std::move(done).error().in("make the default namespaces and default/kubernetes");
  co_return Result<>();
}

}  // namespace trama::control
