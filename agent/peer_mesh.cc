// SPDX-License-Identifier: GPL-2.0-or-later
#include "agent/peer_mesh.h"

#include <algorithm>

#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/post.hpp>

#include "base/async/task_group.h"
#include "base/file.h"
#include "base/log.h"
#include "control/pki/certificate.h"
#include "overlay/tunnel/tunnel.h"

namespace trama::agent {

namespace asio = async::asio;
using overlay::mesh::Mesh;

namespace {
constexpr std::string_view kNodePrefix = "system:node:";
constexpr const char* kNodesGroup = "system:nodes";
constexpr std::size_t kLargestFile = 4 << 20;
}  // namespace

base::Result<overlay::mesh::Certified> node_of_certificate(x509_st* x) {
  auto certificate = pki::Certificate::of(x);
  auto subject = certificate.subject();
  bool node =
      subject.common_name.starts_with(kNodePrefix) && !subject.other &&
      std::find(subject.organizations.begin(), subject.organizations.end(), kNodesGroup) != subject.organizations.end();
  if (!node || !certificate.is_for_clients() || certificate.is_ca())
    return base::Error::text(fmt::format("the certificate of {} is no node's", subject.common_name));
  return overlay::mesh::Certified{subject.common_name.substr(kNodePrefix.size()), certificate.not_after()};
}

struct PeerMesh::Impl : std::enable_shared_from_this<PeerMesh::Impl> {
  Impl(asio::any_io_executor b, asio::any_io_executor f, Options o, OnChange c)
      : brain(b), files(f), options(std::move(o)), on_change(std::move(c)), worker("trama-peers") {}

  Mesh::Events events() {
    Mesh::Events out;
    auto weak = weak_from_this();
    out.changed = [weak, ex = brain](MeshStatus status) {
      asio::post(ex, [weak, status = std::move(status)] {
        auto self = weak.lock();
        if (!self || !self->running) return;
        self->last = status;
        self->on_change(*self->last);
      });
    };
    out.members = [file = options.members_file, ex = files](std::vector<overlay::peers::Member> members) {
      if (file.empty()) return;
      asio::post(ex, [file, members = std::move(members)] {
        auto saved = base::make_directories(file.substr(0, file.rfind('/')), 0700);
        if (saved) saved = base::write_file_atomic(file, overlay::peers::encode_file(members), 0600);
        if (!saved) base::logger("peers")->warn("members of the cluster: {}", saved.error().to_string());
      });
    };
    return out;
  }

  std::vector<overlay::peers::Member> read_members() const {
    if (options.members_file.empty()) return {};
    auto text = base::read_file(options.members_file, kLargestFile);
    if (!text) return {};  // there is none before the first start
    auto members = overlay::peers::parse_file(*text);
    if (members) return std::move(*members);
    base::logger("peers")->warn("{}: {}; it is written anew", options.members_file, members.error().to_string());
    return {};
  }

  template <class F>
  void there(F job) {
    if (running) asio::post(worker.executor(), [self = shared_from_this(), job = std::move(job)] { job(*self->mesh); });
  }

  static awaitable<void> finish(std::shared_ptr<Impl> self) {
    co_await self->tasks->stop();
    co_await self->mesh->stop();
    self->mesh.reset();
    self->tunnel.reset();
    self->tasks.reset();
  }

  asio::any_io_executor brain, files;
  Options options;
  OnChange on_change;
  async::Worker worker;
  std::optional<overlay::tunnel::Tunnel> tunnel;
  std::optional<Mesh> mesh;  // all live on the worker once start() has returned
  std::optional<async::TaskGroup> tasks;
  std::optional<MeshStatus> last;
  overlay::peers::World world;
  bool running = false;
};

PeerMesh::PeerMesh(asio::any_io_executor brain, asio::any_io_executor files, Options options, OnChange on_change)
    : impl_(std::make_shared<Impl>(brain, files, std::move(options), std::move(on_change))) {}
PeerMesh::~PeerMesh() = default;

void PeerMesh::start() {
  auto& self = *impl_;
  overlay::mesh::MeshOptions how;
  how.node = self.options.node_name;
  how.port = self.options.port;
  how.relay = self.options.relay;
  if (self.options.tunnel) how.tunnel = &self.tunnel.emplace(overlay::tunnel::Tunnel::Options{});
  self.mesh.emplace(self.worker.executor(), std::move(how), self.events());
  self.tasks.emplace(self.worker.executor());
  self.running = true;
  self.there([state = impl_.get(), members = self.read_members()](Mesh& mesh) {
    mesh.remember(members);
    state->tasks->spawn("peers", mesh.run());
  });
}

awaitable<void> PeerMesh::stop() {
  if (!std::exchange(impl_->running, false)) co_return;
  auto last_words = Impl::finish(impl_);
  auto whole = asio::bind_cancellation_slot(asio::cancellation_slot(), asio::use_awaitable);
  co_await asio::co_spawn(impl_->worker.executor(), std::move(last_words), whole);
}

void PeerMesh::set_world(overlay::peers::World world) {
  if (world == impl_->world) return;
  impl_->world = world;
  impl_->there([world = std::move(world)](Mesh& mesh) { mesh.set_world(world); });
}

void PeerMesh::set_identity(const Identity& identity, bool is_node) {
  overlay::mesh::Credentials credentials;
  std::string why_not = "this agent has no node certificate (--kubeconfig)";
  if (is_node) credentials = {identity.ca_pem, identity.certificate_pem, identity.key_pem};
  if (is_node) why_not.clear();
  impl_->there([credentials, why_not](Mesh& mesh) { mesh.set_credentials(credentials, node_of_certificate, why_not); });
}

awaitable<MeshStatus> PeerMesh::look() {
  if (!impl_->running) co_return MeshStatus();
  auto self = impl_;
  auto job = [self] { return self->mesh ? self->mesh->status() : MeshStatus(); };
  co_return co_await async::run_on(impl_->worker.executor(), job);
}

const std::optional<MeshStatus>& PeerMesh::last() const { return impl_->last; }

}  // namespace trama::agent
