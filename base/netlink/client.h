// SPDX-License-Identifier: GPL-2.0-or-later
// The one transport for netlink requests: sends, reads acknowledgements and dumps. Blocking; the kernel answers
// requests while they are being sent, so a call takes microseconds, but big ones belong on a worker thread.
// A client stays in the network namespace it was opened in. Not thread-safe: one thread at a time.
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "base/netlink/exchange.h"
#include "base/netlink/request.h"
#include "base/unique_fd.h"

namespace trama::netlink {

class Client {
 public:
  // protocol: NETLINK_ROUTE or NETLINK_NETFILTER. EXT_ACK, CAP_ACK and strict checking are on where the kernel has
  // them.
  static Result<Client> open(int protocol);

  // One request, one answer: an acknowledgement (empty Reply) or the object asked for.
  Result<Reply> call(Request& request);
  // One finished message with a number from next_seq() and without NLM_F_ACK, whose answer is one message: its payload.
  // Two system calls: for what is asked all the time.
  Result<std::vector<std::byte>> ask(Bytes message);
  // Everything, or an error: an interrupted dump is asked again, at most 10 times, then EAGAIN.
  Result<Reply> dump(Request& request);
  // Independent requests in few datagrams; result i belongs to request i. Later ones run even if earlier ones fail.
  std::vector<Result<>> batch(std::vector<Request>& requests);
  // One prepared datagram of several messages of which only those with NLM_F_ACK answer (nftables transactions).
  // Calls `on_message` for whatever arrives until `last_seq` is answered, the first message is refused (which is how
  // the kernel refuses a whole datagram) or `timeout_ms` passes (ETIMEDOUT). ENOBUFS means that answers were lost: the
  // outcome is unknown and the caller must look.
  Result<> transact(Bytes datagram, std::uint32_t last_seq,
                    const std::function<void(const nlmsghdr&, Bytes)>& on_message, int timeout_ms = 30'000);

  // A datagram that asks for no answer. The kernel has dealt with it when this returns.
  Result<> send(Bytes datagram);

  std::uint32_t next_seq() { return ++seq_; }
  int fd() const { return fd_.get(); }

 private:
  explicit Client(base::UniqueFd fd);
  Result<Bytes> receive(int timeout_ms);

  base::UniqueFd fd_;
  std::uint32_t seq_ = 0;
  // Not initialised: a short-lived client touches one page of it.
  std::unique_ptr<std::byte[]> buffer_;
};

}  // namespace trama::netlink
