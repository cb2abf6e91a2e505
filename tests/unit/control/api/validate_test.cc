// SPDX-License-Identifier: GPL-2.0-or-later
#include "control/api/validate.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "control/api/schema.h"

namespace trama::api {
namespace {

using testing::HasSubstr;

// All causes of a create, one text: "field: message\n".
std::string said(const char* resource, std::string_view text) {
  const auto& kind = *kind_of_resource(resource);
  auto body = json::parse({text.data(), text.size()}).as_object();
  Findings found;
  check_schema(kind, body, found);
  apply_defaults(kind, body);
  std::string out;
  for (const auto& c : found.invalid) out += c.field + ": " + c.message + "\n";
  for (const auto& c : validate(kind, body, nullptr)) out += c.field + ": " + c.message + "\n";
  return out;
}

std::string service(std::string_view spec, std::string_view name = "s") {
  return said("services", std::string(R"({"metadata":{"name":")") + std::string(name) +
                              R"(","namespace":"d"},"spec":)" + std::string(spec) + "}");
}
std::string pod(std::string_view container, std::string_view more = "") {
  return said("pods", std::string(R"({"metadata":{"name":"p","namespace":"d"},"spec":{)") + std::string(more) +
                          R"("containers":[)" + std::string(container) + "]}}");
}

TEST(Names, EachKindHasItsRule) {
  EXPECT_EQ(service(R"({"ports":[{"port":80}]})"), "");
  EXPECT_THAT(service(R"({"ports":[{"port":80}]})", "1s"), HasSubstr("a DNS-1035 label must consist of"));
  EXPECT_THAT(said("namespaces", R"({"metadata":{"name":"a.b"}})"),
              HasSubstr("a lowercase RFC 1123 label must consist of"));
  EXPECT_EQ(said("configmaps", R"({"metadata":{"name":"a.b","namespace":"d"}})"), "");
  EXPECT_THAT(said("configmaps", R"({"metadata":{"name":"../x","namespace":"d"}})"),
              HasSubstr("metadata.name: Invalid value"));
  EXPECT_THAT(said("configmaps", R"({"metadata":{"namespace":"d"}})"),
              HasSubstr("metadata.name: Required value: name or generateName is required"));
  EXPECT_THAT(said("configmaps", R"({"metadata":{"name":"a","namespace":"d","labels":{"-x":"1","ok":"a b"}}})"),
              HasSubstr("metadata.labels: Invalid value"));
}

TEST(Volumes, WhatCannotBeMountedIsSaid) {
  auto why = [](std::string_view volumes, std::string_view mounts = "[]") {
    return pod(std::string(R"({"name":"c","image":"i","volumeMounts":)") + std::string(mounts) + "}",
               std::string(R"("volumes":)") + std::string(volumes) + ",");
  };
  EXPECT_EQ(why(R"([{"name":"a","configMap":{"name":"x","items":[{"key":"k","path":"d/k","mode":256}]}},
      {"name":"b","secret":{"secretName":"x","defaultMode":256}},{"name":"c","emptyDir":{}},{"name":"d"},
      {"name":"e","projected":{"sources":[{"secret":{"name":"x"}},{"serviceAccountToken":{"path":"t"}},
        {"downwardAPI":{"items":[{"path":"l","fieldRef":{"fieldPath":"metadata.labels"}}]}}]}}])",
                R"([{"name":"a","mountPath":"/a"},{"name":"a","mountPath":"/b","subPath":"x/y"}])"),
            "");
  const std::pair<const char*, const char*> wrong[] = {
      {R"([{"name":"a"},{"name":"a"}])", "spec.volumes[1].name: Duplicate value: \"a\""},
      {R"([{"name":"A"}])", "spec.volumes[0].name: Invalid value: \"A\""},
      {R"([{"name":"a","emptyDir":{},"secret":{"secretName":"x"}}])",
       "spec.volumes[0]: Forbidden: may not specify more than 1 volume type"},
      {R"([{"name":"a","configMap":{}}])", "spec.volumes[0].configMap.name: Required value"},
      {R"([{"name":"a","secret":{}}])", "spec.volumes[0].secret.secretName: Required value"},
      {R"([{"name":"a","secret":{"secretName":"x","defaultMode":512}}])",
       "spec.volumes[0].secret.defaultMode: Invalid value: 512: must be a number between 0 and 0777 (octal)"},
      {R"([{"name":"a","configMap":{"name":"x","items":[{"key":"k","path":"../k"}]}}])",
       "spec.volumes[0].configMap.items[0].path: Invalid value: \"../k\": must not contain '..'"},
      {R"([{"name":"a","configMap":{"name":"x","items":[{"path":"/k"}]}}])",
       "spec.volumes[0].configMap.items[0].key: Required value"},
      {R"([{"name":"a","downwardAPI":{"items":[{"path":"p"}]}}])", "one of fieldRef and resourceFieldRef is required"},
      {R"([{"name":"a","projected":{"sources":[{"serviceAccountToken":{"path":"t","expirationSeconds":10}}]}}])",
       "spec.volumes[0].projected.sources[0].serviceAccountToken.expirationSeconds: Invalid value: 10: may not specify "
       "a "
       "duration less than 10 minutes"}};
  for (const auto& [volumes, cause] : wrong) EXPECT_THAT(why(volumes), HasSubstr(cause)) << volumes;
  EXPECT_THAT(why("[]", R"([{"name":"a","mountPath":"/a"}])"),
              HasSubstr("spec.containers[0].volumeMounts[0].name: Not found: \"a\""));
  const std::pair<const char*, const char*> bad_mounts[] = {
      {R"([{"name":"a"}])", "volumeMounts[0].mountPath: Required value"},
      {R"([{"name":"a","mountPath":"/a"},{"name":"a","mountPath":"/a"}])",
       "volumeMounts[1].mountPath: Invalid value: \"/a\": must be unique"},
      {R"([{"name":"a","mountPath":"/a","subPath":"/b"}])",
       "volumeMounts[0].subPath: Invalid value: \"/b\": must be a relative path"},
      {R"([{"name":"a","mountPath":"/a","subPath":"b","subPathExpr":"c"}])", "mutually exclusive"}};
  for (const auto& [mounts, cause] : bad_mounts) EXPECT_THAT(why(R"([{"name":"a"}])", mounts), HasSubstr(cause));
}

TEST(Services, Ports) {
  EXPECT_THAT(service(R"({})"), HasSubstr("spec.ports: Required value"));
  EXPECT_EQ(service(R"({"clusterIP":"None"})"), "") << "headless services need no port";
  EXPECT_THAT(service(R"({"ports":[{"port":0}]})"),
              HasSubstr("spec.ports[0].port: Invalid value: 0: must be between 1 and 65535, inclusive"));
  EXPECT_THAT(service(R"({"ports":[{"port":70000}]})"), HasSubstr("must be between 1 and 65535, inclusive"));
  EXPECT_THAT(service(R"({"ports":[{"port":80},{"port":81,"name":"b"}]})"),
              HasSubstr("spec.ports[0].name: Required value"));
  EXPECT_THAT(service(R"({"ports":[{"port":80,"name":"a"},{"port":81,"name":"a"}]})"),
              HasSubstr("spec.ports[1].name: Duplicate value: \"a\""));
  EXPECT_THAT(service(R"({"ports":[{"port":80,"name":"a"},{"port":80,"name":"b"}]})"), HasSubstr("Duplicate value"));
  EXPECT_EQ(service(R"({"ports":[{"port":53,"name":"a"},{"port":53,"name":"b","protocol":"UDP"}]})"), "");
  EXPECT_THAT(service(R"({"ports":[{"port":80,"nodePort":30000}]})"),
              HasSubstr("spec.ports[0].nodePort: Forbidden: may not be used when `type` is 'ClusterIP'"));
  EXPECT_THAT(service(R"({"ports":[{"port":80,"targetPort":"Web_1"}]})"),
              HasSubstr("spec.ports[0].targetPort: Invalid value: \"Web_1\""));
}

TEST(Services, AddressesAndTypes) {
  EXPECT_THAT(service(R"({"clusterIP":"10.0","ports":[{"port":80}]})"), HasSubstr("10.0"));
  EXPECT_THAT(service(R"({"clusterIP":"None","type":"NodePort","ports":[{"port":80}]})"),
              HasSubstr("may not be set to 'None' for NodePort services"));
  EXPECT_THAT(service(R"({"type":"ExternalName"})"), HasSubstr("spec.externalName: Required value"));
  EXPECT_EQ(service(R"({"type":"ExternalName","externalName":"a.example"})"), "");
  EXPECT_THAT(service(R"({"externalIPs":["x"],"ports":[{"port":80}]})"),
              HasSubstr("spec.externalIPs[0]: Invalid value: \"x\": must be a valid IP address"));
  EXPECT_THAT(
      service(
          R"({"sessionAffinity":"ClientIP","sessionAffinityConfig":{"clientIP":{"timeoutSeconds":0}},"ports":[{"port":80}]})"),
      HasSubstr("timeoutSeconds"));
  EXPECT_THAT(service(R"({"selector":{"a":"b c"},"ports":[{"port":80}]})"),
              HasSubstr("spec.selector: Invalid value: \"b c\""));
}

TEST(Pods, Containers) {
  EXPECT_EQ(pod(R"({"name":"a","image":"i"})"), "");
  EXPECT_THAT(pod(""), HasSubstr("spec.containers: Required value"));
  EXPECT_THAT(pod(R"({"name":"a"})"), HasSubstr("spec.containers[0].image: Required value"));
  EXPECT_THAT(pod(R"({"name":"A","image":"i"})"),
              HasSubstr("spec.containers[0].name: Invalid value: \"A\": a lowercase RFC 1123 label"));
  EXPECT_THAT(pod(R"({"name":"a","image":"i"},{"name":"a","image":"i"})"),
              HasSubstr("spec.containers[1].name: Duplicate value: \"a\""));
  EXPECT_THAT(pod(R"({"name":"a","image":"i","ports":[{"containerPort":0}]})"),
              HasSubstr("must be between 1 and 65535, inclusive"));
  EXPECT_THAT(pod(R"({"name":"a","image":"i","livenessProbe":{}})"),
              HasSubstr("spec.containers[0].livenessProbe: Required value: must specify a handler type"));
  EXPECT_THAT(pod(R"({"name":"a","image":"i","livenessProbe":{"exec":{"command":["x"]},"tcpSocket":{"port":1}}})"),
              HasSubstr("may not specify more than 1 handler type"));
  EXPECT_THAT(pod(R"({"name":"a","image":"i","resources":{"limits":{"cpu":"1"},"requests":{"cpu":"2"}}})"),
              HasSubstr("must be less than or equal to cpu limit of 1"));
  EXPECT_THAT(pod(R"({"name":"a","image":"i","resources":{"limits":{"memory":"-1Mi"}}})"),
              HasSubstr("must be greater than or equal to 0"));
  EXPECT_THAT(pod(R"({"name":"a","image":"i"})", R"("restartPolicy":"Sometimes",)"),
              HasSubstr("spec.restartPolicy: Unsupported value: \"Sometimes\""));
}

TEST(Workloads, SelectorAndTemplate) {
  auto deployment = [](std::string_view labels, std::string_view selector, std::string_view more = "") {
    return said("deployments", std::string(R"({"metadata":{"name":"d","namespace":"d"},"spec":{)") + std::string(more) +
                                   R"("selector":)" + std::string(selector) + R"(,"template":{"metadata":{"labels":)" +
                                   std::string(labels) + R"(},"spec":{"containers":[{"name":"c","image":"i"}]}}}})");
  };
  EXPECT_EQ(deployment(R"({"a":"b"})", R"({"matchLabels":{"a":"b"}})"), "");
  EXPECT_THAT(deployment(R"({"a":"c"})", R"({"matchLabels":{"a":"b"}})"),
              HasSubstr("`selector` does not match template `labels`"));
  EXPECT_THAT(deployment(R"({"a":"b"})", R"({})"), HasSubstr("empty selector is invalid for deployment"));
  EXPECT_THAT(deployment(R"({"a":"b"})", R"({"matchLabels":{"a":"b"}})", R"("replicas":-1,)"),
              HasSubstr("spec.replicas: Invalid value: -1: must be greater than or equal to 0"));
  EXPECT_THAT(
      said("deployments", R"({"metadata":{"name":"d","namespace":"d"},"spec":{"selector":{"matchLabels":{"a":"b"}},
      "template":{"metadata":{"labels":{"a":"b"}},"spec":{"restartPolicy":"Never","containers":[{"name":"c","image":"i"}]}}}})"),
      HasSubstr("spec.template.spec.restartPolicy: Unsupported value: \"Never\": supported values: \"Always\""));
}

TEST(EndpointSlices, Addresses) {
  auto slice = [](std::string_view type, std::string_view address) {
    return said("endpointslices", std::string(R"({"metadata":{"name":"e","namespace":"d"},"addressType":")") +
                                      std::string(type) + R"(","endpoints":[{"addresses":[")" + std::string(address) +
                                      R"("]}]})");
  };
  EXPECT_EQ(slice("IPv4", "10.0.0.1"), "");
  EXPECT_EQ(slice("IPv6", "fd00::1"), "");
  EXPECT_THAT(slice("IPv4", "fd00::1"), HasSubstr("must be a valid IPv4 address"));
  for (const char* bad : {"127.0.0.1", "169.254.1.1", "224.0.0.1", "0.0.0.0"})
    EXPECT_THAT(slice("IPv4", bad), HasSubstr("may not be")) << bad;
}

TEST(Nodes, PodCidr) {
  EXPECT_THAT(said("nodes", R"({"metadata":{"name":"n"},"spec":{"podCIDR":"10.0.0.1"}})"),
              HasSubstr("spec.podCIDR: Invalid value"));
  EXPECT_EQ(said("nodes", R"({"metadata":{"name":"n"},"spec":{"podCIDR":"10.0.0.0/24"}})"), "");
}

std::string changed(const char* resource, std::string_view was, std::string_view is) {
  const auto& kind = *kind_of_resource(resource);
  auto old = json::parse({was.data(), was.size()}).as_object(), body = json::parse({is.data(), is.size()}).as_object();
  std::string out;
  for (const auto& c : validate(kind, body, &old)) out += c.field + ": " + c.message + "\n";
  return out;
}

TEST(ConfigMaps, KeysSizesAndImmutability) {
  auto map = [](const std::string& content) {
    return said("configmaps", R"({"metadata":{"name":"c","namespace":"d"},)" + content + "}");
  };
  EXPECT_EQ(map(R"("data":{"a.b-c_D":"x","..a":"x"})"),
            "data[..a]: Invalid value: \"..a\": must not start with '..'\n");
  EXPECT_EQ(map(R"("data":{"nginx.conf":"x"},"binaryData":{"b":"AP8="})"), "");
  EXPECT_THAT(map(R"("data":{"a b":"x"})"), HasSubstr("data[a b]: Invalid value: \"a b\": a valid config key must"));
  EXPECT_THAT(map(R"("data":{"..":"x"})"), HasSubstr("must not be '..'"));
  EXPECT_THAT(map(R"("data":{"a":"x"},"binaryData":{"a":"AA=="})"),
              HasSubstr("duplicate of key present in binaryData"));
  for (const char* wrong : {"A", "A===", "AA=A", "AAA", "A*==", "AA==AA=="})
    EXPECT_THAT(map(std::string(R"("binaryData":{"b":")") + wrong + "\"}"), HasSubstr("must be valid base64")) << wrong;
  EXPECT_EQ(map(R"("data":{"a":")" + std::string(1 << 20, 'x') + "\"}"), "");
  EXPECT_EQ(map(R"("data":{"a":")" + std::string(1 << 20, 'x') + R"("},"binaryData":{"b":"AA=="})"),
            "[]: Too long: must have at most 1048576 bytes\n");
  auto fixed = R"({"metadata":{"name":"c"},"immutable":true,"data":{"a":"1"}})";
  EXPECT_EQ(changed("configmaps", fixed, fixed), "");
  EXPECT_EQ(changed("configmaps", fixed, R"({"metadata":{"name":"c"},"data":{"a":"2"}})"),
            "immutable: Forbidden: field is immutable when `immutable` is set\n"
            "data: Forbidden: field is immutable when `immutable` is set\n");
  EXPECT_EQ(changed("configmaps", R"({"metadata":{"name":"c"},"data":{"a":"1"}})", fixed), "") << "it can become so";
}

TEST(Secrets, EachTypeHasItsKeys) {
  struct Case {
    const char *type, *data, *says;
  };
  const Case cases[] = {
      {"Opaque", "{}", ""},
      {"example.com/own", R"({"x":"AA=="})", ""},
      {"kubernetes.io/tls", R"({"tls.crt":"AA=="})", "data[tls.key]: Required value\n"},
      {"kubernetes.io/tls", R"({"tls.crt":"","tls.key":""})", ""},
      {"kubernetes.io/dockerconfigjson", "{}", "data[.dockerconfigjson]: Required value\n"},
      {"kubernetes.io/dockerconfigjson", R"({".dockerconfigjson":"e30="})", ""},
      {"kubernetes.io/dockerconfigjson", R"({".dockerconfigjson":"e30"})", "must be valid base64"},
      {"kubernetes.io/dockercfg", R"({".dockercfg":"e3s="})", "<secret contents redacted>\": must be valid JSON"},
      {"kubernetes.io/basic-auth", "{}", "data[username]: Required value\ndata[password]: Required value\n"},
      {"kubernetes.io/basic-auth", R"({"password":"AA=="})", ""},
      {"kubernetes.io/ssh-auth", R"({"ssh-privatekey":""})", "data[ssh-privatekey]: Required value\n"},
      {"kubernetes.io/service-account-token", "{}",
       "metadata.annotations[kubernetes.io/service-account.name]: Required value\n"},
      {"Opaque", R"({"..":"AA=="})", "data[..]: Invalid value"},
  };
  for (const auto& c : cases) {
    auto out = said("secrets", std::string(R"({"metadata":{"name":"s","namespace":"d"},"type":")") + c.type +
                                   R"(","data":)" + c.data + "}");
    if (*c.says == 0)
      EXPECT_EQ(out, "") << c.type << c.data;
    else
      EXPECT_THAT(out, HasSubstr(c.says)) << c.type << c.data;
  }
  EXPECT_THAT(
      changed("secrets", R"({"metadata":{"name":"s"},"type":"Opaque"})", R"({"metadata":{"name":"s"},"type":"other"})"),
      HasSubstr("type: Invalid value: \"other\": field is immutable"));
  EXPECT_THAT(changed("secrets", R"({"metadata":{"name":"s"},"type":"a","immutable":true,"data":{"a":"AA=="}})",
                      R"({"metadata":{"name":"s"},"type":"a","immutable":true})"),
              HasSubstr("data: Forbidden: field is immutable when `immutable` is set"));
}

}  // namespace
}  // namespace trama::api
