// SPDX-License-Identifier: GPL-2.0-or-later
#include "cli/links/service.h"

#include <cstdio>
#include <ctime>

#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "cli/exit.h"
#include "cli/interrupt.h"
#include "cli/links/unix_line.h"

namespace trama::cli {

using base::Error;
using base::Result;
using base::UniqueFd;

namespace {

constexpr Nanoseconds kSecond{1'000'000'000};
constexpr Nanoseconds kIdle = 3 * kSecond;  // without a rule for that long, there is nothing to serve

json::object count_json(const Carrier::Count& c) {
  return {
      {"from", c.key.from},  {"to", c.key.to},    {"only", c.only.text()},           {"passed", c.wire.passed},
      {"lost", c.wire.lost}, {"cut", c.wire.cut}, {"overflowed", c.wire.overflowed}, {"reordered", c.wire.reordered}};
}

class LinkService {
 public:
  LinkService(LinkServiceOptions options) : options_(std::move(options)) {}

  Result<> open() {
    auto record = registry_.read(options_.lab);
    if (!record) return std::move(record).error();
    file_ = links_file(registry_, options_.lab);
    if (auto text = base::read_file(file_)) {
      auto state = LinkState::parse(*text);
      if (!state) return std::move(state).error().in(file_);
      state_ = std::move(*state);
    }
    if (connect_for_lines(links_socket(registry_, options_.lab)))
      return Error::text(fmt::format("the links of lab {} are served already", options_.lab), std::errc::file_exists);
    auto place = link_place(*record, "/run/netns");
    auto backend = open_backend(place);
    if (!backend) return std::move(backend).error();
    backend_ = std::move(*backend);
    if (auto r = settle(link_clock()); !r) return r;
    auto socket = listen_for_lines(links_socket(registry_, options_.lab));
    if (!socket) return std::move(socket).error();
    socket_ = std::move(*socket);
    socket_path_ = links_socket(registry_, options_.lab);
    return {};
  }

  Result<> run() {
    log_->info("links of lab {} by {}", options_.lab, backend_->name());
    busy_ = link_clock();
    while (!interrupted()) {
      auto now = link_clock();
      if (state_.expire(now) || (turn_ && *turn_ <= now))
        if (auto r = settle(now); !r) return r;
      if (auto r = backend_->step(now); !r) return r;
      if (!state_.rules().empty()) busy_ = now;
      if (now - busy_ > kIdle) break;
      if (now - looked_ > kSecond) {
        looked_ = now;
        // Whoever takes a lab away ends this process; should it be missed, it ends with the lab all the same.
        if (access(socket_path_.c_str(), F_OK) != 0) break;
      }
      wait(now);
      if (auto client = accept_line(socket_.get())) answer(std::move(*client));
    }
    unlink(socket_path_.c_str());
    return {};
  }

 private:
  Result<std::unique_ptr<LinkBackend>> open_backend(const LinkPlace& place) {
    if (options_.backend == "relay") return open_relay(place, state_.seed());
    auto netem = open_netem(place);
    if (netem || options_.backend == "netem") return netem;
    log_->debug("{}: frames are carried by a relay", netem.error().to_string());
    return open_relay(place, state_.seed());
  }

  Result<> settle(Nanoseconds now) {
    if (auto r = backend_->apply(state_.rules(), now); !r) return r;
    turn_ = state_.next(now);
    return base::write_file_replace(file_, state_.to_json_text(), 0600);
  }

  void wait(Nanoseconds now) {
    std::vector<pollfd> fds{{socket_.get(), POLLIN, 0}};
    for (int fd : backend_->descriptors()) fds.push_back({fd, POLLIN, 0});
    auto until = now + kSecond;
    for (auto t : {turn_, backend_->next()})
      if (t) until = std::min(until, *t);
    auto left = std::max(Nanoseconds{0}, until - link_clock());
    timespec timeout{left / kSecond, (left % kSecond).count()};
    (void)ppoll(fds.data(), fds.size(), &timeout, nullptr);
  }

  void answer(UniqueFd client) {
    auto line = read_line(client.get());
    if (!line) return;
    boost::system::error_code ec;
    auto v = json::parse(*line, ec);
    auto reply =
        ec || !v.is_object() ? Result<json::object>(Error::text("expected one line of JSON")) : handle(v.get_object());
    auto o =
        reply ? *reply : json::object{{"error", reply.error().to_string()}, {"code", reply.error().code().value()}};
    (void)write_line(client.get(), json::serialize(o));
  }

  Result<json::object> handle(const json::object& request) {
    const auto* what = request.if_contains("do");
    if (what && what->is_string() && what->get_string() == "show") return show();
    auto change = parse_change(request);
    if (!change) return std::move(change).error();
    auto now = link_clock();
    auto before = state_;
    if (auto r = state_.apply(*change, now); !r) return std::move(r).error();
    if (auto r = settle(now); !r) {
      // What cannot be done is not promised; what was there before stays.
      state_ = std::move(before);
      if (auto back = settle(now); !back) log_->error("{}", back.error().to_string());
      return std::move(r).error();
    }
    return json::object{{"ok", true}};
  }

  Result<json::object> show() {
    auto counts = backend_->counts();
    if (!counts) return std::move(counts).error();
    json::array list;
    for (const auto& c : *counts) list.push_back(count_json(c));
    return json::object{{"ok", true}, {"backend", backend_->name()}, {"pid", getpid()}, {"counts", std::move(list)}};
  }

  LinkServiceOptions options_;
  LabRegistry registry_;
  std::shared_ptr<spdlog::logger> log_ = base::logger("links");
  std::string file_, socket_path_;
  LinkState state_;
  std::unique_ptr<LinkBackend> backend_;
  UniqueFd socket_;
  std::optional<Nanoseconds> turn_;  // when the state changes by itself
  Nanoseconds busy_{0}, looked_{0};
};

}  // namespace

int serve_links(const LinkServiceOptions& options) {
  catch_interrupts();
  LinkService service(options);
  if (auto r = service.open(); !r) return fail(r.error());
  if (options.ready_fd >= 0) {
    (void)!write(options.ready_fd, "READY\n", 6);
    close(options.ready_fd);
  }
  auto ended = service.run();
  return ended ? code(Exit::ok) : fail(ended.error(), "links pass frames as they come; trama link restore");
}

Nanoseconds link_clock() {
  timespec t{};
  clock_gettime(CLOCK_BOOTTIME, &t);
  return Nanoseconds(t.tv_sec * kSecond.count() + t.tv_nsec);
}

}  // namespace trama::cli
