// SPDX-License-Identifier: GPL-2.0-or-later
#include "control/agent_proxy.h"

#include <boost/asio/experimental/awaitable_operators.hpp>

#include "control/api/simulated.h"
#include "control/api/types.h"

namespace trama::control {

namespace json = api::json;
using server::awaitable;
using server::Reply;
using server::Request;
using server::Stream;
using server::SubresourcePath;

namespace {

Reply to_reply(const api::Status& status) {
  Reply r;
  r.status = status.code;
  r.body = json::serialize(status.to_json());
  return r;
}

// The agent answered an error, or could not be reached.
api::Status unreachable(const std::string& node, const base::Error& e) {
  auto text = fmt::format("the agent of node {}: {}", node, e.to_string());
  int code = client::http_status(e);
  if (code == 400) return api::Status::bad_request(std::move(text));
  auto status = api::Status::internal(std::move(text));
  if (code != 0)
    status.code = code;
  else
    status.code = 502, status.reason = "BadGateway";
  return status;
}

struct Place {
  std::string node, container;
};

api::Answer<Place> place_of(const store::Store& store, const SubresourcePath& path, const Request& request) {
  api::Key key{"pods", path.ns, path.name};
  auto object = store.get(key);
  if (!object) return api::Status::not_found(key);
  auto pod = api::decode_pod(*object);
  if (pod.node_name.empty())
    return api::Status::bad_request(fmt::format("pod {} does not have a host assigned", path.name));
  Place place;
  place.node = pod.node_name;
  place.container = request.parameter("container");
  std::vector<std::string> names;
  for (const auto& c : pod.containers) names.push_back(c.name);
  auto all = names;
  for (const auto& c : pod.init_containers) all.push_back(c.name);
  if (place.container.empty()) {
    if (names.size() != 1)
      return api::Status::bad_request(fmt::format("a container name must be specified for pod {}, choose one of: [{}]",
                                                  path.name, fmt::join(names, " ")));
    place.container = names.front();
  }
  if (std::find(all.begin(), all.end(), place.container) == all.end())
    return api::Status::bad_request(fmt::format("container {} is not valid for pod {}", place.container, path.name));
  return place;
}

// A run before the present one has no log of its own.
api::Status no_previous_log(const store::Store& store, const SubresourcePath& path, const std::string& container) {
  auto pod = store.get(api::Key{"pods", path.ns, path.name});
  bool ended = false;
  for (const char* list : {"containerStatuses", "initContainerStatuses"})
    for (const auto& status : api::array_at(pod->body, fmt::format("status.{}", list)))
      if (status.is_object() && api::text_at(status.get_object(), "name") == container)
        ended |= api::int_at(status.get_object(), "restartCount") > 0;
  return api::Status::bad_request(
      ended
          ? fmt::format("the output of previous runs of container \"{}\" in pod \"{}\" stands in the same log, before "
                        "that of the present one: ask without --previous",
                        container, path.name)
          : fmt::format("previous terminated container \"{}\" in pod \"{}\" not found", container, path.name));
}

std::string query_of(const Request& request) {
  auto mark = request.target.find('?');
  return mark == std::string::npos ? "" : request.target.substr(mark);
}

awaitable<void> pump_up(Stream& from, client::Tunnel& to) {
  for (;;) {
    auto bytes = co_await from.read_some();
    if (!bytes || bytes->empty()) co_return;
    auto written = co_await to.write(std::move(*bytes));
    if (!written) co_return;
  }
}

awaitable<void> pump_down(client::Tunnel& from, Stream& to) {
  for (;;) {
    auto bytes = co_await from.read();
    if (!bytes || bytes->empty()) co_return;
    auto written = co_await to.write(std::move(*bytes));
    if (!written) co_return;
  }
}

}  // namespace

std::string log_target(const std::string& ns, const std::string& pod, const std::string& container,
                       const Request& request) {
  std::string query;
  auto add = [&query](const char* name, const std::string& value) {
    query += fmt::format("{}{}={}", query.empty() ? "?" : "&", name, client::url_encode(value));
  };
  for (const char* name : {"follow", "previous", "timestamps"})
    if (request.flag(name)) add(name, "true");
  for (const char* name : {"sinceSeconds", "sinceTime", "tailLines", "limitBytes"})
    if (request.has(name)) add(name, request.parameter(name));
  return fmt::format("/containerLogs/{}/{}/{}{}", ns, pod, container, query);
}

std::string exec_target(const std::string& verb, const std::string& ns, const std::string& pod,
                        const std::string& container, const Request& request) {
  std::string query;
  auto add = [&query](std::string_view name, const std::string& value) {
    query += fmt::format("{}{}={}", query.empty() ? "?" : "&", name, client::url_encode(value));
  };
  if (auto it = request.query.find("command"); it != request.query.end())
    for (const auto& word : it->second) add("command", word);
  const std::pair<const char*, const char*> flags[] = {
      {"stdin", "input"}, {"stdout", "output"}, {"stderr", "error"}, {"tty", "tty"}};
  for (const auto& [ours, kubelets] : flags)
    if (request.flag(ours)) add(kubelets, "1");
  return fmt::format("/{}/{}/{}/{}{}", verb, ns, pod, container, query);
}

AgentProxy::AgentProxy(async::asio::any_io_executor ex, store::Store& store, const pki::ClusterKeys& keys,
                       std::uint16_t agent_port)
    : ex_(std::move(ex)), store_(store), keys_(keys), agent_port_(agent_port) {}

api::Answer<client::ApiClient*> AgentProxy::agent_of(const std::string& name) {
  api::Key key{"nodes", "", name};
  auto object = store_.get(key);
  if (!object) return api::Status::not_found(key);
  if (api::is_simulated(*object))  // its address may be somebody's
    return api::Status::bad_request(fmt::format(
        "node {} is simulated: its pods have no processes, so there are no logs and nothing to run in", name));
  auto node = api::decode_node(*object);
  auto ips = node.internal_ips();
  if (ips.empty()) return api::Status::unavailable(fmt::format("node {} has not reported an InternalIP yet", name));
  base::IpPort address;
  auto ip = base::Ip::parse(ips.front());
  if (!ip) return api::Status::unavailable(fmt::format("node {}: bad InternalIP {}", name, ips.front()));
  address.ip = *ip;
  address.port = node.agent_port != 0 ? static_cast<std::uint16_t>(node.agent_port) : agent_port_;
  auto id = fmt::format("{} {}", name, address.to_string());
  auto& slot = agents_[id];
  if (!slot) {
    client::ClientOptions o;
    o.server = "https://" + address.to_string();
    o.ca_pem = keys_.trusted;
    o.server_name = name;
    o.certificate_pem = keys_.controller.certificate_pem;
    o.key_pem = keys_.controller.key_pem;
    auto made = client::ApiClient::make(ex_, std::move(o));
    if (!made) {
      agents_.erase(id);
      return api::Status::internal(made.error().to_string());
    }
    slot = std::move(*made);
  }
  return slot.get();
}

base::Result<> AgentProxy::use_fresh_keys() {
  for (auto& [id, agent] : agents_) {
    if (auto used = agent->use_trust(keys_.trusted); !used) return used;
    if (auto used = agent->use_certificate(keys_.controller.certificate_pem, keys_.controller.key_pem); !used)
      return used;
  }
  return {};
}

awaitable<void> AgentProxy::handle(SubresourcePath path, Request request, Stream& stream) {
  if (path.resource == "pods" && path.subresource == "log") {
    co_await log(path, request, stream);
  } else if (path.resource == "pods" && (path.subresource == "exec" || path.subresource == "attach")) {
    co_await tunnel(path, request, stream);
  } else if (path.resource == "nodes" && path.subresource == "proxy") {
    co_await node(path, request, stream);
  } else {
    auto status = api::Status::bad_request(fmt::format("{}/{} is not supported", path.resource, path.subresource));
    auto reply = to_reply(status);
    (void)co_await stream.reply(reply);
  }
}

awaitable<void> AgentProxy::log(SubresourcePath path, Request request, Stream& stream) {
  auto place = place_of(store_, path, request);
  auto agent = place ? agent_of(place->node) : place.error();
  if (agent && request.flag("previous")) agent = no_previous_log(store_, path, place->container);
  if (!agent) {
    auto reply = to_reply(agent.error());
    (void)co_await stream.reply(reply);
    co_return;
  }
  auto target = log_target(path.ns, path.name, place->container, request);
  auto source = co_await (*agent)->stream(target);
  if (!source) {
    auto reply = to_reply(unreachable(place->node, source.error()));
    (void)co_await stream.reply(reply);
    co_return;
  }
  auto begun = co_await stream.begin(200, "text/plain");
  while (begun) {
    auto piece = co_await (*source)->read(std::chrono::hours(24));
    if (!piece) co_return;  // cut short: the client must not take it for the end
    if (piece->empty()) break;
    begun = co_await stream.chunk(std::move(*piece));
  }
  if (begun) (void)co_await stream.finish();
}

awaitable<void> AgentProxy::tunnel(SubresourcePath path, Request request, Stream& stream) {
  auto place = place_of(store_, path, request);
  auto agent = place ? agent_of(place->node) : place.error();
  if (agent && request.header("upgrade").empty())
    agent = api::Status::bad_request("exec needs a WebSocket upgrade; use kubectl 1.30 or newer, or trama exec");
  if (!agent) {
    auto reply = to_reply(agent.error());
    (void)co_await stream.reply(reply);
    co_return;
  }
  client::Headers headers;
  for (const auto& [name, value] : request.headers)
    if (name == "upgrade" || name.starts_with("sec-websocket-") || name == "x-stream-protocol-version")
      headers.emplace_back(name, value);
  auto target = exec_target(path.subresource, path.ns, path.name, place->container, request);
  auto upgraded = co_await (*agent)->upgrade(request.method, target, headers);
  if (!upgraded) {
    auto reply = to_reply(unreachable(place->node, upgraded.error()));
    (void)co_await stream.reply(reply);
    co_return;
  }
  if (!upgraded->tunnel) {
    Reply reply;
    reply.status = upgraded->status;
    reply.content_type = upgraded->refusal.content_type;
    reply.body = upgraded->refusal.body.is_null() ? upgraded->refusal.text : json::serialize(upgraded->refusal.body);
    (void)co_await stream.reply(reply);
    co_return;
  }
  auto head = co_await stream.write(upgraded->head);
  if (!head) co_return;
  auto& far = *upgraded->tunnel;
  auto up = pump_up(stream, far);
  auto down = pump_down(far, stream);
  // Whichever end closes first ends both; a cancelled session ends them too.
  using namespace async::asio::experimental::awaitable_operators;
  co_await (std::move(up) || std::move(down));
}

awaitable<void> AgentProxy::node(SubresourcePath path, Request request, Stream& stream) {
  auto agent = agent_of(path.name);
  if (!agent) {
    auto reply = to_reply(agent.error());
    (void)co_await stream.reply(reply);
    co_return;
  }
  auto target = (path.rest.empty() ? "/" : path.rest) + query_of(request);
  auto type = request.header("content-type");
  auto answer = co_await (*agent)->request(request.method, target, request.body, type);
  Reply reply;
  if (!answer) {
    reply = to_reply(unreachable(path.name, answer.error()));
  } else {
    reply.status = answer->status;
    reply.content_type = answer->content_type;
    reply.body = answer->body.is_null() ? answer->text : json::serialize(answer->body);
  }
  (void)co_await stream.reply(reply);
}

}  // namespace trama::control
