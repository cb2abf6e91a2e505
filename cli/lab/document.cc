// SPDX-License-Identifier: GPL-2.0-or-later
#include <algorithm>
#include <set>

#include "cli/exit.h"
#include "cli/lab/model.h"
#include "cli/lab/registry.h"

namespace trama::cli {

using base::Cidr;
using base::Error;
using base::Ip;
using base::Result;

namespace {

constexpr const char* kApiVersion = "trama.dev/v1";
constexpr std::size_t kMostNodes = 200;

std::string shown(const json::value& v) { return json::serialize(v); }

class LabParser {
 public:
  LabParser(const YamlDocument& d) : d_(d) {}

  Result<LabSpec> parse() {
    const auto& o = d_.value.get_object();
    if (auto r = known_fields(o, "", {"apiVersion", "kind", "metadata", "spec"}); !r) return std::move(r).error();
    const auto* metadata = object_in(o, "metadata");
    const auto* name = metadata ? metadata->if_contains("name") : nullptr;
    if (!name || !name->is_string() || !is_lab_name(name->get_string()))
      return d_.mistake("metadata.name", "expected the lab's name: 1 to 30 of a-z, 0-9 and -");
    lab_.name = std::string(name->get_string());
    lab_.file = d_.file;
    const auto* spec = object_in(o, "spec");
    if (!spec) return d_.mistake("spec", "expected an object with at least nodes");
    if (auto r = known_fields(*spec, "spec",
                              {"nodes", "links", "underlay", "podCIDR", "serviceCIDR", "encryption", "wireguard",
                               "directRouting", "uplinks"});
        !r)
      return std::move(r).error();
    if (auto r = parse_networks(*spec); !r) return std::move(r).error();
    if (auto r = parse_nodes(*spec); !r) return std::move(r).error();
    if (auto r = parse_links_of(*spec); !r) return std::move(r).error();
    return std::move(lab_);
  }

 private:
  static const json::object* object_in(const json::object& o, std::string_view field) {
    const auto* v = o.if_contains(field);
    return v ? v->if_object() : nullptr;
  }

  Result<> known_fields(const json::object& o, const std::string& path, const std::vector<std::string>& known) {
    for (const auto& [key, value] : o) {
      if (std::find(known.begin(), known.end(), key) != known.end()) continue;
      auto near = did_you_mean(key, known);
      return d_.mistake(path.empty() ? std::string(key) : fmt::format("{}.{}", path, std::string_view(key)),
                        fmt::format("unknown field (expected one of {}){}", fmt::join(known, ", "),
                                    near.empty() ? "" : fmt::format("; did you mean {}?", near)));
    }
    return {};
  }

  // "10.244.0.0/16" or "10.244.0.0/16,fd00:10:244::/56": at most one of each family.
  Result<std::vector<std::string>> cidrs(const json::object& spec, const char* field, const char* otherwise) {
    const auto* v = spec.if_contains(field);
    auto path = fmt::format("spec.{}", field);
    if (!v || v->is_null()) return std::vector<std::string>{otherwise};
    auto wrong = [&] {
      return d_.mistake(
          path, fmt::format("expected a prefix such as {}, or one per family with a comma between, got {}", otherwise,
                            shown(*v)));
    };
    if (!v->is_string()) return wrong();
    std::vector<std::string> out;
    std::set<base::Family> families;
    std::string_view text = v->get_string();
    while (true) {
      auto item = text.substr(0, text.find(','));
      while (item.starts_with(' ')) item.remove_prefix(1);
      auto cidr = Cidr::parse(item);
      if (!cidr || !families.insert(cidr->family()).second) return wrong();
      out.push_back(cidr->to_string());
      if (text.find(',') == std::string_view::npos) return out;
      text.remove_prefix(text.find(',') + 1);
    }
  }

  Result<> parse_networks(const json::object& spec) {
    auto underlay = cidrs(spec, "underlay", "172.30.0.0/24");
    if (!underlay) return std::move(underlay).error();
    auto prefix = Cidr::parse(underlay->front());
    if (underlay->size() != 1 || prefix->family() != base::Family::v4 || prefix->length() > 28)
      return d_.mistake("spec.underlay", "expected one IPv4 prefix of /28 or wider");
    lab_.underlay = *prefix;
    lab_.switch_address = prefix->address().plus(1);
    if (const auto* v = spec.if_contains("encryption"); v && !v->is_null()) {
      // YAML 1.1 reads off as false.
      bool off = (v->is_bool() && !v->get_bool()) || (v->is_string() && v->get_string() == "off");
      if (!off && !(v->is_string() && v->get_string() == "required"))
        return d_.mistake("spec.encryption", fmt::format("expected off or required, got {}", shown(*v)));
      lab_.encryption = off ? "off" : "required";
    }
    if (const auto* v = spec.if_contains("wireguard"); v && !v->is_null()) {
      bool off = (v->is_bool() && !v->get_bool()) || (v->is_string() && v->get_string() == "off");
      if (!off && !(v->is_string() && v->get_string() == "auto"))
        return d_.mistake("spec.wireguard", fmt::format("expected auto or off, got {}", shown(*v)));
      lab_.wireguard = off ? "off" : "auto";
    }
    if (const auto* v = spec.if_contains("directRouting"); v && !v->is_null()) {
      if (!v->is_bool())
        return d_.mistake("spec.directRouting", fmt::format("expected true or false, got {}", shown(*v)));
      lab_.direct_routing = v->get_bool();
      if (lab_.direct_routing && lab_.encryption != "off")
        return d_.mistake(
            "spec.directRouting",
            "packets would go in the clear, which spec.encryption: required forbids; leave one of them out");
    }
    if (const auto* v = spec.if_contains("uplinks"); v && !v->is_null()) {
      if (!v->is_int64() || (v->get_int64() != 1 && v->get_int64() != 2))
        return d_.mistake("spec.uplinks", fmt::format("expected 1 or 2, got {}", shown(*v)));
      lab_.uplinks = static_cast<unsigned>(v->get_int64());
    }
    if (lab_.uplinks == 2) lab_.second_underlay = Cidr::of(prefix->last().plus(1), prefix->length());
    auto pods = cidrs(spec, "podCIDR", "10.244.0.0/16");
    if (!pods) return std::move(pods).error();
    lab_.pod_cidrs = std::move(*pods);
    auto services = cidrs(spec, "serviceCIDR", "10.96.0.0/16");
    if (!services) return std::move(services).error();
    lab_.service_cidrs = std::move(*services);
    std::vector<std::pair<std::string, Cidr>> all{{"underlay", lab_.underlay}};
    if (lab_.uplinks == 2) all.emplace_back("uplinks", lab_.second_underlay);
    for (const auto& c : lab_.pod_cidrs) all.emplace_back("podCIDR", *Cidr::parse(c));
    for (const auto& c : lab_.service_cidrs) all.emplace_back("serviceCIDR", *Cidr::parse(c));
    for (std::size_t i = 0; i < all.size(); ++i)
      for (std::size_t j = 0; j < i; ++j)
        if (all[i].second.overlaps(all[j].second))
          return d_.mistake("spec." + all[i].first, fmt::format("{} overlaps {} {}", all[i].second.to_string(),
                                                                all[j].first, all[j].second.to_string()));
    return {};
  }

  Result<> parse_nodes(const json::object& spec) {
    const auto* v = spec.if_contains("nodes");
    const char* expected = "expected nodes, e.g. {n1: {}, n2: {}} or [n1, n2]";
    if (!v) return d_.mistake("spec.nodes", expected);
    if (const auto* map = v->if_object()) {
      for (const auto& [name, settings] : *map)
        if (auto r = add_node(std::string(name), settings, fmt::format("spec.nodes.{}", std::string_view(name))); !r)
          return r;
    } else if (const auto* list = v->if_array()) {
      for (std::size_t i = 0; i < list->size(); ++i) {
        auto path = fmt::format("spec.nodes[{}]", i);
        const auto& item = (*list)[i];
        if (item.is_string()) {
          json::value none(nullptr);
          if (auto r = add_node(std::string(item.get_string()), none, path); !r) return r;
          continue;
        }
        const auto* o = item.if_object();
        const auto* name = o ? o->if_contains("name") : nullptr;
        if (!name || !name->is_string()) return d_.mistake(path, "expected a node's name, or an object with a name");
        json::object rest = *o;
        rest.erase("name");
        json::value settings = std::move(rest);
        if (auto r = add_node(std::string(name->get_string()), settings, path); !r) return r;
      }
    }
    if (lab_.nodes.empty() || lab_.nodes.size() > kMostNodes) return d_.mistake("spec.nodes", expected);
    return fill_addresses();
  }

  Result<> add_node(const std::string& name, const json::value& settings, const std::string& path) {
    if (!is_lab_name(name)) return d_.mistake(path, "expected a node's name: 1 to 30 of a-z, 0-9 and -");
    if (name == "switch")
      return d_.mistake(path, "\"switch\" is the name of the network between the nodes; take another");
    for (const auto& n : lab_.nodes)
      if (n.name == name) return d_.mistake(path, fmt::format("there already is a node {}", name));
    NodeSpec node;
    node.name = name;
    node.address = Ip();  // filled in later unless the document says one
    if (!settings.is_null()) {
      const auto* o = settings.if_object();
      if (!o)
        return d_.mistake(
            path, fmt::format("expected an object with labels and address, or nothing, got {}", shown(settings)));
      if (auto r = known_fields(*o, path, {"labels", "address"}); !r) return r;
      if (const auto* a = o->if_contains("address")) {
        auto ip = a->is_string() ? Ip::parse(a->get_string()) : Result<Ip>(Error::text(""));
        if (!ip || !lab_.underlay.contains(*ip) || *ip == lab_.switch_address || *ip == lab_.underlay.address() ||
            *ip == lab_.underlay.last())
          return d_.mistake(path + ".address",
                            fmt::format("expected a free address in {} other than {}, got {}",
                                        lab_.underlay.to_string(), lab_.switch_address.to_string(), shown(*a)));
        node.address = *ip;
      }
      if (const auto* labels = o->if_contains("labels"); labels && !labels->is_null()) {
        if (!labels->is_object()) return d_.mistake(path + ".labels", "expected key: value pairs");
        for (const auto& [key, value] : labels->get_object()) {
          if (!value.is_string())
            return d_.mistake(fmt::format("{}.labels.{}", path, std::string_view(key)),
                              fmt::format("expected text, got {} (put it into quotes)", shown(value)));
          node.labels[std::string(key)] = std::string(value.get_string());
        }
      }
    }
    lab_.nodes.push_back(std::move(node));
    return {};
  }

  Result<> parse_links_of(const json::object& spec) {
    const auto* v = spec.if_contains("links");
    if (!v || v->is_null()) return {};
    std::vector<std::string> names;
    for (const auto& n : lab_.nodes) names.push_back(n.name);
    auto links = parse_links(*v, names);
    if (auto* wrong = std::get_if<LinkMistake>(&links)) return d_.mistake("spec." + wrong->where, wrong->message);
    lab_.links = std::move(std::get<0>(links));
    return {};
  }

  // Nodes without an address of their own get .11, .12, … past those that are taken.
  Result<> fill_addresses() {
    std::set<Ip> taken{lab_.switch_address};
    for (const auto& n : lab_.nodes)
      if (!n.address.is_unspecified() && !taken.insert(n.address).second)
        return d_.mistake("spec.nodes", fmt::format("{} is the address of two nodes", n.address.to_string()));
    std::uint64_t next = lab_.underlay.length() <= 26 ? 11 : 2;
    for (auto& n : lab_.nodes) {
      if (!n.address.is_unspecified()) continue;
      while (taken.count(lab_.underlay.address().plus(next))) ++next;
      n.address = lab_.underlay.address().plus(next);
      if (!(n.address < lab_.underlay.last()))
        return d_.mistake("spec.underlay",
                          fmt::format("{} has no room for {} nodes", lab_.underlay.to_string(), lab_.nodes.size()));
      taken.insert(n.address);
    }
    return {};
  }

  const YamlDocument& d_;
  LabSpec lab_;
};

bool is_lab(const YamlDocument& d) {
  const auto* o = d.value.if_object();
  const auto* kind = o ? o->if_contains("kind") : nullptr;
  return kind && kind->is_string() && kind->get_string() == "Lab";
}

}  // namespace

Result<LabSpec> parse_lab(std::vector<YamlDocument> documents) {
  const YamlDocument* lab = nullptr;
  for (const auto& d : documents) {
    if (!is_lab(d)) continue;
    if (lab) return d.mistake("kind", "there is a second Lab in this file; one file describes one lab");
    lab = &d;
  }
  if (!lab)
    return Error::text(fmt::format("{}: holds no Lab (expected a document with apiVersion: {}, kind: Lab)",
                                   documents.empty() ? "the file" : documents[0].file, kApiVersion));
  const auto* version = lab->value.get_object().if_contains("apiVersion");
  if (!version || !version->is_string() || version->get_string() != kApiVersion)
    return lab->mistake("apiVersion", fmt::format("expected {}", kApiVersion));
  auto spec = LabParser(*lab).parse();
  if (!spec) return spec;
  for (auto& d : documents) {
    if (is_lab(d)) continue;
    auto some = to_manifests(std::make_shared<const YamlDocument>(std::move(d)));
    if (!some) return std::move(some).error();
    for (auto& m : *some) spec->manifests.push_back(std::move(m));
  }
  return spec;
}

}  // namespace trama::cli
