// SPDX-License-Identifier: GPL-2.0-or-later
#include "control/controllers/pod_account.h"

#include <algorithm>

#include <fmt/format.h>

namespace trama::control {

namespace {

constexpr std::string_view kVolumePrefix = "kube-api-access-";
constexpr std::int64_t kTokenSeconds = 3607;  // upstream's, which its clients show

std::optional<bool> flag(const json::object& o, const char* field) {
  const auto* value = o.if_contains(field);
  return value && value->is_bool() ? std::optional<bool>(value->get_bool()) : std::nullopt;
}

json::object token_volume(const std::string& name) {
  json::object token{{"expirationSeconds", kTokenSeconds}, {"path", "token"}};
  json::object file{{"key", "ca.crt"}, {"path", "ca.crt"}};
  json::object authorities{{"name", "kube-root-ca.crt"}};
  authorities["items"] = json::array{std::move(file)};
  json::object field{{"apiVersion", "v1"}, {"fieldPath", "metadata.namespace"}};
  json::object own{{"path", "namespace"}};
  own["fieldRef"] = std::move(field);
  json::object downward;
  downward["items"] = json::array{std::move(own)};
  json::array sources;
  for (auto& [member, source] : {std::pair<const char*, json::object&>{"serviceAccountToken", token},
                                 {"configMap", authorities},
                                 {"downwardAPI", downward}}) {
    json::object one;
    one[member] = std::move(source);
    sources.push_back(std::move(one));
  }
  json::object projected{{"defaultMode", 0644}};
  projected["sources"] = std::move(sources);
  json::object out{{"name", name}};
  out["projected"] = std::move(projected);
  return out;
}

json::array& list_at(json::object& o, const char* name) {
  auto& value = o[name];
  if (!value.is_array()) value = json::array();
  return value.get_array();
}

// Whether it had room there.
bool mount_token(json::object& container, const std::string& volume) {
  for (const auto& value : api::array_at(container, "volumeMounts"))
    if (value.is_object() && api::text_at(value.get_object(), "mountPath") == kTokenDirectory) return false;
  json::object mount{{"name", volume}, {"readOnly", true}, {"mountPath", kTokenDirectory}};
  list_at(container, "volumeMounts").push_back(std::move(mount));
  return true;
}

void mount_tokens(json::object& spec, const std::string& uid) {
  const auto& volumes = api::array_at(spec, "volumes");
  auto own = std::find_if(volumes.begin(), volumes.end(), [](const json::value& v) {
    return v.is_object() && api::text_at(v.get_object(), "name").starts_with(kVolumePrefix);
  });
  auto name = own != volumes.end() ? api::text_at(own->get_object(), "name")
                                   : generated_name(kVolumePrefix, std::hash<std::string>()(uid));
  bool add = own == volumes.end(), used = false;
  for (const char* list : {"initContainers", "containers"})
    if (auto* containers = spec.if_contains(list); containers && containers->is_array())
      for (auto& container : containers->get_array())
        if (container.is_object()) used |= mount_token(container.get_object(), name);
  if (used && add) list_at(spec, "volumes").push_back(token_volume(name));
}

}  // namespace

api::ObjectPtr ensure_default_account(store::Transaction& tx, const std::string& ns, Time now) {
  api::Key key{"serviceaccounts", ns, kDefaultAccount};
  if (auto have = tx.get(key)) return have;
  return tx.put(key, new_object("v1", "ServiceAccount", key, now));
}

std::optional<api::Status> admit_pod_account(store::Transaction& tx, const api::Key& key, json::object& pod, Time now) {
  auto& spec = api::make_object_at(pod, "spec");
  auto name = api::text_at(spec, "serviceAccountName");
  if (name.empty()) name = api::text_at(spec, "serviceAccount");
  if (name.empty()) name = kDefaultAccount;
  spec["serviceAccountName"] = name;
  spec["serviceAccount"] = name;
  auto account = name == kDefaultAccount ? ensure_default_account(tx, key.ns, now)
                                         : tx.get(api::Key{"serviceaccounts", key.ns, name});
  if (!account)
    return api::Status::forbidden(
        fmt::format("pods \"{}\" is forbidden: error looking up service account {}/{}: serviceaccount \"{}\" not found",
                    key.name, key.ns, name, name));
  // Stored for those who read pods: nothing here fetches images.
  if (api::array_at(spec, "imagePullSecrets").empty())
    if (const auto& secrets = api::array_at(account->body, "imagePullSecrets"); !secrets.empty())
      spec["imagePullSecrets"] = secrets;
  auto wanted = flag(spec, "automountServiceAccountToken");
  if (!wanted) wanted = flag(account->body, "automountServiceAccountToken");
  if (wanted.value_or(true)) mount_tokens(spec, api::text_at(pod, "metadata.uid"));
  return std::nullopt;
}

}  // namespace trama::control
