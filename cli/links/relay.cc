// SPDX-License-Identifier: GPL-2.0-or-later
// The relay: it takes frames off the switch's ports as they come in, holds the switch's own copies back, and puts the
// frames out where and when the links let them.
#include <algorithm>
#include <array>
#include <map>

#include <fcntl.h>
#include <linux/filter.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "base/log.h"
#include "base/netlink/find_link.h"
#include "base/netlink/rtnl.h"
#include "cli/links/table.h"
#include "netns/namespace.h"

namespace trama::cli {

using base::Error;
using base::Result;
using base::UniqueFd;
namespace nl = netlink;

namespace {

// struct virtio_net_hdr, in front of every frame: which checksum is still to be made. (Its header is no C++.)
constexpr std::size_t kHead = 10;
constexpr std::size_t kLongestFrame = kHead + ETH_HLEN + 4 + 65535;
constexpr unsigned kBatch = 32;

Result<> set_option(int fd, int level, int name, int value, const char* what) {
  if (setsockopt(fd, level, name, &value, sizeof value) == 0) return {};
  return Error::from_errno(errno, what);
}

// Frames the switch itself sends: those that leave by its own device.
Result<> only_outgoing(int fd) {
  std::array<sock_filter, 4> code{{
      {BPF_LD | BPF_B | BPF_ABS, 0, 0, static_cast<std::uint32_t>(SKF_AD_OFF + SKF_AD_PKTTYPE)},
      {BPF_JMP | BPF_JEQ | BPF_K, 0, 1, PACKET_OUTGOING},
      {BPF_RET | BPF_K, 0, 0, 0xffffffffu},
      {BPF_RET | BPF_K, 0, 0, 0},
  }};
  sock_fprog program{code.size(), code.data()};
  if (setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof program) == 0) return {};
  return Error::from_errno(errno, "filter a packet socket");
}

// Bound to a link of the calling namespace; hears frames only where `listens`.
Result<UniqueFd> packet_socket(const std::string& link, bool listens, bool outgoing) {
  auto wrong = [&](const char* what) { return Error::from_errno(errno, fmt::format("{} {}", what, link)); };
  UniqueFd fd(socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd) return wrong("open a packet socket for");
  if (auto r = set_option(fd.get(), SOL_PACKET, PACKET_VNET_HDR, 1, "ask for offload headers"); !r)
    return std::move(r).error();
  if (outgoing) {
    if (auto r = only_outgoing(fd.get()); !r) return std::move(r).error();
  } else if (auto r = set_option(fd.get(), SOL_PACKET, PACKET_IGNORE_OUTGOING, 1, "ignore outgoing frames"); !r) {
    return std::move(r).error();
  }
  int size = 16 << 20;
  if (setsockopt(fd.get(), SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof size) < 0)
    (void)setsockopt(fd.get(), SOL_SOCKET, SO_RCVBUF, &size, sizeof size);
  if (setsockopt(fd.get(), SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof size) < 0)
    (void)setsockopt(fd.get(), SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
  sockaddr_ll there{};
  there.sll_family = AF_PACKET;
  there.sll_protocol = htons(listens ? ETH_P_ALL : 0);
  there.sll_ifindex = static_cast<int>(if_nametoindex(link.c_str()));
  if (there.sll_ifindex == 0) return wrong("find");
  if (bind(fd.get(), reinterpret_cast<sockaddr*>(&there), sizeof there) < 0) return wrong("listen on");
  return fd;
}

// A device whose other end is this process; gone with it.
Result<UniqueFd> tap_device(const char* name) {
  UniqueFd fd(open("/dev/net/tun", O_RDWR | O_CLOEXEC | O_NONBLOCK));
  if (!fd) return Error::from_errno(errno, "/dev/net/tun");
  ifreq request{};
  std::snprintf(request.ifr_name, sizeof request.ifr_name, "%s", name);
  request.ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR;
  if (ioctl(fd.get(), TUNSETIFF, &request) < 0)
    return Error::from_errno(errno, fmt::format("make the device {}", name));
  int size = kHead;
  if (ioctl(fd.get(), TUNSETVNETHDRSZ, &size) < 0) return Error::from_errno(errno, "set up the relay's device");
  return fd;
}

class Relay : public LinkBackend {
 public:
  Relay(LinkPlace place, std::uint64_t seed, netns::Home home, nft::Session session, nl::Client client)
      : place_(std::move(place)),
        home_(std::move(home)),
        session_(std::move(session)),
        client_(std::move(client)),
        carrier_(ports_of(place_), seed, kHead),
        ports_(carrier_.ports().size()) {}
  ~Relay() override {
    for (std::size_t i = 0; i < ports_.size(); ++i)
      if (ports_[i].uncut) (void)leave_segments(i, nl::kGsoSegments);
  }

  std::string name() const override { return "relay"; }
  Result<> apply(const std::vector<LinkRule>& rules, Nanoseconds now) override;
  std::vector<int> descriptors() const override {
    std::vector<int> fds;
    for (const auto& p : ports_)
      if (p.hears) fds.push_back(p.socket.get());
    return fds;
  }
  std::optional<Nanoseconds> next() const override { return carrier_.next(); }
  Result<> step(Nanoseconds now) override;
  Result<std::vector<Carrier::Count>> counts() override { return carrier_.counts(); }

 private:
  struct Open {
    UniqueFd socket;
    bool hears = false, uncut = false;  // uncut: its node (or the switch) sends frames as a cable would carry them
    std::uint64_t failures = 0;
  };
  static std::vector<Carrier::Port> ports_of(const LinkPlace& place) {
    std::vector<Carrier::Port> out;
    for (const auto& n : place.nodes) out.push_back({n.name, n.mac});
    out.push_back({kSwitch, place.bridge_mac});
    return out;
  }
  bool is_switch(std::size_t i) const { return i == place_.nodes.size(); }
  const std::string& link_of(std::size_t i) const { return is_switch(i) ? place_.bridge : place_.nodes[i].port; }

  Result<> open_port(std::size_t i, bool hear);
  Result<> open_device();
  Result<> leave_segments(std::size_t i, std::uint32_t segments);
  void put_out(std::size_t to, const std::vector<std::byte>& frame);
  Result<> read(std::size_t from, Nanoseconds now);

  LinkPlace place_;
  netns::Home home_;
  nft::Session session_;
  nl::Client client_;
  Carrier carrier_;
  std::vector<Open> ports_;
  UniqueFd device_;  // to the switch itself
  std::vector<std::byte> buffer_ = std::vector<std::byte>(kBatch * kLongestFrame);
};

Result<> change_link(nl::Client& client, const std::string& name,
                     const std::function<std::vector<nl::Request>(base::IfIndex)>& what) {
  auto link = nl::find_link(client, name);
  if (!link) return std::move(link).error();
  auto requests = what(link->index);
  for (auto& r : client.batch(requests))
    if (!r) return std::move(r).error();
  return {};
}

// Frames that are still to be cut into segments are not what is on a cable: loss and rate would meet them in lumps.
Result<> Relay::leave_segments(std::size_t i, std::uint32_t segments) {
  auto set = [segments](base::IfIndex link) {
    std::vector<nl::Request> steps;
    steps.push_back(nl::set_gso_max_segments(link, segments));
    return steps;
  };
  if (is_switch(i)) return change_link(client_, place_.bridge, set);
  auto there = netns::open_namespace(place_.nodes[i].netns_path);
  if (!there) return std::move(there).error();
  auto client = home_.client_inside(there->first.get());
  if (!client) return std::move(client).error();
  return change_link(*client, "eth0", set);
}

Result<> Relay::open_port(std::size_t i, bool hear) {
  auto& p = ports_[i];
  if (hear && !p.uncut) {
    if (auto r = leave_segments(i, 1); !r) return r;
    p.uncut = true;
  }
  if (!hear && p.uncut) {
    // A node that has gone since has nothing to be undone.
    if (auto r = leave_segments(i, nl::kGsoSegments); !r)
      base::logger("links")->warn("{}: {}", carrier_.ports()[i].name, r.error().to_string());
    p.uncut = false;
  }
  if (p.socket && p.hears == hear) return {};
  auto fd = packet_socket(link_of(i), hear, is_switch(i));
  if (!fd) return std::move(fd).error();
  p.socket = std::move(*fd);
  p.hears = hear;
  return {};
}

Result<> Relay::open_device() {
  if (device_) return {};
  auto fd = tap_device(kRelayDevice);
  if (!fd) return std::move(fd).error();
  base::IfIndex bridge;
  auto found = change_link(client_, place_.bridge, [&](base::IfIndex link) {
    bridge = link;
    return std::vector<nl::Request>{};
  });
  if (!found) return found;
  auto set_up = change_link(client_, kRelayDevice, [&](base::IfIndex link) {
    std::vector<nl::Request> steps;
    steps.push_back(nl::set_link_alias(link, "trama: frames from the relay to the switch"));
    steps.push_back(nl::set_addr_gen_none(link));
    steps.push_back(nl::set_link_master(link, bridge));
    steps.push_back(nl::set_bridge_port_mute(link));
    steps.push_back(nl::set_link_up(link, true));
    return steps;
  });
  if (!set_up) return set_up;
  device_ = std::move(*fd);
  return {};
}

Result<> Relay::apply(const std::vector<LinkRule>& rules, Nanoseconds now) {
  carrier_.use(rules);
  Ways carried;
  std::vector<bool> hears(ports_.size(), false), sends(ports_.size(), false);
  for (std::size_t a = 0; a < ports_.size(); ++a)
    for (std::size_t b = 0; b < ports_.size(); ++b)
      if (carrier_.carries(a, b)) {
        hears[a] = sends[b] = true;
        carried.emplace(carrier_.ports()[a].name, carrier_.ports()[b].name);
      }
  // First who takes the frames, then who holds them back: a link is never without either. The other way round it may
  // see a frame twice for a moment, which networks do.
  for (std::size_t i = 0; i < ports_.size(); ++i)
    if (hears[i] || sends[i])
      if (auto r = open_port(i, hears[i]); !r) return r;
  if (sends.back())
    if (auto r = open_device(); !r) return r;
  nft::Batch batch;
  auto table = link_table(place_, rules, carried, now);
  nft::replace_frame(batch, table);
  nft::put_rules(batch, table);
  if (auto r = session_.commit(batch); !r) return std::move(r).error().in("hold frames back on the switch");
  for (std::size_t i = 0; i < ports_.size(); ++i)
    if (!hears[i] && (ports_[i].hears || ports_[i].uncut))
      if (auto r = open_port(i, false); !r) return r;
  return {};
}

Result<> Relay::read(std::size_t from, Nanoseconds now) {
  std::array<mmsghdr, kBatch> messages{};
  std::array<iovec, kBatch> pieces{};
  for (std::size_t k = 0; k < kBatch; ++k) {
    pieces[k] = {buffer_.data() + k * kLongestFrame, kLongestFrame};
    messages[k].msg_hdr.msg_iov = &pieces[k];
    messages[k].msg_hdr.msg_iovlen = 1;
  }
  for (int round = 0; round < 8; ++round) {
    int n = recvmmsg(ports_[from].socket.get(), messages.data(), kBatch, MSG_DONTWAIT, nullptr);
    if (n < 0 && errno == EINTR) continue;
    // A port that was set down, or went with its node, says so once; then it is silent.
    if (n < 0 && (errno == EAGAIN || errno == ENETDOWN)) return {};
    if (n < 0) return Error::from_errno(errno, fmt::format("hear the port of {}", carrier_.ports()[from].name));
    for (std::size_t k = 0; k < static_cast<std::size_t>(n); ++k) {
      const auto* begin = buffer_.data() + k * kLongestFrame;
      carrier_.offer(now, from, std::vector<std::byte>(begin, begin + messages[k].msg_len));
    }
    if (n < static_cast<int>(kBatch)) return {};
  }
  return {};
}

void Relay::put_out(std::size_t to, const std::vector<std::byte>& frame) {
  auto& p = ports_[to];
  int fd = is_switch(to) ? device_.get() : p.socket.get();
  while (fd >= 0 && write(fd, frame.data(), frame.size()) < 0) {
    if (errno == EINTR) continue;
    if (p.failures++ % 1000 == 0)
      base::logger("links")->warn("a frame to {} was lost: {} ({} so far)", carrier_.ports()[to].name,
                                  Error::from_errno(errno, "send").to_string(), p.failures);
    return;
  }
}

Result<> Relay::step(Nanoseconds now) {
  for (std::size_t i = 0; i < ports_.size(); ++i)
    if (ports_[i].hears)
      if (auto r = read(i, now); !r) return r;
  carrier_.deliver(now, [this](std::size_t, std::size_t to, const std::vector<std::byte>& f) { put_out(to, f); });
  return {};
}

}  // namespace

Result<std::unique_ptr<LinkBackend>> open_relay(LinkPlace place, std::uint64_t seed) {
  auto home = netns::Home::open();
  if (!home) return std::move(home).error();
  auto session = nft::Session::open();
  if (!session) return std::move(session).error();
  auto client = nl::Client::open(NETLINK_ROUTE);
  if (!client) return std::move(client).error();
  return std::unique_ptr<LinkBackend>(
      std::make_unique<Relay>(std::move(place), seed, std::move(*home), std::move(*session), std::move(*client)));
}

}  // namespace trama::cli
