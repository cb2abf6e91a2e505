// SPDX-License-Identifier: GPL-2.0-or-later
// ConfigMaps and Secrets from `kubectl create` into variables and files of a running pod, and their changes.
#include <cstdlib>
#include <ctime>
#include <filesystem>
#include <functional>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "base/file.h"
#include "control/api/object.h"
#include "control/pki/authority.h"
#include "control/pki/jwt.h"
#include "tests/e2e/support/cluster.h"
#include "tests/support/private_netns.h"

namespace trama::test {
namespace {

const char* const kPod = R"yaml(
apiVersion: v1
kind: Pod
metadata: {name: all, labels: {app: all, tier: back}, annotations: {note: "a \"b\""}}
spec:
  nodeName: n1
  terminationGracePeriodSeconds: 1
  containers:
    - name: main
      image: host
      command: [sh, -c, "echo $(GREETING); sleep 1000"]
      resources: {limits: {cpu: 1500m, memory: 64Mi}}
      envFrom:
        - {prefix: LOGIN_, secretRef: {name: login}}
        - {configMapRef: {name: nowhere, optional: true}}
      env:
        - {name: GREETING, valueFrom: {configMapKeyRef: {name: web, key: greeting}}}
        - {name: BOTH, value: "$(GREETING), $(LOGIN_user)"}
        - {name: LATER, valueFrom: {secretKeyRef: {name: login, key: absent, optional: true}}}
        - {name: CPU, valueFrom: {resourceFieldRef: {resource: limits.cpu}}}
        - {name: MEM, valueFrom: {resourceFieldRef: {resource: limits.memory, divisor: 1Mi}}}
        - {name: NODE, valueFrom: {fieldRef: {fieldPath: spec.nodeName}}}
      volumeMounts:
        - {name: config, mountPath: /etc/web}
        - {name: config, mountPath: /etc/frozen.conf, subPath: app.conf}
        - {name: login, mountPath: /secrets}
        - {name: info, mountPath: /etc/podinfo}
        - {name: all, mountPath: /srv/all}
        - {name: work, mountPath: /scratch}
    - name: side
      image: host
      command: [sh, -c, "echo from-side > /shared/hello; sleep 1000"]
      volumeMounts: [{name: work, mountPath: /shared}]
  volumes:
    - {name: config, configMap: {name: web}}
    - {name: login, secret: {secretName: login, defaultMode: 0400, items: [{key: password, path: deep/pw}]}}
    - name: info
      downwardAPI:
        items:
          - {path: labels, fieldRef: {fieldPath: metadata.labels}}
          - {path: note, fieldRef: {fieldPath: "metadata.annotations['note']"}}
          - {path: cpu, resourceFieldRef: {containerName: main, resource: limits.cpu, divisor: 1m}}
    - name: all
      projected:
        sources:
          - {configMap: {name: web, items: [{key: greeting, path: hi}]}}
          - {secret: {name: login, items: [{key: user, path: who, mode: 0440}]}}
          - {downwardAPI: {items: [{path: name, fieldRef: {fieldPath: metadata.name}}]}}
          - {secret: {name: never, optional: true}}
    - {name: work, emptyDir: {sizeLimit: 1Mi}}
)yaml";

// The newer kubectl, "" where there is none.
std::string new_kubectl() {
  const char* source = std::getenv("TRAMA_SOURCE_DIR");
  auto path = std::string(source ? source : ".") + "/.cache/kubectl-1.33";
  return std::filesystem::exists(path) ? path : "";
}

// What stands between two marks, with one blank for each run of blanks and none at a line's ends.
std::string words(const std::string& page, const std::string& from, const std::string& to) {
  auto begin = page.find(from);
  if (begin == std::string::npos) return "";
  std::string out;
  for (char c : page.substr(begin, page.find(to, begin) - begin)) {
    bool blank = c == ' ' || c == '\t';
    if (c == '\n' && out.ends_with(' ')) out.pop_back();
    if (blank && (out.empty() || out.back() == ' ' || out.back() == '\n')) continue;
    out += blank ? ' ' : c;
  }
  return out;
}

class VolumesE2e : public ::testing::Test {
 protected:
  void up() {
    cluster.start_controller();
    ASSERT_TRUE(cluster.ok());
    cluster.add_node("n1");
    ASSERT_TRUE(cluster.ok());
    ASSERT_TRUE(cluster.wait_node_ready("n1"));
  }
  std::string in(const std::string& script, const std::string& pod = "all") {
    std::string output;
    cluster.trama("exec " + pod + " -c main -- sh -c '" + script + "'", &output);
    return output;
  }
  void kubectl(const std::string& arguments) { (void)cluster.kubectl(arguments); }
  std::string events(const std::string& reason) {
    std::string output;
    cluster.trama("get events -o json", &output);
    std::string out;
    boost::system::error_code ec;
    auto list = json::parse(output, ec);
    if (ec || !list.is_object()) return out;
    for (const auto& item : api::array_at(list.get_object(), "items"))
      if (api::text_at(item.get_object(), "reason") == reason) out += api::text_at(item.get_object(), "message") + "\n";
    return out;
  }
  std::string waiting(const std::string& pod, const std::string& field) {
    auto got = cluster.get("pod " + pod);
    if (!got.is_object()) return "";
    const auto& statuses = api::array_at(got.get_object(), "status.containerStatuses");
    return statuses.empty() ? "" : api::text_at(statuses[0].get_object(), "state.waiting." + field);
  }
  Cluster cluster;
};

TEST_F(VolumesE2e, EveryKindIsThereAndFilesFollowTheirObjects) {
  up();
  kubectl("create configmap web --from-literal=greeting=hello --from-literal=app.conf='port = 8080'");
  kubectl("create secret generic login --from-literal=user=ana --from-literal=password=s3cret");
  ASSERT_TRUE(cluster.apply(kPod));
  ASSERT_TRUE(cluster.wait_pod_ready("all"));
  EXPECT_EQ(in("echo $GREETING/$BOTH/$LOGIN_password/${LATER-unset}/$CPU/$MEM/$NODE"),
            "hello/hello, ana/s3cret/unset/2/64/n1\n");
  std::string log;
  EXPECT_TRUE(eventually([&] { return cluster.trama("logs all -c main", &log) == 0 && log == "hello\n"; })) << log;
  EXPECT_EQ(in("cat /etc/web/app.conf /etc/frozen.conf; ls /etc/web"), "port = 8080port = 8080app.conf\ngreeting\n");
  EXPECT_EQ(in("cat /secrets/deep/pw; stat -L -c \" %a\" /secrets/deep/pw; ls /secrets"), "s3cret 400\ndeep\n");
  EXPECT_EQ(in("cat /etc/podinfo/labels; echo; cat /etc/podinfo/note; echo; cat /etc/podinfo/cpu"),
            "app=\"all\"\ntier=\"back\"\na \"b\"\n1500");
  EXPECT_EQ(in("cd /srv/all; cat hi who name; stat -L -c \" %a\" who; ls"), "helloanaall 440\nhi\nname\nwho\n");
  EXPECT_EQ(in("cat /scratch/hello; (head -c 2000000 /dev/zero > /scratch/big) 2>/dev/null || echo full"),
            "from-side\nfull\n");

  // Both tell it in the same words, line by line.
  if (auto newer = new_kubectl(); !newer.empty()) {
    ::setenv("TRAMA_KUBECTL", newer.c_str(), 1);
    auto theirs = cluster.kubectl("describe pod all");
    ::unsetenv("TRAMA_KUBECTL");
    std::string ours;
    EXPECT_EQ(cluster.trama("describe pod all", &ours), 0);
    for (auto [from, to] : {std::pair{"Environment Variables from:", "\n  side:"}, {"\nVolumes:", "\nQoS Class:"}}) {
      auto part = words(theirs, from, to);
      EXPECT_GT(part.size(), 200u) << theirs;
      EXPECT_EQ(words(ours, from, to), part) << ours << theirs;
    }
    for (const char* line : {"Service Account: default", "QoS Class: Burstable", "Node-Selectors: <none>"})
      for (const auto* page : {&ours, &theirs})
        EXPECT_NE(words(*page, "Name:", "Events:").find(line), std::string::npos) << line;
  }

  // Files follow within moments, a subPath and variables do not; the container goes on.
  auto restarts = [&] {
    return json::serialize(api::array_at(cluster.get("pod all").get_object(), "status.containerStatuses"));
  };
  auto before = restarts();
  kubectl(R"(patch configmap web -p '{"data":{"greeting":"salve","app.conf":"port = 9","new":"x"}}')");
  EXPECT_TRUE(eventually([&] { return in("cat /etc/web/app.conf") == "port = 9"; })) << cluster.log("n1");
  EXPECT_EQ(in("cat /etc/frozen.conf; ls /etc/web; cat /srv/all/hi; echo; echo $GREETING"),
            "port = 8080app.conf\ngreeting\nnew\nsalve\nhello\n");
  kubectl("label pod all tier=front --overwrite");
  EXPECT_TRUE(eventually([&] { return in("cat /etc/podinfo/labels") == "app=\"all\"\ntier=\"front\""; }));
  EXPECT_TRUE(cluster.apply("apiVersion: v1\nkind: Secret\nmetadata: {name: never}\nstringData: {extra: now}\n"));
  EXPECT_TRUE(eventually([&] { return in("cat /srv/all/extra") == "now"; })) << "an optional source that comes later";

  // A killed agent finds everything as it is, and what changed meanwhile is made good.
  cluster.stop_agent("n1", 9);
  kubectl(R"(patch configmap web -p '{"data":{"greeting":"oi"}}')");
  cluster.start_agent("n1");
  EXPECT_TRUE(eventually([&] { return in("cat /etc/web/greeting") == "oi"; }, 20000)) << cluster.log("n1");
  EXPECT_EQ(restarts(), before);
  // What goes while a pod runs stays in its files.
  kubectl("delete secret login");
  EXPECT_TRUE(eventually([&] {
    return events("FailedMount").find("\"login\" : secret \"login\" not found") != std::string::npos;
  })) << events("FailedMount");
  EXPECT_EQ(in("cat /secrets/deep/pw"), "s3cret");
  // A Secret is in no file of the node.
  std::string found;
  shell("grep -rls s3cret " + cluster.directory() + "/n1/data; true", &found);
  EXPECT_EQ(found, "");
}

TEST_F(VolumesE2e, APodWaitsForWhatItNamesAndStartsWhenItIsThere) {
  up();
  ASSERT_TRUE(cluster.apply(R"(
apiVersion: v1
kind: Pod
metadata: {name: env}
spec:
  nodeName: n1
  terminationGracePeriodSeconds: 1
  containers:
    - name: main
      image: host
      command: [sleep, infinity]
      env: [{name: A, valueFrom: {configMapKeyRef: {name: late, key: a}}}]
    - {name: other, image: host, command: [sleep, infinity]}
---
apiVersion: v1
kind: Pod
metadata: {name: vol}
spec:
  nodeName: n1
  terminationGracePeriodSeconds: 1
  containers:
    - {name: main, image: host, command: [sleep, infinity], volumeMounts: [{name: v, mountPath: /v}]}
  volumes: [{name: v, secret: {secretName: late, items: [{key: k, path: k}]}}]
)"));
  ASSERT_TRUE(eventually([&] { return waiting("env", "reason") == "CreateContainerConfigError"; }))
      << cluster.log("n1");
  EXPECT_TRUE(eventually([&] { return waiting("env", "message") == "configmap \"late\" not found"; }))
      << waiting("env", "message");
  auto other = [&](const char* field) {
    auto got = cluster.get("pod env");
    if (!got.is_object()) return std::string();
    const auto& statuses = api::array_at(got.get_object(), "status.containerStatuses");
    return statuses.size() < 2 ? "" : api::text_at(statuses[1].get_object(), field);
  };
  EXPECT_TRUE(eventually([&] { return other("state.running.startedAt") != ""; }))
      << "the other container waits for nobody\n"
      << cluster.log("n1");
  auto since = other("state.running.startedAt");
  EXPECT_NE(cluster.kubectl("get pod env").find("1/2"), std::string::npos);
  EXPECT_NE(cluster.kubectl("get pod env").find("CreateContainerConfigError"), std::string::npos);
  EXPECT_TRUE(
      eventually([&] { return events("Failed").find("Error: configmap \"late\" not found") != std::string::npos; }));
  EXPECT_TRUE(eventually([&] {
    return events("FailedMount") == "MountVolume.SetUp failed for volume \"v\" : secret \"late\" not found\n";
  })) << events("FailedMount");
  EXPECT_EQ(waiting("vol", "reason"), "ContainerCreating");

  ASSERT_TRUE(cluster.apply("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: late}\ndata: {b: '1'}\n"));
  ASSERT_TRUE(cluster.apply("apiVersion: v1\nkind: Secret\nmetadata: {name: late}\nstringData: {other: '1'}\n"));
  EXPECT_TRUE(eventually([&] { return waiting("env", "message") == "couldn't find key a in ConfigMap default/late"; }))
      << waiting("env", "message");
  EXPECT_TRUE(eventually([&] {
    return events("FailedMount").find("references non-existent secret key: k") != std::string::npos;
  })) << events("FailedMount");
  kubectl(R"(patch configmap late -p '{"data":{"a":"2"}}')");
  kubectl(R"(patch secret late -p '{"stringData":{"k":"3"}}')");
  EXPECT_TRUE(cluster.wait_pod_ready("env"));
  EXPECT_TRUE(cluster.wait_pod_ready("vol"));
  EXPECT_EQ(in("echo $A", "env") + in("cat /v/k", "vol"), "2\n3");
  EXPECT_EQ(other("state.running.startedAt"), since);
  // Nobody asks again and again: the waiting cost one watch each.
  EXPECT_LT(cluster.metric("n1", "trama_api_requests_total"), 200);
}

// What curl got: status, and the body after it.
class TokensE2e : public VolumesE2e {
 protected:
  std::string ask(const std::string& token, const std::string& path, const std::string& body = "") {
    std::string out;
    auto data = body.empty() ? std::string() : "-X POST -H 'Content-Type: application/json' -d '" + body + "'";
    auto command = fmt::format(
        "nsenter --net=/run/netns/{} curl -s -w '%{{http_code}}' --max-time 10 --cacert {}/controller/pki/ca.crt -H "
        "'Authorization: Bearer {}' {} https://10.90.0.1:6443{}",
        cluster.netns("hub"), cluster.directory(), token, data, path);
    (void)shell(command, &out);
    return out;
  }
  std::string status(const std::string& token, const std::string& path = "/api/v1/namespaces/default/pods") {
    auto out = ask(token, path);
    return out.size() < 3 ? "no answer" : out.substr(out.size() - 3);
  }
  json::object request(const std::string& spec, const std::string& account = "robot") {
    auto file = cluster.directory() + "/request.json";
    (void)base::write_file_atomic(
        file, R"({"apiVersion":"authentication.k8s.io/v1","kind":"TokenRequest","spec":{)" + spec + "}}");
    auto out =
        cluster.kubectl("create --raw /api/v1/namespaces/default/serviceaccounts/" + account + "/token -f " + file);
    boost::system::error_code ec;
    auto parsed = json::parse(out, ec);
    EXPECT_FALSE(ec) << out;
    return ec ? json::object() : parsed.as_object();
  }
  std::string token(const std::string& spec = "") { return api::text_at(request(spec), "status.token"); }
  // The same token with other claims, signed by the cluster's own CA or by another one.
  std::string forged(const std::string& good, std::function<void(json::object&)> change, bool stranger = false) {
    auto parsed = pki::parse_jwt(good);
    auto file = [&](const char* name) {
      return base::read_file(cluster.directory() + "/controller/pki/" + name).value_or("");
    };
    auto ca = stranger ? pki::Authority::create("trama", std::time(nullptr))
                       : pki::Authority::from_pem(file("ca.crt"), file("ca.key"));
    EXPECT_TRUE(parsed && ca);
    if (!parsed || !ca) return "";
    auto claims = parsed->claims;
    change(claims);
    return pki::sign_jwt(ca->key(), parsed->key_id, claims).value_or("");
  }
};

TEST_F(TokensE2e, ATokenSpeaksForItsAccountUntilAnyOfThemEnds) {
  up();
  kubectl("create serviceaccount robot");
  auto good = token();
  EXPECT_EQ(status(good), "403") << "an account may ask what it may do, and no more";
  EXPECT_NE(ask(good, "/apis/authentication.k8s.io/v1/selfsubjectreviews",
                R"({"kind":"SelfSubjectReview","apiVersion":"authentication.k8s.io/v1"})")
                .find(R"("username":"system:serviceaccount:default:robot","groups":["system:serviceaccounts",)"
                      R"("system:serviceaccounts:default","system:authenticated"])"),
            std::string::npos);
  EXPECT_NE(cluster.kubectl("annotate serviceaccount robot trama.dev/role=admin", 1).find("must be view or edit"),
            std::string::npos);
  kubectl("annotate serviceaccount robot trama.dev/role=view");
  EXPECT_EQ(status(good), "200");
  EXPECT_EQ(status(good, "/api/v1/namespaces/default/secrets"), "403");

  EXPECT_EQ(status(forged(good, [](json::object&) {})), "200") << "the control: such a forgery is good";
  auto now = std::time(nullptr);
  EXPECT_EQ(status(forged(good, [&](json::object& c) { c["exp"] = now - 1; })), "401");
  EXPECT_EQ(status(forged(good, [&](json::object& c) { c.erase("exp"); })), "401");
  EXPECT_EQ(status(forged(good, [&](json::object& c) { c["nbf"] = now + 100; })), "401");
  EXPECT_EQ(status(forged(good, [&](json::object& c) { c["iss"] = "https://elsewhere"; })), "401");
  EXPECT_EQ(status(forged(good, [&](json::object& c) { c["sub"] = "system:serviceaccount:default:other"; })), "401");
  EXPECT_EQ(status(forged(good, [&](json::object& c) { c["aud"] = json::array{"vault"}; })), "401");
  EXPECT_EQ(status(forged(
                good, [](json::object&) {}, true)),
            "401")
      << "another key under the same name";
  auto altered = good;
  altered[altered.size() - 10] = altered[altered.size() - 10] == 'A' ? 'B' : 'A';
  EXPECT_EQ(status(altered), "401");
  auto claims = good.substr(good.find('.'), good.rfind('.') - good.find('.') + 1);
  EXPECT_EQ(status(pki::to_base64url(R"({"alg":"none","kid":"x"})") + claims), "401");
  EXPECT_EQ(status(token(R"("audiences":["vault"])")), "401");
  for (const char* bad :
       {R"("expirationSeconds":599)", R"("boundObjectRef":{"kind":"Secret","apiVersion":"v1","name":"x"})",
        R"("boundObjectRef":{"kind":"Pod","apiVersion":"v1","name":"nobody"})"}) {
    (void)base::write_file_atomic(
        cluster.directory() + "/bad.json",
        fmt::format(R"({{"apiVersion":"authentication.k8s.io/v1","kind":"TokenRequest","spec":{{{}}}}})", bad));
    (void)cluster.kubectl(
        "create --raw /api/v1/namespaces/default/serviceaccounts/robot/token -f " + cluster.directory() + "/bad.json",
        1);
  }

  // A verifier elsewhere: it asks, or it has the keys.
  auto review = [&](const std::string& of, const std::string& audiences) {
    return ask(good, "/apis/authentication.k8s.io/v1/tokenreviews",
               R"({"kind":"TokenReview","apiVersion":"authentication.k8s.io/v1","spec":{"token":")" + of +
                   R"(","audiences":[)" + audiences + "]}}");
  };
  auto vault = token(R"("audiences":["vault"],"expirationSeconds":600)");
  EXPECT_NE(review(vault, R"("vault","x")")
                .find(R"("authenticated":true,"user":{"username":"system:serviceaccount:default:robot")"),
            std::string::npos)
      << review(vault, R"("vault","x")");
  EXPECT_NE(review(vault, R"("x")").find(R"("authenticated":false)"), std::string::npos);
  EXPECT_NE(review(altered, "").find(R"("authenticated":false)"), std::string::npos);
  auto keys = ask(good, "/openid/v1/jwks");
  EXPECT_NE(keys.find(pki::parse_jwt(good)->key_id), std::string::npos) << keys;
  EXPECT_NE(
      ask(good, "/.well-known/openid-configuration").find(R"("issuer":"https://kubernetes.default.svc.cluster.local")"),
      std::string::npos);

  // It outlives a restart of the controller, and not its account.
  cluster.stop_controller();
  cluster.start_controller();
  EXPECT_EQ(status(good), "200");
  kubectl("delete serviceaccount robot");
  EXPECT_EQ(status(good), "401");
  kubectl("create serviceaccount robot");
  kubectl("annotate serviceaccount robot trama.dev/role=view");
  EXPECT_EQ(status(good), "401") << "one of the same name is another one";
}

TEST_F(TokensE2e, APodHasATokenOfItsOwnThatReachesTheServerAndEndsWithIt) {
  up();
  kubectl("create serviceaccount robot");
  kubectl("annotate serviceaccount robot trama.dev/role=view");
  kubectl("create configmap ca --from-file=ca.crt=" + cluster.directory() + "/controller/pki/ca.crt");
  ASSERT_TRUE(cluster.apply(R"(
apiVersion: v1
kind: Pod
metadata: {name: all}
spec:
  nodeName: n1
  serviceAccountName: robot
  terminationGracePeriodSeconds: 1
  containers:
    - {name: main, image: host, command: [sleep, infinity], volumeMounts: [{name: token, mountPath: /var/run/secrets/kubernetes.io/serviceaccount}]}
  volumes:
    - name: token
      projected:
        defaultMode: 0400
        sources:
          - {serviceAccountToken: {path: token, expirationSeconds: 600}}
          - {configMap: {name: ca}}
          - {downwardAPI: {items: [{path: namespace, fieldRef: {fieldPath: metadata.namespace}}]}}
)"));
  ASSERT_TRUE(cluster.wait_pod_ready("all")) << cluster.log("n1");
  const std::string asked =
      "cd /var/run/secrets/kubernetes.io/serviceaccount; curl -sS --max-time 5 --cacert ca.crt -H "
      "\"Authorization: Bearer $(cat token)\" "
      "https://$KUBERNETES_SERVICE_HOST:$KUBERNETES_SERVICE_PORT/api/v1/namespaces/$(cat namespace)/pods/all";
  EXPECT_TRUE(eventually([&] { return in(asked).find("\"serviceAccountName\":\"robot\"") != std::string::npos; }))
      << in(asked);
  auto own = in("cat /var/run/secrets/kubernetes.io/serviceaccount/token");
  EXPECT_EQ(status(own), "200");
  auto claims = pki::parse_jwt(own);
  ASSERT_TRUE(claims) << own;
  EXPECT_EQ(claims->claims.at("exp").as_int64() - claims->claims.at("iat").as_int64(), 600);
  EXPECT_EQ(api::text_at(claims->claims.at("kubernetes.io").as_object(), "pod.name"), "all");
  // An agent that comes anew takes it over: the volume is written again, with the same token in it.
  cluster.stop_agent("n1", 9);
  kubectl(R"(patch configmap ca -p '{"data":{"more":"x"}}')");
  cluster.start_agent("n1");
  EXPECT_TRUE(eventually([&] { return in("cat /var/run/secrets/kubernetes.io/serviceaccount/more") == "x"; }, 20000))
      << cluster.log("n1");
  EXPECT_EQ(in("cat /var/run/secrets/kubernetes.io/serviceaccount/token"), own);
  auto bound = token(R"("boundObjectRef":{"kind":"Pod","apiVersion":"v1","name":"all"})");
  EXPECT_EQ(status(bound), "200");
  kubectl("delete pod all");
  EXPECT_EQ(status(own), "401");
  EXPECT_EQ(status(bound), "401");
}

// A client library finds its own in the pod: names, the CA and a token, without a word in the manifest.
TEST_F(TokensE2e, APodThatSaysNothingSpeaksToTheServerByDefault) {
  up();
  ASSERT_TRUE(cluster.apply(R"(
apiVersion: v1
kind: Pod
metadata: {name: all}
spec:
  nodeName: n1
  terminationGracePeriodSeconds: 1
  containers: [{name: main, image: host, command: [sleep, infinity]}]
---
apiVersion: v1
kind: Pod
metadata: {name: mute}
spec:
  nodeName: n1
  automountServiceAccountToken: false
  terminationGracePeriodSeconds: 1
  containers: [{name: main, image: host, command: [sleep, infinity]}]
)"));
  ASSERT_TRUE(cluster.wait_pod_ready("all")) << cluster.log("n1");
  ASSERT_TRUE(cluster.wait_pod_ready("mute")) << cluster.log("n1");
  // The agent's own server opens when its certificate has come, which pods do not wait for.
  ASSERT_TRUE(eventually([&] { return in("echo up") == "up\n"; })) << in("echo up");
  EXPECT_EQ(in("ls /var/run/secrets/kubernetes.io/serviceaccount"), "ca.crt\nnamespace\ntoken\n");
  EXPECT_EQ(in("cat /var/run/secrets/kubernetes.io/serviceaccount/namespace"), "default");
  EXPECT_EQ(in("ls /var/run/secrets 2>&1 || true", "mute"),
            "ls: cannot access '/var/run/secrets': No such file or directory\n");
  EXPECT_EQ(in("findmnt -nro TARGET | grep -c secrets; true", "mute"), "0\n");

  auto answer = [&](const std::string& path, const std::string& more = "--cacert ca.crt") {
    return in("cd /var/run/secrets/kubernetes.io/serviceaccount; curl -sS --max-time 5 -w _%{http_code} " + more +
              " -H \"Authorization: Bearer $(cat token)\" https://kubernetes.default.svc" + path + " 2>&1; true");
  };
  EXPECT_TRUE(eventually([&] { return answer("/api").ends_with("_200"); })) << answer("/api");
  EXPECT_NE(answer("/api", "").find("certificate"), std::string::npos) << "the control: without the CA nobody is known";
  EXPECT_TRUE(in("curl -sSk --max-time 5 -w _%{http_code} https://kubernetes.default.svc/api").ends_with("_403"))
      << "the control: without the token one is nobody";
  auto list = answer("/api/v1/namespaces/default/pods");
  EXPECT_TRUE(list.ends_with("_403")) << list;
  EXPECT_NE(list.find("User \\\"system:serviceaccount:default:default\\\" cannot list"), std::string::npos) << list;
  kubectl("annotate serviceaccount default trama.dev/role=view");
  list = answer("/api/v1/namespaces/default/pods");
  EXPECT_TRUE(list.ends_with("_200") && list.find("\"name\":\"mute\"") != list.npos) << list;

  auto said = cluster.kubectl("describe pod all");
  for (const char* text : {"kube-api-access-", "/var/run/secrets/kubernetes.io/serviceaccount from kube-api-access-",
                           "Projected (a volume that contains injected data from multiple sources)",
                           "TokenExpirationSeconds:  3607", "kube-root-ca.crt"})
    EXPECT_NE(said.find(text), std::string::npos) << text << "\n" << said;
  EXPECT_EQ(cluster.kubectl("describe pod mute").find("kube-api-access"), std::string::npos);

  // Over WebSockets, as kubectl speaks from 1.30 on.
  if (auto newer = new_kubectl(); !newer.empty()) {
    ::setenv("TRAMA_KUBECTL", newer.c_str(), 1);
    EXPECT_EQ(cluster.kubectl("exec all -- cat /var/run/secrets/kubernetes.io/serviceaccount/namespace"), "default");
    EXPECT_NE(cluster.kubectl("describe pod all").find("Service Account:  default"), std::string::npos);
    ::unsetenv("TRAMA_KUBECTL");
  }

  // Its account goes: so does what it may do, and another one of that name is not the same.
  auto own = in("cat /var/run/secrets/kubernetes.io/serviceaccount/token");
  EXPECT_EQ(status(own), "200");
  kubectl("delete serviceaccount default");
  kubectl("delete configmap kube-root-ca.crt");
  EXPECT_TRUE(eventually([&] {
    return cluster.get("serviceaccount default").is_object() && cluster.get("configmap kube-root-ca.crt").is_object();
  }));
  EXPECT_EQ(status(own), "401");
  kubectl("-n kube-system delete configmap kube-root-ca.crt");
  EXPECT_TRUE(eventually([&] { return cluster.get("configmap kube-root-ca.crt -n kube-system").is_object(); }));
}

}  // namespace
}  // namespace trama::test
