// SPDX-License-Identifier: GPL-2.0-or-later
#include "control/api/openapi.h"

#include <algorithm>
#include <initializer_list>
#include <unordered_map>

#include <fmt/format.h>

#include "control/api/schema_table.h"

namespace trama::api {
namespace {

constexpr std::string_view kQuantity = "io.k8s.apimachinery.pkg.api.resource.Quantity";
constexpr std::string_view kNumberOrText = "io.k8s.apimachinery.pkg.util.intstr.IntOrString";
constexpr std::string_view kRaw = "io.k8s.apimachinery.pkg.runtime.RawExtension";
constexpr std::string_view kMeta = "io.k8s.apimachinery.pkg.apis.meta.v1.";

// "io.k8s.api.core.v1.PodSpec"
std::string component_of(std::string_view message) {
  static const auto packages = [] {
    std::unordered_map<std::string_view, std::string_view> out;
    for (const auto& part : schema_parts())
      for (const auto& f : part.rows) out.emplace(f.message, part.package);
    return out;
  }();
  // "events.Event" is Event in its package.
  return fmt::format("{}.{}", packages.at(message), message.substr(message.rfind('.') + 1));
}

json::object reference(std::string_view component) {
  json::object out;
  out["$ref"] = fmt::format("#/components/schemas/{}", component);
  return out;
}

json::object simple(std::string_view type, std::string_view format = "") {
  json::object out;
  out["type"] = type;
  if (!format.empty()) out["format"] = format;
  return out;
}

json::object list_of(json::object items) {
  auto out = simple("array");
  out["items"] = std::move(items);
  return out;
}

json::object map_of(json::object values) {
  auto out = simple("object");
  out["additionalProperties"] = std::move(values);
  return out;
}

json::object group_version_kind(std::string_view group, std::string_view version, std::string_view kind) {
  json::object out;
  out["group"] = group;
  out["version"] = version;
  out["kind"] = kind;
  return out;
}

// The types that are no messages of the table.
json::object well_known(std::string_view component) {
  json::object out;
  if (component == kQuantity) {
    out = simple("string");
    out["description"] = "A number with a unit: 500m is a half, 64Mi are 64 times 1024 times 1024.";
  } else if (component == kNumberOrText) {
    json::array one_of;
    one_of.push_back(simple("integer"));
    one_of.push_back(simple("string"));
    out["format"] = "int-or-string";
    out["oneOf"] = std::move(one_of);
    out["description"] = "A number, or text like 25% or the name of a port.";
  } else if (component == kRaw) {
    out = simple("object");
    out["description"] = "An object of any kind, or a part of one.";
  } else if (component.ends_with(".FieldsV1")) {
    out = simple("object");
    out["description"] = "A set of fields: f:NAME is a field, k:{KEYS} an item of a list, a dot the thing itself.";
  } else {
    out = simple("string", "date-time");
    out["description"] = component.ends_with(".MicroTime") ? "A time in RFC 3339 with microseconds, in UTC."
                                                           : "A time in RFC 3339, in UTC.";
  }
  return out;
}

class Document {
 public:
  Document(std::string_view group, std::string_view version, std::span<const Kind> asked) : group_(group) {
    json::object info;
    info["title"] = "trama";
    info["version"] = version;
    out_["openapi"] = "3.0.0";
    out_["info"] = std::move(info);
    for (const auto& kind : kinds())
      if (kind.group == group) add(kind);
    for (const auto& kind : asked)
      if (kind.group == group) add_question(kind);
    json::object components;
    components["schemas"] = std::move(schemas_);
    out_["paths"] = std::move(paths_);
    out_["components"] = std::move(components);
  }
  json::object take() { return std::move(out_); }

 private:
  struct Shown {
    std::string_view message, group, version, kind;
  };

  // ---- schemas

  std::string use(std::string component) {
    if (!schemas_.contains(component)) schemas_[component] = well_known(component);
    return component;
  }

  std::string use_message(std::string_view message) {
    auto component = component_of(message);
    if (schemas_.contains(component)) return component;
    schemas_[component] = nullptr;  // its own fields may lead back here
    auto schema = simple("object");
    if (auto doc = message_doc(message); !doc.empty()) schema["description"] = doc;
    json::object properties;
    json::array required;
    for (const auto* f : fields_of(message)) {
      properties[f->name] = property(*f);
      if (f->required) required.emplace_back(f->name);
    }
    if (!properties.empty()) schema["properties"] = std::move(properties);
    if (!required.empty()) schema["required"] = std::move(required);
    schemas_[component] = std::move(schema);
    return component;
  }

  json::object type_of(const Field& f) {
    switch (f.type) {
      case Type::integer: return simple("integer", "int32");
      case Type::long_integer: return simple("integer", "int64");
      case Type::boolean: return simple("boolean");
      case Type::number_or_text: return reference(use(std::string(kNumberOrText)));
      case Type::quantity: return reference(use(std::string(kQuantity)));
      case Type::time: return reference(use(std::string(kMeta) + "Time"));
      case Type::micro_time: return reference(use(std::string(kMeta) + "MicroTime"));
      case Type::any: return reference(use(f.of.empty() ? std::string(kMeta) + "FieldsV1" : std::string(kRaw)));
      case Type::bytes: return simple("string", "byte");
      case Type::object: return reference(use_message(f.of));
      case Type::list: return list_of(reference(use_message(f.of)));
      case Type::texts: return list_of(simple("string"));
      case Type::long_integers: return list_of(simple("integer", "int64"));
      case Type::map: return map_of(simple("string"));
      case Type::quantities: return map_of(reference(use(std::string(kQuantity))));
      case Type::bytes_map: return map_of(simple("string", "byte"));
      case Type::text_lists: return map_of(list_of(simple("string")));
      case Type::text:
      case Type::inlined: break;
    }
    return simple("string");
  }

  json::object property(const Field& f) {
    auto out = type_of(f);
    // Beside a $ref nothing else counts.
    if (out.contains("$ref")) {
      json::array all_of;
      all_of.push_back(std::move(out));
      out = json::object();
      out["allOf"] = std::move(all_of);
    }
    out["description"] = f.doc;
    if (!f.fallback.empty()) out["default"] = json::parse({f.fallback.data(), f.fallback.size()});
    if (!f.allowed.empty()) {
      json::array values;
      for (std::size_t from = 0; from <= f.allowed.size();) {
        auto bar = std::min(f.allowed.find('|', from), f.allowed.size());
        values.emplace_back(f.allowed.substr(from, bar - from));
        from = bar + 1;
      }
      out["enum"] = std::move(values);
    }
    bool whole_list = f.type == Type::list || f.type == Type::texts || f.type == Type::long_integers;
    if (f.keys.empty() && whole_list) out["x-kubernetes-list-type"] = "atomic";
    if (f.atomic) out["x-kubernetes-map-type"] = "atomic";
    if (!f.keys.empty()) {
      out["x-kubernetes-patch-strategy"] = "merge";
      if (f.keys != "-") out["x-kubernetes-patch-merge-key"] = patch_key(f);
      out["x-kubernetes-list-type"] = f.keys == "-" ? "set" : "map";
      if (f.keys != "-") {
        json::array keys;
        for (std::size_t from = 0; from < f.keys.size();) {
          auto comma = std::min(f.keys.find(',', from), f.keys.size());
          keys.emplace_back(f.keys.substr(from, comma - from));
          from = comma + 1;
        }
        out["x-kubernetes-list-map-keys"] = std::move(keys);
      }
    }
    return out;
  }

  // A whole object: its message, and what all objects have.
  std::string use_object(const Shown& shown) {
    auto component = use_message(shown.message);
    if (schemas_[component].as_object().contains("x-kubernetes-group-version-kind")) return component;
    json::object properties;
    properties["apiVersion"] = simple("string");
    properties["apiVersion"].as_object()["description"] = "Group and version that the object is written in.";
    properties["kind"] = simple("string");
    properties["kind"].as_object()["description"] = "Kind of the object.";
    properties["metadata"] = property(metadata_field());
    auto& whole = schemas_[component].as_object();
    if (auto* own = whole.if_contains("properties"))
      for (auto& [name, value] : own->as_object()) properties[name] = std::move(value);
    whole["properties"] = std::move(properties);
    json::array kinds;
    kinds.push_back(group_version_kind(shown.group, shown.version, shown.kind));
    whole["x-kubernetes-group-version-kind"] = std::move(kinds);
    return component;
  }

  std::string use_list(const Kind& kind, const std::string& items) {
    auto component = items + "List";
    if (schemas_.contains(component)) return component;
    auto schema = simple("object");
    json::object properties, meta = simple("object");
    properties["apiVersion"] = simple("string");
    properties["kind"] = simple("string");
    json::object meta_fields;
    for (const char* name : {"resourceVersion", "continue"}) meta_fields[name] = simple("string");
    meta_fields["remainingItemCount"] = simple("integer", "int64");
    meta["properties"] = std::move(meta_fields);
    properties["metadata"] = std::move(meta);
    properties["items"] = list_of(reference(items));
    schema["description"] = fmt::format("A list of objects of kind {}.", kind.kind);
    schema["properties"] = std::move(properties);
    json::array required, kinds;
    required.emplace_back("items");
    schema["required"] = std::move(required);
    kinds.push_back(group_version_kind(kind.group, kind.version, fmt::format("{}List", kind.kind)));
    schema["x-kubernetes-group-version-kind"] = std::move(kinds);
    schemas_[component] = std::move(schema);
    return component;
  }

  // ---- paths

  static json::object parameter(std::string_view name, std::string_view where, json::object schema) {
    json::object out;
    out["name"] = name;
    out["in"] = where;
    if (where == "path") out["required"] = true;
    out["schema"] = std::move(schema);
    return out;
  }

  static json::object content(const std::string& component, std::initializer_list<std::string_view> types) {
    json::object by_type, out;
    for (auto type : types) {
      json::object one;
      one["schema"] = reference(component);
      by_type[type] = std::move(one);
    }
    out["content"] = std::move(by_type);
    return out;
  }

  // `body` is "" for operations without one. PATCH has none on purpose: with one, kubectl would make its patches from
  // this document in place of the types that it was built with.
  static json::object operation(std::string_view action, const Shown& shown, const std::string& answer,
                                const std::string& body, std::initializer_list<std::string_view> query) {
    json::object out, responses;
    json::array parameters;
    for (auto name : query) {
      bool boolean = name == "watch", whole = name == "limit";
      auto schema = boolean ? simple("boolean") : whole ? simple("integer", "int64") : simple("string");
      schema["uniqueItems"] = true;
      parameters.push_back(parameter(name, "query", std::move(schema)));
    }
    auto ok = content(answer, {"application/json"});
    ok["description"] = "OK";
    responses[action == "post" ? "201" : "200"] = std::move(ok);
    out["x-kubernetes-action"] = action;
    out["x-kubernetes-group-version-kind"] = group_version_kind(shown.group, shown.version, shown.kind);
    out["parameters"] = std::move(parameters);
    if (!body.empty()) out["requestBody"] = content(body, {"application/json", "application/vnd.kubernetes.protobuf"});
    out["responses"] = std::move(responses);
    return out;
  }

  json::object path_object(const Kind& kind, bool named) {
    json::object out;
    json::array parameters;
    if (kind.namespaced) parameters.push_back(parameter("namespace", "path", simple("string")));
    if (named) parameters.push_back(parameter("name", "path", simple("string")));
    if (!parameters.empty()) out["parameters"] = std::move(parameters);
    return out;
  }

  void add(const Kind& kind) {
    Shown shown{message_of(kind), kind.group, kind.version, kind.kind};
    auto object = use_object(shown);
    auto list = use_list(kind, object);
    auto options = use_message("DeleteOptions");
    auto root = group_.empty() ? std::string("/api/v1") : fmt::format("/apis/{}/{}", group_, kind.version);
    auto many = fmt::format("{}/{}{}", root, kind.namespaced ? "namespaces/{namespace}/" : "", kind.resource);
    auto one = many + "/{name}";

    auto all = path_object(kind, false);
    all["get"] = operation("list", shown, list, "",
                           {"labelSelector", "fieldSelector", "limit", "continue", "resourceVersion", "watch"});
    all["post"] = operation("post", shown, object, object, {"dryRun", "fieldManager", "fieldValidation"});
    all["delete"] = operation("deletecollection", shown, list, options, {"labelSelector", "fieldSelector", "dryRun"});
    paths_[many] = std::move(all);

    auto named = path_object(kind, true);
    named["get"] = operation("get", shown, object, "", {"resourceVersion"});
    named["put"] = operation("put", shown, object, object, {"dryRun", "fieldManager", "fieldValidation"});
    named["patch"] = operation("patch", shown, object, "", {"dryRun", "fieldManager", "fieldValidation", "force"});
    named["delete"] =
        operation("delete", shown, object, options, {"dryRun", "gracePeriodSeconds", "propagationPolicy"});
    paths_[one] = std::move(named);

    for (auto sub : kind.subresources) add_subresource(kind, shown, one, sub);
  }

  void add_question(const Kind& kind) {
    Shown shown{message_of(kind), kind.group, kind.version, kind.kind};
    auto object = use_object(shown);
    auto path = path_object(kind, false);
    path["post"] = operation("post", shown, object, object, {"dryRun", "fieldManager", "fieldValidation"});
    paths_[fmt::format("/apis/{}/{}/{}", group_, kind.version, kind.resource)] = std::move(path);
  }

  void add_subresource(const Kind& kind, const Shown& parent, const std::string& one, std::string_view sub) {
    auto path = path_object(kind, true);
    if (sub == "binding" || sub == "eviction" || sub == "token") {
      Shown shown = sub == "binding"    ? Shown{"Binding", "", "v1", "Binding"}
                    : sub == "eviction" ? Shown{"Eviction", "policy", "v1", "Eviction"}
                                        : Shown{"TokenRequest", "authentication.k8s.io", "v1", "TokenRequest"};
      auto object = use_object(shown);
      path["post"] = operation("post", shown, object, object, {"dryRun"});
    } else if (sub == "status" || sub == "approval" || sub == "scale") {
      Shown shown = sub == "scale" ? Shown{"Scale", "autoscaling", "v1", "Scale"} : parent;
      auto object = use_object(shown);
      path["get"] = operation("get", shown, object, "", {});
      path["put"] = operation("put", shown, object, object, {"dryRun", "fieldManager", "fieldValidation"});
      path["patch"] = operation("patch", shown, object, "", {"dryRun", "fieldManager", "fieldValidation", "force"});
    } else {
      return;  // logs, exec and proxies carry no objects
    }
    paths_[fmt::format("{}/{}", one, sub)] = std::move(path);
  }

  std::string group_;
  json::object out_, paths_, schemas_;
};

}  // namespace

json::object openapi_v3(std::string_view group, std::string_view version, std::span<const Kind> asked) {
  return Document(group, version, asked).take();
}

}  // namespace trama::api
