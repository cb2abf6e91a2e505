// SPDX-License-Identifier: GPL-2.0-or-later
#include "agent/compute/sandboxes.h"

#include <gtest/gtest.h>

#include "tests/unit/agent/objects.h"

namespace trama::agent {
namespace {

std::string pod_text(const std::string& name, const std::string& spec, const std::string& meta = "",
                     const std::string& status = "") {
  return R"({"metadata":{"name":")" + name + R"(","namespace":"default","uid":"u-)" + name + "\"" + meta +
         R"(},"spec":{"nodeName":"n1",)" + spec + R"(},"status":{)" + status + "}}";
}
const std::string kPlain = R"("containers":[{"name":"web","image":"host","command":["trama","echo"]}])";

void add(ClusterView::Objects& pods, const std::string& text) {
  auto pod = object_from("pods", text);
  pods[pod->key.ns + "/" + pod->key.name] = pod;
}

struct World {
  ClusterView::Objects pods, services;
  SandboxContext context;
  AddressSource addresses = [](const api::Object&) -> base::Result<std::vector<base::Ip>> {
    return std::vector<base::Ip>{base::Ip::v4(10, 244, 1, 2)};
  };
  World() {
    context.node_name = "n1";
    context.host_ips = {base::Ip::v4(192, 0, 2, 1)};
    context.mtu = 1400;
    context.node_resolv_conf = "nameserver 127.0.0.53\nnameserver 192.0.2.53\nsearch example.org\noptions edns0\n";
  }
  SandboxOutcome run() {
    ServiceNames names(services, "cluster.local");
    return compute_sandboxes(pods, names, context, addresses);
  }
};

TEST(Sandboxes, APodBecomesASandbox) {
  World w;
  w.services["default/db"] = object_from(
      "services", R"({"metadata":{"name":"db","namespace":"default"},"spec":{"clusterIPs":["10.96.0.7"]}})");
  w.services["kube/dns"] =
      object_from("services", R"({"metadata":{"name":"dns","namespace":"kube"},"spec":{"clusterIP":"10.96.0.8"}})");
  w.services["kube/none"] =
      object_from("services", R"({"metadata":{"name":"none","namespace":"kube"},"spec":{"clusterIP":"None"}})");
  add(w.pods,
      pod_text("web-1", R"j("restartPolicy":"OnFailure","hostAliases":[{"ip":"192.0.2.9","hostnames":["a","b"]}],
    "containers":[{"name":"web","image":"dir:/srv","command":["sh","-c"],"args":["echo $(GREETING) $$(X) $(NOPE)"],
      "workingDir":"/tmp","env":[{"name":"WHO","value":"you"},{"name":"GREETING","value":"hi $(WHO)"},
      {"name":"IP","valueFrom":{"fieldRef":{"fieldPath":"status.podIP"}}},
      {"name":"APP","valueFrom":{"fieldRef":{"fieldPath":"metadata.labels['example.org/app']"}}}],
      "resources":{"limits":{"cpu":"500m","memory":"64Mi"}}},
     {"name":"side","image":"host","command":["true"],"resources":{"limits":{"cpu":1,"memory":"1M"},"requests":{"cpu":"100m"}}}])j",
               R"(,"labels":{"example.org/app":"shop"})"));
  auto out = w.run();
  ASSERT_TRUE(out.troubles.empty()) << out.troubles.begin()->second.message;
  const auto& box = out.desired.sandboxes.at("u-web-1");
  EXPECT_EQ(box.network.netns_name, "default.web-1");
  EXPECT_EQ(box.network.mtu, 1400u);
  EXPECT_EQ(box.network.hosts,
            "# kept by trama\n127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n10.244.1.2 "
            "web-1\n192.0.2.9 a b\n"
            "10.96.0.7 db db.default db.default.svc db.default.svc.cluster.local\n"
            "10.96.0.8 dns.kube dns.kube.svc dns.kube.svc.cluster.local\n");
  EXPECT_EQ(box.network.resolv_conf, "# kept by trama\nnameserver 192.0.2.53\nsearch example.org\noptions edns0\n")
      << "no cluster DNS on this node";
  EXPECT_EQ(box.limits.cpu_millis, 1500u);
  EXPECT_EQ(box.limits.cpu_request_millis, 600u);
  EXPECT_EQ(box.limits.memory_bytes, 64u * 1024 * 1024 + 1000000);
  EXPECT_EQ(box.restart, netns::RestartPolicy::on_failure);
  EXPECT_FALSE(box.stop_with_grace);
  ASSERT_EQ(box.containers.size(), 2u);
  const auto& web = box.containers[0];
  EXPECT_EQ(web.command, (std::vector<std::string>{"sh", "-c", "echo hi you $(X) $(NOPE)"}));
  EXPECT_EQ(web.environment.at("TRAMA_POD"), "web-1");
  EXPECT_EQ(web.environment.at("TRAMA_NAMESPACE"), "default");
  EXPECT_EQ(web.environment.at("TRAMA_NODE"), "n1");
  EXPECT_EQ(web.environment.at("TRAMA_POD_IP"), "10.244.1.2");
  EXPECT_EQ(web.environment.at("IP"), "10.244.1.2");
  EXPECT_EQ(web.environment.at("APP"), "shop");
  EXPECT_EQ(web.working_directory, "/tmp");
  EXPECT_EQ(web.root, "dir:/srv");
}

TEST(Sandboxes, NothingIsIgnoredInSilence) {
  World w;
  const std::pair<std::string, std::string> cases[] = {
      {R"("hostNetwork":true,)" + kPlain, "spec.hostNetwork"},
      {R"("initContainers":[{"name":"x"}],)" + kPlain, "spec.initContainers"},
      {R"("containers":[{"name":"web","image":"nginx","command":["x"]}])", "image \"nginx\""},
      {R"("containers":[{"name":"web","image":"host"}])", "needs a command"},
      {R"("containers":[{"name":"web","image":"host","command":["x"],"volumeMounts":[{"name":"v","mountPath":"/v"}]}])",
       "volume v is not one of the pod's"},
      {R"("volumes":[{"name":"v","hostPath":{"path":"/etc"}}],)" + kPlain, "volume v: hostPath is not supported"},
      {R"("volumes":[{"name":"v","emptyDir":{"medium":"HugePages"}}],)" + kPlain, "emptyDir.medium HugePages"},
      {R"("volumes":[{"name":"v","projected":{"sources":[{"clusterTrustBundle":{"path":"x"}}]}}],)" + kPlain,
       "a projected clusterTrustBundle"},
      {R"("volumes":[{"name":"v","downwardAPI":{"items":[{"path":"x","fieldRef":{"fieldPath":"status.podIP"}}]}}],)" +
           kPlain,
       "volume v: x: fieldPath status.podIP is not supported in a file"},
      {R"("volumes":[{"name":"v","downwardAPI":{"items":[{"path":"../x","fieldRef":{"fieldPath":"metadata.name"}}]}}],)" +
           kPlain,
       "\"../x\" cannot be a file of a volume"},
      {R"("volumes":[{"name":"v","emptyDir":{}}],"containers":[{"name":"web","image":"host","command":["x"],"volumeMounts":[{"name":"v","mountPath":"/proc/x"}]}])",
       "mountPath \"/proc/x\""},
      {R"("volumes":[{"name":"v","emptyDir":{}}],"containers":[{"name":"web","image":"host","command":["x"],"volumeMounts":[{"name":"v","mountPath":"/v","subPath":"../x"}]}])",
       "subPath \"../x\""},
      {R"("containers":[{"name":"web","image":"host","command":["x"],"securityContext":{"runAsUser":1000}}])",
       "runAsUser"},
      {R"("containers":[{"name":"web","image":"host","command":["x"],"ports":[{"containerPort":80,"hostPort":80}]}])",
       "hostPort"},
      {R"("containers":[{"name":"web","image":"host","command":["x"],"env":[{"name":"P","valueFrom":{"fileKeyRef":{"path":"s","key":"k"}}}]}])",
       "of valueFrom fieldRef"},
      {R"("containers":[{"name":"web","image":"host","command":["x"],"resources":{"limits":{"cpu":"lots"}}}])",
       "resources.limits.cpu"},
  };
  int i = 0;
  for (const auto& [spec, why] : cases) add(w.pods, pod_text(fmt::format("p{}", i++), spec));
  add(w.pods, pod_text("good", kPlain));
  auto out = w.run();
  EXPECT_EQ(out.desired.sandboxes.size(), 1u);
  i = 0;
  for (const auto& [spec, why] : cases) {
    const auto& trouble = out.troubles[fmt::format("u-p{}", i++)];
    EXPECT_EQ(trouble.reason, "UnsupportedField");
    EXPECT_NE(trouble.message.find(why), std::string::npos) << why << " not in: " << trouble.message;
    EXPECT_TRUE(trouble.final);
  }
}

TEST(Sandboxes, APodWaitsForItsSourcesWithItsNetworkUp) {
  World w;
  add(w.pods,
      pod_text("p", R"("volumes":[{"name":"v","configMap":{"name":"c"}},{"name":"e","emptyDir":{"sizeLimit":"1Mi"}}],
    "containers":[{"name":"a","image":"host","command":["x"],"env":[{"name":"S","valueFrom":{"secretKeyRef":{"name":"s","key":"k"}}}]},
                  {"name":"b","image":"host","command":["x"],"volumeMounts":[{"name":"v","mountPath":"/etc//v/"}]}])"));
  std::map<std::string, SourceLookup> known;
  w.context.sources.object = [&](const api::Key& key) { return known[key.to_string()]; };
  auto out = w.run();
  EXPECT_TRUE(out.desired.sandboxes.at("u-p").hold_processes);
  EXPECT_TRUE(out.waits.empty()) << "nothing is said before the server was heard";
  known["configmaps/default/c"].state = known["secrets/default/s"].state = SourceLookup::State::missing;
  out = w.run();
  EXPECT_TRUE(out.desired.sandboxes.at("u-p").hold_processes);
  EXPECT_EQ(out.waits.at("u-p").volumes, (std::map<std::string, std::string>{{"v", "configmap \"c\" not found"}}));
  EXPECT_EQ(out.waits.at("u-p").containers, (std::map<std::string, std::string>{{"a", "secret \"s\" not found"}}));
  EXPECT_FALSE(out.desired.sandboxes.at("u-p").volumes.contains("v")) << "what a pod that runs has there is left alone";
  auto volume = SourceLookup{SourceLookup::State::found,
                             object_from("configmaps", R"({"metadata":{"name":"c"},"data":{"x":"1"}})")};
  known["configmaps/default/c"] = volume;
  out = w.run();
  EXPECT_FALSE(out.desired.sandboxes.at("u-p").hold_processes) << "a variable holds its own container only";
  EXPECT_TRUE(out.desired.sandboxes.at("u-p").containers[0].held);
  EXPECT_FALSE(out.desired.sandboxes.at("u-p").containers[1].held);
  known["configmaps/default/c"] = {SourceLookup::State::found,
                                   object_from("configmaps", R"({"metadata":{"name":"c"},"data":{"x":"1"}})")};
  known["secrets/default/s"] = {SourceLookup::State::found,
                                object_from("secrets", R"({"metadata":{"name":"s"},"data":{"k":"djE="}})")};
  out = w.run();
  const auto& box = out.desired.sandboxes.at("u-p");
  EXPECT_FALSE(box.hold_processes || box.containers[0].held);
  EXPECT_TRUE(out.waits.empty());
  EXPECT_EQ(box.containers[0].environment.at("S"), "v1");
  EXPECT_EQ(box.volumes.at("v").files.at("x").content, "1");
  EXPECT_TRUE(box.volumes.at("e").scratch);
  EXPECT_EQ(box.volumes.at("e").size_bytes, 1u << 20);
  EXPECT_EQ(box.containers[1].mounts.at(0), (netns::VolumeMount{"v", "/etc/v", "", false}));
}

TEST(Sandboxes, EndedAndDeletedPodsAreKeptButNeverStarted) {
  World w;
  add(w.pods, pod_text("done", kPlain, "", R"("phase":"Succeeded")"));
  add(w.pods,
      pod_text("going", kPlain, R"(,"deletionTimestamp":"2026-01-01T00:00:00Z","deletionGracePeriodSeconds":7)"));
  add(w.pods, pod_text("x", kPlain));
  auto out = w.run();
  EXPECT_EQ(out.desired.sandboxes.size(), 1u);
  EXPECT_EQ(out.nothing_to_stop, std::set<netns::Uid>{"u-going"});
  w.context.existing = {"u-done", "u-going"};
  out = w.run();
  EXPECT_EQ(out.desired.sandboxes.size(), 3u);
  EXPECT_TRUE(out.nothing_to_stop.empty());
  EXPECT_FALSE(out.desired.sandboxes.at("u-done").stop_with_grace);
  EXPECT_EQ(out.desired.sandboxes.at("u-going").stop_with_grace, std::chrono::seconds(7));
}

TEST(Sandboxes, OnlyOurNodesPodsAndTheOlderOneGetsTheLastAddress) {
  World w;
  add(w.pods, pod_text("b", kPlain, R"(,"creationTimestamp":"2026-01-01T00:00:01Z")"));
  add(w.pods, pod_text("a", kPlain, R"(,"creationTimestamp":"2026-01-01T00:00:02Z")"));
  w.pods["default/far"] = object_from(
      "pods", R"({"metadata":{"name":"far","namespace":"default","uid":"u-far"},"spec":{"nodeName":"n2"}})");
  int left = 1;
  w.addresses = [&left](const api::Object&) -> base::Result<std::vector<base::Ip>> {
    if (left-- > 0) return std::vector<base::Ip>{base::Ip::v4(10, 244, 1, 2)};
    return base::Error::text("no free pod address in 10.244.1.0/30: 1 of 1 are in use",
                             std::errc::address_not_available);
  };
  auto out = w.run();
  ASSERT_EQ(out.desired.sandboxes.size(), 1u);
  EXPECT_TRUE(out.desired.sandboxes.contains("u-b"));
  EXPECT_EQ(out.troubles.at("u-a").reason, "AddressExhausted");
  EXPECT_FALSE(out.troubles.at("u-a").final);
}

TEST(Sandboxes, LabNames) {
  EXPECT_EQ(netns_name("", "default", "web-1"), "default.web-1");
  EXPECT_EQ(netns_name("hello.n1.", "default", "web-1"), "hello.n1.web-1");
  EXPECT_EQ(netns_name("hello.n1.", "shop", "web-1"), "hello.n1.shop.web-1");
  World w;
  w.context.netns_prefix = "hello.n1.";
  add(w.pods, pod_text("shop.web", kPlain, R"(,"creationTimestamp":"2026-01-01T00:00:01Z")"));
  auto clash =
      R"({"metadata":{"name":"web","namespace":"shop","uid":"u-2","creationTimestamp":"2026-01-01T00:00:02Z"},"spec":{"nodeName":"n1",)" +
      kPlain + "}}";
  add(w.pods, clash);
  auto out = w.run();
  EXPECT_EQ(out.troubles.at("u-2").reason, "NameTaken");
  EXPECT_EQ(out.desired.sandboxes.size(), 1u);
}

TEST(ServiceNames, TooManyAreCutAndSaidSo) {
  ClusterView::Objects services;
  for (int i = 0; i < 5; ++i) {
    auto ns = i < 2 ? "a" : "b";
    auto s = object_from(
        "services",
        fmt::format(R"({{"metadata":{{"name":"s{}","namespace":"{}"}},"spec":{{"clusterIP":"10.96.0.{}"}}}})", i, ns,
                    i + 1));
    services[s->key.ns + "/" + s->key.name] = s;
  }
  ServiceNames names(services, "cluster.local", 3);
  EXPECT_EQ(names.lines_for("a"),
            "10.96.0.1 s0 s0.a s0.a.svc s0.a.svc.cluster.local\n10.96.0.2 s1 s1.a s1.a.svc s1.a.svc.cluster.local\n"
            "# 3 more Services are not listed here; DNS knows them\n");
}

std::string resolv_of(const std::string& spec, const ClusterDns& dns) {
  auto pod = object_from("pods", R"({"metadata":{"name":"a","namespace":"prod"},"spec":)" + spec + "}");
  return resolv_conf(*pod, "nameserver 192.0.2.53\nsearch example.org\noptions edns0\n", dns);
}

TEST(ResolvConf, EachPolicyAsAKubelet) {
  ClusterDns dns{{*base::Ip::parse("10.96.0.10")}, "lab.test"};
  EXPECT_EQ(resolv_of("{}", dns),
            "# kept by trama\nnameserver 10.96.0.10\nsearch prod.svc.lab.test svc.lab.test lab.test example.org\n"
            "options ndots:5\n");
  EXPECT_EQ(resolv_of(R"({"dnsPolicy":"Default"})", dns),
            "# kept by trama\nnameserver 192.0.2.53\nsearch example.org\noptions edns0\n");
  EXPECT_EQ(resolv_of(R"({"dnsPolicy":"None","dnsConfig":{"nameservers":["192.0.2.9"],"searches":["x.test"],
      "options":[{"name":"ndots","value":"2"},{"name":"rotate"}]}})",
                      dns),
            "# kept by trama\nnameserver 192.0.2.9\nsearch x.test\noptions ndots:2 rotate\n");
  EXPECT_EQ(resolv_of(R"({"dnsPolicy":"ClusterFirst"})", ClusterDns()),
            "# kept by trama\nnameserver 192.0.2.53\nsearch example.org\noptions edns0\n")
      << "a node without the cluster's DNS";
}

TEST(ResolvConf, NoMoreThanTheCLibraryReads) {
  ClusterDns dns{{*base::Ip::parse("10.96.0.10"), *base::Ip::parse("fd00:96::a")}, "cluster.local"};
  auto text = resolv_of(R"({"dnsConfig":{"nameservers":["192.0.2.1","192.0.2.2"]}})", dns);
  EXPECT_NE(text.find("192.0.2.1"), std::string::npos);
  EXPECT_EQ(text.find("192.0.2.2"), std::string::npos);
}

}  // namespace
}  // namespace trama::agent
