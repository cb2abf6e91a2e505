// SPDX-License-Identifier: GPL-2.0-or-later
// A Mesh's conversations: who is let in, who is dialed, which of two connections stays.
#include <algorithm>
#include <cstring>
#include <ctime>

#include <netinet/in.h>
#include <openssl/crypto.h>
#include <sys/socket.h>

#include "base/async/dial.h"
#include "base/async/endpoint.h"
#include "overlay/mesh/mesh_impl.h"
#include "overlay/peers/plain.h"

namespace trama::overlay::mesh {

namespace {

constexpr Millis kListenAgain{5'000};
constexpr Millis kForeignAgain{600'000};  // between two log lines about a foreign program
constexpr Millis kReport{1'000};          // between reports by TCP while datagrams do not pass
constexpr int kBacklog = 256;
constexpr Millis kNextWay{500};  // that a connection over one way may take while there is another one

// Capabilities. `encrypt`: the sender requires encryption; `clear`: it does not for the one that it says this to;
// `relay`: it can be the third node of others, and understands what is said about that.
constexpr const char *kVxlan = "vxlan", *kTunnel = "tunnel", *kTunnelAes = "tunnel-aes", *kEncrypt = "encrypt",
                     *kClear = "clear", *kRelay = "relay";

bool has(const peers::Hello& hello, const char* capability) {
  return std::find(hello.capabilities.begin(), hello.capabilities.end(), capability) != hello.capabilities.end();
}

std::int64_t wall_clock() { return static_cast<std::int64_t>(std::time(nullptr)); }

base::Result<std::shared_ptr<tcp::acceptor>> listen_on(asio::any_io_executor ex, const IpPort& where) {
  auto acceptor = std::make_shared<tcp::acceptor>(ex);
  boost::system::error_code ec;
  auto endpoint = async::endpoint_of<tcp>(where);
  acceptor->open(endpoint.protocol(), ec);
  if (!ec) acceptor->set_option(tcp::acceptor::reuse_address(true), ec);
  if (!ec) (void)async::bind_early(acceptor->native_handle(), where.ip.family());  // it then needs the address
  if (!ec) acceptor->bind(endpoint, ec);
  if (!ec) acceptor->listen(kBacklog, ec);
  if (ec) return base::Error(ec, fmt::format("listen on {} (TCP)", where.to_string()));
  return acceptor;
}

}  // namespace

std::string Mesh::Impl::why_silent() const {
  return options.port == 0 ? "switched off (--peer-port 0)" : why_not.empty() ? "no node certificate" : why_not;
}

void Mesh::Impl::open_listener() {
  bool wanted = talks() && !world.underlay.is_unspecified();
  std::vector<Ip> addresses;
  for (const auto& uplink : uplinks_of(world)) addresses.push_back(uplink.address);
  bool right = !ears.empty() && bound == addresses;
  if (right == wanted && (!wanted || right)) return;
  close_ears();
  if (!wanted || now() < listen_again) return;
  listen_again = now() + kListenAgain;
  bound = std::move(addresses);
  open_ears();
}

void Mesh::Impl::close_ears() {
  if (!ears.empty() && options.tunnel) options.tunnel->use_sockets({}, {});
  boost::system::error_code ignored;
  for (const auto& ear : ears) {
    ear.acceptor->close(ignored);
    ear.datagrams->close();
  }
  ears.clear();
}

// At all of our addresses or at none.
void Mesh::Impl::open_ears() {
  std::vector<Ear> opened;
  std::vector<base::UniqueFd> of_tunnel;
  for (const auto& address : bound) {
    IpPort where{address, options.port};
    auto listening = listen_on(ex, where);
    auto udp = DatagramSocket::open_shared(ex, where, options.tunnel ? options.tunnel->sockets_wanted() : 0);
    if (!listening || !udp) {
      auto why = (listening ? udp.error() : listening.error()).to_string();
      if (why != listen_error)
        log->warn(
            "{}: peers cannot reach this agent; free the port, or give every node another --peer-port. Trying again",
            why);
      listen_error = std::move(why);
      changed = true;
      return;  // what is open so far is closed with its owners
    }
    opened.push_back({std::move(*listening), std::move(udp->own)});
    for (auto& fd : udp->others) of_tunnel.push_back(std::move(fd));
  }
  if (!listen_error.empty()) log->info("listening on {}", IpPort{bound.front(), options.port}.to_string());
  listen_error.clear();
  ears = std::move(opened);
  if (options.tunnel) {
    auto stray = [this, ex = ex, still = std::weak_ptr<bool>(alive)](std::size_t uplink, const IpPort& from,
                                                                     std::string datagram) {
      auto there = [this, still, uplink, from, datagram = std::move(datagram)] {
        if (!still.expired()) on_datagram(uplink, from, datagram);
      };
      asio::post(ex, std::move(there));
    };
    options.tunnel->use_sockets(std::move(of_tunnel), std::move(stray));
  }
  changed = true;
  for (std::size_t uplink = 0; uplink < ears.size(); ++uplink) {
    tasks.spawn("accept peers", accept(ears[uplink].acceptor));
    auto handler = [this, uplink](const IpPort& from, std::string_view datagram) {
      on_datagram(uplink, from, datagram);
    };
    tasks.spawn("datagrams", DatagramSocket::receive(ears[uplink].datagrams, handler));
  }
}

awaitable<void> Mesh::Impl::accept(std::shared_ptr<tcp::acceptor> from) {
  for (;;) {
    auto [ec, socket] = co_await from->async_accept(async::kTuple);
    if (ec == asio::error::operation_aborted || !from->is_open()) co_return;
    if (ec) {  // out of descriptors and the like: not our end
      co_await async::sleep_for(Millis(100));
      continue;
    }
    boost::system::error_code gone;
    auto remote = async::ip_port_of(socket.remote_endpoint(gone));
    if (gone) continue;
    bool member = is_member_address(remote.ip);
    if (!member) ++strangers;
    if (!doorman.enter(remote.ip, member, now())) {
      linger reset{1, 0};  // a closed connection would stay in TIME_WAIT here
      (void)::setsockopt(socket.native_handle(), SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
      continue;
    }
    tasks.spawn("a peer's call", welcome(std::move(socket), remote, {remote.ip, member, "", ""}));
  }
}

awaitable<void> Mesh::Impl::welcome(tcp::socket socket, IpPort remote, Caller caller) {
  struct Leaving {
    Mesh::Impl& self;
    Ip ip;
    bool member;
    ~Leaving() { self.doorman.left(ip, member); }
  } leaving{*this, caller.counted, caller.member};
  boost::system::error_code gone;
  auto local = caller.via.empty() ? async::ip_port_of(socket.local_endpoint(gone)).ip : Ip();
  auto link = std::make_shared<Link>(ex, std::move(socket), Side::acceptor, remote);
  link->set_via(caller.via);
  link->set_local(local);
  auto context = server_context;
  auto done = co_await link->greet();
  if (done) done = co_await link->secure(context, who_is);
  if (done && !caller.name.empty() && link->who().node != caller.name)
    done =
        base::Error::text(fmt::format("{} said that {} calls, but it is {}", caller.via, caller.name, link->who().node),
                          std::errc::protocol_error);
  if (!done) {
    ++handshakes_failed;
    if (link->foreign()) ++foreign;
    bool say = link->foreign() && now() - said_foreign >= kForeignAgain;
    if (say) said_foreign = now();
    if (say)
      log->warn("refused {}: {}", remote.to_string(), done.error().to_string());
    else
      log->debug("refused {}: {}", remote.to_string(), done.error().to_string());
    co_return;
  }
  begin(link);
}

awaitable<void> Mesh::Impl::dial(std::string name) {
  auto entry = entries.find(name);
  if (entry == entries.end()) co_return;
  entry->second.dialing = true;
  // Over each of the ways, until somebody answers.
  std::vector<std::pair<Ip, IpPort>> targets;
  for (const auto* way : ways_to_dial(entry->second))
    targets.push_back({way->ends.here, IpPort{way->ends.there, options.port}});
  auto remote = targets.front().second;
  auto failed = [&](const std::string& why) {
    auto p = entries.find(name);
    if (p == entries.end()) return;
    p->second.backoff.failed();
    p->second.dial_at = now() + jittered(p->second.backoff.delay());
    if (p->second.trouble != why) log->info("{} ({}): {}", name, remote.to_string(), why);
    p->second.trouble = why;
    changed = true;
  };
  auto done = [&] {
    auto p = entries.find(name);
    if (p != entries.end()) p->second.dialing = false;
  };
  std::shared_ptr<Link> link;
  std::string why;
  for (std::size_t i = 0; i < targets.size() && !link; ++i) {
    auto local = targets[i].first;
    async::TcpStream stream(ex);
    stream.expires_after(i + 1 < targets.size() ? kNextWay : Link::kHandshake);
    boost::system::error_code bad;
    auto& socket = stream.socket();
    socket.open(targets[i].second.ip.is_v4() ? tcp::v4() : tcp::v6(), bad);
    IpPort from{local, 0};
    if (!bad && local.family() == targets[i].second.ip.family()) socket.bind(async::endpoint_of<tcp>(from), bad);
    auto target = async::endpoint_of<tcp>(targets[i].second);
    auto [ec] = co_await stream.async_connect(target, async::kTuple);
    if (ec) {
      if (why.empty()) why = async::transport_error(ec, "connect").to_string();
      continue;
    }
    remote = targets[i].second;
    link = std::make_shared<Link>(ex, stream.release_socket(), Side::dialer, remote);
    link->set_local(local);
  }
  if (!link) {
    failed(why);
    done();
    co_return;
  }
  auto agreed = co_await meet(link, name);
  done();
  if (!agreed) {
    ++handshakes_failed;
    failed(agreed.error().to_string());
    co_return;
  }
  begin(link);
}

// The dialer's part up to TLS: whoever answers must be that node.
awaitable<base::Result<>> Mesh::Impl::meet(std::shared_ptr<Link> link, std::string name) {
  auto context = client_context;
  auto agreed = co_await link->greet();
  if (agreed) agreed = co_await link->secure(context, who_is);
  if (agreed && link->who().node != name)
    agreed = base::Error::text(fmt::format("{} answers there", link->who().node), std::errc::protocol_error);
  co_return agreed;
}

peers::Hello Mesh::Impl::hello(const std::string& to) {
  peers::Hello h;
  h.node = options.node;
  h.uid = uid;
  h.connection = random();
  h.udp_port = options.port;
  do h.udp_index = static_cast<std::uint32_t>(random());
  while (h.udp_index == 0 || by_index.contains(h.udp_index));
  h.capabilities = capabilities(to);
  return h;
}

std::vector<std::string> Mesh::Impl::capabilities(const std::string& to) const {
  std::vector<std::string> out = {kVxlan};
  if (options.tunnel) out.push_back(kTunnel);
  if (options.tunnel && options.tunnel->prefers_aes()) out.push_back(kTunnelAes);
  if (options.tunnel && options.relay) out.push_back(kRelay);
  if (world.encrypt) out.push_back(kEncrypt);
  if (const auto* p = in_world(to); p && p->trusted) out.push_back(kClear);
  auto entry = entries.find(to);
  if (world.plain && entry != entries.end() && shares_link(entry->second))
    out.push_back(peers::plain_capability(world.plain->mac));
  if (world.wireguard) out.push_back(peers::wireguard_capability(world.wireguard->end));
  return out;
}

void Mesh::Impl::begin(std::shared_ptr<Link> link) {
  link->begin(hello(link->who().node), now());
  links.push_back(link);
  const auto& name = link->who().node;
  if (!entries.contains(name)) {
    link->session().close(fmt::format("{} is no member of this cluster as {} knows it", name, options.node));
    log->warn("refused {} ({}): it has a node's certificate, but no Node of that name is known here", name,
              link->remote().to_string());
  }
  auto clock_now = [this] { return now(); };
  auto handler = [this, link](const peers::Session::Event& event) { on_event(link, event); };
  tasks.spawn("read from " + name, Link::read(link, clock_now, handler));
  tasks.spawn("write to " + name, Link::write(link));
}

void Mesh::Impl::on_event(std::shared_ptr<Link> link, const peers::Session::Event& event) {
  auto entry = entries.find(link->who().node);
  if (auto* end = std::get_if<peers::Session::Closed>(&event)) return closed(link, *end);
  if (entry == entries.end()) return;
  if (std::holds_alternative<peers::Session::Established>(event)) return established(link);
  if (auto* said = std::get_if<peers::Session::Members>(&event)) {
    confirm(entry->second, link);  // the first thing it says once it has keys
    auto others = said->members;
    std::erase_if(others, [this](const Member& m) { return m.node == options.node; });
    auto news = table.peer_says(others);
    if (!news.empty()) apply_members(news);
  } else if (auto* report = std::get_if<peers::Session::Reported>(&event)) {
    entry->second.report = report->report;
    entry->second.reported = now();
  } else if (auto* asked = std::get_if<peers::Session::Asked>(&event)) {
    on_asked(*link, asked->asks);
  } else if (auto* reached = std::get_if<peers::Session::Reached>(&event)) {
    on_reached(link->who().node, reached->reaches);
  } else if (auto* spliced = std::get_if<peers::Session::Spliced>(&event)) {
    // What leads over a third node leads no further.
    if (link->via().empty() && entry->second.link == link) on_spliced(link->who().node, spliced->splice);
  }
}

void Mesh::Impl::established(std::shared_ptr<Link> link) {
  auto& p = entries.at(link->who().node);
  auto& session = link->session();
  const auto& theirs = session.theirs();
  link->established = now();
  p.met = true;
  p.touch();
  if (p.link) {
    // Both have dialed: the connections are of one age, and both sides drop the same one. Otherwise the old one is
    // dead and nobody has told us yet.
    bool crossed = p.uid == theirs.uid && p.link->side() != link->side() && now() - p.link->established < kYoung;
    if (crossed && peers::keep_first(p.link->session().id(), session.id())) {
      session.close("a connection that crossed this one is kept");
      link->flush();
      return;
    }
    auto old = std::exchange(p.link, nullptr);
    old->session().close(crossed ? "a connection that crossed this one is kept" : "there is a newer connection");
    old->flush();
  }
  auto exported = link->take_exported();
  auto keys = peers::DatagramKeys::make(exported, link->side(), session.mine().udp_index, theirs.udp_index);
  if (!keys) {
    session.close(keys.error().to_string());
    link->flush();
    return;
  }
  auto keyed = std::make_shared<Keyed>(std::move(*keys), p.member.node);
  keyed->made = now();
  keyed->dialer = link->side() == Side::dialer;
  p.has_tunnel = has(theirs, kTunnel);
  p.relays = has(theirs, kRelay);
  p.wants_encryption = has(theirs, kEncrypt);
  p.grants_clear = has(theirs, kClear);
  p.plain_mac = peers::plain_mac(theirs.capabilities);
  p.wireguard = peers::wireguard_end(theirs.capabilities);
  changed = urgent = true;
  auto packets = link->take_tunnel_exported();
  if (p.has_tunnel && has(session.mine(), kTunnel)) {
    peers::TunnelPort::Keys secret;
    secret.node = p.member.node;
    secret.my_index = session.mine().udp_index;
    secret.their_index = theirs.udp_index;
    secret.aes = has(theirs, kTunnelAes) && has(session.mine(), kTunnelAes);
    bool dialer = link->side() == Side::dialer;
    std::memcpy((dialer ? secret.sending : secret.receiving).data(), packets.data(), secret.sending.size());
    std::memcpy((dialer ? secret.receiving : secret.sending).data(), packets.data() + secret.sending.size(),
                secret.receiving.size());
    auto opened = options.tunnel->open(secret);
    if (!opened) log->warn("{}: {}", p.member.node, opened.error().to_string());
    keyed->tunnel = static_cast<bool>(opened);
    keyed->cipher = secret.aes ? "AES-256-GCM" : "ChaCha20-Poly1305";
    OPENSSL_cleanse(&secret.sending, sizeof secret.sending);
    OPENSSL_cleanse(&secret.receiving, sizeof secret.receiving);
  }
  OPENSSL_cleanse(packets.data(), packets.size());
  OPENSSL_cleanse(exported.data(), exported.size());
  by_index[keyed->keys.my_index()] = keyed;
  p.keys.push_back(keyed);
  p.link = link;
  p.uid = theirs.uid;
  if (link->via().empty()) {
    p.trouble.clear();
    p.backoff.succeeded();
  }
  changed = true;
  proved(p, *link);
  // Members are spread by conversations that are kept; to the others the empty list says that there are keys.
  bool brief = !link->via().empty() || !peers::keeps_conversation(need_of(p));
  session.send_members(brief ? std::vector<Member>() : table.all());
  link->flush();
  log->log(brief ? spdlog::level::debug : spdlog::level::info, "{} {} ({}{}): established, version {}",
           link->side() == Side::dialer ? "->" : "<-", p.member.node, link->remote().to_string(),
           link->via().empty() ? "" : " over " + link->via(), peers::common_version(theirs.mine, peers::Versions{}));
}

// Both have the keys of that conversation: from now on they seal. Those before still open what is underway.
void Mesh::Impl::confirm(PeerEntry& p, const std::shared_ptr<Link>& link) {
  if (p.link != link || p.keys.empty() || p.keys.back()->confirmed) return;
  for (const auto& key : p.keys)
    if (key != p.keys.back() && !key->retires) key->retires = now() + Millis(10'000);
  auto& key = *p.keys.back();
  key.confirmed = true;
  p.touch();
  log->debug("{}: keys agreed on", p.member.node);
  ++p.keys_made;
  if (key.tunnel) options.tunnel->seal_with(key.keys.my_index());
}

void Mesh::Impl::closed(std::shared_ptr<Link> link, const peers::Session::Closed& event) {
  auto why = event.by_them ? "it says: " + event.why : event.why;
  auto entry = entries.find(link->who().node);
  if (entry == entries.end()) return;
  auto& p = entry->second;
  p.touch();
  bool current = p.link == link;
  if (!current && p.link) return;        // the other one of two
  if (current && link->via().empty()) {  // nothing leads over it any more
    for (const auto& out : desk.gone(p.member.node)) send_splice(out);
    std::erase_if(ends, [&](const auto& e) {
      if (e.first.first != p.member.node) return false;
      end_splice(e.second);
      return true;
    });
  }
  if (ended_in_peace(p, *link)) {
    if (current) p.link.reset();
    log->debug("{}: {}", p.member.node, why);
    changed = true;
    return;
  }
  if (!link->via().empty()) {  // says nothing about the way to it
    if (current) p.link.reset();
    changed = true;
    return;
  }
  if (current) {
    p.link.reset();
    log->info("{}: the conversation has ended: {}", p.member.node, why);
    p.dial_at = now() + jittered(Millis(500));
  } else {
    p.backoff.failed();
    p.dial_at = now() + jittered(p.backoff.delay());
    if (p.trouble != why) log->info("{}: {}", p.member.node, why);
  }
  p.trouble = std::move(why);
  changed = true;
}

void Mesh::Impl::tick_links() {
  auto wall = wall_clock();
  for (const auto& link : std::vector(links)) {
    auto& session = link->session();
    for (const auto& event : session.tick(now())) on_event(link, event);
    if (!session.closed() && link->who().not_after < wall) {
      session.close("the certificate that was shown has ended");
      on_event(link, peers::Session::Closed{"its certificate has ended", false});
    }
    if (session.waiting() > Link::kMostWaiting) link->shut();
    if (session.waiting() > 0 || session.closed()) link->flush();
  }
  std::erase_if(links, [](const auto& link) { return link->session().closed() && link->session().waiting() == 0; });
  for (auto& [name, p] : entries) {
    if (!p.looked_at) continue;
    bool spoken = peers::works(p.path(PathKind::control).liveness.state());
    if (!p.link || spoken || now() - p.told < kReport) continue;
    p.told = now();
    p.link->session().send_report(report_for(p));
    p.link->flush();
  }
}

}  // namespace trama::overlay::mesh
