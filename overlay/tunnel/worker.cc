// SPDX-License-Identifier: GPL-2.0-or-later
#include "overlay/tunnel/worker.h"

#include <cstring>

#include <netinet/in.h>
#include <netinet/udp.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/uio.h>

#include "base/sockaddr.h"

#ifndef UDP_SEGMENT
#define UDP_SEGMENT 103
#endif
#ifndef UDP_GRO
#define UDP_GRO 104
#endif

namespace trama::overlay::tunnel {
namespace {

constexpr std::size_t kPiece = sizeof(VnetHeader) + kLargestPacket + 1;
constexpr unsigned kReads = 64;     // pieces from the device before the socket has its turn
constexpr unsigned kMessages = 64;  // that leave in one call
constexpr unsigned kArrivals = 8;   // that come in one call
constexpr std::size_t kArena = 512 * 1024;
constexpr std::size_t kDatagrams = 65'000;  // in one message, UDP's limit with something to spare
constexpr unsigned kSegments = 64;          // UDP_MAX_SEGMENTS of older kernels

void count(std::atomic<std::uint64_t>& counter, std::uint64_t n = 1) {
  counter.fetch_add(n, std::memory_order_relaxed);
}

struct SegmentControl {
  alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int))> bytes{};
};

}  // namespace

void Board::publish(std::shared_ptr<const Tables> tables) {
  std::lock_guard lock(mutex_);
  tables_.swap(tables);
  generation_.fetch_add(1, std::memory_order_release);
}

std::shared_ptr<const Tables> Board::read(std::uint64_t& generation) const {
  std::lock_guard lock(mutex_);
  generation = generation_.load(std::memory_order_relaxed);
  return tables_;
}

struct Worker::Buffers {
  // Out: messages are datagrams of one size, the last one may be shorter, to one peer.
  struct Message {
    const Target* target = nullptr;
    std::size_t offset = 0, size = 0, segment = 0;
    unsigned datagrams = 0;
    bool closed = false;
  };
  std::array<std::byte, kPiece> piece;
  std::array<std::byte, kArena> arena;
  std::size_t used = 0;
  std::array<Message, kMessages> messages;
  unsigned count = 0;
  std::array<mmsghdr, kMessages> out{};
  std::array<iovec, kMessages> out_pieces{};
  std::array<SegmentControl, kMessages> out_control;
  // In.
  std::array<std::array<std::byte, 65536>, kArrivals> arrived;
  std::array<mmsghdr, kArrivals> in{};
  std::array<iovec, kArrivals> in_pieces{};
  std::array<SegmentControl, kArrivals> in_control;
  std::array<sockaddr_storage, kArrivals> from;
};

Worker::Worker(unsigned number, const Board& board, Counters& counters, peers::TunnelPort::OnStray stray,
               peers::TunnelPort::OnRelayed relayed)
    : number_(number),
      board_(board),
      counters_(counters),
      stray_(std::move(stray)),
      relayed_(std::move(relayed)),
      wake_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)),
      buffers_(new Buffers) {
  thread_ = std::thread([this] {
    ::pthread_setname_np(::pthread_self(), "trama-tunnel");
    run();
  });
}

Worker::~Worker() {
  stop_ = true;
  wake();
  thread_.join();
}

void Worker::wake() {
  std::uint64_t one = 1;
  (void)!::write(wake_.get(), &one, sizeof one);
}

void Worker::refresh() {
  if (board_.generation() == generation_) return;
  auto fresh = board_.read(generation_);
  int device = number_ < fresh->devices.size() ? fresh->devices[number_]->get() : -1;
  if (!tables_ || fresh->devices != tables_->devices) lost_ = false;
  device_ = lost_ ? -1 : device;
  sockets_.clear();
  for (std::size_t i = number_; i < fresh->sockets.size(); i += fresh->workers)
    sockets_.push_back(fresh->sockets[i]->get());
  tables_ = std::move(fresh);
}

void Worker::run() {
  std::vector<pollfd> waits;
  while (!stop_) {
    refresh();
    waits.assign({{wake_.get(), POLLIN, 0}, {device_, POLLIN, 0}});
    for (int socket : sockets_) waits.push_back({socket, POLLIN, 0});
    if (::poll(waits.data(), waits.size(), -1) < 0) continue;
    if (waits[0].revents) {
      std::uint64_t n = 0;
      (void)!::read(wake_.get(), &n, sizeof n);
      continue;
    }
    for (std::size_t i = 2; i < waits.size(); ++i)
      if (waits[i].revents) receive(i - 2);
    if (waits[1].revents) transmit();
  }
}

// ---- out ----------------------------------------------------------------------------------------------------------

void Worker::transmit() {
  auto& b = *buffers_;
  for (unsigned i = 0; i < kReads; ++i) {
    auto n = ::read(device_, b.piece.data(), b.piece.size());
    if (n < 0) {
      if (errno == EINTR) continue;
      if (errno != EAGAIN) {
        lost_ = true;
        device_ = -1;
      }
      break;
    }
    if (n <= static_cast<ssize_t>(sizeof(VnetHeader))) continue;
    VnetHeader vnet;
    std::memcpy(&vnet, b.piece.data(), sizeof vnet);
    auto packet = std::span(b.piece).subspan(sizeof vnet, static_cast<std::size_t>(n) - sizeof vnet);
    Cutter cutter;
    if (!cutter.start(vnet, packet)) {
      count(counters_.not_sent);
      continue;
    }
    const auto* target = tables_->to(cutter.view());
    if (!target || !target->sealing) {
      count(target ? counters_.no_session : counters_.no_peer);
      continue;
    }
    const auto* via = target->via < 0 ? nullptr : &tables_->targets[static_cast<std::size_t>(target->via)];
    if (via && !via->sealing) {
      count(counters_.no_session);
      continue;
    }
    while (!cutter.done()) {
      auto body = cutter.next_size();
      auto size = body + kSealedOverhead;
      auto whole = size + (via ? kRelayOverhead : 0);
      if (b.used + whole > kArena) flush();
      auto* outer = b.arena.data() + b.used;
      auto* datagram = via ? outer + kHeaderSize + kEnvelopeSize : outer;
      cutter.next(datagram + kHeaderSize);
      bool sealed = target->sealing->seal(number_, datagram, body);
      if (via && sealed) {
        put_envelope(outer + kHeaderSize, 1, target->sealing->number());
        sealed = via->sealing->seal(number_, outer, kEnvelopeSize + size, kRelayType);
      }
      if (!sealed) {
        count(counters_.not_sent);
        continue;
      }
      queue(via ? via : target, whole);
    }
  }
  flush();
}

// The datagram of that size that stands at the end of the arena leaves with the next flush().
void Worker::queue(const Target* to, std::size_t size) {
  auto& b = *buffers_;
  auto* last = b.count > 0 ? &b.messages[b.count - 1] : nullptr;
  bool joins = last && segments_ && !last->closed && last->target == to && size <= last->segment &&
               last->datagrams < kSegments && last->size + size <= kDatagrams;
  if (joins) {
    last->size += size;
    ++last->datagrams;
    last->closed = size < last->segment;
    b.used += size;
    return;
  }
  if (b.count == kMessages) {
    // The datagram itself must not be overwritten: it moves to the front.
    auto at = b.used;
    flush();
    std::memmove(b.arena.data(), b.arena.data() + at, size);
  }
  b.messages[b.count++] = {to, b.used, size, size, 1, false};
  b.used += size;
}

void Worker::flush() {
  auto& b = *buffers_;
  for (unsigned i = 0; i < b.count; ++i) {
    auto& m = b.messages[i];
    b.out_pieces[i] = {b.arena.data() + m.offset, m.size};
    auto& header = b.out[i].msg_hdr;
    header = msghdr{};
    header.msg_name = const_cast<sockaddr_storage*>(&m.target->to);
    header.msg_namelen = m.target->to_size;
    header.msg_iov = &b.out_pieces[i];
    header.msg_iovlen = 1;
    if (m.datagrams > 1) {
      header.msg_control = b.out_control[i].bytes.data();
      header.msg_controllen = CMSG_SPACE(sizeof(std::uint16_t));
      auto* control = CMSG_FIRSTHDR(&header);
      control->cmsg_level = SOL_UDP;
      control->cmsg_type = UDP_SEGMENT;
      control->cmsg_len = CMSG_LEN(sizeof(std::uint16_t));
      auto segment = static_cast<std::uint16_t>(m.segment);
      std::memcpy(CMSG_DATA(control), &segment, sizeof segment);
    }
  }
  for (unsigned done = 0; done < b.count;) {
    // What leaves by one socket, in one call.
    int socket = socket_of(*b.messages[done].target);
    unsigned until = done + 1;
    while (until < b.count && socket_of(*b.messages[until].target) == socket) ++until;
    int sent = socket < 0 ? -1 : ::sendmmsg(socket, b.out.data() + done, until - done, MSG_NOSIGNAL);
    if (sent < 0 && socket >= 0 && errno == EINTR) continue;
    for (int i = 0; i < sent; ++i) {
      auto& m = b.messages[done + static_cast<unsigned>(i)];
      count(counters_.sent_packets, m.datagrams);
      count(counters_.sent_bytes, m.size);
    }
    if (sent > 0) {
      done += static_cast<unsigned>(sent);
      continue;
    }
    auto& m = b.messages[done];
    bool uncut = socket >= 0 && m.datagrams > 1 && (errno == EIO || errno == EINVAL || errno == EOPNOTSUPP);
    if (!uncut || !send_singly(done, socket)) count(counters_.not_sent, m.datagrams);
    ++done;
  }
  b.count = 0;
  b.used = 0;
}

// A device or a kernel that does not cut datagrams.
bool Worker::send_singly(std::size_t message, int socket) {
  auto& b = *buffers_;
  auto& m = b.messages[message];
  segments_ = false;
  bool any = false;
  for (std::size_t at = 0; at < m.size; at += m.segment) {
    auto size = std::min(m.segment, m.size - at);
    auto sent = ::sendto(socket, b.arena.data() + m.offset + at, size, MSG_NOSIGNAL,
                         reinterpret_cast<const sockaddr*>(&m.target->to), m.target->to_size);
    if (sent < 0) continue;
    any = true;
    count(counters_.sent_packets);
    count(counters_.sent_bytes, size);
  }
  return any;
}

// ---- in -----------------------------------------------------------------------------------------------------------

void Worker::receive(std::size_t uplink) {
  if (uplink >= sockets_.size()) return;

  auto& b = *buffers_;
  for (unsigned i = 0; i < kArrivals; ++i) {
    b.in_pieces[i] = {b.arrived[i].data(), b.arrived[i].size()};
    auto& header = b.in[i].msg_hdr;
    header = msghdr{};
    header.msg_name = &b.from[i];
    header.msg_namelen = sizeof b.from[i];
    header.msg_iov = &b.in_pieces[i];
    header.msg_iovlen = 1;
    header.msg_control = b.in_control[i].bytes.data();
    header.msg_controllen = b.in_control[i].bytes.size();
  }
  int n = ::recvmmsg(sockets_[uplink], b.in.data(), kArrivals, MSG_DONTWAIT, nullptr);
  // After that: what was sealed with keys that were published before it was sent, finds them.
  refresh();
  for (int i = 0; i < n; ++i) {
    auto& message = b.in[static_cast<unsigned>(i)];
    auto whole = std::span(b.arrived[static_cast<unsigned>(i)]).first(message.msg_len);
    std::size_t segment = whole.size();
    for (auto* c = CMSG_FIRSTHDR(&message.msg_hdr); c; c = CMSG_NXTHDR(&message.msg_hdr, c)) {
      if (c->cmsg_level != SOL_UDP || c->cmsg_type != UDP_GRO) continue;
      int size = 0;
      std::memcpy(&size, CMSG_DATA(c), sizeof size);
      if (size > 0) segment = static_cast<std::size_t>(size);
    }
    if (segment == 0) continue;
    for (std::size_t at = 0; at < whole.size(); at += segment)
      take(uplink, b.from[static_cast<unsigned>(i)], whole.subspan(at, std::min(segment, whole.size() - at)));
  }
  joiner_.flush([this](Joiner::Pieces pieces) { deliver(pieces); });
  flush();  // what was for others
}

void Worker::take(std::size_t uplink, const sockaddr_storage& from, Bytes datagram) {
  bool stray = datagram.size() > 2 && static_cast<std::uint8_t>(datagram[2]) < peers::kFirstPacketType;
  if (stray) {
    auto who = base::from_sockaddr(reinterpret_cast<const sockaddr*>(&from));
    if (who && stray_)
      stray_(uplink, *who, std::string(reinterpret_cast<const char*>(datagram.data()), datagram.size()));
    return;
  }
  auto header = parse_data_header(datagram);
  auto known = header ? tables_->by_index.find(header->index) : tables_->by_index.end();
  if (known == tables_->by_index.end()) return count(counters_.forged);
  if (header->type == kDataType) return take_packet(known->second, *header, datagram);
  Bytes body;
  if (opened(known->second, *header, datagram, body)) take_envelope(known->second, body);
}

bool Worker::opened(const Tables::Receiving& from, const DataHeader& header, Bytes datagram, Bytes& body) {
  auto verdict = from.session->open(header, datagram, body);
  if (verdict == OpeningLane::Verdict::forged) count(counters_.forged);
  if (verdict == OpeningLane::Verdict::replayed) count(counters_.replayed);
  return verdict == OpeningLane::Verdict::genuine;
}

void Worker::take_packet(const Tables::Receiving& from, const DataHeader& header, Bytes datagram) {
  Bytes body;
  if (!opened(from, header, datagram, body)) return;
  PacketView view;
  if (!Joiner::body_is_sound(body, view)) return count(counters_.malformed);
  if (!tables_->targets[from.target].speaks_for(view)) return count(counters_.wrong_source);
  count(counters_.received_packets);
  count(counters_.received_bytes, body.size() - kFrameSize);
  joiner_.add(body, [this](Joiner::Pieces pieces) { deliver(pieces); });
}

// ---- by and for a third node ----------------------------------------------------------------------------------------

void Worker::take_envelope(const Tables::Receiving& from, Bytes body) {
  auto envelope = parse_envelope(body);
  if (!envelope) return count(counters_.malformed);
  if (envelope->hops > 0) return pass_on(from, *envelope);
  auto inside = envelope->inside;
  if (envelope->type != kDataType) {
    std::string probe(reinterpret_cast<const char*>(inside.data()), inside.size());
    if (relayed_) relayed_(from.session->node(), std::move(probe));
    return;
  }
  auto header = parse_data_header(inside);
  auto known = header ? tables_->by_index.find(header->index) : tables_->by_index.end();
  if (known == tables_->by_index.end()) return count(counters_.forged);
  // Who has sealed it, and who the third node says it is from, are one.
  if (known->second.session->number() != envelope->node) return count(counters_.relay_refused);
  take_packet(known->second, *header, inside);
}

void Worker::pass_on(const Tables::Receiving& from, const Envelope& envelope) {
  auto found = tables_->by_number.find(envelope.node);
  bool may = tables_->relays && found != tables_->by_number.end() && found->second != from.target;
  const auto* to = may ? &tables_->targets[found->second] : nullptr;
  if (!to || !to->sealing) return count(counters_.relay_refused);
  auto inside = envelope.inside.size();
  if (!from.session->may_relay(inside)) return count(counters_.relay_limited);
  auto& b = *buffers_;
  auto size = inside + kRelayOverhead;
  if (b.used + size > kArena) flush();
  auto* datagram = b.arena.data() + b.used;
  put_envelope(datagram + kHeaderSize, 0, from.session->number());
  std::memcpy(datagram + kHeaderSize + kEnvelopeSize, envelope.inside.data(), inside);
  if (!to->sealing->seal(number_, datagram, kEnvelopeSize + inside, kRelayType)) return count(counters_.not_sent);
  count(counters_.relayed_packets);
  count(counters_.relayed_bytes, inside);
  queue(to, size);
}

void Worker::deliver(Joiner::Pieces pieces) {
  if (device_ >= 0 && ::writev(device_, pieces.data(), static_cast<int>(pieces.size())) >= 0) return;
  count(counters_.not_delivered);
}

}  // namespace trama::overlay::tunnel
