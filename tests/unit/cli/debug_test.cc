// SPDX-License-Identifier: GPL-2.0-or-later
// `trama service` and `trama doctor` as people see them.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "cli/describe.h"
#include "cli/doctor.h"
#include "cli/service_text.h"
#include "tests/support/golden.h"

namespace trama::cli {
namespace {
namespace json = boost::json;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

json::object object(const char* text) { return json::parse(text).as_object(); }

json::object web() {
  return object(R"({"namespace":"default","name":"web","node":"n1","programmed":true,"algorithm":"maglev",
    "internalPolicy":"Cluster","externalPolicy":"Local","affinitySeconds":10800,"failures":[
      "default/web: endpoint 127.0.0.1 of web-x refused: loopback address"],"ports":[
    {"name":"http","protocol":"tcp","port":80,"id":2,"conntrackMark":"0x2000/0xfffff000","chain":"n3",
     "endpointsMap":"slots","affinityEntries":4,"fronts":[
      {"kind":"ClusterIP","address":"10.96.0.10","port":80,"mark":"0x00002003","table":"ip trama","map":"services",
       "key":"10.96.0.10 . tcp . 80"},
      {"kind":"ClusterIP","address":"fd00:96::10","port":80,"mark":"0x00002003","table":"ip6 trama","map":"services",
       "key":"fd00:96::10 . tcp . 80"},
      {"kind":"NodePort","port":30080,"mark":"0x00002803","table":"ip trama","map":"nodeports","key":"tcp . 30080"}],
     "endpoints":[
      {"address":"10.244.1.2","port":8080,"pod":"default/web-1","node":"n1","weight":2,"ready":true,"serving":true,
       "terminating":false,"local":true,"slots":2,"connections":17},
      {"address":"10.244.2.2","port":8080,"pod":"default/web-2","node":"n2","weight":1,"ready":true,"serving":true,
       "terminating":false,"local":false,"slots":1,"connections":0},
      {"address":"fd00:244:2::3","port":8080,"pod":"default/web-3","node":"","weight":1,"ready":false,"serving":true,
       "terminating":true,"local":false,"slots":0}]},
    {"name":"","protocol":"udp","port":53,"fronts":[{"kind":"ExternalIP","address":"192.0.2.7","port":53}],
     "endpoints":[]}]})");
}

TEST(ServiceText, InALab) {
  EXPECT_EQ(test::golden_difference("cli/service_lab.txt", service_text(web(), "hello.n1")), "");
}
TEST(ServiceText, OnAMachine) {
  auto page = web();
  page["programmed"] = false;
  EXPECT_EQ(test::golden_difference("cli/service_machine.txt", service_text(page, "")), "");
}
TEST(ServiceText, TheCommandsAreRunnable) {
  EXPECT_THAT(commands_by_hand(web(), "hello.n1"),
              ElementsAre("ip netns exec hello.n1 nft list map ip trama slots | grep 'default/web:http'",
                          "ip netns exec hello.n1 nft get element ip trama services '{ 10.96.0.10 . tcp . 80 }'",
                          "ip netns exec hello.n1 conntrack -L -m 0x2000/0xfffff000"));
  EXPECT_THAT(commands_by_hand(object("{}"), ""), IsEmpty());
}
TEST(ServiceText, NothingOfAHostilePageIsBelieved) {
  for (auto text : {"{}", R"({"ports":3})", R"({"ports":[3,{"fronts":[1],"endpoints":[null,{}]}]})"})
    EXPECT_THAT(service_text(object(text), ""), HasSubstr("NOT PROGRAMMED")) << text;
}
TEST(Describe, AServiceEndsWithWhatANodeHas) {
  Surroundings around;
  auto service = object(R"({"metadata":{"name":"web","namespace":"default"},"spec":{"type":"ClusterIP"}})");
  EXPECT_THAT(describe_text(**find_kind("svc"), service, around), Not(HasSubstr("Programmed")));
  around.programmed = "service default/web on node n1: programmed\n";
  EXPECT_THAT(describe_text(**find_kind("svc"), service, around),
              HasSubstr("Programmed:\n  service default/web on node n1: programmed\n"));
}

// Everything that a pod can be given, as kubectl lays it out; VolumesE2e holds the two against each other.
TEST(Describe, APodShowsItsAccountVariablesMountsAndVolumes) {
  auto pod = object(R"({"metadata":{"name":"all","namespace":"default","labels":{"app":"all"}},
    "spec":{"nodeName":"n1","serviceAccountName":"robot","nodeSelector":{"disk":"ssd"},
      "tolerations":[{"key":"a","operator":"Exists","effect":"NoExecute","tolerationSeconds":300},
        {"key":"b","value":"c","effect":"NoSchedule"},{"operator":"Exists"}],
      "initContainers":[{"name":"first","image":"host"}],
      "containers":[{"name":"main","image":"host","command":["sleep","1"],
        "resources":{"limits":{"cpu":"1500m","memory":"64Mi"}},
        "envFrom":[{"prefix":"LOGIN_","secretRef":{"name":"login"}},{"configMapRef":{"name":"more","optional":true}}],
        "env":[{"name":"PLAIN","value":"x y"},{"name":"EMPTY"},
          {"name":"KEY","valueFrom":{"configMapKeyRef":{"name":"web","key":"greeting"}}},
          {"name":"PASS","valueFrom":{"secretKeyRef":{"name":"login","key":"pw","optional":true}}},
          {"name":"APP","valueFrom":{"fieldRef":{"apiVersion":"v1","fieldPath":"metadata.labels['app']"}}},
          {"name":"CPU","valueFrom":{"resourceFieldRef":{"resource":"limits.cpu","divisor":"0"}}},
          {"name":"MEM","valueFrom":{"resourceFieldRef":{"resource":"limits.memory","divisor":"1Mi"}}},
          {"name":"ANY","valueFrom":{"resourceFieldRef":{"resource":"limits.ephemeral-storage"}}}],
        "volumeMounts":[{"name":"work","mountPath":"/scratch"},
          {"name":"config","mountPath":"/etc/web.conf","subPath":"app.conf","readOnly":true}]}],
      "volumes":[{"name":"config","configMap":{"name":"web"}},{"name":"login","secret":{"secretName":"login","optional":true}},
        {"name":"info","downwardAPI":{"items":[{"path":"labels","fieldRef":{"fieldPath":"metadata.labels"}},
          {"path":"cpu","resourceFieldRef":{"containerName":"main","resource":"limits.cpu"}}]}},
        {"name":"work","emptyDir":{"sizeLimit":"1Mi","medium":"Memory"}},{"name":"plain","emptyDir":{}},
        {"name":"kube-api-access-x","projected":{"sources":[{"serviceAccountToken":{"path":"token","expirationSeconds":3607}},
          {"configMap":{"name":"kube-root-ca.crt"}},{"downwardAPI":{"items":[]}},{"secret":{"name":"s"}}]}},
        {"name":"foreign","hostPath":{"path":"/x"}}]},
    "status":{"phase":"Running","qosClass":"Burstable"}})");
  EXPECT_EQ(test::golden_difference("cli/describe_pod.txt", describe_text(**find_kind("pod"), pod, {})), "");
}
TEST(Describe, AHostilePodIsDescribedAllTheSame) {
  for (auto text :
       {R"({"spec":{"volumes":[3,{},{"name":7,"secret":4},{"name":"a","projected":{"sources":[1,{"secret":[]}]}}]}})",
        R"({"spec":{"containers":[{"env":[{"valueFrom":{"resourceFieldRef":{"resource":"limits.cpu","divisor":"x"}}}],
            "resources":{"limits":{"cpu":[]}},"volumeMounts":[null,{"mountPath":{}}],"envFrom":3}],"tolerations":{}}})"})
    EXPECT_THAT(describe_text(**find_kind("pod"), object(text), {}), HasSubstr("QoS Class:")) << text;
}

Patient healthy(const char* name = "n1") {
  Patient p;
  p.name = name;
  p.status = object(R"({"version":"v0.1.0","server":"https://172.30.0.1:6443","connected":true,"ready":true,
    "services":42,"serviceRevision":120,"endpointSliceRevision":130,"foreignChains":[],
    "overlayPaths":{"isolated":false,"peers":2,"up":2,"pending":0,"established":2,"faults":[]},"reconcilers":{
    "services":{"inSync":true,"failures":[]},"overlay":{"inSync":true,"failures":[]},
    "sandboxes":{"inSync":true,"failures":[]}}})");
  return p;
}
const ApiRevisions kApi{120, 125};

TEST(Doctor, AllIsWell) {
  auto findings = examine(healthy(), kApi, true);
  EXPECT_TRUE(all_well(findings));
  EXPECT_FALSE(is_behind(healthy(), kApi));
  EXPECT_EQ(test::golden_difference("cli/doctor_well.txt", doctor_text(findings)), "");
  EXPECT_EQ(examine(healthy(), kApi, false).size(), 3u) << "services only";
}

TEST(Doctor, EveryFaultSaysWhatToDo) {
  std::vector<Finding> all;
  auto add = [&all](const Patient& p) {
    auto more = examine(p, kApi, true);
    EXPECT_FALSE(all_well(more)) << p.name;
    all.insert(all.end(), more.begin(), more.end());
  };
  Patient silent;
  silent.name = "silent", silent.error = "connect 172.30.0.11:10250: Connection refused";
  add(silent);
  auto cut_off = healthy("cut-off");
  cut_off.status["connected"] = false, cut_off.status["connectionTrouble"] = "No route to host";
  add(cut_off);
  auto late = healthy("late");
  late.status["serviceRevision"] = 119;
  add(late);
  auto failing = healthy("failing");
  failing.status["reconcilers"].get_object()["services"] = object(
      R"({"inSync":false,"failures":["default/web: add element services: Invalid argument","table ip trama: busy"]})");
  add(failing);
  auto blocked = healthy("blocked");
  blocked.status["foreignChains"] = json::parse(R"([{"table":"ip filter","chain":"FORWARD","hook":"forward",
    "harm":"drops connections between pods","remedy":"iptables -P FORWARD ACCEPT"}])");
  add(blocked);
  auto unready = healthy("unready");
  unready.status["ready"] = false, unready.status["reason"] = "NoPodCIDR",
  unready.status["message"] = "no pod CIDR yet";
  add(unready);
  auto stuck = healthy("stuck");
  stuck.status["reconcilers"].get_object()["overlay"] =
      object(R"({"inSync":false,"failures":["trama0: no such device"]})");
  add(stuck);
  auto alone = healthy("alone");
  alone.status["overlayPaths"] = object(R"({"isolated":true,"peers":2,"faults":[{"peer":"late"}]})");
  add(alone);
  auto half = healthy("half");
  half.status["overlayPaths"] = object(R"({"isolated":false,"peers":2,"up":1,"protocolOff":"switched off",
    "faults":[{"peer":"late","address":"172.30.0.12","state":"down","reason":"late has never answered"}]})");
  add(half);
  auto fault = [](const char* more) {
    return json::parse(std::string(R"({"isolated":false,"peers":2,"up":1,"faults":[{"peer":"late","path":"vxlan",)") +
                       R"("address":"172.30.0.12","state":"down","reason":"late has never answered",)" + more + "}]}");
  };
  auto tunnelled = healthy("tunnelled");
  tunnelled.status["overlayPaths"] = fault(R"("circumvented":true)");
  add(tunnelled);
  auto relayed = healthy("relayed");
  relayed.status["overlayPaths"] = fault(R"("circumvented":true,"via":"n3")");
  add(relayed);
  EXPECT_EQ(test::golden_difference("cli/doctor_faults.txt", doctor_text(all)), "");
  for (const auto& f : all) EXPECT_EQ(f.remedy.empty(), f.verdict != Finding::Verdict::fail) << f.text;
  EXPECT_FALSE(doctor_page(all)["well"].get_bool());
}

TEST(Doctor, BehindIsNotIllYetAndUnknownIsNoFault) {
  auto late = healthy();
  late.status["endpointSliceRevision"] = 124;
  EXPECT_TRUE(is_behind(late, kApi));
  auto old = healthy();
  old.status.erase("foreignChains");
  old.status.erase("overlayPaths");
  auto findings = examine(old, kApi, true);
  EXPECT_TRUE(all_well(findings));
  EXPECT_THAT(doctor_text(findings), HasSubstr("?     foreign"));
  EXPECT_THAT(doctor_text(findings), HasSubstr("?     paths"));
  Patient empty;
  EXPECT_FALSE(all_well(examine(empty, kApi, true))) << "an empty page is no good sign";
}

}  // namespace
}  // namespace trama::cli
