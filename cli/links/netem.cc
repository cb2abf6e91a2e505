// SPDX-License-Identifier: GPL-2.0-or-later
// Impaired links by the kernel's netem. A node's cable out is the root of its eth0, its cable in that of its port on
// the switch; for the way between two nodes the sender's port hands what comes in to an ifb device, whose root is the
// third place. Each place: htb, one class per rule, a filter that finds the rule's frames, netem below the class.
// Frames that no rule claims pass. What is down is held back by the same table as the relay's.
#include <algorithm>
#include <map>

#include "base/netlink/find_link.h"
#include "base/netlink/tc.h"
#include "cli/links/table.h"
#include "netns/namespace.h"

namespace trama::cli {

using base::Error;
using base::IfIndex;
using base::Result;
namespace nl = netlink;

namespace {

constexpr std::uint32_t kRoot = nl::tc_handle(1);
constexpr std::size_t kFullFrame = 1514;

nl::Netem netem_of(const Impairment& i) {
  nl::Netem n;
  n.delay = i.delay, n.jitter = i.jitter;
  n.loss_ppm = i.loss_ppm, n.reorder_ppm = i.reorder_ppm;
  n.rate = i.rate;
  n.limit = kMostFrames;
  if (i.rate) {
    auto most = static_cast<double>(i.rate) / 8 * 1e-9 * static_cast<double>((kLongestQueue + i.delay).count());
    n.limit = static_cast<std::uint32_t>(std::clamp(most / kFullFrame, 16.0, static_cast<double>(kMostFrames)));
  }
  return n;
}

// A root that holds rules: which device, in whose namespace.
struct Place {
  std::string netns_path;  // "" = the switch's
  std::string link;
  friend auto operator<=>(const Place&, const Place&) = default;
};
struct Leaf {
  LinkKey key;
  Match only;
  std::optional<base::Mac> destination;
  Impairment shape;
  bool same_place(const Leaf& o) const { return key == o.key && only == o.only; }
};

Result<> call_all(nl::Client& client, std::vector<nl::Request> requests) {
  for (auto& r : requests)
    if (auto done = client.call(r); !done) return std::move(done).error();
  return {};
}

Result<IfIndex> index_of(nl::Client& client, const std::string& name) {
  auto link = nl::find_link(client, name);
  if (!link) return std::move(link).error();
  return link->index;
}

std::uint16_t number_of(std::size_t leaf) { return static_cast<std::uint16_t>(leaf + 10); }
std::vector<nl::Request> netem_requests(IfIndex link, const std::vector<Leaf>& leaves) {
  std::vector<nl::Request> out;
  for (std::size_t i = 0; i < leaves.size(); ++i)
    out.push_back(
        nl::put_netem(link, nl::tc_handle(1, number_of(i)), nl::tc_handle(number_of(i)), netem_of(leaves[i].shape)));
  return out;
}
// Leaves come the most specific first; so are the filters.
std::vector<nl::Request> build_requests(IfIndex link, const std::vector<Leaf>& leaves) {
  std::vector<nl::Request> out;
  out.push_back(nl::put_htb(link, kRoot));
  for (std::size_t i = 0; i < leaves.size(); ++i)
    out.push_back(nl::put_htb_class(link, kRoot, nl::tc_handle(1, number_of(i))));
  for (auto& r : netem_requests(link, leaves)) out.push_back(std::move(r));
  std::uint16_t priority = 1;
  for (std::size_t i = 0; i < leaves.size(); ++i) {
    const auto& l = leaves[i];
    nl::TcMatch match;
    match.destination = l.destination;
    auto add = [&] { out.push_back(nl::add_flower(link, kRoot, priority++, match, nl::tc_handle(1, number_of(i)))); };
    if (!l.only.protocol) {
      add();
      continue;
    }
    match.port = l.only.port;
    for (auto family : {base::Family::v4, base::Family::v6}) {
      match.family = family;
      match.protocol = family == base::Family::v6 && l.only.text() == "icmp" ? 58 : l.only.protocol;
      add();
    }
  }
  return out;
}

class NetemBackend : public LinkBackend {
 public:
  NetemBackend(LinkPlace place, netns::Home home, nft::Session session, nl::Client client)
      : place_(std::move(place)), home_(std::move(home)), session_(std::move(session)), client_(std::move(client)) {}
  ~NetemBackend() override { (void)apply({}, Nanoseconds{0}); }

  std::string name() const override { return "netem"; }
  Result<> apply(const std::vector<LinkRule>& rules, Nanoseconds now) override;
  Result<std::vector<Carrier::Count>> counts() override;

 private:
  Result<> with(const Place& place, const std::function<Result<>(nl::Client&, IfIndex)>& job);
  Result<> make(const Place& place, const std::vector<Leaf>& leaves);
  Result<> remove(const Place& place);
  const LinkPlace::Node* node(const std::string& name) const {
    for (const auto& n : place_.nodes)
      if (n.name == name) return &n;
    return nullptr;
  }
  static std::string ifb_name(const LinkPlace& p, const LinkPlace::Node& n) {
    return fmt::format("ifb.{}", &n - p.nodes.data());
  }

  LinkPlace place_;
  netns::Home home_;
  nft::Session session_;
  nl::Client client_;
  std::map<Place, std::vector<Leaf>> made_;
  std::map<std::string, std::string> ifbs_;  // device by port
};

Result<> NetemBackend::with(const Place& place, const std::function<Result<>(nl::Client&, IfIndex)>& job) {
  auto run = [&](nl::Client& client) -> Result<> {
    auto link = index_of(client, place.link);
    if (!link) return std::move(link).error();
    return job(client, *link);
  };
  if (place.netns_path.empty()) return run(client_);
  auto there = netns::open_namespace(place.netns_path);
  if (!there) return std::move(there).error();
  auto client = home_.client_inside(there->first.get());
  if (!client) return std::move(client).error();
  return run(*client);
}

Result<> NetemBackend::make(const Place& place, const std::vector<Leaf>& leaves) {
  const auto& before = made_[place];
  bool same =
      before.size() == leaves.size() && std::equal(before.begin(), before.end(), leaves.begin(),
                                                   [](const Leaf& a, const Leaf& b) { return a.same_place(b); });
  auto done = with(place, [&](nl::Client& client, IfIndex link) -> Result<> {
    if (same) return call_all(client, netem_requests(link, leaves));
    auto gone = nl::delete_qdisc(link, nl::kTcRoot);
    (void)client.call(gone);  // of a service before this one
    return call_all(client, build_requests(link, leaves));
  });
  if (!done) return std::move(done).error().in(place.link);
  made_[place] = leaves;
  return {};
}

Result<> NetemBackend::remove(const Place& place) {
  auto done = with(place, [](nl::Client& client, IfIndex link) -> Result<> {
    auto gone = nl::delete_qdisc(link, nl::kTcRoot);
    if (auto r = client.call(gone);
        !r && !r.error().is(std::errc::no_such_file_or_directory) && !r.error().is(std::errc::invalid_argument))
      return std::move(r).error();
    return {};
  });
  if (!done && !done.error().is(std::errc::no_such_device) && !done.error().is(std::errc::no_such_file_or_directory))
    return std::move(done).error().in(place.link);
  made_.erase(place);
  return {};
}

Result<> NetemBackend::apply(const std::vector<LinkRule>& rules, Nanoseconds now) {
  std::map<Place, std::vector<Leaf>> wanted;
  std::map<std::string, std::string> ifbs;
  for (const auto& r : rules) {
    if (!r.shape) continue;
    Leaf leaf{r.key, r.only, {}, *r.shape};
    if (r.key.to == kSwitch) {
      if (const auto* n = node(r.key.from)) wanted[{n->netns_path, "eth0"}].push_back(std::move(leaf));
    } else if (r.key.from == kSwitch) {
      if (const auto* n = node(r.key.to)) wanted[{"", n->port}].push_back(std::move(leaf));
    } else if (const auto* a = node(r.key.from), *b = node(r.key.to); a && b) {
      leaf.destination = b->mac;
      auto ifb = ifb_name(place_, *a);
      ifbs[a->port] = ifb;
      wanted[{"", ifb}].push_back(std::move(leaf));
    }
  }
  // A port stops handing frames over before the device it hands them to goes.
  for (auto it = ifbs_.begin(); it != ifbs_.end();) {
    if (ifbs.count(it->first)) {
      ++it;
      continue;
    }
    auto port = index_of(client_, it->first), ifb = index_of(client_, it->second);
    if (port)
      if (auto r = nl::delete_qdisc(*port, nl::kTcIngress); true) (void)client_.call(r);
    if (ifb)
      if (auto r = nl::delete_link(*ifb); true) (void)client_.call(r);
    made_.erase({"", it->second});
    it = ifbs_.erase(it);
  }
  std::vector<Place> gone;
  for (const auto& [place, leaves] : made_)
    if (!wanted.count(place)) gone.push_back(place);
  for (const auto& place : gone)
    if (auto r = remove(place); !r) return r;
  for (const auto& [port, ifb] : ifbs) {
    if (ifbs_.count(port)) continue;
    if (auto old = index_of(client_, ifb)) {  // of a service before this one
      auto r = nl::delete_link(*old);
      (void)client_.call(r);
    }
    auto create = nl::create_ifb(ifb);
    if (auto r = client_.call(create); !r) return std::move(r).error();
    auto link = index_of(client_, ifb);
    if (!link) return std::move(link).error();
    if (auto r = call_all(client_,
                          [&] {
                            std::vector<nl::Request> steps;
                            steps.push_back(nl::set_addr_gen_none(*link));
                            steps.push_back(nl::set_link_up(*link, true));
                            return steps;
                          }());
        !r)
      return r;
  }
  for (const auto& [place, leaves] : wanted)
    if (auto r = make(place, leaves); !r) return r;
  for (const auto& [port, ifb] : ifbs) {
    if (ifbs_.count(port)) continue;
    auto from = index_of(client_, port), to = index_of(client_, ifb);
    if (!from) return std::move(from).error();
    if (!to) return std::move(to).error();
    auto old = nl::delete_qdisc(*from, nl::kTcIngress);
    (void)client_.call(old);
    std::vector<nl::Request> steps;
    steps.push_back(nl::put_ingress(*from));
    steps.push_back(nl::add_redirect(*from, 1, *to));
    if (auto r = call_all(client_, std::move(steps)); !r) return r;
    ifbs_[port] = ifb;
  }
  nft::Batch batch;
  auto table = link_table(place_, rules, {}, now);
  nft::replace_frame(batch, table);
  nft::put_rules(batch, table);
  if (auto r = session_.commit(batch); !r) return std::move(r).error().in("hold frames back on the switch");
  return {};
}

Result<std::vector<Carrier::Count>> NetemBackend::counts() {
  std::vector<Carrier::Count> out;
  for (const auto& [place, leaves] : made_) {
    auto read = with(place, [&](nl::Client& client, IfIndex link) -> Result<> {
      auto list = nl::list_qdiscs();
      auto reply = client.dump(list);
      if (!reply) return std::move(reply).error();
      for (const auto& part : *reply) {
        auto q = nl::decode_qdisc(part);
        if (!q || q->link != link || q->kind != "netem") continue;
        for (std::size_t i = 0; i < leaves.size(); ++i)
          if (q->handle == nl::tc_handle(number_of(i)))
            out.push_back({leaves[i].key, leaves[i].only, WireCounters{q->packets, q->drops, 0, 0, 0}});
      }
      return {};
    });
    if (!read) return std::move(read).error();
  }
  return out;
}

// All of it once, in a namespace that is thrown away.
Result<> probe(const netns::Home& home) {
  auto scratch = home.make({});
  if (!scratch) return std::move(scratch).error();
  auto& client = scratch->inside;
  auto create = nl::create_ifb("ifb.probe");
  if (auto r = client.call(create); !r) return std::move(r).error();
  auto ifb = index_of(client, "ifb.probe");
  auto lo = index_of(client, "lo");
  if (!ifb) return std::move(ifb).error();
  if (!lo) return std::move(lo).error();
  Leaf leaf{{"a", "b"}, {17, 1}, base::Mac::from_seed("probe"), Impairment{}};
  leaf.shape.delay = Nanoseconds(1'000'000);
  auto steps = build_requests(*ifb, {leaf});
  steps.push_back(nl::put_ingress(*lo));
  steps.push_back(nl::add_redirect(*lo, 1, *ifb));
  return call_all(client, std::move(steps));
}

}  // namespace

Result<std::unique_ptr<LinkBackend>> open_netem(LinkPlace place) {
  auto home = netns::Home::open();
  if (!home) return std::move(home).error();
  if (auto r = probe(*home); !r)
    return Error::text("this kernel has no netem for us: " + r.error().to_string(), std::errc::operation_not_supported);
  auto session = nft::Session::open();
  if (!session) return std::move(session).error();
  auto client = nl::Client::open(NETLINK_ROUTE);
  if (!client) return std::move(client).error();
  return std::unique_ptr<LinkBackend>(
      std::make_unique<NetemBackend>(std::move(place), std::move(*home), std::move(*session), std::move(*client)));
}

}  // namespace trama::cli
