// SPDX-License-Identifier: GPL-2.0-or-later
#include "base/netlink/client.h"

#include <algorithm>

#include <poll.h>
#include <sys/socket.h>

namespace trama::netlink {
namespace {
constexpr std::size_t kReceiveBuffer = 1 << 20;
constexpr int kAnswerTimeoutMs = 10'000;
}  // namespace

Client::Client(base::UniqueFd fd) : fd_(std::move(fd)), buffer_(new std::byte[kReceiveBuffer]) {}

Result<Client> Client::open(int protocol) {
  base::UniqueFd fd(socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, protocol));
  if (!fd) return Error::from_errno(errno, "open netlink socket");
  sockaddr_nl self{};
  self.nl_family = AF_NETLINK;
  if (bind(fd.get(), reinterpret_cast<sockaddr*>(&self), sizeof self) < 0)
    return Error::from_errno(errno, "bind netlink socket");
  int on = 1;
  for (int option : {NETLINK_EXT_ACK, NETLINK_CAP_ACK, NETLINK_GET_STRICT_CHK})
    (void)setsockopt(fd.get(), SOL_NETLINK, option, &on, sizeof on);  // absent on old kernels: we live without
  int size = 8 << 20;
  if (setsockopt(fd.get(), SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof size) < 0)
    (void)setsockopt(fd.get(), SOL_SOCKET, SO_RCVBUF, &size, sizeof size);
  size = 64 << 20;
  if (setsockopt(fd.get(), SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof size) < 0)
    (void)setsockopt(fd.get(), SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
  return Client(std::move(fd));
}

Result<> Client::send(Bytes datagram) {
  sockaddr_nl kernel{};
  kernel.nl_family = AF_NETLINK;
  iovec piece{const_cast<std::byte*>(datagram.data()), datagram.size()};
  msghdr m{};
  m.msg_name = &kernel, m.msg_namelen = sizeof kernel, m.msg_iov = &piece, m.msg_iovlen = 1;
  for (;;) {
    if (sendmsg(fd_.get(), &m, 0) >= 0) return {};
    if (errno != EINTR) return Error::from_errno(errno, fmt::format("send {} bytes to the kernel", datagram.size()));
  }
}

Result<Bytes> Client::receive(int timeout_ms) {
  for (;;) {
    sockaddr_nl from{};
    iovec piece{buffer_.get(), kReceiveBuffer};
    msghdr m{};
    m.msg_name = &from, m.msg_namelen = sizeof from, m.msg_iov = &piece, m.msg_iovlen = 1;
    // The kernel has nearly always answered before the request's system call returned: look first, wait then.
    ssize_t n = recvmsg(fd_.get(), &m, MSG_DONTWAIT);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && errno == EAGAIN) {
      pollfd p{fd_.get(), POLLIN, 0};
      if (poll(&p, 1, timeout_ms) == 0) return Error::from_errno(ETIMEDOUT, "wait for the kernel's answer");
      continue;
    }
    if (n < 0) {
      int err = errno;
      // After an overrun the kernel queues nothing more until the queue was empty: answers to later requests would be
      // lost too.
      if (err == ENOBUFS)
        while (recv(fd_.get(), buffer_.get(), kReceiveBuffer, MSG_DONTWAIT) >= 0 || errno == EINTR ||
               errno == ENOBUFS) {
        }
      return Error::from_errno(err, "read the kernel's answer");
    }
    if (m.msg_flags & MSG_TRUNC) return Error::from_errno(EMSGSIZE, "the kernel's answer did not fit");
    if (from.nl_pid != 0) continue;  // only the kernel is believed
    return Bytes(buffer_.get(), static_cast<std::size_t>(n));
  }
}

Result<Reply> Client::call(Request& request) {
  Exchange exchange(next_seq(), request.what());
  if (auto sent = send(request.finish(exchange.seq(), NLM_F_ACK)); !sent)
    return std::move(sent).error().in(request.what());
  std::optional<Result<Reply>> outcome;
  while (!outcome) {
    auto datagram = receive(kAnswerTimeoutMs);
    if (!datagram) return std::move(datagram).error().in(request.what());
    auto walked = for_each_message(*datagram, [&](const nlmsghdr& h, Bytes payload) {
      if (h.nlmsg_seq != exchange.seq() || outcome) return;
      auto step = exchange.feed(h, payload);
      if (auto* done = std::get_if<Result<Reply>>(&step))
        outcome = std::move(*done);
      else if (std::holds_alternative<Interrupted>(step))
        outcome = Result<Reply>(Error::from_errno(EAGAIN, request.what()));
    });
    if (!walked) return std::move(walked).error().in(request.what());
  }
  return std::move(*outcome);
}

Result<Reply> Client::dump(Request& request) {
  for (int attempt = 0; attempt < 10; ++attempt) {
    Exchange exchange(next_seq(), request.what());
    if (auto sent = send(request.finish(exchange.seq(), NLM_F_DUMP)); !sent)
      return std::move(sent).error().in(request.what());
    std::optional<Result<Reply>> outcome;
    bool again = false;
    while (!outcome && !again) {
      auto datagram = receive(kAnswerTimeoutMs);
      if (!datagram) return std::move(datagram).error().in(request.what());
      auto walked = for_each_message(*datagram, [&](const nlmsghdr& h, Bytes payload) {
        if (h.nlmsg_seq != exchange.seq() || outcome || again) return;
        auto step = exchange.feed(h, payload);
        if (auto* done = std::get_if<Result<Reply>>(&step)) outcome = std::move(*done);
        if (std::holds_alternative<Interrupted>(step)) again = true;
      });
      if (!walked) return std::move(walked).error().in(request.what());
    }
    if (outcome) return std::move(*outcome);
  }
  return Error::from_errno(EAGAIN, request.what() + ": the dump was interrupted ten times");
}

std::vector<Result<>> Client::batch(std::vector<Request>& requests) {
  std::vector<Result<>> results(requests.size());
  constexpr std::size_t kWindow = 64;  // acknowledgements that surely fit the receive buffer
  for (std::size_t start = 0; start < requests.size(); start += kWindow) {
    std::size_t stop = std::min(requests.size(), start + kWindow);
    std::vector<std::byte> datagram;
    std::vector<Exchange> exchanges;
    for (std::size_t i = start; i < stop; ++i) {
      exchanges.emplace_back(next_seq(), requests[i].what());
      auto bytes = requests[i].finish(exchanges.back().seq(), NLM_F_ACK);
      datagram.insert(datagram.end(), bytes.begin(), bytes.end());
      datagram.resize(NLMSG_ALIGN(datagram.size()));
    }
    auto fail_rest = [&](const Error& e, const std::vector<bool>& done) {
      for (std::size_t i = start; i < stop; ++i)
        if (!done[i - start]) results[i] = Error(e).in(requests[i].what());
    };
    std::vector<bool> done(stop - start, false);
    if (auto sent = send(datagram); !sent) {
      fail_rest(sent.error(), done);
      continue;
    }
    std::size_t missing = stop - start;
    while (missing > 0) {
      auto got = receive(kAnswerTimeoutMs);
      if (!got) {
        fail_rest(got.error(), done);
        break;
      }
      auto walked = for_each_message(*got, [&](const nlmsghdr& h, Bytes payload) {
        std::size_t i = h.nlmsg_seq - exchanges.front().seq();
        if (i >= exchanges.size() || done[i]) return;
        auto step = exchanges[i].feed(h, payload);
        if (std::holds_alternative<Incomplete>(step)) return;
        done[i] = true;
        --missing;
        if (std::holds_alternative<Interrupted>(step))
          results[start + i] = Error::from_errno(EAGAIN, requests[start + i].what());
        if (auto* end = std::get_if<Result<Reply>>(&step); end && !*end) results[start + i] = end->error();
      });
      if (!walked) {
        fail_rest(walked.error(), done);
        break;
      }
    }
  }
  return results;
}

Result<std::vector<std::byte>> Client::ask(Bytes message) {
  auto header = fixed_header<nlmsghdr>(message);
  if (!header) return Error::from_errno(EINVAL, "an empty request");
  if (auto sent = send(message); !sent) return std::move(sent).error();
  for (;;) {
    auto got = receive(kAnswerTimeoutMs);
    if (!got) return std::move(got).error();
    std::optional<Result<std::vector<std::byte>>> answer;
    auto walked = for_each_message(*got, [&](const nlmsghdr& h, Bytes payload) {
      if (h.nlmsg_seq != header->nlmsg_seq || answer) return;
      if (h.nlmsg_type == NLMSG_ERROR) {
        auto e = fixed_header<nlmsgerr>(payload);
        answer = Error::from_errno(e && e->error < 0 ? -e->error : EBADMSG, "netlink request");
      } else {
        answer = std::vector<std::byte>(payload.begin(), payload.end());
      }
    });
    if (!walked) return std::move(walked).error();
    if (answer) return std::move(*answer);
  }
}

Result<> Client::transact(Bytes datagram, std::uint32_t last_seq,
                          const std::function<void(const nlmsghdr&, Bytes)>& on_message, int timeout_ms) {
  // Answers of an earlier, abandoned transaction must not be taken for ours.
  while (recv(fd_.get(), buffer_.get(), kReceiveBuffer, MSG_DONTWAIT) >= 0) {
  }
  auto first = fixed_header<nlmsghdr>(datagram);
  if (!first) return Error::from_errno(EINVAL, "an empty transaction");
  if (auto sent = send(datagram); !sent) return sent;
  bool finished = false;
  while (!finished) {
    auto got = receive(timeout_ms);
    if (!got) return std::move(got).error();
    auto walked = for_each_message(*got, [&](const nlmsghdr& h, Bytes payload) {
      on_message(h, payload);
      if (h.nlmsg_seq == last_seq && (h.nlmsg_type == NLMSG_ERROR || h.nlmsg_type == NLMSG_DONE)) finished = true;
      // A refusal of the whole datagram (not permitted, generation passed) answers its first message and nothing else.
      auto e = fixed_header<nlmsgerr>(payload);
      if (h.nlmsg_type == NLMSG_ERROR && h.nlmsg_seq == first->nlmsg_seq && e && e->error != 0) finished = true;
    });
    if (!walked) return walked;
  }
  return {};
}

}  // namespace trama::netlink
