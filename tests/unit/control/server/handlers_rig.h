// SPDX-License-Identifier: GPL-2.0-or-later
// A store, and the handlers in front of it: requests and replies without socket and TLS.
#pragma once

#include <map>
#include <string>

#include <gtest/gtest.h>

#include "control/server/handlers.h"
#include "tests/contract/store/store_rig.h"

namespace trama::server {

namespace json = api::json;

class Handlers : public testing::Test {
 protected:
  Handlers() {
    ask("POST", "/api/v1/namespaces", R"({"metadata":{"name":"default"}})");
    ask("POST", "/api/v1/namespaces", R"({"metadata":{"name":"kube-node-lease"}})");
  }

  Reply ask(std::string method, std::string target, std::string body = "",
            std::map<std::string, std::string> headers = {}) {
    Request r;
    r.method = std::move(method);
    auto parsed = parse_target(target);
    if (!parsed) throw std::runtime_error("bad target " + target);
    r.path = parsed->path;
    r.query = parsed->query;
    r.target = target;
    r.body = std::move(body);
    r.headers = std::move(headers);
    if (!r.body.empty() && !r.headers.count("content-type")) r.headers["content-type"] = "application/json";
    r.identity = who;
    Context context{rig.store(), options};
    auto path = parse_resource(r.path);
    return rig.run(handle(context, std::move(r), std::move(path)));
  }
  json::object body(const Reply& r) { return json::parse(r.body).as_object(); }
  Reply patch(const std::string& target, const std::string& text, const char* kind) {
    return ask("PATCH", target, text, {{"content-type", kind}});
  }
  Reply make_pod(const std::string& name, const std::string& more = "") {
    return ask("POST", kPods,
               R"({"apiVersion":"v1","kind":"Pod","metadata":{"name":")" + name + R"("},"spec":{)" + more +
                   R"("containers":[{"name":"c","image":"i"}]}})");
  }

  static constexpr const char* kPods = "/api/v1/namespaces/default/pods";
  static constexpr const char* kMerge = "application/merge-patch+json";
  static constexpr const char* kStrategic = "application/strategic-merge-patch+json";
  static constexpr const char* kJson = "application/json-patch+json";
  test::StoreRig rig{false};
  Options options;
  Identity who{"admin", {"system:masters"}};
};

}  // namespace trama::server
