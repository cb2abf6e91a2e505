// SPDX-License-Identifier: GPL-2.0-or-later
// A whole controller in a thread of this process, on loopback, and what its administrator, nodes and agents say to it.
#pragma once

#include <atomic>
#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "control/client/join.h"
#include "control/client/join_token.h"
#include "control/client/kubeconfig.h"
#include "control/client/paths.h"
#include "control/controller.h"
#include "tests/unit/control/run.h"

namespace trama::control::test {

namespace json = boost::json;

inline constexpr const char* kDeployments = "/apis/apps/v1/namespaces/default/deployments";
inline constexpr const char* kServices = "/api/v1/namespaces/default/services";
inline constexpr const char* kPods = "/api/v1/namespaces/default/pods";
inline constexpr const char* kSlices = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices";

json::object object(const std::string& text);
std::string scratch();  // a directory under /tmp that is not there yet
ControllerOptions options_for(const std::string& dir);

class Cluster {
 public:
  Cluster();
  ~Cluster();
  json::object get(const std::string& path);
  // "" when it was made, else what was said.
  std::string create(const std::string& path, const std::string& text);
  std::vector<json::object> list(const std::string& path, const std::string& query = "");
  bool eventually(const std::function<bool()>& done, std::chrono::milliseconds limit = std::chrono::seconds(10));
  client::JoinString token(std::int64_t uses = 1, const std::string& node = "");
  base::Result<client::NodeCredentials> join(const std::string& name, const client::JoinString& j);
  // Joins, registers the Node as its agent does, and reports it ready.
  client::ApiClient& add_node(const std::string& name, std::uint16_t agent_port = 0);
  void renew(const std::string& name);
  // Plays the agent for every pod that was given to a node: Running, Ready, with an address; confirms deletions.
  void agents();
  bool play_until(const std::function<bool()>& done, std::chrono::milliseconds limit = std::chrono::seconds(15));
  // Ready or not, by pod, of the Service "web".
  std::map<std::string, bool> endpoints();

  std::string dir;
  Runner run;
  bool ready = false;
  client::Kubeconfig kubeconfig;
  std::unique_ptr<client::ApiClient> admin;
  std::map<std::string, std::unique_ptr<client::ApiClient>> nodes;

 private:
  std::atomic<bool> stop_{false};
  std::thread thread_;
  base::Result<int> outcome_;
  int renewals_ = 0, addresses_ = 0;
};

}  // namespace trama::control::test
