// SPDX-License-Identifier: GPL-2.0-or-later
#include "agent/compute/volumes.h"

#include <algorithm>
#include <filesystem>
#include <set>

#include <fmt/format.h>

#include "control/api/quantity.h"

namespace trama::agent {
namespace {

using netns::Volume;
using netns::VolumeFile;

constexpr unsigned kUsualMode = 0644;
constexpr const char* kKinds[] = {"configMap", "secret", "downwardAPI", "projected", "emptyDir"};
constexpr const char* kProjected[] = {"configMap", "secret", "downwardAPI", "serviceAccountToken"};

std::string normal(const std::string& path) {
  auto out = std::filesystem::path(path).lexically_normal().string();
  while (out.size() > 1 && out.ends_with('/')) out.pop_back();
  return out;
}

// One volume of files while it is put together.
class Filler {
 public:
  Filler(const api::Object& pod, const PodFacts& facts, const Sources& sources)
      : pod_(pod), facts_(facts), sources_(sources) {}

  // `name`: of the ConfigMap or Secret. Without items every key becomes a file.
  void object(const char* resource, const std::string& name, const json::object& from, unsigned mode) {
    if (problem) return;
    bool optional = api::bool_at(from, "optional");
    auto source = find_source(sources_, api::Key{resource, pod_.key.ns, name}, optional, problem);
    if (!source) return;
    const auto& items = api::array_at(from, "items");
    if (items.empty()) {
      for (const auto& key : source_keys(*source)) add(key, source_value(*source, key).value_or(""), mode);
      return;
    }
    for (const auto& value : items) {
      if (!value.is_object()) continue;
      const auto& item = value.get_object();
      auto key = api::text_at(item, "key");
      if (auto content = source_value(*source, key)) {
        add(api::text_at(item, "path"), std::move(*content), mode_of(item, "mode", mode));
      } else if (!optional) {
        bool secret = std::string_view(resource) == "secrets";
        problem = SourceProblem{fmt::format("references non-existent {} key: {}", secret ? "secret" : "config", key)};
        return;
      }
    }
  }

  base::Result<> downward(const json::object& from, unsigned mode) {
    for (const auto& value : api::array_at(from, "items")) {
      if (!value.is_object()) continue;
      const auto& item = value.get_object();
      auto file = api::text_at(item, "path");
      std::string content;
      if (auto field = api::text_at(item, "fieldRef.fieldPath"); !field.empty()) {
        auto found = field_file(pod_, field, facts_);
        if (!found) return base::Error::text(fmt::format("{}: fieldPath {} is not supported in a file", file, field));
        content = std::move(*found);
      } else {
        auto found = resource_value(pod_, api::object_at(item, "resourceFieldRef"), "", facts_);
        if (!found) return std::move(found).error().in(file);
        content = std::move(*found);
      }
      add(file, std::move(content), mode_of(item, "mode", mode));
    }
    return {};
  }

  void token(const TokenWant& want, const std::string& path, unsigned mode) {
    if (problem) return;
    auto found = sources_.token(want);
    if (found.state == SourceLookup::State::found)
      add(path, std::move(found.token), mode);
    else
      problem = SourceProblem{
          found.state == SourceLookup::State::unknown ? "" : fmt::format("failed to fetch token: {}", found.why)};
  }

  static unsigned mode_of(const json::object& from, std::string_view member, unsigned otherwise) {
    auto mode = api::int_at(from, member, static_cast<std::int64_t>(otherwise));
    return mode >= 0 && mode <= 0777 ? static_cast<unsigned>(mode) : otherwise;
  }

  Volume volume;
  std::optional<SourceProblem> problem;
  std::string bad_path;  // the first one that no volume can have

 private:
  void add(const std::string& path, std::string content, unsigned mode) {
    auto place = normal(path);
    if (!netns::is_file_path(place)) {
      if (bad_path.empty()) bad_path = path;
      return;
    }
    volume.files[place] = VolumeFile{std::move(content), mode};
  }

  const api::Object& pod_;
  const PodFacts& facts_;
  const Sources& sources_;
};

base::Result<> fill(Filler& filler, const api::Object& pod, const json::object& spec) {
  if (const auto& from = api::object_at(spec, "configMap"); spec.contains("configMap"))
    filler.object("configmaps", api::text_at(from, "name"), from, Filler::mode_of(from, "defaultMode", kUsualMode));
  if (const auto& from = api::object_at(spec, "secret"); spec.contains("secret"))
    filler.object("secrets", api::text_at(from, "secretName"), from, Filler::mode_of(from, "defaultMode", kUsualMode));
  if (const auto& from = api::object_at(spec, "downwardAPI"); spec.contains("downwardAPI"))
    if (auto r = filler.downward(from, Filler::mode_of(from, "defaultMode", kUsualMode)); !r) return r;
  const auto& projected = api::object_at(spec, "projected");
  auto mode = Filler::mode_of(projected, "defaultMode", kUsualMode);
  for (const auto& value : api::array_at(projected, "sources")) {
    if (!value.is_object()) continue;
    const auto& source = value.get_object();
    if (source.contains("configMap"))
      filler.object("configmaps", api::text_at(source, "configMap.name"), api::object_at(source, "configMap"), mode);
    if (source.contains("secret"))
      filler.object("secrets", api::text_at(source, "secret.name"), api::object_at(source, "secret"), mode);
    if (source.contains("downwardAPI"))
      if (auto r = filler.downward(api::object_at(source, "downwardAPI"), mode); !r) return r;
    if (const auto& token = api::object_at(source, "serviceAccountToken"); source.contains("serviceAccountToken"))
      filler.token(wanted_token(pod, token), api::text_at(token, "path"), mode);
  }
  return {};
}

// No two files where one would have to be a directory.
std::string clash(const Volume& volume) {
  for (const auto& [path, file] : volume.files)
    for (auto slash = path.find('/'); slash != path.npos; slash = path.find('/', slash + 1))
      if (volume.files.contains(path.substr(0, slash)))
        return fmt::format("{} would be a file and a directory", path.substr(0, slash));
  return "";
}

std::string kind_of(const json::object& volume) {
  for (const auto& item : volume)
    if (item.key() != "name" && !item.value().is_null()) return std::string(item.key());
  return "emptyDir";  // upstream's default
}

template <class Kinds>
bool is_one_of(const Kinds& kinds, std::string_view kind) {
  return std::find(std::begin(kinds), std::end(kinds), kind) != std::end(kinds);
}

std::string unsupported_volume(const json::object& volume) {
  auto kind = kind_of(volume);
  if (!is_one_of(kKinds, kind))
    return fmt::format("{} is not supported; configMap, secret, downwardAPI, projected and emptyDir are", kind);
  auto medium = api::text_at(volume, "emptyDir.medium");
  if (!medium.empty() && medium != "Memory") return fmt::format("emptyDir.medium {} is not supported", medium);
  for (const auto& value : api::array_at(volume, "projected.sources")) {
    if (!value.is_object()) continue;
    for (const auto& item : value.get_object())
      if (!item.value().is_null() && !is_one_of(kProjected, item.key()))
        return fmt::format("a projected {} is not supported", std::string_view(item.key()));
  }
  return "";
}

std::string unsupported_mount(const json::object& mount, const std::set<std::string>& volumes) {
  auto name = api::text_at(mount, "name"), path = normal(api::text_at(mount, "mountPath"));
  if (!volumes.contains(name)) return fmt::format("volume {} is not one of the pod's", name);
  auto top = path.substr(0, path.find('/', 1));
  if (!path.starts_with('/') || !netns::is_file_path(path.substr(1)) || top == "/proc" || top == "/sys")
    return fmt::format("mountPath \"{}\": needs an absolute path other than /, and not below /proc or /sys",
                       api::text_at(mount, "mountPath"));
  auto propagation = api::text_at(mount, "mountPropagation");
  if (!propagation.empty() && propagation != "None")
    return fmt::format("mountPropagation {} is not supported", propagation);
  if (auto sub = api::text_at(mount, "subPath"); !sub.empty() && !netns::is_file_path(normal(sub)))
    return fmt::format("subPath \"{}\": needs a relative path without \"..\"", sub);
  return "";
}

}  // namespace

base::Result<VolumesOutcome> pod_volumes(const api::Object& pod, const PodFacts& facts, const Sources& sources) {
  VolumesOutcome out;
  for (const auto& value : api::array_at(pod.body, "spec.volumes")) {
    if (!value.is_object()) continue;
    const auto& spec = value.get_object();
    auto name = api::text_at(spec, "name");
    if (kind_of(spec) == "emptyDir") {
      auto& volume = out.volumes[name];
      volume.scratch = true;
      if (const auto* limit = api::at(spec, "emptyDir.sizeLimit"); limit && !limit->is_null())
        volume.size_bytes = static_cast<std::uint64_t>(std::max<std::int64_t>(api::units_of(*limit), 0));
      continue;
    }
    Filler filler(pod, facts, sources);
    if (auto r = fill(filler, pod, spec); !r) return std::move(r).error().in("volume " + name);
    auto never = filler.bad_path.empty() ? clash(filler.volume)
                                         : fmt::format("\"{}\" cannot be a file of a volume", filler.bad_path);
    if (!never.empty()) return base::Error::text(fmt::format("volume {}: {}", name, never));
    if (filler.problem)
      out.problems[name] = std::move(*filler.problem);
    else
      out.volumes[name] = std::move(filler.volume);
  }
  return out;
}

base::Result<std::vector<netns::VolumeMount>> volume_mounts(const json::object& container,
                                                            const Environment& variables) {
  std::vector<netns::VolumeMount> out;
  for (const auto& value : api::array_at(container, "volumeMounts")) {
    if (!value.is_object()) continue;
    const auto& mount = value.get_object();
    netns::VolumeMount to;
    to.volume = api::text_at(mount, "name");
    to.path = normal(api::text_at(mount, "mountPath"));
    to.read_only = api::bool_at(mount, "readOnly");
    to.sub_path = api::text_at(mount, "subPath");
    if (auto expression = api::text_at(mount, "subPathExpr"); !expression.empty()) {
      to.sub_path = expand(expression, variables);
      if (to.sub_path.find("$(") != to.sub_path.npos || !netns::is_file_path(normal(to.sub_path)))
        return base::Error::text(
            fmt::format("container {}: subPathExpr {} gives \"{}\": a variable is missing, or it is "
                        "no path below the volume",
                        api::text_at(container, "name"), expression, to.sub_path));
    }
    if (!to.sub_path.empty()) to.sub_path = normal(to.sub_path);
    out.push_back(std::move(to));
  }
  return out;
}

std::string unsupported_volumes(const api::Object& pod) {
  std::set<std::string> names;
  for (const auto& value : api::array_at(pod.body, "spec.volumes")) {
    if (!value.is_object()) continue;
    auto name = api::text_at(value.get_object(), "name");
    names.insert(name);
    if (auto why = unsupported_volume(value.get_object()); !why.empty()) return fmt::format("volume {}: {}", name, why);
  }
  if (api::at(pod.body, "spec.securityContext.fsGroup") && !names.empty())
    return "spec.securityContext.fsGroup is not supported";
  for (const auto& value : api::array_at(pod.body, "spec.containers")) {
    if (!value.is_object()) continue;
    for (const auto& mount : api::array_at(value.get_object(), "volumeMounts"))
      if (mount.is_object())
        if (auto why = unsupported_mount(mount.get_object(), names); !why.empty())
          return fmt::format("container {}: {}", api::text_at(value.get_object(), "name"), why);
  }
  return "";
}

}  // namespace trama::agent
