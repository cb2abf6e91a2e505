// SPDX-License-Identifier: GPL-2.0-or-later
// What a change of Services costs on a node: from update() to the committed rules, beside the cheapest transaction
// there is (one element, same session, same run). Needs root; works in a network namespace of its own.
//   bench_services [services…]        default: 1000 10000
#include <algorithm>
#include <cstdlib>
#include <cstring>

#include <boost/asio/io_context.hpp>
#include <fmt/format.h>
#include <sched.h>

#include "base/async/task_group.h"
#include "base/async/worker.h"
#include "base/log.h"
#include "servicelb/kernel_linux.h"
#include "servicelb/reconciler.h"
#include "servicelb/ruleset.h"
#include "tests/bench/report.h"

namespace trama::servicelb {
namespace {
using Clock = std::chrono::steady_clock;
using Micros = std::vector<double>;

constexpr int kEndpoints = 4;
constexpr int kRounds = 300;

using bench::Row;

double since(Clock::time_point t) { return std::chrono::duration<double, std::micro>(Clock::now() - t).count(); }
double quantile(Micros v, double q) {
  std::sort(v.begin(), v.end());
  return v[std::min(v.size() - 1, static_cast<std::size_t>(q * static_cast<double>(v.size())))];
}

Service service(int i, int endpoints, int salt = 0) {
  Service s;
  s.key = {"bench", fmt::format("service-{}", i)};
  s.cluster_ips = {Ip::v4(10, static_cast<std::uint8_t>(96 + (i >> 16)), static_cast<std::uint8_t>(i >> 8),
                          static_cast<std::uint8_t>(i))};
  ServicePort p;
  p.name = "http", p.port = 80;
  for (int n = 0; n < endpoints; ++n) {
    unsigned at = static_cast<unsigned>(i * endpoints + n) + (n == 0 ? static_cast<unsigned>(salt) * 7919u : 0u);
    Endpoint e;
    e.ip = Ip::v4(10, 128, 0, 0).plus(at % 0x7fffff), e.port = 8080, e.pod = fmt::format("bench/pod-{}-{}", i, n);
    p.endpoints.push_back(e);
  }
  std::sort(p.endpoints.begin(), p.endpoints.end());
  s.ports = {p};
  return s;
}

class Bench {
 public:
  Bench(int services, int endpoints, bool operations, std::vector<Row>& rows)
      : services_(services),
        endpoints_(endpoints),
        operations_(operations),
        rows_(rows),
        worker_("nft"),
        news_(brain_.get_executor()) {
    auto session = nft::Session::open();
    if (!session) fail(session.error());
    session_ = std::make_unique<nft::Session>(std::move(*session));
    auto kernel = LinuxKernel::open(*session_);
    if (!kernel) fail(kernel.error());
    kernel_ = std::move(*kernel);
    auto note = [this](const Reconciler::Report& r) {
      if (!r.failures.empty()) fail(base::Error::text(r.failures.front()));
      news_.set();
    };
    reconciler_ = std::make_unique<Reconciler>(*kernel_, brain_.get_executor(), worker_.executor(), note);
  }

  void run() {
    async::TaskGroup group(brain_.get_executor());
    group.spawn("servicelb", reconciler_->run());
    auto all = [this, &group]() -> async::awaitable<void> {
      co_await measure();
      co_await group.stop();
    };
    async::asio::co_spawn(brain_, all, [](std::exception_ptr e) {
      if (e) std::rethrow_exception(e);
    });
    brain_.run();
    nft::Batch gone;
    for (Family f : kFamilies) gone.delete_table(table_of(f));
    if (auto ok = session_->commit(gone); !ok) fail(ok.error());
  }

 private:
  [[noreturn]] static void fail(const base::Error& e) {
    std::fprintf(stderr, "bench_services: %s\n", e.to_string().c_str());
    std::exit(1);
  }
  async::awaitable<void> until(std::uint64_t generation) {
    while (reconciler_->programmed_generation() < generation) co_await news_.wait();
  }
  async::awaitable<double> change(ServiceKey key, std::optional<Service> service) {
    auto started = Clock::now();
    auto generation = reconciler_->update(key, std::move(service));
    co_await until(generation);
    co_return since(started);
  }
  // One element in and out of a table of its own, on the same thread and session.
  async::awaitable<double> floor(int i) {
    auto job = [this, i] {
      nft::Element e;
      e.key.mark(static_cast<std::uint32_t>(i));
      nft::Batch put, gone;
      put.put_element(floor_table_, floor_set_, e);
      gone.delete_element(floor_table_, floor_set_, e);
      auto started = Clock::now();
      auto done = session_->commit(put);
      double took = since(started);
      if (!done || !session_->commit(gone)) fail(done ? base::Error::text("floor") : done.error());
      return took;
    };
    co_return co_await async::run_on(worker_.executor(), job);
  }

  async::awaitable<void> measure() {
    NodeFacts facts;
    facts.service_cidrs = {*Cidr::parse("10.96.0.0/12")};
    facts.pod_cidrs = {*Cidr::parse("10.128.0.0/9")};
    reconciler_->set_node(facts);
    std::vector<Service> all;
    for (int i = 0; i < services_; ++i) all.push_back(service(i, endpoints_));
    auto started = Clock::now();
    std::uint64_t generation = 0;
    for (const auto& s : all) generation = reconciler_->update(s.key, s);
    reconciler_->synced();
    co_await until(generation);
    std::string size = fmt::format("{}x{}", services_, endpoints_);
    rows_.push_back(
        {fmt::format("services.load.{}", size), since(started) / 1000, "ms", 0, 0, endpoints_ == 50 ? 5000.0 : 1000.0});
    if (!operations_) co_return;

    auto prepare = [this] {
      nft::Batch b;
      floor_set_.name = "s", floor_set_.key = {nft::field::meta_mark()};
      b.put_table(floor_table_).put_set(floor_table_, floor_set_);
      if (auto ok = session_->commit(b); !ok) fail(ok.error());
      return 0;
    };
    co_await async::run_on(worker_.executor(), prepare);
    Micros floors, replaced, added, deleted, grown, shrunk;
    for (int i = 0; i < kRounds; ++i) {
      int victim = (i * 7907) % services_;
      floors.push_back(co_await floor(i));
      auto other = service(victim, endpoints_, i + 1);
      replaced.push_back(co_await change(other.key, other));
      auto more = service(victim, endpoints_ + 1, i + 1);
      grown.push_back(co_await change(more.key, more));
      shrunk.push_back(co_await change(other.key, other));
      auto fresh = service(services_ + i, endpoints_);
      added.push_back(co_await change(fresh.key, fresh));
      deleted.push_back(co_await change(fresh.key, std::nullopt));
    }
    for (auto [label, q] : {std::pair{"p50", 0.5}, std::pair{"p99", 0.99}}) {
      double least = quantile(floors, q);
      auto row = [&](const char* what, const Micros& times) {
        rows_.push_back(
            {fmt::format("services.{}.{}.{}", what, services_, label), quantile(times, q), "us", least, 0, 5000});
      };
      row("endpoint_replaced", replaced);
      row("endpoint_added", grown);
      row("endpoint_removed", shrunk);
      row("service_added", added);
      row("service_deleted", deleted);
    }
    auto tidy = [this] {
      nft::Batch b;
      b.delete_table(floor_table_);
      if (auto ok = session_->commit(b); !ok) fail(ok.error());
      return 0;
    };
    co_await async::run_on(worker_.executor(), tidy);
  }

  int services_, endpoints_;
  bool operations_;
  std::vector<Row>& rows_;
  async::asio::io_context brain_;
  async::Worker worker_;
  async::Event news_;
  std::unique_ptr<nft::Session> session_;
  std::unique_ptr<LinuxKernel> kernel_;
  std::unique_ptr<Reconciler> reconciler_;
  nft::Table floor_table_{nft::Family::ip, "floor", "", 0};
  nft::Set floor_set_;
};

}  // namespace

int run(int argc, char** argv) {
  std::vector<int> sizes;
  for (int i = 1; i < argc; ++i) sizes.push_back(std::atoi(argv[i]));
  bool everything = sizes.empty();
  if (everything) sizes = {1000, 10'000};
  if (unshare(CLONE_NEWNET) < 0) {
    std::fprintf(stderr, "bench_services: needs root for a network namespace of its own\n");
    return 1;
  }
  base::logger("servicelb")->set_level(spdlog::level::warn);
  std::vector<Row> rows;
  for (int size : sizes) Bench(size, kEndpoints, true, rows).run();
  if (everything) Bench(10000, 50, false, rows).run();
  bench::print(rows);
  return 0;
}

}  // namespace trama::servicelb

int main(int argc, char** argv) { return trama::servicelb::run(argc, argv); }
