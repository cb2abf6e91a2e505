// SPDX-License-Identifier: GPL-2.0-or-later
#include "tests/kernel/overlay/whole_node.h"

#include <cstring>

#include <poll.h>
#include <sys/socket.h>

#include "agent/compute/peers.h"

namespace trama::overlay::test {

const TestAuthority& authority() {
  static TestAuthority one;
  return one;
}

Demands hasty(bool encrypt) {
  Demands d;
  d.encrypt = encrypt;
  d.mesh.timers.steady = std::chrono::milliseconds(300);
  d.mesh.timers.quick = std::chrono::milliseconds(60);
  d.mesh.timers.patience = std::chrono::milliseconds(800);
  d.mesh.other_side_first = std::chrono::milliseconds(200);
  d.mesh.redial = std::chrono::milliseconds(100);
  return d;
}

WholeNode::WholeNode(Node& node, const TestAuthority& authority, const Demands& demands)
    : node_(node), desired_(node.desired) {
  desired_.tunnel = true;
  desired_.encrypt = demands.encrypt;
  desired_.direct = demands.direct;
  for (auto& [name, p] : desired_.peers) {
    p.path = Path::keep;
    p.told = !demands.direct;
  }
  reconciler_ = std::make_unique<RunningNode>(node.host.netns(), std::nullopt);
  reconciler_->publish(desired_);
  auto options = demands.mesh;
  options.node = desired_.node;
  mesh_ = std::make_unique<RunningMesh>(
      node.host.netns(), options, authority.issue({"system:node:" + options.node, "system:nodes", demands.life}), true);
  mesh_->on_change([this](const MeshStatus& s) { chosen(s); });
  auto world = world_of(node, overlay_mtu(desired_, 1500));
  world.tunnel_mtu = tunnel_mtu(desired_, 1500);
  world.encrypt = demands.encrypt;
  if (demands.direct) {
    const auto& link = node.observe().uplinks.at(desired_.underlay);
    world.plain = {link.index, link.mac, Cidr::of(desired_.underlay, link.prefix), link.mtu};
  }
  for (const auto& name : demands.trusted) world.peers.at(name).trusted = true;
  mesh_->set_world(world);
}

WholeNode::~WholeNode() { mesh_.reset(); }

void WholeNode::chosen(const MeshStatus& status) {
  std::lock_guard lock(mutex_);
  if (forced_) return;
  auto before = desired_;
  agent::use_paths(desired_, status);
  if (!(desired_ == before)) reconciler_->publish(desired_);
}

void WholeNode::force(Path path) {
  std::lock_guard lock(mutex_);
  forced_ = true;
  for (auto& [name, p] : desired_.peers) p.path = path;
  reconciler_->publish(desired_);
}

bool WholeNode::programmed(const std::string& peer, peers::Use use) {
  auto device = peers::is_sealed(use) ? kTunnelDevice : use == peers::Use::direct ? "eth0" : kDevice;
  auto to = cidr_of(node_.desired.peers.at(peer).pod_cidrs, Family::v4)->address().plus(5).to_string();
  std::string out;
  node_.host.netns().shell("ip route get " + to, &out);
  // With all that belongs to it: the MTU of a path that is larger comes after the change.
  return out.find(std::string("dev ") + device) != std::string::npos && reconciler_->wait(true, 0);
}

bool WholeNode::takes(const std::string& peer, peers::Use use, int milliseconds) {
  return trama::test::eventually(
      [&] {
        auto s = mesh_->status();
        const auto* p = peer_in(s, peer);
        return p && p->use == use && programmed(peer, use) &&
               (!peers::is_sealed(use) || p->used().state == PathState::up);
      },
      milliseconds);
}

Pinger::Pinger(const PrivateNetns& from, const PrivateNetns& to, const Ip& address, std::chrono::microseconds pace,
               std::size_t size)
    : server_(to, address.family(), SOCK_DGRAM), client_(from, address.family(), SOCK_DGRAM) {
  base::IpPort target{address, server_.port()};
  if (!client_.connect_to(target)) throw std::runtime_error("connect");
  echo_ = std::thread([this] {
    while (!echo_stop_)
      if (auto got = server_.receive(50)) server_.send_to(got->second, got->first);
  });
  thread_ = std::thread([this, pace, size] {
    std::vector<bool> answered;
    auto next = Clock::now(), last = next;
    std::vector<char> buffer(size + 4096);
    auto drain = [&] {
      ssize_t n = 0;
      while ((n = recv(client_.fd(), buffer.data(), buffer.size(), MSG_DONTWAIT)) >= 4) {
        std::uint32_t number = 0;
        std::memcpy(&number, buffer.data(), sizeof number);
        if (number >= answered.size() || answered[number]) continue;
        answered[number] = true;
        result_.longest_gap =
            std::max(result_.longest_gap, std::chrono::duration_cast<std::chrono::milliseconds>(Clock::now() - last));
        last = Clock::now();
      }
    };
    std::vector<char> ping(size, 'p');
    while (!stop_) {
      auto number = static_cast<std::uint32_t>(answered.size());
      answered.push_back(false);
      std::memcpy(ping.data(), &number, sizeof number);
      (void)send(client_.fd(), ping.data(), ping.size(), MSG_DONTWAIT);
      next += pace;
      while (Clock::now() < next) {
        pollfd p{client_.fd(), POLLIN, 0};
        auto left = std::chrono::duration_cast<std::chrono::milliseconds>(next - Clock::now()).count();
        poll(&p, 1, static_cast<int>(std::max<std::int64_t>(0, left)));
        drain();
      }
    }
    // What is underway may arrive.
    auto until = Clock::now() + std::chrono::milliseconds(300);
    while (Clock::now() < until) {
      pollfd p{client_.fd(), POLLIN, 0};
      poll(&p, 1, 10);
      auto longest = result_.longest_gap;
      drain();
      result_.longest_gap = longest;
    }
    result_.sent = static_cast<unsigned>(answered.size());
    result_.lost = static_cast<unsigned>(std::count(answered.begin(), answered.end(), false));
  });
}

Pinger::Result Pinger::stop() {
  stop_ = true;
  if (thread_.joinable()) thread_.join();
  echo_stop_ = true;
  if (echo_.joinable()) echo_.join();
  return result_;
}
Pinger::~Pinger() { stop(); }

}  // namespace trama::overlay::test
