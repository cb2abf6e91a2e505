// SPDX-License-Identifier: GPL-2.0-or-later
#include "control/api/schema.h"

#include <algorithm>
#include <unordered_map>

#include <fmt/format.h>

#include "control/api/quantity.h"
#include "control/api/schema_table.h"

namespace trama::api {
namespace {

using Index = std::unordered_map<std::string_view, std::vector<const Field*>>;

// Rows by message, as they are in the table.
const Index& rows() {
  static const Index built = [] {
    Index i;
    for (const auto& part : schema_parts())
      for (const auto& f : part.rows) i[f.message].push_back(&f);
    return i;
  }();
  return built;
}

void flatten(std::string_view message, std::vector<const Field*>& out) {
  auto it = rows().find(message);
  if (it == rows().end()) return;
  for (const auto* f : it->second) {
    if (f->type == Type::inlined)
      flatten(f->of, out);
    else
      out.push_back(f);
  }
}

const Index& index() {
  static const Index built = [] {
    Index i;
    for (const auto& [message, fields] : rows()) flatten(message, i[message]);
    return i;
  }();
  return built;
}

std::string join(std::string_view path, std::string_view name) {
  return path.empty() ? std::string(name) : fmt::format("{}.{}", path, name);
}

const char* type_name(const json::value& v) {
  switch (v.kind()) {
    case json::kind::null: return "null";
    case json::kind::bool_: return "a boolean";
    case json::kind::string: return "a string";
    case json::kind::array: return "a list";
    case json::kind::object: return "an object";
    default: return "a number";
  }
}

bool is_integer(const json::value& v) {
  if (v.is_int64() || v.is_uint64()) return true;
  return v.is_double() && v.get_double() > -9e15 && v.get_double() < 9e15 &&
         v.get_double() == static_cast<double>(static_cast<std::int64_t>(v.get_double()));
}

class Checker {
 public:
  explicit Checker(Findings& findings) : out_(findings) {}

  // `whole` = a top-level object, which also has apiVersion, kind and metadata.
  void object(std::string_view message, json::object& body, const std::string& path, bool whole) {
    for (auto it = body.begin(); it != body.end();) {
      std::string_view name(it->key().data(), it->key().size());
      auto here = join(path, name);
      if (it->value().is_null()) {
        it = body.erase(it);
        continue;
      }
      if (whole && (name == "apiVersion" || name == "kind")) {
        if (!it->value().is_string()) mistyped(here, "a string", it->value());
        ++it;
        continue;
      }
      const Field* field = whole && name == "metadata" ? &metadata_field() : find_field(message, name);
      if (!field) {
        out_.unknown.push_back(fmt::format("unknown field \"{}\"", here));
        it = body.erase(it);
        continue;
      }
      value(*field, it->value(), here);
      ++it;
    }
    for (const auto* field : fields_of(message)) {
      if (!field->required || body.contains(field->name)) continue;
      out_.invalid.push_back({"FieldValueRequired", "Required value", join(path, field->name)});
    }
  }

 private:
  void mistyped(const std::string& path, std::string_view wanted, const json::value& got) {
    out_.mistyped.push_back(fmt::format("{}: expected {}, got {}", path, wanted, type_name(got)));
  }

  void value(const Field& f, json::value& v, const std::string& path) {
    switch (f.type) {
      case Type::any:
      case Type::inlined: return;
      case Type::text:
      case Type::time:
      case Type::micro_time:
      case Type::bytes:
        if (!v.is_string()) return mistyped(path, "a string", v);
        return allowed(f, v, path);
      case Type::integer:
      case Type::long_integer:
        if (!is_integer(v)) return mistyped(path, "an integer", v);
        if (v.is_double()) v = static_cast<std::int64_t>(v.get_double());
        return;
      case Type::boolean:
        if (!v.is_bool()) mistyped(path, "a boolean", v);
        return;
      case Type::number_or_text:
        if (!v.is_string() && !is_integer(v)) mistyped(path, "an integer or a string", v);
        return;
      case Type::quantity: return quantity(v, path);
      case Type::object:
        if (!v.is_object()) return mistyped(path, "an object", v);
        return object(f.of, v.get_object(), path, false);
      case Type::texts: return texts(v, path);
      case Type::long_integers:
        if (!v.is_array()) return mistyped(path, "a list of integers", v);
        for (std::size_t i = 0; i < v.get_array().size(); ++i)
          if (!is_integer(v.get_array()[i])) mistyped(fmt::format("{}[{}]", path, i), "an integer", v.get_array()[i]);
        return;
      case Type::list:
        if (!v.is_array()) return mistyped(path, "a list", v);
        for (std::size_t i = 0; i < v.get_array().size(); ++i) {
          auto& item = v.get_array()[i];
          auto here = fmt::format("{}[{}]", path, i);
          if (!item.is_object())
            mistyped(here, "an object", item);
          else
            object(f.of, item.get_object(), here, false);
        }
        return;
      case Type::map:
      case Type::bytes_map:
      case Type::quantities:
      case Type::text_lists:
        if (!v.is_object()) return mistyped(path, "an object", v);
        for (auto& member : v.get_object()) {
          auto here = join(path, std::string_view(member.key().data(), member.key().size()));
          if (f.type == Type::quantities)
            quantity(member.value(), here);
          else if (f.type == Type::text_lists)
            texts(member.value(), here);
          else if (!member.value().is_string())
            mistyped(here, "a string", member.value());
        }
        return;
    }
  }

  void texts(const json::value& v, const std::string& path) {
    if (!v.is_array()) return mistyped(path, "a list of strings", v);
    for (std::size_t i = 0; i < v.get_array().size(); ++i)
      if (!v.get_array()[i].is_string()) mistyped(fmt::format("{}[{}]", path, i), "a string", v.get_array()[i]);
  }

  void allowed(const Field& f, const json::value& v, const std::string& path) {
    if (f.allowed.empty() || v.get_string().empty()) return;
    std::string_view rest = f.allowed;
    std::string list;
    while (!rest.empty()) {
      auto bar = rest.find('|');
      auto one = rest.substr(0, bar);
      if (one == std::string_view(v.get_string())) return;
      list += fmt::format("{}\"{}\"", list.empty() ? "" : ", ", one);
      rest = bar == std::string_view::npos ? std::string_view{} : rest.substr(bar + 1);
    }
    out_.invalid.push_back(
        {"FieldValueNotSupported",
         fmt::format("Unsupported value: \"{}\": supported values: {}", std::string_view(v.get_string()), list), path});
  }

  void quantity(json::value& v, const std::string& path) {
    if (!v.is_string() && !v.is_number()) return mistyped(path, "a quantity", v);
    if (v.is_number()) {  // canonical form is text
      std::string text = v.is_double() ? fmt::format("{}", v.get_double()) : json::serialize(v);
      v = text;
    }
    if (!parse_milli(std::string_view(v.get_string())))
      out_.mistyped.push_back(fmt::format(
          "{}: quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$', got \"{}\"",
          path, std::string_view(v.get_string())));
  }

  Findings& out_;
};

void fill(std::string_view message, json::object& body) {
  for (const auto* f : fields_of(message)) {
    auto* there = body.if_contains(f->name);
    if (!there && !f->fallback.empty()) {
      body[f->name] = json::parse(f->fallback);
      there = body.if_contains(f->name);
    }
    if (!there || f->of.empty()) continue;
    if (f->type == Type::object && there->is_object()) fill(f->of, there->get_object());
    if (f->type == Type::list && there->is_array())
      for (auto& item : there->get_array())
        if (item.is_object()) fill(f->of, item.get_object());
  }
}

void default_service(json::object& body) {
  auto& spec = make_object_at(body, "spec");
  auto type = text_at(spec, "type");
  if (text_at(spec, "sessionAffinity") == "ClientIP" && !at(spec, "sessionAffinityConfig.clientIP.timeoutSeconds"))
    make_object_at(spec, "sessionAffinityConfig.clientIP")["timeoutSeconds"] = 10800;
  if (text_at(spec, "sessionAffinity") == "None") spec.erase("sessionAffinityConfig");
  if ((type == "NodePort" || type == "LoadBalancer") && !at(spec, "externalTrafficPolicy"))
    spec["externalTrafficPolicy"] = "Cluster";
  if (type == "LoadBalancer" && !at(spec, "allocateLoadBalancerNodePorts"))
    spec["allocateLoadBalancerNodePorts"] = true;
  if (type == "ExternalName") spec.erase("internalTrafficPolicy");
  if (auto* ports = spec.if_contains("ports"); ports && ports->is_array())
    for (auto& item : ports->get_array()) {
      if (!item.is_object()) continue;
      auto& port = item.get_object();
      auto* target = port.if_contains("targetPort");
      bool unset = !target || (target->is_string() && target->get_string().empty()) ||
                   (target->is_int64() && target->get_int64() == 0);
      if (unset && port.contains("port"))
        port["targetPort"] = json::value(port["port"]);  // a copy: the new field may move the old ones
    }
}

void default_job(json::object& body) {
  auto& spec = make_object_at(body, "spec");
  if (!spec.contains("completions") && !spec.contains("parallelism")) spec["completions"] = 1;
  if (!spec.contains("parallelism")) spec["parallelism"] = 1;
  const auto& labels = object_at(body, "spec.template.metadata.labels");
  if (object_at(body, "metadata.labels").empty() && !labels.empty())
    make_object_at(body, "metadata")["labels"] = json::object(labels);
}

void default_network_policy(json::object& body) {
  auto& spec = make_object_at(body, "spec");
  make_object_at(spec, "podSelector");
  if (!array_at(spec, "policyTypes").empty()) return;
  json::array types;
  types.emplace_back("Ingress");
  if (!array_at(spec, "egress").empty()) types.emplace_back("Egress");
  spec["policyTypes"] = std::move(types);
}

// limits without requests: the request is the limit.
void default_requests(json::object& pod_spec) {
  for (const char* list : {"containers", "initContainers"}) {
    auto* containers = pod_spec.if_contains(list);
    if (!containers || !containers->is_array()) continue;
    for (auto& item : containers->get_array()) {
      if (!item.is_object()) continue;
      auto limits = object_at(item.get_object(), "resources.limits");
      if (limits.empty()) continue;
      auto& requests = make_object_at(item.get_object(), "resources.requests");
      for (const auto& [name, value] : limits)
        if (!requests.contains(name)) requests[name] = value;
    }
  }
}

}  // namespace

const Field* find_field(std::string_view message, std::string_view name) {
  for (const auto* f : fields_of(message))
    if (f->name == name) return f;
  return nullptr;
}

const std::vector<const Field*>& fields_of(std::string_view message) {
  static const std::vector<const Field*> none;
  auto it = index().find(message);
  return it == index().end() ? none : it->second;
}

const Field* wire_field(std::string_view message, unsigned number) {
  auto it = rows().find(message);
  if (it == rows().end()) return nullptr;
  for (const auto* f : it->second)
    if (f->wire.number == number) return f;
  return nullptr;
}

const Field& metadata_field() {
  static constexpr Field field{"",          "metadata", 1, Type::object, "Name, labels and all that every object has.",
                               "ObjectMeta"};
  return field;
}

// Events are the only objects that two groups show, each with names of its own.
std::string_view message_of(const Kind& kind) { return kind.served_as.empty() ? kind.kind : "events.Event"; }

void check_schema(const Kind& kind, json::object& body, Findings& findings) {
  Checker(findings).object(message_of(kind), body, "", true);
}

void apply_defaults(const Kind& kind, json::object& body) {
  static constexpr std::string_view kTemplates[] = {"Deployment", "ReplicaSet", "DaemonSet", "Job"};
  bool has_template = std::find(std::begin(kTemplates), std::end(kTemplates), kind.kind) != std::end(kTemplates);
  if (kind.kind == "Pod" || kind.kind == "Service" || has_template) make_object_at(body, "spec");
  if (kind.kind == "DaemonSet" && text_at(body, "spec.updateStrategy.type", "RollingUpdate") == "RollingUpdate")
    make_object_at(body, "spec.updateStrategy.rollingUpdate");
  fill(message_of(kind), body);
  if (kind.kind == "Service") default_service(body);
  if (kind.kind == "Job") default_job(body);
  if (kind.kind == "NetworkPolicy") default_network_policy(body);
  if (kind.kind == "Pod") default_requests(make_object_at(body, "spec"));
  if (has_template) {
    if (at(body, "spec.template.spec")) default_requests(make_object_at(body, "spec.template.spec"));
    if (!at(body, "spec.selector") && kind.kind == "ReplicaSet")
      make_object_at(body, "spec.selector")["matchLabels"] = object_at(body, "spec.template.metadata.labels");
  }
  if (kind.kind == "Deployment" && text_at(body, "spec.strategy.type") == "RollingUpdate") {
    auto& rolling = make_object_at(body, "spec.strategy.rollingUpdate");
    for (const char* name : {"maxSurge", "maxUnavailable"})
      if (!rolling.contains(name)) rolling[name] = "25%";
  }
}

}  // namespace trama::api
