// SPDX-License-Identifier: GPL-2.0-or-later
#include "tests/bench/services_rig.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>

#include <fmt/format.h>

#include "servicelb/kernel_linux.h"

namespace trama::bench {
using servicelb::Change;
using servicelb::Endpoint;
using servicelb::LinuxKernel;
using servicelb::NodeFacts;
using servicelb::Reconciler;
using servicelb::Service;
using servicelb::ServiceKey;
using servicelb::ServicePort;

double since(Clock::time_point t) { return std::chrono::duration<double, std::micro>(Clock::now() - t).count(); }
double quantile(Micros v, double q) {
  std::sort(v.begin(), v.end());
  return v.at(std::min(v.size() - 1, static_cast<std::size_t>(q * static_cast<double>(v.size()))));
}
void fail(const std::string& why) {
  std::fprintf(stderr, "bench_services: %s\n", why.c_str());
  std::exit(1);
}

Service service(int i, int endpoints, int salt, servicelb::Protocol protocol) {
  Service s;
  s.key = {"bench", fmt::format("service-{}", i)};
  s.cluster_ips = {base::Ip::v4(10, 96, 0, 0).plus(static_cast<unsigned>(i))};
  ServicePort p;
  p.name = "http", p.protocol = protocol, p.port = 80;
  for (int n = 0; n < endpoints; ++n) {
    unsigned at = static_cast<unsigned>(i * endpoints + n) + (n == 0 ? static_cast<unsigned>(salt) * 7919u : 0u);
    Endpoint e;
    e.ip = base::Ip::v4(10, 128, 0, 0).plus(at % 0x7fffff), e.port = 8080, e.pod = fmt::format("bench/pod-{}-{}", i, n);
    p.endpoints.push_back(e);
  }
  std::sort(p.endpoints.begin(), p.endpoints.end());
  s.ports = {p};
  return s;
}

namespace {
// Says no to a service, in the kernel's place.
class RefusingKernel : public servicelb::Kernel {
 public:
  RefusingKernel(std::unique_ptr<Kernel> real, std::string text) : real_(std::move(real)), text_(std::move(text)) {}
  base::Result<> commit(nft::Batch& batch) override {
    bool poisoned = false;
    auto look = [&](const nlmsghdr&, nft::Bytes payload) {
      std::string_view bytes(reinterpret_cast<const char*>(payload.data()), payload.size());
      poisoned |= bytes.find(text_) != std::string_view::npos;
    };
    batch.for_each(look);
    if (poisoned) return base::Error::from_errno(EINVAL, "refused by the benchmark");
    return real_->commit(batch);
  }
  base::Result<std::uint64_t> epoch() override { return real_->epoch(); }
  base::Result<std::string> damage(const nft::Blueprint& b, std::map<std::string, std::size_t>& counts) override {
    return real_->damage(b, counts);
  }
  base::Result<std::vector<nft::Element>> elements(const nft::Table& table, const nft::Set& set) override {
    return real_->elements(table, set);
  }
  base::Result<std::size_t> forget_flows(const std::vector<servicelb::FlowsOf>& stale) override {
    return real_->forget_flows(stale);
  }

 private:
  std::unique_ptr<Kernel> real_;
  std::string text_;
};
}  // namespace

Rig::Rig(const test::PrivateNetns& where, std::string refuse) : refuse_(std::move(refuse)), worker_("nft") {
  floor_set_.name = "s", floor_set_.key = {nft::field::meta_mark()};
  where.run([&] {
    auto session = nft::Session::open();
    if (!session) fail(session.error().to_string());
    session_ = std::make_unique<nft::Session>(std::move(*session));
    auto kernel = LinuxKernel::open(*session_);
    if (!kernel) fail(kernel.error().to_string());
    kernel_ = std::move(*kernel);
  });
  if (!refuse_.empty()) kernel_ = std::make_unique<RefusingKernel>(std::move(kernel_), refuse_);
  start();
}
Rig::~Rig() { stop(); }

void Rig::start() {
  auto note = [this](const Reconciler::Report& r) {
    operations_ += r.operations;
    if (refuse_.empty() && !r.failures.empty()) fail(r.failures.front());
  };
  reconciler_ = std::make_unique<Reconciler>(*kernel_, brain_.get_executor(), worker_.executor(), note);
  NodeFacts facts;
  facts.service_cidrs = {*base::Cidr::parse("10.96.0.0/12")};
  facts.pod_cidrs = {*base::Cidr::parse("10.128.0.0/9")};
  reconciler_->set_node(facts);
  brain_.restart();  // it has stopped when an earlier reconciler ended
  group_ = std::make_unique<async::TaskGroup>(brain_.get_executor());
  group_->spawn("servicelb", reconciler_->run());
}
void Rig::stop() {
  bool stopped = false;
  auto all = [this, &stopped]() -> async::awaitable<void> {
    co_await group_->stop();
    stopped = true;
  };
  async::asio::co_spawn(brain_, all, [](std::exception_ptr e) {
    if (e) std::rethrow_exception(e);
  });
  while (!stopped) brain_.run_one();
  group_.reset();
  reconciler_.reset();
}
void Rig::restart() {
  stop();
  start();
}

Rig::Cost Rig::measure(Clock::time_point started, std::uint64_t generation) {
  while (reconciler_->programmed_generation() < generation) {
    brain_.run_one_for(std::chrono::seconds(1));
    if (!refuse_.empty() && Clock::now() - started > kPatience) break;
  }
  Cost cost;
  cost.ms = since(started) / 1000;
  auto now = on_worker([this] { return session_->spent(); });
  cost.transactions = now.transactions - spent_.transactions;
  cost.kernel_us = std::chrono::duration<double, std::micro>(now.time - spent_.time).count();
  spent_ = now;
  cost.operations = std::exchange(operations_, 0);
  return cost;
}
Rig::Cost Rig::load(int count, int endpoints, servicelb::Protocol p) {
  auto started = Clock::now();
  std::uint64_t generation = 0;
  for (int i = 0; i < count; ++i) {
    auto s = service(i, endpoints, 0, p);
    auto key = s.key;
    generation = reconciler_->update(key, std::move(s));
  }
  reconciler_->synced();
  return measure(started, generation);
}
Rig::Cost Rig::change(std::vector<Change> changes) {
  auto started = Clock::now();
  std::uint64_t generation = 0;
  for (auto& c : changes) generation = reconciler_->update(c.key, std::move(c.service));
  return measure(started, generation);
}
Rig::Cost Rig::change(Service to) {
  std::vector<Change> one{{to.key, std::move(to)}};
  return change(std::move(one));
}
Rig::Cost Rig::remove(const ServiceKey& key) {
  std::vector<Change> one{{key, std::nullopt}};
  return change(std::move(one));
}

Rig::Cost Rig::one_element(int i) {
  return on_worker([this, i] {
    nft::Element e;
    e.key.mark(static_cast<std::uint32_t>(i));
    nft::Batch frame, put, gone;
    frame.put_table(floor_table_).put_set(floor_table_, floor_set_);
    put.put_element(floor_table_, floor_set_, e);
    gone.delete_element(floor_table_, floor_set_, e);
    if (auto ok = session_->commit(frame); !ok) fail(ok.error().to_string());
    auto before = session_->spent();
    auto started = Clock::now();
    auto done = session_->commit(put);
    Cost cost;
    cost.ms = since(started) / 1000;
    cost.transactions = 1;
    cost.kernel_us = std::chrono::duration<double, std::micro>(session_->spent().time - before.time).count();
    if (!done || !session_->commit(gone)) fail("floor: no transaction at all");
    spent_ = session_->spent();
    return cost;
  });
}

}  // namespace trama::bench
