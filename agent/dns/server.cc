// SPDX-License-Identifier: GPL-2.0-or-later
#include "agent/dns/server.h"

#include <algorithm>

#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/ip/udp.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/read.hpp>
#include <boost/asio/write.hpp>

#include "base/async/deadline.h"
#include "base/async/endpoint.h"
#include "base/log.h"

namespace trama::agent::dns {

namespace asio = async::asio;
using asio::ip::tcp;
using asio::ip::udp;
using async::kTuple;
using base::Ip;
using Clock = std::chrono::steady_clock;

namespace {

constexpr int kBurst = 64;                  // datagrams before the other tasks of this thread have their turn
constexpr std::size_t kMostSources = 4096;  // whose rate is remembered

}  // namespace

struct Server::Listener {
  Ip address;
  udp::socket datagrams;
  tcp::acceptor acceptor;
  std::map<std::size_t, std::shared_ptr<tcp::socket>> connections;
  std::size_t next = 0;
  std::array<std::uint8_t, 4096> scratch{};

  void close() {
    boost::system::error_code ignored;
    datagrams.close(ignored);
    acceptor.close(ignored);
    for (auto& [number, socket] : connections) socket->close(ignored);
  }
};

Server::Server(asio::any_io_executor ex, const Zone& zone, Options options)
    : ex_(ex), zone_(zone), options_(std::move(options)), resolvers_(options_.resolvers), wake_(ex), tasks_(ex) {}
Server::~Server() = default;

void Server::listen_on(std::vector<Ip> addresses) {
  if (addresses == wanted_) return;
  wanted_ = std::move(addresses);
  wake_.set();
}

void Server::use_resolvers(std::vector<base::IpPort> servers) {
  if (resolvers_.use(std::move(servers))) cache_ = Cache();  // others may know other things
}

std::vector<std::string> Server::failures() const {
  std::vector<std::string> out;
  for (const auto& [address, line] : failures_) out.push_back(line);
  return out;
}

std::vector<Ip> Server::answering() const {
  std::vector<Ip> out;
  for (const auto& [address, listener] : open_) out.push_back(address);
  return out;
}

awaitable<void> Server::run() {
  for (;;) {
    if (failures_.empty())
      co_await wake_.wait();
    else
      (void)co_await wake_.wait_for(options_.retry);
    reconcile();
  }
}

awaitable<void> Server::stop() {
  for (auto& [address, listener] : open_) listener->close();
  open_.clear();
  co_await tasks_.stop();
}

void Server::reconcile() {
  auto wanted = [this](const Ip& ip) { return std::find(wanted_.begin(), wanted_.end(), ip) != wanted_.end(); };
  for (auto it = open_.begin(); it != open_.end();) {
    if (wanted(it->first)) {
      ++it;
      continue;
    }
    it->second->close();
    it = open_.erase(it);
  }
  std::erase_if(failures_, [&](const auto& entry) { return !wanted(entry.first); });
  for (const auto& ip : wanted_) {
    if (open_.contains(ip)) continue;
    auto listener = open(ip);
    if (!listener) {
      auto line = fmt::format(
          "pods get no answer from DNS at {}: {}; is another name server running here? "
          "--cluster-dns takes another address, or none",
          base::IpPort{ip, options_.port}.to_string(), listener.error().to_string());
      auto& known = failures_[ip];
      if (known != line) base::logger("dns")->warn("{}; trying again", line);
      known = std::move(line);
      continue;
    }
    failures_.erase(ip);
    open_[ip] = *listener;
    tasks_.spawn("DNS over UDP", receive(*listener));
    tasks_.spawn("DNS over TCP", accept(*listener));
  }
}

base::Result<std::shared_ptr<Server::Listener>> Server::open(const Ip& address) {
  boost::system::error_code ec;
  auto out = std::make_shared<Listener>(Listener{address, udp::socket(ex_), tcp::acceptor(ex_), {}, 0, {}});
  auto at = async::endpoint_of<udp>({address, options_.port});
  out->datagrams.open(at.protocol(), ec);
  if (!ec) ec = async::bind_early(out->datagrams.native_handle(), address.family());
  if (!ec) out->datagrams.bind(at, ec);
  if (!ec) out->datagrams.non_blocking(true, ec);
  if (ec) return base::Error(std::error_code(ec), "bind UDP");
  auto also = async::endpoint_of<tcp>({address, options_.port});
  out->acceptor.open(also.protocol(), ec);
  if (!ec) out->acceptor.set_option(tcp::acceptor::reuse_address(true), ec);
  if (!ec) ec = async::bind_early(out->acceptor.native_handle(), address.family());
  if (!ec) out->acceptor.bind(also, ec);
  if (!ec) out->acceptor.listen(128, ec);
  if (ec) return base::Error(std::error_code(ec), "bind TCP");
  return out;
}

bool Server::admitted(const Ip& source) {
  auto inside = [&](const base::Cidr& cidr) { return cidr.contains(source); };
  const auto& pods = zone_.facts().pods;
  bool known = std::any_of(pods.begin(), pods.end(), inside) ||
               std::find(options_.node.begin(), options_.node.end(), source) != options_.node.end() ||
               open_.contains(source);
  if (!known) return false;
  auto now = Clock::now();
  if (buckets_.size() >= kMostSources && !buckets_.contains(source)) buckets_.clear();
  auto [it, fresh] = buckets_.try_emplace(source, Bucket{options_.burst, now});
  auto& bucket = it->second;
  std::chrono::duration<double> passed = now - bucket.filled;
  bucket.tokens = std::min(options_.burst, bucket.tokens + passed.count() * options_.rate);
  bucket.filled = now;
  if (bucket.tokens < 1) return false;
  bucket.tokens -= 1;
  return true;
}

awaitable<void> Server::receive(std::shared_ptr<Listener> at) {
  for (;;) {
    auto [ec] = co_await at->datagrams.async_wait(udp::socket::wait_read, kTuple);
    if (ec || !at->datagrams.is_open()) co_return;
    for (int i = 0; i < kBurst; ++i) {
      udp::endpoint from;
      boost::system::error_code nothing;
      auto n = at->datagrams.receive_from(asio::buffer(at->scratch), from, 0, nothing);
      if (nothing) break;
      if (!admitted(async::from_asio(from.address()))) {
        ++counters_.dropped;
        continue;
      }
      auto query = read_query(std::span(at->scratch).first(n));
      if (!query) {
        ++counters_.refused;
        continue;
      }
      auto answer = known(*query);
      if (answer && answer->follow.empty()) {
        auto reply = write_answer(*query, *answer, query->udp_size);
        boost::system::error_code lost;  // as on any wire
        at->datagrams.send_to(asio::buffer(reply), from, 0, lost);
        continue;
      }
      if (waiting_ >= options_.waiting) {
        ++counters_.dropped;
        continue;
      }
      Bytes message(at->scratch.begin(), at->scratch.begin() + static_cast<std::ptrdiff_t>(n));
      auto later = [](Server* self, std::shared_ptr<Listener> where, Asked asked, udp::endpoint to) -> awaitable<void> {
        auto reply = co_await self->resolve(std::move(asked), false);
        boost::system::error_code lost;
        if (where->datagrams.is_open()) where->datagrams.send_to(asio::buffer(reply), to, 0, lost);
      };
      Asked asked{std::move(*query), std::move(answer), std::move(message)};
      tasks_.spawn("DNS question", later(this, at, std::move(asked), from));
    }
    co_await asio::post(ex_, asio::use_awaitable);
  }
}

awaitable<void> Server::accept(std::shared_ptr<Listener> at) {
  for (;;) {
    auto [ec, socket] = co_await at->acceptor.async_accept(kTuple);
    if (ec == asio::error::operation_aborted || !at->acceptor.is_open()) co_return;
    if (ec) {  // out of descriptors and the like: not our end
      co_await async::sleep_for(std::chrono::milliseconds(100));
      continue;
    }
    boost::system::error_code gone;
    auto from = socket.remote_endpoint(gone);
    if (gone || !admitted(async::from_asio(from.address())) || waiting_ + at->connections.size() >= options_.waiting) {
      ++counters_.dropped;
      continue;
    }
    auto number = at->next++;
    at->connections[number] = std::make_shared<tcp::socket>(std::move(socket));
    tasks_.spawn("DNS connection", converse(at, number));
  }
}

// Questions one after the other, each behind its length, until the client has none for a while.
awaitable<void> Server::converse(std::shared_ptr<Listener> at, std::size_t number) {
  struct Leave {
    Listener& at;
    std::size_t number;
    ~Leave() { at.connections.erase(number); }
  } leave{*at, number};
  auto socket = at->connections[number];
  auto read = [](std::shared_ptr<tcp::socket> from) -> awaitable<base::Result<Bytes>> {
    std::array<std::uint8_t, 2> length{};
    auto [headed, n] = co_await asio::async_read(*from, asio::buffer(length), kTuple);
    if (headed) co_return base::Error(std::error_code(headed), "read");
    Bytes message(static_cast<std::size_t>(length[0] << 8 | length[1]));
    auto [got, m] = co_await asio::async_read(*from, asio::buffer(message), kTuple);
    if (got) co_return base::Error(std::error_code(got), "read");
    co_return message;
  };
  auto write = [](std::shared_ptr<tcp::socket> to, Bytes reply) -> awaitable<base::Result<Bytes>> {
    std::array<std::uint8_t, 2> length{static_cast<std::uint8_t>(reply.size() >> 8),
                                       static_cast<std::uint8_t>(reply.size())};
    std::array<asio::const_buffer, 2> both{asio::buffer(length), asio::buffer(reply)};
    auto [sent, n] = co_await asio::async_write(*to, both, kTuple);
    if (sent) co_return base::Error(std::error_code(sent), "write");
    co_return Bytes();
  };
  for (;;) {
    auto reading = read(socket);
    auto message = co_await async::with_deadline(std::move(reading), options_.idle, "no question");
    if (!message) co_return;
    auto query = read_query(*message);
    if (!query) {
      ++counters_.refused;
      co_return;
    }
    Asked asked{*query, known(*query), std::move(*message)};
    auto reply = co_await resolve(std::move(asked), true);
    auto writing = write(socket, std::move(reply));
    auto written = co_await async::with_deadline(std::move(writing), options_.idle, "the client does not read");
    if (!written) co_return;
  }
}

std::optional<Answer> Server::known(const Query& query) {
  if (query.refusal != Rcode::ok) {
    ++counters_.refused;
    Answer no;
    no.rcode = query.refusal;
    return no;
  }
  if (!zone_.covers(query.question.name)) return std::nullopt;
  auto answer = zone_.answer(query.question);
  if (!answer.follow.empty()) return answer;
  // Whoever takes the first address gets another one each time.
  if (answer.answers.size() > 1 && answer.answers.front().type != Type::cname)
    std::rotate(answer.answers.begin(),
                answer.answers.begin() + static_cast<std::ptrdiff_t>(turn_++ % answer.answers.size()),
                answer.answers.end());
  ++counters_.answered;
  return answer;
}

awaitable<Bytes> Server::resolve(Asked asked, bool tcp) {
  struct Waiting {
    std::size_t& n;
    explicit Waiting(std::size_t& count) : n(count) { ++n; }
    ~Waiting() { --n; }
  } waiting(waiting_);
  auto limit = tcp ? kLargestMessage : asked.query.udp_size;
  if (asked.answer) {
    auto answer = std::move(*asked.answer);
    if (!answer.follow.empty()) {
      auto rest = followed(asked.query.question, std::move(answer), tcp);
      answer = co_await std::move(rest);
    }
    co_return write_answer(asked.query, answer, limit);
  }
  auto reply = co_await ask(std::move(asked.message), tcp);
  if (reply) co_return std::move(*reply);
  ++counters_.failed;
  base::logger("dns")->debug("{}: {}", asked.query.question.name, reply.error().to_string());
  Answer no;
  no.rcode = Rcode::server;
  co_return write_answer(asked.query, no, limit);
}

awaitable<base::Result<Bytes>> Server::ask(Bytes query, bool tcp) {
  if (auto known = cache_.find(query, tcp, Clock::now())) {
    if (*known) ++counters_.remembered;
    co_return std::move(*known);
  }
  auto question = query;
  auto reply = co_await resolvers_.ask(std::move(question), tcp);
  if (reply) {
    ++counters_.forwarded;
    cache_.keep(query, tcp, *reply, Clock::now());
  } else {
    cache_.keep_failure(query, tcp, reply.error(), Clock::now());
  }
  co_return reply;
}

// The rest of an alias that leaves the zone, from whoever knows it.
awaitable<Answer> Server::followed(Question question, Answer so_far, bool tcp) {
  Question rest{so_far.follow, question.type};
  auto asked = write_question(0, rest);
  auto reply = co_await ask(std::move(asked), tcp);
  auto answer = reply ? read_answer(*reply) : base::Result<Answer>(reply.error());
  if (!answer) {
    ++counters_.failed;
    so_far.rcode = Rcode::server;
    co_return so_far;
  }
  so_far.rcode = answer->rcode;
  for (auto& record : answer->answers) so_far.answers.push_back(std::move(record));
  so_far.follow.clear();
  co_return so_far;
}

}  // namespace trama::agent::dns
