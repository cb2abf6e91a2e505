// SPDX-License-Identifier: GPL-2.0-or-later
#include "agent/compute/sources.h"

#include <fmt/format.h>

#include "control/api/base64.h"

namespace trama::agent {
namespace {

constexpr const char* kConfigMaps = "configmaps";
constexpr const char* kSecrets = "secrets";

// The object at `path`, nothing when it is not there.
const json::object* object_of(const json::object& v, std::string_view path) {
  auto* found = api::at(v, path);
  return found ? found->if_object() : nullptr;
}

struct Collector {
  const api::Object& pod;
  SourceNames& out;

  void add(const char* resource, const std::string& name) {
    if (!name.empty()) out.objects.insert(api::Key{resource, pod.key.ns, name});
  }
  void variables(const json::object& container) {
    for (const auto& value : api::array_at(container, "env")) {
      if (!value.is_object()) continue;
      add(kConfigMaps, api::text_at(value.get_object(), "valueFrom.configMapKeyRef.name"));
      add(kSecrets, api::text_at(value.get_object(), "valueFrom.secretKeyRef.name"));
    }
    for (const auto& value : api::array_at(container, "envFrom")) {
      if (!value.is_object()) continue;
      add(kConfigMaps, api::text_at(value.get_object(), "configMapRef.name"));
      add(kSecrets, api::text_at(value.get_object(), "secretRef.name"));
    }
  }
  void volume(const json::object& volume) {
    add(kConfigMaps, api::text_at(volume, "configMap.name"));
    add(kSecrets, api::text_at(volume, "secret.secretName"));
    for (const auto& value : api::array_at(volume, "projected.sources")) {
      if (!value.is_object()) continue;
      const auto& source = value.get_object();
      add(kConfigMaps, api::text_at(source, "configMap.name"));
      add(kSecrets, api::text_at(source, "secret.name"));
      if (auto* token = object_of(source, "serviceAccountToken")) {
        auto want = wanted_token(pod, *token);
        want.place = {api::text_at(volume, "name"), api::text_at(*token, "path")};
        out.tokens.insert(std::move(want));
      }
    }
  }
};

}  // namespace

TokenWant wanted_token(const api::Object& pod, const json::object& source) {
  return {pod.uid,
          pod.key.ns,
          pod.key.name,
          api::text_at(pod.body, "spec.serviceAccountName", "default"),
          api::text_at(source, "audience"),
          api::int_at(source, "expirationSeconds", 3600),
          {}};
}

SourceNames named_sources(const api::Object& pod) {
  SourceNames out;
  Collector collect{pod, out};
  for (const auto& value : api::array_at(pod.body, "spec.containers"))
    if (value.is_object()) collect.variables(value.get_object());
  for (const auto& value : api::array_at(pod.body, "spec.volumes"))
    if (value.is_object()) collect.volume(value.get_object());
  return out;
}

api::ObjectPtr find_source(const Sources& sources, const api::Key& key, bool optional,
                           std::optional<SourceProblem>& problem) {
  auto found = sources.object(key);
  if (found.state == SourceLookup::State::found) return found.object;
  // Optional ones too: whether one is there has to be known before anything is made without it.
  if (found.state == SourceLookup::State::unknown) problem = SourceProblem{};
  if (found.state == SourceLookup::State::missing && !optional)
    problem =
        SourceProblem{fmt::format("{} \"{}\" not found", key.resource == kSecrets ? "secret" : "configmap", key.name)};
  return nullptr;
}

std::optional<std::string> source_value(const api::Object& source, const std::string& key, bool binary) {
  bool secret = source.key.resource == kSecrets;
  const auto* text = api::object_at(source.body, "data").if_contains(key);
  if (!secret && text && text->is_string()) return std::string(text->get_string());
  if (!secret && binary) text = api::object_at(source.body, "binaryData").if_contains(key);
  if ((!secret && !binary) || !text || !text->is_string()) return std::nullopt;
  return api::decode_base64(std::string_view(text->get_string()));
}

std::set<std::string> source_keys(const api::Object& source, bool binary) {
  std::set<std::string> out;
  for (const char* map : {"data", "binaryData"}) {
    if (std::string_view(map) == "binaryData" && (!binary || source.key.resource == kSecrets)) continue;
    for (const auto& item : api::object_at(source.body, map)) out.insert(std::string(item.key()));
  }
  return out;
}

}  // namespace trama::agent
