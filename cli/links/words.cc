// SPDX-License-Identifier: GPL-2.0-or-later
// Words of people into values and back.
#include <algorithm>
#include <charconv>
#include <cmath>

#include <netinet/in.h>

#include "cli/links/model.h"

namespace trama::cli {

using base::Error;
using base::Result;

namespace {

struct Unit {
  std::string_view name;
  double factor;
};

// A number, not negative, and one of the units right behind it.
template <std::size_t N>
std::optional<double> measure(std::string_view text, const Unit (&units)[N]) {
  double number = 0;
  auto [end, ec] = std::from_chars(text.data(), text.data() + text.size(), number, std::chars_format::fixed);
  if (ec != std::errc() || !std::isfinite(number) || std::signbit(number)) return std::nullopt;
  text.remove_prefix(static_cast<std::size_t>(end - text.data()));
  for (const auto& u : units)
    if (u.name == text) return number * u.factor;
  return std::nullopt;
}

constexpr Unit kSpans[] = {{"ms", 1e6}, {"s", 1e9}, {"us", 1e3}, {"m", 60e9}, {"h", 3600e9}};
constexpr Unit kRates[] = {{"bit", 1}, {"kbit", 1e3}, {"mbit", 1e6}, {"gbit", 1e9}};
constexpr Unit kShares[] = {{"%", 1e4}};

std::string trimmed(double value) {
  auto text = fmt::format("{:.4f}", value);
  while (text.ends_with('0')) text.pop_back();
  if (text.ends_with('.')) text.pop_back();
  return text;
}
std::string share_text(std::uint32_t ppm) { return trimmed(ppm / 1e4) + "%"; }
std::string rate_text(std::uint64_t rate) {
  auto n = static_cast<double>(rate);
  for (const auto* u : {&kRates[3], &kRates[2], &kRates[1]})
    if (n >= u->factor) return trimmed(n / u->factor) + std::string(u->name);
  return trimmed(n) + "bit";
}

bool known(const std::vector<std::string>& nodes, std::string_view name) {
  return std::find(nodes.begin(), nodes.end(), name) != nodes.end();
}

}  // namespace

Result<Nanoseconds> parse_span(std::string_view text) {
  auto n = measure(text, kSpans);
  if (!n || *n > 86'400e9)
    return Error::text(fmt::format("expected a time such as 20ms, 1.5s or 500us, got \"{}\"", text));
  return Nanoseconds(std::llround(*n));
}
Result<std::uint32_t> parse_share(std::string_view text) {
  auto n = measure(text, kShares);
  if (!n || *n > 1e6 || (*n > 0 && *n < 1))
    return Error::text(fmt::format("expected a share such as 1% or 0.05% (0.0001% to 100%), got \"{}\"", text));
  return static_cast<std::uint32_t>(std::llround(*n));
}
Result<std::uint64_t> parse_rate(std::string_view text) {
  auto n = measure(text, kRates);
  if (!n || *n < 1000 || *n > 1e12)
    return Error::text(
        fmt::format("expected a rate such as 10mbit, 500kbit or 1gbit, at least 1kbit, got \"{}\"", text));
  return static_cast<std::uint64_t>(std::llround(*n));
}

std::string span_text(Nanoseconds t) {
  auto n = static_cast<double>(t.count());
  if (n >= 1e9) return trimmed(n / 1e9) + "s";
  if (n >= 1e6 || n == 0) return trimmed(n / 1e6) + "ms";
  return trimmed(n / 1e3) + "us";
}

Result<std::vector<LinkKey>> parse_link(std::string_view word, const std::vector<std::string>& nodes) {
  auto unknown = [&](std::string_view name) {
    return Error::text(fmt::format("there is no node \"{}\" in this lab (nodes: {})", name, fmt::join(nodes, ", ")));
  };
  auto end_known = [&](std::string_view name) { return name == kSwitch || known(nodes, name); };
  if (auto at = word.find('>'); at != std::string_view::npos) {
    auto from = word.substr(0, at), to = word.substr(at + 1);
    for (auto name : {from, to})
      if (!end_known(name)) return unknown(name);
    if (from == to) return Error::text(fmt::format("\"{}\": a link has two ends", word));
    return std::vector<LinkKey>{{std::string(from), std::string(to)}};
  }
  std::vector<LinkKey> found;
  std::size_t readings = 0;
  if (known(nodes, word)) {
    ++readings;
    found = {{std::string(word), kSwitch}, {kSwitch, std::string(word)}};
  }
  for (auto at = word.find('-'); at != std::string_view::npos; at = word.find('-', at + 1)) {
    std::string a(word.substr(0, at)), b(word.substr(at + 1));
    if (!end_known(a) || !end_known(b) || a == b) continue;
    ++readings;
    found = {{a, b}, {b, a}};
  }
  if (readings == 1) return found;
  if (readings > 1)
    return Error::text(fmt::format("\"{}\" can be read in {} ways; say A>B and B>A instead", word, readings));
  if (word.find('-') == std::string_view::npos) return unknown(word);
  return Error::text(fmt::format("\"{}\" is no link of this lab (expected e.g. {}; nodes: {})", word,
                                 nodes.size() > 1 ? fmt::format("{0}-{1}, {0}>{1} or {0}", nodes[0], nodes[1])
                                 : nodes.empty()  ? std::string("n1-n2")
                                                  : nodes[0],
                                 fmt::join(nodes, ", ")));
}

std::string Match::text() const {
  std::string name = protocol == IPPROTO_TCP ? "tcp" : protocol == IPPROTO_UDP ? "udp" : protocol ? "icmp" : "";
  return port ? fmt::format("{}:{}", name, *port) : name;
}

Result<Match> parse_match(std::string_view text) {
  auto wrong = [&] {
    return Error::text(fmt::format("expected udp:PORT, tcp:PORT, udp, tcp or icmp, got \"{}\"", text));
  };
  Match m;
  auto name = text.substr(0, text.find(':'));
  if (name == "tcp")
    m.protocol = IPPROTO_TCP;
  else if (name == "udp")
    m.protocol = IPPROTO_UDP;
  else if (name == "icmp")
    m.protocol = IPPROTO_ICMP;
  else
    return wrong();
  if (name.size() == text.size()) return m;
  auto port = text.substr(name.size() + 1);
  std::uint16_t n = 0;
  auto [end, ec] = std::from_chars(port.data(), port.data() + port.size(), n);
  if (ec != std::errc() || end != port.data() + port.size() || n == 0 || name == "icmp") return wrong();
  m.port = n;
  return m;
}

std::string Impairment::text() const {
  std::vector<std::string> parts;
  if (delay.count()) parts.push_back("delay " + span_text(delay) + (jitter.count() ? " ±" + span_text(jitter) : ""));
  if (loss_ppm) parts.push_back("loss " + share_text(loss_ppm));
  if (reorder_ppm) parts.push_back("reorder " + share_text(reorder_ppm));
  if (rate) parts.push_back(rate_text(rate));
  return fmt::format("{}", fmt::join(parts, ", "));
}

std::string Cut::text() const {
  return flaps() ? fmt::format("down {}, up {}", span_text(down), span_text(up)) : "down";
}

bool is_down_at(const Cut& cut, Nanoseconds since, Nanoseconds now) {
  return !cut.flaps() || (now - since) % (cut.down + cut.up) < cut.down;
}
std::optional<Nanoseconds> next_flip(const Cut& cut, Nanoseconds since, Nanoseconds now) {
  if (!cut.flaps()) return std::nullopt;
  auto into = (now - since) % (cut.down + cut.up);
  return now - into + (into < cut.down ? cut.down : cut.down + cut.up);
}

Result<Impairment> parse_impairment(const ImpairmentWords& words) {
  Impairment i;
  auto take = [](const std::string& word, const char* field, auto parse, auto& into) -> Result<> {
    if (word.empty()) return {};
    auto value = parse(word);
    if (!value) return std::move(value).error().in(field);
    into = *value;
    return {};
  };
  for (auto& r :
       {take(words.delay, "delay", parse_span, i.delay), take(words.jitter, "jitter", parse_span, i.jitter),
        take(words.loss, "loss", parse_share, i.loss_ppm), take(words.reorder, "reorder", parse_share, i.reorder_ppm),
        take(words.rate, "rate", parse_rate, i.rate)})
    if (!r) return Error(r.error());
  if (i.jitter > i.delay)
    return Error::text(fmt::format("jitter: a delay of {} cannot vary by {} (expected at most the delay)",
                                   span_text(i.delay), span_text(i.jitter)));
  if (i.reorder_ppm && !i.delay.count())
    return Error::text("reorder: frames overtake others only where those are delayed (expected a delay too)");
  if (i.none()) return Error::text("expected at least one of delay, loss and rate");
  return i;
}

}  // namespace trama::cli
