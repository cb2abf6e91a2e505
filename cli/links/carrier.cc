// SPDX-License-Identifier: GPL-2.0-or-later
#include "cli/links/carrier.h"

#include <algorithm>

namespace trama::cli {

namespace {

// Each link throws dice of its own, the same whichever other links there are.
std::uint64_t seed_of(std::uint64_t seed, const LinkKey& key, const Match& only) {
  std::uint64_t h = 0xcbf29ce484222325u ^ seed;
  for (char c : key.text() + " " + only.text()) h = (h ^ static_cast<unsigned char>(c)) * 0x100000001b3u;
  return h;
}

constexpr std::size_t kStages = 3;

}  // namespace

Carrier::Carrier(std::vector<Port> ports, std::uint64_t seed, std::size_t head)
    : ports_(std::move(ports)), seed_(seed), head_(head), carried_(ports_.size() * ports_.size(), false) {}

const std::vector<Carrier::Link>* Carrier::links(std::size_t stage, std::size_t from, std::size_t to) const {
  const auto& a = ports_[from].name;
  const auto& b = ports_[to].name;
  LinkKey key = stage == 0 ? LinkKey{a, kSwitch} : stage == 1 ? LinkKey{a, b} : LinkKey{kSwitch, b};
  // What the switch itself sends or takes has one cable only.
  if ((stage != 0 && b == kSwitch) || (stage != 2 && a == kSwitch)) return nullptr;
  auto it = links_.find(key);
  return it == links_.end() ? nullptr : &it->second;
}

void Carrier::use(const std::vector<LinkRule>& rules) {
  std::map<LinkKey, std::vector<Link>> before;
  before.swap(links_);
  std::map<LinkKey, bool> shaped;
  for (const auto& r : rules) {
    std::shared_ptr<Wire> wire;
    for (const auto& old : before[r.key])
      if (old.only == r.only) wire = old.wire;
    if (!wire) wire = std::make_shared<Wire>(seed_of(seed_, r.key, r.only));
    wire->shape(r.shape);
    wire->cut(r.cut, r.cut_term.since);
    links_[r.key].push_back(Link{r.key, r.only, std::move(wire)});
    if (r.shape) shaped[r.key] = true;
  }
  for (std::size_t a = 0; a < ports_.size(); ++a)
    for (std::size_t b = 0; b < ports_.size(); ++b) {
      bool any = false;
      for (std::size_t stage = 0; stage < kStages && a != b; ++stage) {
        const auto* there = links(stage, a, b);
        any = any || (there && shaped.count(there->front().key));
      }
      carried_[a * ports_.size() + b] = any;
    }
}

void Carrier::offer(Nanoseconds now, std::size_t from, std::vector<std::byte> bytes) {
  if (bytes.size() < head_) return;
  auto head = parse_frame(std::span(bytes).subspan(head_));
  if (!head) return;
  auto known = std::find_if(ports_.begin(), ports_.end(), [&](const Port& p) { return p.mac == head->destination; });
  bool one = !head->to_many() && known != ports_.end();
  auto frame = std::make_shared<const std::vector<std::byte>>(std::move(bytes));
  for (std::size_t to = 0; to < ports_.size(); ++to) {
    if (!carries(from, to) || (one && &ports_[to] != &*known)) continue;
    travel(now, Flight{now, 0, from, to, 0, frame, *head, nullptr});
  }
}

void Carrier::travel(Nanoseconds now, Flight f) {
  auto bytes = f.frame->size() - head_;
  for (; f.stage < kStages; ++f.stage) {
    const auto* there = links(f.stage, f.from, f.to);
    if (!there) continue;
    for (const auto& l : *there)
      if (fits(l.only, f.head) && l.wire->is_down(now)) return l.wire->count_cut();
    auto link = std::find_if(there->begin(), there->end(),
                             [&](const Link& l) { return l.wire->is_shaped() && fits(l.only, f.head); });
    if (link == there->end()) continue;
    auto leaves = link->wire->offer(now, bytes);
    if (!leaves) return;
    f.on = link->wire;
    f.at = *leaves;
    ++f.stage;
    f.order = order_++;
    queue_.push(std::move(f));
    return;
  }
  f.at = now;
  f.order = order_++;
  queue_.push(std::move(f));
}

void Carrier::deliver(Nanoseconds now, const Deliver& fn) {
  while (!queue_.empty() && queue_.top().at <= now) {
    auto f = queue_.top();
    queue_.pop();
    if (f.on) {
      f.on->leave(f.frame->size() - head_);
      f.on.reset();
      bool more = false;
      for (auto stage = f.stage; stage < kStages; ++stage) more = more || links(stage, f.from, f.to);
      if (more) {
        auto at = f.at;
        travel(at, std::move(f));
        continue;
      }
    }
    fn(f.from, f.to, *f.frame);
  }
}

std::optional<Nanoseconds> Carrier::next() const {
  if (queue_.empty()) return std::nullopt;
  return queue_.top().at;
}

std::vector<Carrier::Count> Carrier::counts() const {
  std::vector<Count> out;
  for (const auto& [key, links] : links_)
    for (const auto& l : links) out.push_back(Count{key, l.only, l.wire->counters()});
  return out;
}

}  // namespace trama::cli
