// SPDX-License-Identifier: GPL-2.0-or-later
// NetworkPolicies, Services and what stands behind them, through kubectl.
#include <fmt/format.h>
#include <gmock/gmock.h>

#include "tests/e2e/support/kubectl.h"

namespace trama::test {
namespace {

using testing::AllOf;
using testing::ContainsRegex;
using testing::HasSubstr;
using testing::Not;

constexpr const char* kPolicy = R"(
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: web}
spec:
  podSelector: {matchLabels: {app: web}}
  ingress:
  - from:
    - namespaceSelector: {}
      podSelector: {matchLabels: {role: client}}
    - ipBlock: {cidr: 10.0.0.0/8, except: [10.1.0.0/16]}
    ports: [{protocol: TCP, port: 8080, endPort: 8090}]
  egress: [{to: [{podSelector: {}}], ports: [{protocol: UDP, port: 53}]}]
)";

TEST_F(Kubectl, NetworkPoliciesAreKeptAndChecked) {
  EXPECT_THAT(cluster("api-resources"), ContainsRegex("networkpolicies +netpol +(true +)?networking.k8s.io"));
  EXPECT_THAT(kubectl("apply -f -", kPolicy), HasSubstr("networkpolicy.networking.k8s.io/web created"));
  EXPECT_THAT(kubectl("apply -f -", kPolicy), HasSubstr("networkpolicy.networking.k8s.io/web unchanged"));
  EXPECT_THAT(kubectl("get netpol"), AllOf(HasSubstr("POD-SELECTOR"), ContainsRegex("web +app=web")));
  EXPECT_THAT(kubectl("describe netpol web"),
              AllOf(HasSubstr("PodSelector:     app=web"), HasSubstr("NamespaceSelector: <none>"),
                    HasSubstr("CIDR: 10.0.0.0/8"), HasSubstr("Except: 10.1.0.0/16"),
                    HasSubstr("Policy Types: Ingress, Egress"), HasSubstr("To Port: 53/UDP")));
  EXPECT_EQ(kubectl("get netpol web -o 'jsonpath={.spec.policyTypes} {.spec.ingress[0].ports[0].endPort}'"),
            R"(["Ingress","Egress"] 8090)");
  std::string wrong = kPolicy;
  wrong.replace(wrong.find("10.1.0.0/16"), 11, "11.0.0.0/16");
  EXPECT_THAT(kubectl("apply -f -", wrong, 1),
              HasSubstr("spec.ingress[0].from[1].ipBlock.except[0]: Invalid value: \"11.0.0.0/16\": must be a strict "
                        "subset of `cidr`"));
  EXPECT_THAT(kubectl(R"(patch netpol web --type merge -p '{"spec":{"egress":[]}}')"), HasSubstr("patched"));
  EXPECT_EQ(kubectl("get netpol web -o 'jsonpath={.metadata.generation}'"), "2");
  EXPECT_THAT(kubectl("delete netpol web"), HasSubstr("deleted"));
}

// A pod that says it is running and ready: there is no node here that could say so.
std::string pod(const std::string& name, const std::string& ip) {
  return fmt::format(R"({{"apiVersion":"v1","kind":"Pod","metadata":{{"name":"{}","labels":{{"app":"web"}}}},
    "spec":{{"containers":[{{"name":"c","image":"host","ports":[{{"name":"http","containerPort":8080}}]}}]}},
    "status":{{"phase":"Running","podIP":"{}","podIPs":[{{"ip":"{}"}}],"conditions":[{{"type":"Ready","status":"True"}}]}}}})",
                     name, ip, ip);
}

TEST_F(Kubectl, EndpointsFollowPodsAndGoWithTheService) {
  EXPECT_THAT(cluster("api-resources"), ContainsRegex("endpoints +ep +(true +)?v1"));
  kubectl("create -f -", R"({"apiVersion":"v1","kind":"Service","metadata":{"name":"web","labels":{"tier":"front"}},
    "spec":{"selector":{"app":"web"},"ports":[{"name":"http","port":80,"targetPort":"http"}]}})");
  EXPECT_THAT(eventually("get endpoints", "web"), AllOf(HasSubstr("ENDPOINTS"), ContainsRegex("web +<none>")));
  for (int i = 1; i <= 4; ++i) {
    auto name = fmt::format("p{}", i), ip = fmt::format("10.7.0.{}", i);
    kubectl("create -f -", pod(name, ip));
    kubectl(fmt::format("replace --raw /api/v1/namespaces/{}/pods/{}/status -f -", ns_, name), pod(name, ip));
  }
  eventually("get ep web", "10.7.0.1:8080,10.7.0.2:8080,10.7.0.3:8080 + 1 more...");
  EXPECT_THAT(kubectl("describe ep web"), AllOf(HasSubstr("10.7.0.1,10.7.0.2,10.7.0.3,10.7.0.4"),
                                                ContainsRegex("http +8080 +TCP"), HasSubstr("tier=front")));
  EXPECT_THAT(kubectl("describe svc web"), ContainsRegex("Endpoints: +10.7.0.[1-4]:8080"));
  EXPECT_EQ(kubectl("get ep web -o 'jsonpath={.subsets[0].addresses[0].targetRef.name} "
                    "{.metadata.labels.endpoints\\.kubernetes\\.io/managed-by}'"),
            "p1 endpoint-controller");
  kubectl("delete pod p1 --force --grace-period=0");
  eventually("get ep web", "10.7.0.2:8080,10.7.0.3:8080,10.7.0.4:8080 ");
  kubectl("delete ep web");
  eventually("get ep web", "10.7.0.2:8080,10.7.0.3:8080,10.7.0.4:8080 ");
  kubectl("delete svc web");
  for (int tries = 0; tries < 100 && KubectlCluster::instance().kubectl("-n " + ns_ + " get ep web").status == 0;)
    ++tries;
  EXPECT_THAT(kubectl("get ep web", "", 1), HasSubstr("endpoints \"web\" not found"));
  EXPECT_THAT(cluster("get ep kubernetes"), HasSubstr("kubernetes"));
}

TEST_F(Kubectl, EndpointsOfPeopleBecomeSlices) {
  auto endpoints = [](const char* ip) {
    return fmt::format(R"({{"apiVersion":"v1","kind":"Endpoints","metadata":{{"name":"db"}},
      "subsets":[{{"addresses":[{{"ip":"{}"}}],"ports":[{{"name":"sql","port":5432}}]}}]}})",
                       ip);
  };
  EXPECT_THAT(kubectl("apply -f -", endpoints("127.0.0.1"), 1),
              HasSubstr("subsets[0].addresses[0].ip: Invalid value: \"127.0.0.1\": may not be in the loopback range"));
  EXPECT_THAT(kubectl("apply -f -", R"({"apiVersion":"v1","kind":"Endpoints","metadata":{"name":"db"},
      "subsets":[{"ports":[{"port":5432}]}]})",
                      1),
              HasSubstr("subsets[0]: Required value: must specify `addresses` or `notReadyAddresses`"));
  kubectl("create service clusterip db --tcp=5432:5432");
  eventually("get ep db", "<none>");
  kubectl("patch svc db --type json -p '[{\"op\":\"remove\",\"path\":\"/spec/selector\"}]'");
  kubectl("apply --overwrite -f -", endpoints("192.0.2.7"));
  auto slices = eventually(
      "get endpointslices -l kubernetes.io/service-name=db,"
      "endpointslice.kubernetes.io/managed-by=endpointslicemirroring-controller.k8s.io",
      "192.0.2.7");
  EXPECT_THAT(slices, ContainsRegex("db-[a-z0-9]+ +IPv4 +5432 +192.0.2.7"));
  kubectl("apply -f -", endpoints("192.0.2.8"));
  eventually("get endpointslices", "192.0.2.8");
  kubectl("label ep db endpointslice.kubernetes.io/skip-mirror=true");
  for (int tries = 0; tries < 100 && kubectl("get endpointslices -o name").find("/db-") != std::string::npos;) ++tries;
  EXPECT_THAT(kubectl("get endpointslices -o name"), Not(HasSubstr("/db-")));
}

}  // namespace
}  // namespace trama::test
