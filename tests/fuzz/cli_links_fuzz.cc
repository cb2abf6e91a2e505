// SPDX-License-Identifier: GPL-2.0-or-later
// Whatever the first byte says: a frame off the wire, a link in a person's words, a document's links, the service's
// record or a request to it.
#include <cstdint>
#include <cstdlib>

#include "cli/links/carrier.h"
#include "cli/links/state.h"

using namespace trama::cli;

namespace {

void check(bool holds) {
  if (!holds) std::abort();
}

const std::vector<std::string> kNodes{"n1", "n2", "a-b"};

void a_frame(std::span<const std::byte> bytes) {
  auto head = parse_frame(bytes);
  check(head.has_value() == (bytes.size() >= 14));
  if (!head) return;
  check(fits({}, *head));
  Carrier carrier({{"n1", head->source}, {"n2", head->destination}, {kSwitch, {}}}, 1);
  LinkRule rule{{"n1", "n2"}, {head->protocol, head->port}, Impairment{}, {}, {}, {}};
  carrier.use({rule});
  carrier.offer(Nanoseconds(0), 0, {bytes.begin(), bytes.end()});
  std::size_t arrived = 0;
  carrier.deliver(Nanoseconds(0), [&](std::size_t, std::size_t, const std::vector<std::byte>& f) {
    ++arrived;
    check(f.size() == bytes.size());
  });
  check(arrived <= 1 && carrier.on_their_way() == 0);
}

void some_words(std::string_view text) {
  if (auto keys = parse_link(text, kNodes)) check(keys->size() == 1 || keys->size() == 2);
  if (auto match = parse_match(text)) check(*parse_match(match->text()) == *match);
  if (auto share = parse_share(text)) check(*share <= 1'000'000);
  if (auto span = parse_span(text)) check(span->count() >= 0);
  if (auto rate = parse_rate(text)) check(*rate >= 1000);
}

void some_json(std::string_view text) {
  if (auto state = LinkState::parse(text)) {
    auto again = LinkState::parse(state->to_json_text());
    check(again && again->rules() == state->rules());
    state->expire(Nanoseconds(1'000'000'000));
    (void)state->next(Nanoseconds(1'000'000'000));
  }
  boost::system::error_code ec;
  auto v = json::parse(text, ec);
  if (ec) return;
  auto links = parse_links(v, kNodes);
  LinkState state;
  if (auto* specs = std::get_if<0>(&links)) {
    LinkChange change;
    change.what = LinkChange::What::file;
    change.specs = *specs;
    check(parse_change(to_json(change))->specs == *specs);
    check(static_cast<bool>(state.apply(change, Nanoseconds(0))));
  }
  if (v.is_object())
    if (auto change = parse_change(v.get_object())) (void)state.apply(*change, Nanoseconds(1));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  std::string_view text(reinterpret_cast<const char*>(data) + 1, size - 1);
  switch (data[0]) {
    case 'f': a_frame(std::as_bytes(std::span(text))); break;
    case 'w': some_words(text); break;
    default: some_json(text);
  }
  return 0;
}
