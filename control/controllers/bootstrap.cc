// SPDX-License-Identifier: GPL-2.0-or-later
#include "control/controllers/bootstrap.h"

#include "control/controllers/endpoint_mirror_plan.h"
#include "control/controllers/endpoint_slice_plan.h"
#include "control/loops/loop.h"
#include "control/loops/meta.h"
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

// What kubernetes_slice says, for clients that know no slices.
json::object kubernetes_endpoints(const json::object& slice) {
  json::array addresses;
  for (const auto& e : api::array_at(slice, "endpoints")) {
    json::object address;
    address["ip"] = api::array_at(e.get_object(), "addresses").front();
    addresses.push_back(std::move(address));
  }
  json::object body;
  api::make_object_at(body, "metadata.labels")[kSkipMirror] = "true";
  if (addresses.empty()) return body;
  json::object subset;
  subset["addresses"] = std::move(addresses);
  subset["ports"] = slice.at("ports");
  json::array subsets;
  subsets.push_back(std::move(subset));
  body["subsets"] = std::move(subsets);
  return body;
}

const api::Key kSlice{"endpointslices", "default", "kubernetes"};
const api::Key kEndpoints{"endpoints", "default", "kubernetes"};

api::Answer<api::ObjectPtr> put(store::Transaction& tx, const api::Key& key, json::object wanted, Time now) {
  const auto& kind = *api::kind_of_resource(key.resource);
  return tx.get(key) ? store::update(tx, kind, key, std::move(wanted), api::Part::all, now)
                     : store::create(tx, kind, key, std::move(wanted), now);
}

api::Answer<api::ObjectPtr> put_slice(store::Transaction& tx, const BootstrapFacts& facts, bool v4, Time now) {
  auto slice = kubernetes_slice(facts, v4);
  auto endpoints = kubernetes_endpoints(slice);
  auto done = put(tx, kSlice, std::move(slice), now);
  if (!done) return done;
  return put(tx, kEndpoints, std::move(endpoints), now);
}

}  // namespace

const api::Key kCaConfigMap{"configmaps", "kube-system", "kube-root-ca.crt"};

pki::Authorities authorities_of(const json::object& map) {
  pki::Authorities out;
  const auto& data = api::object_at(map, "data");
  const auto* pem = data.if_contains("ca.crt");
  auto split = pki::split_bundle(pem != nullptr && pem->is_string() ? std::string(pem->get_string()) : "");
  if (split) out.pems = std::move(*split);
  const auto* phase = api::object_at(map, "metadata.annotations").if_contains(kCaRotation);
  if (phase != nullptr && phase->is_string()) out.phase = pki::rotation_phase(std::string(phase->get_string()));
  return out;
}

pki::Authorities known_authorities(const store::Store& store) {
  auto map = store.get(kCaConfigMap);
  return map ? authorities_of(map->body) : pki::Authorities();
}

json::object with_authorities(json::object body, const pki::Authorities& authorities) {
  api::make_object_at(body, "data")["ca.crt"] = authorities.bundle();
  auto& annotations = api::make_object_at(body, "metadata.annotations");
  if (authorities.phase == pki::RotationPhase::steady)
    annotations.erase(kCaRotation);
  else
    annotations[kCaRotation] = pki::to_string(authorities.phase);
  return body;
}

async::awaitable<Result<>> publish_authorities(store::Store& store, pki::Authorities authorities, bool anew) {
  auto now = std::chrono::system_clock::now();
  store::Decision decide = [&](store::Transaction& tx) -> api::Answer<api::ObjectPtr> {
    auto have = tx.get(kCaConfigMap);
    auto known = have ? authorities_of(have->body) : pki::Authorities();
    bool same = known.pems == authorities.pems && known.phase == authorities.phase;
    if (same || (!known.pems.empty() && !anew)) return have;
    json::object body = have ? have->body : new_object("v1", "ConfigMap", kCaConfigMap, now);
    return tx.put(kCaConfigMap, with_authorities(std::move(body), authorities));
  };
  auto done = co_await write(store, std::move(decide));
  if (!done) co_return std::move(done).error();
  co_return Result<>();
}

async::awaitable<Result<>> write_kubernetes_slice(store::Store& store, BootstrapFacts facts) {
  auto now = std::chrono::system_clock::now();
  store::Decision decide = [&](store::Transaction& tx) -> api::Answer<api::ObjectPtr> {
    api::Key key{"services", "default", "kubernetes"};
    auto service = tx.get(key);
    auto ip = base::Ip::parse(service ? api::text_at(service->body, "spec.clusterIP") : "");
    if (!ip) return api::Status::not_found(key);
    return put_slice(tx, facts, ip->is_v4(), now);
  };
  auto done = co_await write(store, std::move(decide));
  if (!done) co_return std::move(done).error();
  co_return Result<>();
}

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
    if (!facts.alone && tx.get(kSlice)) return last;
    return put_slice(tx, facts, first.front().is_v4(), now);
  };
  auto done = co_await write(store, std::move(decide));
  if (!done) co_return std::move(done).error().in("make the default namespaces and default/kubernetes");
  co_return Result<>();
}

}  // namespace trama::control
