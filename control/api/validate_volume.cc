// SPDX-License-Identifier: GPL-2.0-or-later
// Volumes of a pod and where its containers mount them.
#include <algorithm>
#include <set>

#include "control/api/validate_rules.h"

namespace trama::api {
namespace {

constexpr std::string_view kBackstep = "must not contain '..'";

bool has_backstep(std::string_view path) {
  while (true) {
    auto end = path.find('/');
    if (path.substr(0, end) == "..") return true;
    if (end == std::string_view::npos) return false;
    path.remove_prefix(end + 1);
  }
}

// A path below the volume.
void local_path(Causes& out, const std::string& path, const std::string& field) {
  if (path.empty()) return required(out, field);
  if (path.front() == '/') invalid(out, field, in_quotes(path), "must be a relative path");
  if (has_backstep(path)) invalid(out, field, in_quotes(path), kBackstep);
  if (path.starts_with("..") && !has_backstep(path)) invalid(out, field, in_quotes(path), "must not start with '..'");
}

void mode(Causes& out, const json::object& at_object, const char* name, const std::string& path) {
  auto value = int_at(at_object, name, 0);
  if (value < 0 || value > 0777)
    invalid(out, path + "." + name, std::to_string(value),
            "must be a number between 0 and 0777 (octal), both inclusive");
}

template <class Check>
void each(const json::array& list, const std::string& path, Check check) {
  for (std::size_t i = 0; i < list.size(); ++i)
    if (list[i].is_object()) check(list[i].get_object(), fmt::format("{}[{}]", path, i));
}

void keys_to_paths(Causes& out, const json::object& source, const std::string& path) {
  each(array_at(source, "items"), path + ".items", [&](const json::object& item, const std::string& here) {
    if (text_at(item, "key").empty()) required(out, here + ".key");
    local_path(out, text_at(item, "path"), here + ".path");
    mode(out, item, "mode", here);
  });
}

void downward(Causes& out, const json::object& source, const std::string& path) {
  each(array_at(source, "items"), path + ".items", [&](const json::object& item, const std::string& here) {
    local_path(out, text_at(item, "path"), here + ".path");
    mode(out, item, "mode", here);
    bool field = item.contains("fieldRef"), resource = item.contains("resourceFieldRef");
    if (!field && !resource) required(out, here, "one of fieldRef and resourceFieldRef is required");
    if (field && resource)
      invalid(out, here, "\"resource\"", "fieldRef and resourceFieldRef can not be specified simultaneously");
  });
}

void sources(Causes& out, const json::object& volume, const char* secret_name, const std::string& path) {
  auto named = [&](const char* kind, const char* name) {
    if (!volume.contains(kind)) return;
    auto here = path + "." + kind;
    const auto& source = object_at(volume, kind);
    if (text_at(source, name).empty()) required(out, here + "." + name);
    mode(out, source, "defaultMode", here);
    keys_to_paths(out, source, here);
  };
  named("configMap", "name");
  named("secret", secret_name);
  if (!volume.contains("downwardAPI")) return;
  mode(out, object_at(volume, "downwardAPI"), "defaultMode", path + ".downwardAPI");
  downward(out, object_at(volume, "downwardAPI"), path + ".downwardAPI");
}

void projected(Causes& out, const json::object& volume, const std::string& path) {
  mode(out, volume, "defaultMode", path);
  each(array_at(volume, "sources"), path + ".sources", [&](const json::object& source, const std::string& here) {
    if (source.size() > 1) forbidden(out, here, "may not specify more than 1 volume type per source");
    sources(out, source, "name", here);
    const auto& token = object_at(source, "serviceAccountToken");
    if (!source.contains("serviceAccountToken")) return;
    auto seconds = int_at(token, "expirationSeconds", 3600);
    if (seconds < 600)
      invalid(out, here + ".serviceAccountToken.expirationSeconds", std::to_string(seconds),
              "may not specify a duration less than 10 minutes");
    if (seconds > 1LL << 32)
      invalid(out, here + ".serviceAccountToken.expirationSeconds", std::to_string(seconds),
              "may not specify a duration larger than 2^32 seconds");
    local_path(out, text_at(token, "path"), here + ".serviceAccountToken.path");
  });
}

void mounts(Causes& out, const json::object& container, const std::set<std::string>& names, const std::string& path) {
  std::set<std::string> places;
  each(array_at(container, "volumeMounts"), path + ".volumeMounts",
       [&](const json::object& mount, const std::string& here) {
         auto name = text_at(mount, "name"), place = text_at(mount, "mountPath");
         if (name.empty())
           required(out, here + ".name");
         else if (!names.contains(name))
           out.push_back({"FieldValueNotFound", fmt::format("Not found: {}", in_quotes(name)), here + ".name"});
         if (place.empty())
           required(out, here + ".mountPath");
         else if (!places.insert(place).second)
           invalid(out, here + ".mountPath", in_quotes(place), "must be unique");
         auto sub = text_at(mount, "subPath");
         if (!sub.empty()) local_path(out, sub, here + ".subPath");
         if (!sub.empty() && !text_at(mount, "subPathExpr").empty())
           invalid(out, here + ".subPathExpr", in_quotes(text_at(mount, "subPathExpr")),
                   "subPathExpr and subPath are mutually exclusive");
       });
}

}  // namespace

void volumes(Causes& out, const json::object& spec, const std::string& path) {
  std::set<std::string> names;
  each(array_at(spec, "volumes"), path + ".volumes", [&](const json::object& volume, const std::string& here) {
    auto name = text_at(volume, "name");
    if (name.empty())
      required(out, here + ".name");
    else if (!is_dns_label(name))
      invalid(out, here + ".name", in_quotes(name), kLabelRule);
    else if (!names.insert(name).second)
      duplicate(out, here + ".name", in_quotes(name));
    // One of no type is an emptyDir.
    auto kinds = std::count_if(volume.begin(), volume.end(),
                               [](const auto& item) { return item.key() != "name" && !item.value().is_null(); });
    if (kinds > 1) forbidden(out, here, "may not specify more than 1 volume type");
    sources(out, volume, "secretName", here);
    if (volume.contains("projected")) projected(out, object_at(volume, "projected"), here + ".projected");
  });
  for (const char* list : {"initContainers", "containers"})
    each(array_at(spec, list), path + "." + list,
         [&](const json::object& container, const std::string& here) { mounts(out, container, names, here); });
}

}  // namespace trama::api
