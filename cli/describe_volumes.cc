// SPDX-License-Identifier: GPL-2.0-or-later
#include "cli/describe_volumes.h"

#include <algorithm>

#include <fmt/format.h>

#include "control/api/object.h"
#include "control/api/quantity.h"

namespace trama::cli {

namespace json = boost::json;
using api::array_at;
using api::bool_at;
using api::int_at;
using api::object_at;
using api::text_at;

namespace {

// Cells of one section: columns as wide as their widest cell, two blanks between them.
class Rows {
 public:
  void add(std::vector<std::string> cells) { rows_.push_back(std::move(cells)); }
  bool empty() const { return rows_.empty(); }
  std::string text(std::size_t indent) const {
    std::vector<std::size_t> widths;
    for (const auto& row : rows_)
      for (std::size_t i = 0; i + 1 < row.size(); ++i) {
        if (widths.size() <= i) widths.resize(i + 1);
        widths[i] = std::max(widths[i], row[i].size());
      }
    std::string out;
    for (const auto& row : rows_) {
      std::string line(indent, ' ');
      for (std::size_t i = 0; i < row.size(); ++i) {
        line += row[i];
        if (i + 1 < row.size()) line.append(widths[i] - row[i].size() + 2, ' ');
      }
      out += line.substr(0, line.find_last_not_of(' ') + 1) + "\n";
    }
    return out;
  }

 private:
  std::vector<std::vector<std::string>> rows_;
};

template <class Visit>
void each(const json::array& list, Visit visit) {
  for (const auto& value : list)
    if (const auto* o = value.if_object()) visit(*o);
}

const json::object* member(const json::object& o, std::string_view name) {
  const auto* value = o.if_contains(name);
  return value ? value->if_object() : nullptr;
}

std::string yes_no(bool b) { return b ? "true" : "false"; }
std::string optional(const json::object& from) { return yes_no(bool_at(from, "optional")); }

// Quantities may be numbers.
std::string quantity(const json::value* v, std::string otherwise) {
  if (!v || v->is_null()) return otherwise;
  return v->is_string() ? std::string(v->get_string()) : json::serialize(*v);
}

// In units of the divisor, rounded up, as the container is told.
std::string in_units(const json::object& reference, const json::object& container) {
  auto which = text_at(reference, "resource");
  const auto* value = api::at(object_at(container, "resources"), which);
  if (!value) return which.starts_with("limits.") ? "node allocatable" : "0";
  const json::value one("1");
  const auto* divisor = reference.if_contains("divisor");
  auto amount = which.ends_with(".cpu") ? api::milli_of : api::units_of;
  auto unit = amount(divisor ? *divisor : one);
  if (unit <= 0) unit = amount(one);
  return std::to_string((amount(*value) + unit - 1) / unit);
}

// What kubectl can tell from the pod alone; the node's part stays empty.
std::string field_value(const json::object& pod, const std::string& path) {
  for (const char* map : {"metadata.labels", "metadata.annotations"})
    if (auto head = fmt::format("{}['", map); path.starts_with(head) && path.ends_with("']")) {
      const auto& values = object_at(pod, map);
      const auto* value = values.if_contains(path.substr(head.size(), path.size() - head.size() - 2));
      return value && value->is_string() ? std::string(value->get_string()) : "";
    }
  return path.starts_with("metadata.") ? text_at(pod, path) : "";
}

void add_variable(Rows& rows, const json::object& variable, const json::object& container, const json::object& pod) {
  auto name = text_at(variable, "name") + ":";
  const auto* from = member(variable, "valueFrom");
  if (!from) return rows.add({name, text_at(variable, "value")});
  if (const auto* key = member(*from, "configMapKeyRef")) {
    rows.add({name,
              fmt::format("<set to the key '{}' of config map '{}'>", text_at(*key, "key"), text_at(*key, "name")),
              "Optional: " + optional(*key)});
  } else if (const auto* secret = member(*from, "secretKeyRef")) {
    rows.add({name,
              fmt::format("<set to the key '{}' in secret '{}'>", text_at(*secret, "key"), text_at(*secret, "name")),
              "Optional: " + optional(*secret)});
  } else if (const auto* field = member(*from, "fieldRef")) {
    auto path = text_at(*field, "fieldPath");
    rows.add({name, fmt::format("{} ({}:{})", field_value(pod, path), text_at(*field, "apiVersion", "v1"), path)});
  } else if (const auto* resource = member(*from, "resourceFieldRef")) {
    rows.add({name, fmt::format("{} ({})", in_units(*resource, container), text_at(*resource, "resource"))});
  }
}

// One volume's lines. `spec` is the volume, its kind the one member that is not its name.
void add_source(Rows& rows, const json::object& source, bool projected) {
  if (const auto* from = member(source, "configMap")) {
    rows.add({projected ? "ConfigMapName:" : "Name:", text_at(*from, "name")});
    rows.add({"Optional:", optional(*from)});
  }
  if (const auto* from = member(source, "secret")) {
    rows.add({"SecretName:", text_at(*from, projected ? "name" : "secretName")});
    rows.add({"Optional:", optional(*from)});
  }
  if (projected && member(source, "downwardAPI")) rows.add({"DownwardAPI:", "true"});
  if (const auto* from = member(source, "serviceAccountToken"))
    rows.add({"TokenExpirationSeconds:", std::to_string(int_at(*from, "expirationSeconds", 3600))});
}

std::string volume_text(const json::object& volume) {
  Rows rows;
  auto kind = [&](const char* what) { rows.add({"Type:", what}); };
  if (member(volume, "configMap")) {
    kind("ConfigMap (a volume populated by a ConfigMap)");
    add_source(rows, volume, false);
  } else if (member(volume, "secret")) {
    kind("Secret (a volume populated by a Secret)");
    add_source(rows, volume, false);
  } else if (const auto* projected = member(volume, "projected")) {
    kind("Projected (a volume that contains injected data from multiple sources)");
    each(array_at(*projected, "sources"), [&](const json::object& source) { add_source(rows, source, true); });
  } else if (const auto* downward = member(volume, "downwardAPI")) {
    kind("DownwardAPI (a volume populated by information about the pod)");
    std::string items;
    each(array_at(*downward, "items"), [&](const json::object& item) {
      auto from = text_at(item, "fieldRef.fieldPath");
      if (from.empty()) from = text_at(item, "resourceFieldRef.resource");
      items += fmt::format("      {} -> {}\n", from, text_at(item, "path"));
    });
    return rows.text(4) + "    Items:\n" + items;
  } else if (const auto* empty = member(volume, "emptyDir")) {
    kind("EmptyDir (a temporary directory that shares a pod's lifetime)");
    rows.add({"Medium:", text_at(*empty, "medium")});
    rows.add({"SizeLimit:", quantity(empty->if_contains("sizeLimit"), "<unset>")});
  } else {
    for (const auto& [name, value] : volume)
      if (name != "name") rows.add({"Type:", fmt::format("{} {}", std::string_view(name), json::serialize(value))});
  }
  return rows.text(4);
}

}  // namespace

std::string environment_from_text(const json::object& container) {
  Rows rows;
  each(array_at(container, "envFrom"), [&](const json::object& source) {
    for (auto [reference, word] : {std::pair{"configMapRef", "ConfigMap"}, {"secretRef", "Secret"}}) {
      const auto* from = member(source, reference);
      if (!from) continue;
      auto prefix = text_at(source, "prefix");
      rows.add({text_at(*from, "name"), prefix.empty() ? word : fmt::format("{} with prefix '{}'", word, prefix),
                "Optional: " + optional(*from)});
    }
  });
  return rows.empty() ? "" : "Environment Variables from:\n" + rows.text(2);
}

std::string environment_text(const json::object& container, const json::object& pod) {
  Rows rows;
  each(array_at(container, "env"), [&](const json::object& variable) { add_variable(rows, variable, container, pod); });
  return rows.empty() ? "" : "Environment:\n" + rows.text(2);
}

std::string mounts_text(const json::object& container) {
  std::vector<std::pair<std::string, std::string>> mounts;
  each(array_at(container, "volumeMounts"), [&](const json::object& mount) {
    auto how = std::string(bool_at(mount, "readOnly") ? "ro" : "rw");
    if (auto sub = text_at(mount, "subPath"); !sub.empty()) how += fmt::format(",path=\"{}\"", sub);
    auto path = text_at(mount, "mountPath");
    mounts.emplace_back(path, fmt::format("  {} from {} ({})\n", path, text_at(mount, "name"), how));
  });
  if (mounts.empty()) return "";
  std::sort(mounts.begin(), mounts.end());
  std::string out = "Mounts:\n";
  for (const auto& [path, line] : mounts) out += line;
  return out;
}

std::string volumes_text(const json::object& pod) {
  std::string out;
  each(array_at(pod, "spec.volumes"), [&](const json::object& volume) {
    out += fmt::format("  {}:\n{}", text_at(volume, "name"), volume_text(volume));
  });
  return out.empty() ? "" : "Volumes:\n" + out;
}

std::vector<std::string> toleration_lines(const json::object& pod) {
  std::vector<std::string> out;
  each(array_at(pod, "spec.tolerations"), [&](const json::object& toleration) {
    auto line = text_at(toleration, "key");
    if (auto value = text_at(toleration, "value"); !value.empty()) line += "=" + value;
    if (auto effect = text_at(toleration, "effect"); !effect.empty()) line += ":" + effect;
    if (text_at(toleration, "operator") == "Exists") line += line.empty() ? "op=Exists" : " op=Exists";
    if (toleration.contains("tolerationSeconds"))
      line += fmt::format(" for {}s", int_at(toleration, "tolerationSeconds"));
    out.push_back(std::move(line));
  });
  std::sort(out.begin(), out.end());
  return out;
}

}  // namespace trama::cli
