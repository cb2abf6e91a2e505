// SPDX-License-Identifier: GPL-2.0-or-later
#include "overlay/peers/splices.h"

#include <algorithm>

#include <fmt/format.h>

namespace trama::overlay::peers {

using Action = Splice::Action;

std::string SpliceDesk::refuse(const std::string& from, const Splice& splice,
                               const std::function<std::string(const std::string&)>& why_not, Millis now) {
  if (!is_id_of(splice.id, from, self_) || legs_.contains({from, splice.id})) return "that number is not yours to give";
  if (splice.text == from || splice.text == self_) return fmt::format("{} is no third node here", splice.text);
  auto of_it = std::count_if(legs_.begin(), legs_.end(),
                             [&](const auto& leg) { return leg.first.first == from && leg.second.opener; });
  if (legs_.size() / 2 >= kMost || of_it >= static_cast<std::ptrdiff_t>(kEach))
    return fmt::format("{} passes on as much as it may", self_);
  if (rates_.size() > 1000) std::erase_if(rates_, [&](const auto& r) { return r.second.full(now); });
  if (!rates_.try_emplace(from, kRate, kBurst).first->second.take(now))
    return fmt::format("{} has passed on enough for {} lately", self_, from);
  return why_not(splice.text);
}

std::vector<SpliceDesk::Out> SpliceDesk::take(const std::string& from, const Splice& splice,
                                              const std::function<std::string(const std::string&)>& why_not,
                                              Millis now) {
  std::vector<Out> out;
  if (splice.action == Action::open) {
    if (auto why = refuse(from, splice, why_not, now); !why.empty()) {
      ++refused_;
      out.push_back({from, {Action::close, splice.id, why}});
      return out;
    }
    std::uint32_t parity = self_ < splice.text ? 0 : 1;
    Leg near{from, splice.id}, far{splice.text, 0};
    do far.second = (++next_ << 1) | parity;
    while (legs_.contains(far));
    legs_[near] = {far, true, 0, now};
    legs_[far] = {near, false, 0, now};
    ++opened_;
    out.push_back({far.first, {Action::arrive, far.second, from}});
    return out;
  }
  auto leg = legs_.find({from, splice.id});
  if (leg == legs_.end()) {
    // Of one that is over; or an arrival, which is for the mesh to take, never for anybody to pass on.
    if (splice.action == Action::arrive) ++refused_;
    return out;
  }
  if (splice.action == Action::close) {
    auto other = leg->second.other;
    out.push_back({other.first, {Action::close, other.second, splice.text}});
    legs_.erase(other);
    legs_.erase({from, splice.id});
    return out;
  }
  if (splice.action != Action::data) return out;
  leg->second.bytes += splice.text.size();
  if (leg->second.bytes > kMostBytes) {
    close(leg, fmt::format("{} passes on no more than {} bytes", self_, kMostBytes), out);
    return out;
  }
  const auto& other = leg->second.other;
  out.push_back({other.first, {Action::data, other.second, splice.text}});
  return out;
}

void SpliceDesk::close(std::map<Leg, End>::iterator leg, const std::string& why, std::vector<Out>& out) {
  auto one = leg->first, other = leg->second.other;
  for (const auto& end : {one, other}) out.push_back({end.first, {Action::close, end.second, why}});
  legs_.erase(one);
  legs_.erase(other);
}

std::vector<SpliceDesk::Out> SpliceDesk::tick(Millis now) {
  std::vector<Out> out;
  for (auto it = legs_.begin(); it != legs_.end();) {
    if (!it->second.opener || now - it->second.began < kLongest) {
      ++it;
      continue;
    }
    close(it, fmt::format("it took longer than {} s", kLongest.count() / 1000), out);
    it = legs_.begin();
  }
  return out;
}

std::vector<SpliceDesk::Out> SpliceDesk::gone(const std::string& node) {
  std::vector<Out> out;
  for (auto it = legs_.begin(); it != legs_.end();) {
    if (it->first.first != node) {
      ++it;
      continue;
    }
    auto other = it->second.other;
    out.push_back(
        {other.first, {Action::close, other.second, fmt::format("{} does not speak with {} any more", self_, node)}});
    legs_.erase(other);
    legs_.erase(it);
    it = legs_.begin();
  }
  return out;
}

}  // namespace trama::overlay::peers
