// SPDX-License-Identifier: GPL-2.0-or-later
// Whatever a pod and what it names say, its files stay below their volumes and its mounts are ones that can be made.
#include <cstdint>
#include <cstdlib>

#include "agent/compute/environment.h"
#include "agent/compute/sandboxes.h"
#include "agent/compute/volumes.h"
#include "netns/volume.h"

namespace {

using namespace trama;
namespace json = boost::json;

// {"pod": …, "configmap": …, "secret": …}: every name finds the same two.
api::ObjectPtr part(const json::object& all, const char* member, const char* resource) {
  json::object body = api::object_at(all, member);
  api::make_object_at(body, "metadata")["name"] = "x";
  return api::make_object(api::Key{resource, "default", "x"}, std::move(body), 1);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace trama::agent;
  boost::system::error_code ec;
  json::parse_options options;
  options.max_depth = 16;
  auto value = json::parse({reinterpret_cast<const char*>(data), size}, ec, {}, options);
  if (ec || !value.is_object()) return 0;
  const auto& all = value.get_object();
  auto pod = part(all, "pod", "pods"), config = part(all, "configmap", "configmaps"),
       secret = part(all, "secret", "secrets");
  Sources sources;
  sources.object = [&](const api::Key& key) {
    return SourceLookup{SourceLookup::State::found, key.resource == "secrets" ? secret : config};
  };
  sources.token = [](const TokenWant&) { return TokenLookup{SourceLookup::State::found, "a.b.c", ""}; };
  (void)named_sources(*pod);
  if (!unsupported(*pod).empty()) return 0;
  PodFacts facts{"n1", {}, {}, 1000, 1 << 20};
  if (auto made = pod_volumes(*pod, facts, sources))
    for (const auto& [name, volume] : made->volumes)
      for (const auto& [path, file] : volume.files)
        if (!netns::is_file_path(path) || file.mode > 0777) std::abort();
  for (const auto& container : api::array_at(pod->body, "spec.containers")) {
    if (!container.is_object()) continue;
    std::optional<SourceProblem> problem;
    auto environment =
        container_environment(*pod, container.get_object(), facts, sources, own_variables(*pod, facts), problem);
    if (!environment || problem) continue;
    (void)container_command(container.get_object(), *environment);
    auto mounts = volume_mounts(container.get_object(), *environment);
    if (!mounts) continue;
    for (const auto& m : *mounts) {
      if (!m.path.starts_with('/') || !netns::is_file_path(m.path.substr(1))) std::abort();
      if (!m.sub_path.empty() && !netns::is_file_path(m.sub_path)) std::abort();
    }
  }
  return 0;
}
