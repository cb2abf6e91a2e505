// SPDX-License-Identifier: GPL-2.0-or-later
#include <algorithm>

#include "cli/exit.h"
#include "cli/links/model.h"

namespace trama::cli {

namespace {

const std::vector<std::string>& fields() {
  static const std::vector<std::string> names{"delay", "jitter", "loss", "reorder", "rate", "only", "down", "flap"};
  return names;
}
constexpr const char* kExpected =
    "expected links, e.g. {n1-n2: {delay: 20ms, loss: 1%}} or [{link: n1>n2, only: udp:6784, down: true}]";

class LinksParser {
 public:
  explicit LinksParser(const std::vector<std::string>& nodes) : nodes_(nodes) {}

  std::optional<LinkMistake> add(const std::string& path, std::string_view link, const json::object& o) {
    for (const auto& [key, value] : o) {
      if (std::find(fields().begin(), fields().end(), key) != fields().end()) continue;
      auto near = did_you_mean(key, fields());
      return LinkMistake{fmt::format("{}.{}", path, std::string_view(key)),
                         fmt::format("unknown field (expected one of {}){}", fmt::join(fields(), ", "),
                                     near.empty() ? "" : fmt::format("; did you mean {}?", near))};
    }
    LinkSpec spec;
    auto keys = parse_link(link, nodes_);
    if (!keys) return LinkMistake{path, keys.error().to_string()};
    spec.keys = std::move(*keys);
    if (const auto* only = o.if_contains("only")) {
      if (!only->is_string()) return LinkMistake{path + ".only", "expected text such as udp:6784"};
      auto match = parse_match(only->get_string());
      if (!match) return LinkMistake{path + ".only", match.error().to_string()};
      spec.only = *match;
    }
    if (auto wrong = cut_of(path, o, spec)) return wrong;
    if (auto wrong = shape_of(path, o, spec)) return wrong;
    for (const auto& other : specs)
      for (const auto& k : spec.keys)
        if (other.only == spec.only && std::find(other.keys.begin(), other.keys.end(), k) != other.keys.end())
          return LinkMistake{path, fmt::format("{} is described twice", k.text())};
    specs.push_back(std::move(spec));
    return std::nullopt;
  }

  std::vector<LinkSpec> specs;

 private:
  static std::optional<LinkMistake> cut_of(const std::string& path, const json::object& o, LinkSpec& spec) {
    if (const auto* down = o.if_contains("down")) {
      if (!down->is_bool()) return LinkMistake{path + ".down", "expected true or false"};
      if (down->get_bool()) spec.cut = Cut{};
    }
    const auto* flap = o.if_contains("flap");
    if (!flap) return std::nullopt;
    const char* expected = "expected {down: 2s, up: 3s}";
    const auto* times = flap->if_object();
    if (!times || times->size() != 2 || spec.cut) return LinkMistake{path + ".flap", expected};
    Cut cut;
    for (auto [name, into] : {std::pair{"down", &cut.down}, {"up", &cut.up}}) {
      const auto* word = times->if_contains(name);
      auto span = word && word->is_string() ? parse_span(word->get_string()) : parse_span("");
      if (!span || span->count() < 1'000'000) return LinkMistake{path + ".flap", expected};
      *into = *span;
    }
    spec.cut = cut;
    return std::nullopt;
  }

  static std::optional<LinkMistake> shape_of(const std::string& path, const json::object& o, LinkSpec& spec) {
    ImpairmentWords words;
    bool any = false;
    for (auto [name, into] : {std::pair{"delay", &words.delay},
                              {"jitter", &words.jitter},
                              {"loss", &words.loss},
                              {"reorder", &words.reorder},
                              {"rate", &words.rate}}) {
      const auto* word = o.if_contains(name);
      if (!word) continue;
      if (!word->is_string())
        return LinkMistake{fmt::format("{}.{}", path, name),
                           fmt::format("expected text with a unit, got {}", json::serialize(*word))};
      *into = std::string(word->get_string());
      any = true;
    }
    if (!any && spec.cut) return std::nullopt;
    auto shape = parse_impairment(words);
    if (!shape) return LinkMistake{path, shape.error().to_string()};
    spec.shape = *shape;
    return std::nullopt;
  }

  const std::vector<std::string>& nodes_;
};

}  // namespace

std::variant<std::vector<LinkSpec>, LinkMistake> parse_links(const json::value& links,
                                                             const std::vector<std::string>& nodes) {
  LinksParser parser(nodes);
  if (const auto* map = links.if_object()) {
    for (const auto& [link, value] : *map) {
      auto path = fmt::format("links.{}", std::string_view(link));
      const auto* o = value.if_object();
      if (!o) return LinkMistake{path, "expected an object such as {delay: 20ms, loss: 1%}"};
      if (auto wrong = parser.add(path, link, *o)) return *wrong;
    }
    return std::move(parser.specs);
  }
  const auto* list = links.if_array();
  if (!list) return LinkMistake{"links", kExpected};
  for (std::size_t i = 0; i < list->size(); ++i) {
    auto path = fmt::format("links[{}]", i);
    const auto* o = (*list)[i].if_object();
    const auto* link = o ? o->if_contains("link") : nullptr;
    if (!link || !link->is_string())
      return LinkMistake{path, "expected an object with link, e.g. {link: n1-n2, loss: 1%}"};
    json::object rest = *o;
    rest.erase("link");
    if (auto wrong = parser.add(path, link->get_string(), rest)) return *wrong;
  }
  return std::move(parser.specs);
}

}  // namespace trama::cli
