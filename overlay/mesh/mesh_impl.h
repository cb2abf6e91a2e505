// SPDX-License-Identifier: GPL-2.0-or-later
// The parts of a Mesh; private to overlay/mesh. Conversations are in mesh_links.cc, those on demand in mesh_demand.cc,
// probes in mesh_probes.cc, several uplinks in mesh_ways.cc, third nodes in mesh_relay.cc.
#pragma once

#include <map>
#include <random>
#include <unordered_map>

#include <boost/asio/ip/tcp.hpp>

#include "base/async/task_group.h"
#include "base/log.h"
#include "overlay/mesh/datagram_socket.h"
#include "overlay/mesh/link_socket.h"
#include "overlay/mesh/mesh.h"
#include "overlay/mesh/peer.h"
#include "overlay/peers/demand.h"
#include "overlay/peers/members.h"
#include "overlay/peers/splices.h"

namespace trama::overlay::mesh {

using peers::Member;
using tcp = asio::ip::tcp;

// Who stands at the door: whom it is counted as, and, over a third node, which one and who it claims to be.
struct Caller {
  Ip counted;
  bool member = false;
  std::string via, name;
};

// Our end of a conversation over a third node.
struct SpliceEnd {
  explicit SpliceEnd(asio::any_io_executor ex) : fd(ex) {}
  asio::posix::stream_descriptor fd;
  std::size_t sent = 0, came = 0;
  bool over = false;
};

// What listens at one of our addresses.
struct Ear {
  std::shared_ptr<tcp::acceptor> acceptor;
  std::shared_ptr<DatagramSocket> datagrams;
};

constexpr Millis kYoung{5'000};  // two connections that crossed are both younger

struct Mesh::Impl {
  Impl(asio::any_io_executor executor, MeshOptions o, Events e);

  // ---- time
  Millis now() const { return clock.now(); }
  static Millis real_ms();
  static Micros real_us();
  Millis jittered(Millis base);

  // ---- mesh.cc
  void apply_world();
  void apply_members(const std::vector<Member>& news);
  void tell_members();
  void choose_neighbours();
  void leave_address();
  void forget_peer(const std::string& name);
  void forget(const Keyed& key);
  bool awaits(const PeerEntry& p) const;
  PeerEntry* peer_of_overlay(const Ip& address);
  bool is_member_address(const Ip& address) const;
  MeshStatus status() const;
  peers::Evidence evidence(const PeerEntry& p, PathKind kind) const;
  void update_reasons();
  awaitable<void> run();
  void tick();
  void look_at(PeerEntry& p);

  // ---- mesh_links.cc
  void open_listener();
  void close_ears();
  void open_ears();
  awaitable<void> accept(std::shared_ptr<tcp::acceptor> from);
  awaitable<void> welcome(tcp::socket socket, IpPort remote, Caller caller);
  awaitable<void> dial(std::string name);
  void begin(std::shared_ptr<Link> link);
  void on_event(std::shared_ptr<Link> link, const peers::Session::Event& event);
  void established(std::shared_ptr<Link> link);
  void closed(std::shared_ptr<Link> link, const peers::Session::Closed& event);
  void tick_links();
  peers::Hello hello(const std::string& to);
  std::vector<std::string> capabilities(const std::string& to) const;
  void say_anew();
  void confirm(PeerEntry& p, const std::shared_ptr<Link>& link);
  awaitable<base::Result<>> meet(std::shared_ptr<Link> link, std::string name);
  bool talks() const { return options.port != 0 && credentials.complete(); }
  std::string why_silent() const;

  // ---- mesh_demand.cc
  Millis suspicious_after() const;
  bool in_vain(const PathLiveness& liveness) const;
  bool is_silent(const PeerEntry& p, PathKind kind) const;
  bool has_stale_keys(const PeerEntry& p) const;
  peers::KeyNeed need_of(const PeerEntry& p) const;
  void dial_due();
  bool begin_dial(PeerEntry& p, const char* what);
  void renew_keys();
  void tick_demand();
  bool ended_in_peace(const PeerEntry& p, const Link& link) const;

  // ---- mesh_relay.cc
  bool relays() const;
  bool reached_directly(const PeerEntry& p) const;
  bool wants_relay(const PeerEntry& p) const;
  Link* relay_link(const std::string& node) const;
  std::vector<peers::RelayCandidate> candidates_for(const PeerEntry& p) const;
  void tick_relays();
  void ask_about(PeerEntry& p, std::map<Link*, std::vector<peers::Ask>>& asks);
  void on_asked(Link& link, const std::vector<peers::Ask>& asks);
  void on_reached(const std::string& from, const std::vector<peers::Reach>& reaches);
  std::string via_of(const PeerEntry& p) const;
  void send_relay_probe(PeerEntry& p, std::uint64_t sequence, unsigned size);
  void send_splice(const peers::SpliceDesk::Out& out);
  base::Result<tcp::socket> splice_end(const std::string& third, std::uint32_t id);
  awaitable<void> pump(std::string third, std::uint32_t id, std::shared_ptr<SpliceEnd> end);
  void end_splice(const std::shared_ptr<SpliceEnd>& end);
  void on_spliced(const std::string& from, const peers::Splice& splice);
  void arrived(const std::string& from, const peers::Splice& splice);
  void dial_through_due(PeerEntry& p);
  awaitable<void> dial_through(std::string name, std::string via);

  // ---- mesh_probes.cc
  void open_sockets();
  void probe(PeerEntry& p);
  // Of that way's end here; null = we do not listen.
  DatagramSocket* socket_of(const Way& way) const {
    return way.ends.uplink < ears.size() ? ears[way.ends.uplink].datagrams.get() : nullptr;
  }
  PathLiveness::Pace pace() const { return crowded ? PathLiveness::Pace::calm : PathLiveness::Pace::usual; }
  void rest(PeerEntry& p, PathKind kind, PathLiveness::Pace pace);
  std::optional<peers::MtuSearch::Probe> look_for_mtu(PeerEntry& p, PathKind kind, unsigned largest);
  void note_mtu(PeerEntry& p, PathKind kind);
  std::string echo_body(const PeerEntry& p, std::uint64_t sequence, unsigned size) const;
  void send_echo(PeerEntry& p);
  void send_heartbeat(PeerEntry& p, Way& way, peers::DatagramType type, std::uint64_t sequence);
  void ask(PeerEntry& p, Way& way, const std::optional<peers::Whereabouts::Question>& question);
  void note_place(PeerEntry& p, Way& way, const IpPort& from, const peers::Heartbeat& heartbeat);
  void moved(PeerEntry& p, const Way& way);
  peers::Heartbeat heartbeat(const PeerEntry& p, const Way& way, std::uint64_t sequence) const;
  std::string translation(const PeerEntry& p) const;
  bool sees_us_elsewhere(const Way& way) const {
    auto* socket = socket_of(way);
    return way.sees_us && socket && *way.sees_us != socket->local();
  }
  const Ip* own_overlay(base::Family family) const;
  // `uplink`: our address that it came to. `via`: the third node that it came over; "" = none.
  void on_datagram(std::size_t uplink, const IpPort& from, std::string_view datagram, const std::string& via = "");
  void on_icmp(base::Family family, const IpPort& from, std::string_view message);
  peers::Report report_for(const PeerEntry& p) const;
  void send_tunnel_probe(PeerEntry& p, std::uint64_t sequence, unsigned size);
  void probe_direct(PeerEntry& p);
  void probe_wireguard(PeerEntry& p);
  bool open_link_socket(std::string& error);
  void send_wireguard_probe(PeerEntry& p, std::uint64_t sequence, unsigned size);
  void send_plain_probe(PeerEntry& p, const base::Mac& to, std::uint64_t sequence, unsigned size);
  void send_vxlan_probe(PeerEntry& p, std::string_view body, std::uint64_t sequence);
  bool tunnel_works() const { return options.tunnel && world.tunnel_mtu > 0 && options.tunnel->trouble().empty(); }

  // ---- mesh_ways.cc
  void set_ways(PeerEntry& p);
  Way& way_of(PeerEntry& p, std::size_t uplink, const std::optional<IpPort>& theirs);
  void probe_ways(PeerEntry& p);
  void tick_ways();
  void choose_way(PeerEntry& p);
  void take_way(PeerEntry& p, std::size_t from);
  void proved(PeerEntry& p, const Link& link);
  void way_answered(Way& way, std::uint64_t number);
  unsigned vxlan_mtu(const PeerEntry& p) const;
  unsigned tunnel_mtu(const PeerEntry& p) const;
  std::vector<const Way*> ways_to_dial(const PeerEntry& p) const;
  bool is_on(const Link& link, const Way& way) const;
  void move_conversation(PeerEntry& p);

  // ---- mesh_paths.cc
  const World::Peer* in_world(const std::string& name) const;
  bool must_encrypt(const PeerEntry& p) const;
  bool shares_link(const PeerEntry& p) const;
  // Where plain packets to it go, if both ends agree on them.
  std::optional<base::Mac> direct_to(const PeerEntry& p) const;
  std::string why_no_direct(const PeerEntry& p) const;
  // Its end, if packets to it may take WireGuard.
  std::optional<base::WireguardEnd> wireguard_to(const PeerEntry& p) const;
  std::string why_no_wireguard(const PeerEntry& p) const;
  unsigned wireguard_mtu(const PeerEntry& p) const;
  void tell_tunnel();
  void choose_paths();
  std::string why_no_tunnel(const PeerEntry& p) const;
  std::string why_no_relay(const PeerEntry& p) const;
  void retire_keys(PeerEntry& p);

  asio::any_io_executor ex;
  MeshOptions options;
  Events events;
  std::shared_ptr<spdlog::logger> log;
  peers::AttentiveClock clock;
  std::mt19937_64 random;
  std::string uid;
  std::uint64_t token;

  World world;
  peers::MemberTable table;
  std::map<std::string, Member> untold;
  Millis tell_again{0};
  std::map<std::string, PeerEntry> entries;
  std::map<Ip, std::string> by_overlay;

  Credentials credentials;
  WhoIs who_is;
  std::string why_not = "no identity yet";
  std::shared_ptr<asio::ssl::context> server_context, client_context;

  std::vector<Ear> ears;                                       // as World::uplinks; none = we do not listen
  std::map<Ip, std::shared_ptr<DatagramSocket>> vxlan_probes;  // by our address; made when they are needed
  std::map<base::Family, std::shared_ptr<DatagramSocket>> echoes;
  std::optional<LinkSocket> link_socket;
  std::vector<Ip> bound;  // of the ears
  std::string listen_error, echo_error;
  Millis listen_again{0}, echo_again{0};
  std::unordered_map<std::uint32_t, std::shared_ptr<Keyed>> by_index;

  peers::Doorman doorman;
  peers::DialBudget demand;
  peers::SpliceDesk desk;
  std::map<std::pair<std::string, std::uint32_t>, std::shared_ptr<SpliceEnd>> ends;
  std::uint32_t splice_ids = 0;
  std::vector<std::shared_ptr<Link>> links;  // with a session, established or not
  bool isolated = false;
  bool changed = true, urgent = true;  // since the last report; urgent: packets have to take another way, or size
  bool crowded = false;                // many paths hurry
  Millis report_again{0};
  std::uint64_t handshakes_failed = 0, strangers = 0, foreign = 0, datagrams_seen = 0, forged = 0;
  Millis started{0}, said_foreign{-3'600'000};
  std::shared_ptr<bool> alive = std::make_shared<bool>(true);  // asked by what comes from other threads
  async::TaskGroup tasks;
};

}  // namespace trama::overlay::mesh
