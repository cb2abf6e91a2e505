// SPDX-License-Identifier: GPL-2.0-or-later
#include "control/client/kubeconfig.h"

#include <yaml-cpp/yaml.h>

#include "base/file.h"
#include "control/pki/base64.h"

namespace trama::client {

using base::Error;
using base::Result;

namespace {

std::string text_of(const YAML::Node& map, const char* field) {
  if (!map || !map.IsMap() || !map[field] || !map[field].IsScalar()) return "";
  return map[field].as<std::string>();
}

// The entry called `name` of a kubeconfig's list ("clusters", "users", "contexts"), its inner map.
YAML::Node entry(const YAML::Node& root, const char* list, const char* inner, const std::string& name) {
  if (root[list] && root[list].IsSequence())
    for (const auto& e : root[list])
      if (text_of(e, "name") == name) return e[inner];
  return YAML::Node(YAML::NodeType::Undefined);
}

// PEM text from `<field>-data` (base64) or from the file that `<field>` names.
Result<std::string> data_or_file(const YAML::Node& map, const std::string& field, const std::string& base_directory) {
  auto data = text_of(map, (field + "-data").c_str());
  if (!data.empty()) {
    auto bytes = pki::from_base64(data);
    if (!bytes) return std::move(bytes).error().in(field + "-data");
    return bytes;
  }
  auto path = text_of(map, field.c_str());
  if (path.empty()) return std::string();
  if (path.front() != '/') path = base_directory + "/" + path;
  auto content = base::read_file(path);
  if (!content) return std::move(content).error().in(field);
  return content;
}

Result<Kubeconfig> parse(const YAML::Node& root, const std::string& base_directory, const std::string& wanted) {
  Kubeconfig config;
  config.context = wanted.empty() ? text_of(root, "current-context") : wanted;
  if (config.context.empty()) return Error::text("no context is chosen: set current-context");
  auto context = entry(root, "contexts", "context", config.context);
  if (!context || !context.IsMap()) return Error::text(fmt::format("there is no context \"{}\"", config.context));
  config.ns = text_of(context, "namespace");
  auto cluster = entry(root, "clusters", "cluster", text_of(context, "cluster"));
  if (!cluster || !cluster.IsMap())
    return Error::text(fmt::format("context \"{}\" names no known cluster", config.context));
  config.server = text_of(cluster, "server");
  config.server_name = text_of(cluster, "tls-server-name");
  if (text_of(cluster, "insecure-skip-tls-verify") == "true")
    return Error::text("insecure-skip-tls-verify is not supported: give certificate-authority-data");
  auto ca = data_or_file(cluster, "certificate-authority", base_directory);
  if (!ca) return std::move(ca).error();
  config.ca_pem = std::move(*ca);

  auto user = entry(root, "users", "user", text_of(context, "user"));
  if (!user || !user.IsMap()) return config;
  if (user["exec"] || user["auth-provider"])
    return Error::text("credential plugins (exec, auth-provider) are not supported: use a certificate or a token");
  if (!text_of(user, "username").empty())
    return Error::text("user name and password are not supported: use a certificate or a token");
  auto certificate = data_or_file(user, "client-certificate", base_directory);
  if (!certificate) return std::move(certificate).error();
  config.certificate_pem = std::move(*certificate);
  auto key = data_or_file(user, "client-key", base_directory);
  if (!key) return std::move(key).error();
  config.key_pem = std::move(*key);
  config.token = text_of(user, "token");
  if (config.token.empty() && !text_of(user, "tokenFile").empty()) {
    auto path = text_of(user, "tokenFile");
    auto token = base::read_file(path.front() == '/' ? path : base_directory + "/" + path);
    if (!token) return std::move(token).error().in("tokenFile");
    config.token = token->substr(0, token->find_last_not_of(" \r\n") + 1);
  }
  return config;
}

}  // namespace

ClientOptions Kubeconfig::client_options() const {
  ClientOptions o;
  o.server = server;
  o.ca_pem = ca_pem;
  o.server_name = server_name;
  o.certificate_pem = certificate_pem;
  o.key_pem = key_pem;
  o.bearer_token = token;
  return o;
}

std::string Kubeconfig::to_text() const {
  json::object cluster;
  cluster["server"] = server;
  if (!ca_pem.empty()) cluster["certificate-authority-data"] = pki::to_base64(ca_pem);
  if (!server_name.empty()) cluster["tls-server-name"] = server_name;
  json::object user;
  if (!certificate_pem.empty()) user["client-certificate-data"] = pki::to_base64(certificate_pem);
  if (!key_pem.empty()) user["client-key-data"] = pki::to_base64(key_pem);
  if (!token.empty()) user["token"] = token;
  json::object joint;
  joint["cluster"] = context;
  joint["user"] = context;
  if (!ns.empty()) joint["namespace"] = ns;
  auto named = [this](const char* inner, json::object value) {
    json::object e;
    e["name"] = context;
    e[inner] = std::move(value);
    json::array list;
    list.push_back(std::move(e));
    return list;
  };
  json::object root;
  root["apiVersion"] = "v1";
  root["kind"] = "Config";
  root["clusters"] = named("cluster", std::move(cluster));
  root["users"] = named("user", std::move(user));
  root["contexts"] = named("context", std::move(joint));
  root["current-context"] = context;
  return json::serialize(root) + "\n";
}

Result<Kubeconfig> parse_kubeconfig(std::string_view text, const std::string& base_directory,
                                    const std::string& context) {
  try {
    auto root = YAML::Load(std::string(text));
    if (!root.IsMap()) return Error::text("not a kubeconfig: expected a mapping");
    return parse(root, base_directory, context);
  } catch (const YAML::Exception& e) {  // yaml-cpp reports everything by throwing
    return Error::text(fmt::format("not YAML: {}", e.what()));
  }
}

Result<Kubeconfig> read_kubeconfig(const std::string& path, const std::string& context) {
  auto text = base::read_file(path);
  if (!text) return std::move(text).error();
  auto slash = path.rfind('/');
  auto directory = slash == std::string::npos ? "." : path.substr(0, std::max<std::size_t>(slash, 1));
  auto config = parse_kubeconfig(*text, directory, context);
  if (!config) return std::move(config).error().in(path);
  return config;
}

Result<> write_kubeconfig(const std::string& path, const Kubeconfig& config) {
  return base::write_file_atomic(path, config.to_text(), 0600);
}

}  // namespace trama::client
