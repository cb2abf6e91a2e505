// SPDX-License-Identifier: GPL-2.0-or-later
#include "tests/kernel/overlay/running_mesh.h"

#include <ctime>
#include <future>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <gtest/gtest.h>

#include "base/async/task_group.h"
#include "base/async/worker.h"

namespace trama::overlay::test {

namespace asio = async::asio;

namespace {
std::int64_t wall_clock() { return static_cast<std::int64_t>(std::time(nullptr)); }
}  // namespace

TestAuthority::TestAuthority() : authority_(*pki::Authority::create("test", wall_clock())) {}

mesh::Credentials TestAuthority::issue(const How& how) const {
  pki::Issue issue;
  issue.subject.common_name = how.common_name;
  issue.subject.organizations = {how.organization};
  issue.usage.client = true;
  issue.now = wall_clock();
  issue.life = how.life;
  auto pair = authority_.issue(issue);
  if (!pair) throw std::runtime_error(pair.error().to_string());
  return {authority_.certificate_pem(), pair->certificate_pem, pair->key_pem};
}

mesh::Credentials TestAuthority::node(const std::string& name) const { return issue({"system:node:" + name}); }

base::Result<mesh::Certified> who_is(x509_st* certificate) {
  auto c = pki::Certificate::of(certificate);
  auto subject = c.subject();
  constexpr std::string_view prefix = "system:node:";
  if (!subject.common_name.starts_with(prefix) || subject.organizations != std::vector<std::string>{"system:nodes"})
    return base::Error::text("it is no node's certificate");
  return mesh::Certified{subject.common_name.substr(prefix.size()), c.not_after()};
}

peers::World world_of(Node& node, unsigned mtu) {
  peers::World w;
  w.underlay = node.desired.underlay;
  w.mtu = mtu;
  w.controller_heard = true;
  w.mac = vtep_mac(node.desired.cluster_id, node.desired.node);
  w.vni = node.desired.vni;
  w.overlay = {vtep_ip(node.desired.pod_cidrs.front())};
  if (!node.desired.further.empty()) {
    auto links = node.observe().uplinks;
    for (const auto& address : uplinks_of(node.desired)) {
      const auto& link = links.at(address);
      w.uplinks.push_back({address, Cidr::of(address, link.prefix), overlay_mtu(node.desired, link.mtu),
                           tunnel_mtu(node.desired, link.mtu)});
    }
  }
  for (const auto& [name, peer] : node.desired.peers) {
    peers::World::Peer p;
    p.underlay = peer.underlay;
    p.further = peer.further;
    p.overlay = vtep_ip(peer.pod_cidrs.front());
    p.mac = vtep_mac(node.desired.cluster_id, name);
    p.pods = peer.pod_cidrs;
    w.peers[name] = std::move(p);
    w.members.push_back({name, 1, peer.underlay});
  }
  return w;
}

struct RunningMesh::Loop {
  asio::io_context context{1};
  asio::executor_work_guard<asio::io_context::executor_type> guard{context.get_executor()};
  async::TaskGroup tasks{context.get_executor()};
  std::optional<Mesh> mesh;

  asio::awaitable<void> stop() {
    co_await tasks.stop();
    co_await mesh->stop();
    guard.reset();
  }
};

RunningMesh::RunningMesh(const PrivateNetns& netns, mesh::MeshOptions options, mesh::Credentials credentials,
                         bool tunnel)
    : options_(std::move(options)), credentials_(std::move(credentials)), with_tunnel_(tunnel) {
  thread_ = std::thread([this, &netns] { netns.run([&] { body(); }); });
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return loop_ != nullptr; });
}

void RunningMesh::note(const MeshStatus& status) {
  std::lock_guard lock(mutex_);
  for (const auto& p : status.peers)
    for (auto kind : {PathKind::overlay, PathKind::control}) {
      auto key = fmt::format("{} {}", p.node, peers::to_string(kind));
      std::string state = peers::to_string(p.path(kind).state);
      if (std::exchange(last_[key], state) != state) history_.push_back(key + " " + state);
    }
  if (status.isolated && (history_.empty() || history_.back() != "isolated")) history_.push_back("isolated");
}

void RunningMesh::body() {
  if (with_tunnel_) tunnel_ = std::make_unique<tunnel::Tunnel>(tunnel::Tunnel::Options{});
  options_.tunnel = tunnel_.get();
  Loop loop;
  Mesh::Events events;
  events.changed = [this](const MeshStatus& s) {
    note(s);
    std::function<void(const MeshStatus&)> then;
    {
      std::lock_guard lock(mutex_);
      then = then_;
    }
    if (then) then(s);
  };
  events.members = [this](std::vector<peers::Member> m) {
    std::lock_guard lock(mutex_);
    members_ = std::move(m);
  };
  loop.mesh.emplace(loop.context.get_executor(), options_, std::move(events));
  loop.mesh->set_credentials(credentials_, who_is, "no certificate");
  loop.tasks.spawn("mesh", loop.mesh->run());
  {
    std::lock_guard lock(mutex_);
    loop_ = &loop;
    changed_.notify_all();
  }
  loop.context.run();
  loop.mesh.reset();
  tunnel_.reset();
}

RunningMesh::~RunningMesh() {
  asio::post(loop_->context, [this] { asio::co_spawn(loop_->context, loop_->stop(), asio::detached); });
  thread_.join();
}

template <class F>
void RunningMesh::on_loop(F job) {
  std::promise<void> done;
  asio::post(loop_->context, [&] {
    job(*loop_->mesh);
    done.set_value();
  });
  done.get_future().wait();
}

void RunningMesh::set_world(peers::World world) {
  on_loop([&](Mesh& m) { m.set_world(std::move(world)); });
}
void RunningMesh::set_credentials(mesh::Credentials credentials, const std::string& why_not) {
  on_loop([&](Mesh& m) { m.set_credentials(std::move(credentials), who_is, why_not); });
}
void RunningMesh::remember(const std::vector<peers::Member>& members) {
  on_loop([&](Mesh& m) { m.remember(members); });
}
MeshStatus RunningMesh::status() {
  MeshStatus out;
  on_loop([&](Mesh& m) { out = m.status(); });
  return out;
}
std::vector<peers::Member> RunningMesh::members() {
  std::lock_guard lock(mutex_);
  return members_;
}
bool RunningMesh::wait(const std::function<bool(const MeshStatus&)>& condition, int milliseconds) {
  return trama::test::eventually([&] { return condition(status()); }, milliseconds);
}
void RunningMesh::on_change(std::function<void(const MeshStatus&)> then) {
  std::lock_guard lock(mutex_);
  then_ = std::move(then);
}
std::vector<std::string> RunningMesh::history() {
  std::lock_guard lock(mutex_);
  return history_;
}
void RunningMesh::stall(std::chrono::milliseconds time) {
  on_loop([&](Mesh&) { std::this_thread::sleep_for(time); });
}

const peers::PeerStatus* peer_in(const MeshStatus& status, const std::string& node) {
  for (const auto& p : status.peers)
    if (p.node == node) return &p;
  return nullptr;
}

bool path_is(const MeshStatus& status, const std::string& node, PathKind kind, PathState state) {
  const auto* p = peer_in(status, node);
  return p && p->path(kind).state == state;
}

std::string describe(const MeshStatus& status) {
  std::string out = fmt::format("{}{}\n", status.node, status.isolated ? " isolated" : "");
  for (const auto& p : status.peers) {
    out += fmt::format("  {} {} {}", p.node, peers::to_string(p.connection), p.trouble);
    out += fmt::format(" use {} ({})", peers::to_string(p.use), p.why);
    if (!p.via.empty()) out += " via " + p.via;
    for (auto kind : peers::kAllPaths) {
      const auto& path = p.path(kind);
      out += fmt::format(" | {} {} {} loss {} in {} out {} rtt {} us", peers::to_string(kind),
                         peers::to_string(path.state), path.reason, path.loss, path.loss_in, path.loss_out,
                         path.round_trip.count());
    }
    for (const auto& w : p.ways)
      out += fmt::format(" | {}{} -> {} {}", w.used ? "over " : "", w.here.to_string(), w.there.to_string(),
                         peers::to_string(w.state));
    out += "\n";
  }
  return out;
}

}  // namespace trama::overlay::test
