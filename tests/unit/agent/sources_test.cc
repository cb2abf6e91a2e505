// SPDX-License-Identifier: GPL-2.0-or-later
// Variables and volumes from ConfigMaps, Secrets and the pod itself.
#include "agent/compute/sources.h"

#include <gmock/gmock.h>

#include "agent/compute/environment.h"
#include "agent/compute/volumes.h"
#include "tests/unit/agent/objects.h"

namespace trama::agent {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Pair;

struct World {
  std::map<std::string, api::ObjectPtr> there;  // "secrets/default/login"
  Sources sources;
  PodFacts facts{"n1", {base::Ip::v4(10, 244, 1, 2)}, {base::Ip::v4(192, 0, 2, 1)}, 2000, 1 << 30};
  World() {
    sources.object = [this](const api::Key& key) {
      auto it = there.find(key.to_string());
      if (it == there.end()) return SourceLookup{SourceLookup::State::missing, nullptr};
      return SourceLookup{SourceLookup::State::found, it->second};
    };
    put("configmaps", "web", R"("data":{"greeting":"hello","a.b":"dotted"},"binaryData":{"raw":"AAH/"})");
    put("secrets", "login", R"("data":{"user":"YW5h","password":"czNjcmV0","bytes":"/w=="})");
  }
  void put(const std::string& resource, const std::string& name, const std::string& rest) {
    there[resource + "/default/" + name] =
        object_from(resource, R"({"metadata":{"name":")" + name + R"(","namespace":"default"},)" + rest + "}");
  }
  static api::ObjectPtr pod(const std::string& spec) {
    return object_from("pods", R"({"metadata":{"name":"p","namespace":"default","uid":"u","labels":{"b":"2","a":"1"},)"
                               R"("annotations":{"k":"line\nquote\" back\\"}},"spec":)" +
                                   spec + "}");
  }

  std::optional<SourceProblem> problem;
  Environment environment(const std::string& container) {
    auto p = pod(R"({"containers":[)" + container + "]}");
    problem.reset();
    const auto& spec = api::array_at(p->body, "spec.containers")[0].get_object();
    auto out = container_environment(*p, spec, facts, sources, {}, problem);
    EXPECT_TRUE(out) << out.error().to_string();
    return out ? *out : Environment();
  }
  VolumesOutcome volumes(const std::string& volume) {
    auto p = pod(R"({"containers":[{"name":"c","resources":{"limits":{"cpu":"1500m"}}}],"volumes":[)" + volume + "]}");
    EXPECT_EQ(unsupported_volumes(*p), "");
    auto out = pod_volumes(*p, facts, sources);
    EXPECT_TRUE(out) << out.error().to_string();
    return out ? *out : VolumesOutcome();
  }
  // "path mode content"
  std::vector<std::string> files(const std::string& volume) {
    std::vector<std::string> lines;
    auto made = volumes(volume);
    EXPECT_TRUE(made.problems.empty()) << made.problems.begin()->second.message;
    for (const auto& [path, file] : made.volumes["v"].files)
      lines.push_back(fmt::format("{} {:o} {}", path, file.mode, file.content));
    return lines;
  }
  std::string why_not(const std::string& volume) {
    auto made = volumes(volume);
    EXPECT_FALSE(made.volumes.contains("v"));
    return made.problems.contains("v") ? made.problems["v"].message : "there is no problem";
  }
};

TEST(PodVariables, LaterOnesWinAndSeeWhatStandsBeforeThem) {
  World w;
  auto env = w.environment(R"j({"name":"c",
    "envFrom":[{"configMapRef":{"name":"web"}},{"prefix":"L_","secretRef":{"name":"login2","optional":true}},
               {"configMapRef":{"name":"none","optional":true}}],
    "env":[{"name":"X","value":"$(Y) $(greeting) $$(greeting)"},{"name":"Y","value":"later"},{"name":"greeting","value":"own"},
           {"name":"Z","value":"$(greeting)/$(Y)"},
           {"name":"U","valueFrom":{"secretKeyRef":{"name":"login","key":"user"}}},{"name":"UU","value":"$(U)$(U)"},
           {"name":"O","valueFrom":{"configMapKeyRef":{"name":"web","key":"absent","optional":true}}},
           {"name":"OO","valueFrom":{"configMapKeyRef":{"name":"absent","key":"x","optional":true}}},
           {"name":"M","valueFrom":{"resourceFieldRef":{"resource":"limits.memory","divisor":"1Mi"}}},
           {"name":"C","valueFrom":{"resourceFieldRef":{"resource":"requests.cpu"}}}]})j");
  EXPECT_FALSE(w.problem);
  EXPECT_THAT(env, ElementsAre(Pair("C", "0"), Pair("M", "1024"), Pair("U", "ana"), Pair("UU", "anaana"),
                               Pair("X", "$(Y) hello $(greeting)"), Pair("Y", "later"), Pair("Z", "own/later"),
                               Pair("a.b", "dotted"), Pair("greeting", "own")));
}

TEST(PodVariables, WhatIsMissingIsSaidInUpstreamsWords) {
  World w;
  auto why = [&](const std::string& rest) {
    (void)w.environment(R"({"name":"c",)" + rest + "}");
    return w.problem ? w.problem->message : std::string("nothing");
  };
  EXPECT_EQ(why(R"("envFrom":[{"configMapRef":{"name":"no"}}])"), "configmap \"no\" not found");
  EXPECT_EQ(why(R"("env":[{"name":"A","valueFrom":{"secretKeyRef":{"name":"no","key":"k"}}}])"),
            "secret \"no\" not found");
  EXPECT_EQ(why(R"("env":[{"name":"A","valueFrom":{"secretKeyRef":{"name":"login","key":"k"}}}])"),
            "couldn't find key k in Secret default/login");
  EXPECT_EQ(why(R"("env":[{"name":"A","valueFrom":{"configMapKeyRef":{"name":"web","key":"raw"}}}])"),
            "couldn't find key raw in ConfigMap default/web");
  EXPECT_THAT(why(R"("envFrom":[{"secretRef":{"name":"login"}}])"), HasSubstr("variable bytes is not text"));
  EXPECT_EQ(why(R"("env":[{"name":"A","value":"x"}])"), "nothing");
}

TEST(PodVolumes, KeysBecomeFiles) {
  World w;
  EXPECT_THAT(w.files(R"({"name":"v","configMap":{"name":"web"}})"),
              ElementsAre("a.b 644 dotted", "greeting 644 hello", std::string("raw 644 \0\x01\xff", 11)));
  EXPECT_THAT(
      w.files(R"({"name":"v","secret":{"secretName":"login","defaultMode":256,"items":[{"key":"user","path":"d/./who"},
    {"key":"password","path":"pw","mode":288}]}})"),
      ElementsAre("d/who 400 ana", "pw 440 s3cret"));
  EXPECT_THAT(w.files(R"({"name":"v","secret":{"secretName":"no","optional":true}})"), ElementsAre());
  EXPECT_THAT(w.files(R"({"name":"v","configMap":{"name":"web","optional":true,"items":[{"key":"no","path":"x"}]}})"),
              ElementsAre());
  EXPECT_EQ(w.why_not(R"({"name":"v","configMap":{"name":"no"}})"), "configmap \"no\" not found");
  EXPECT_EQ(w.why_not(R"({"name":"v","configMap":{"name":"web","items":[{"key":"no","path":"x"}]}})"),
            "references non-existent config key: no");
  EXPECT_EQ(w.why_not(R"({"name":"v","secret":{"secretName":"login","items":[{"key":"no","path":"x"}]}})"),
            "references non-existent secret key: no");
}

TEST(PodVolumes, ThePodTellsOfItself) {
  World w;
  EXPECT_THAT(
      w.files(R"j({"name":"v","downwardAPI":{"items":[{"path":"labels","fieldRef":{"fieldPath":"metadata.labels"}},
    {"path":"notes","fieldRef":{"fieldPath":"metadata.annotations"},"mode":256},{"path":"a","fieldRef":{"fieldPath":"metadata.labels['a']"}},
    {"path":"cpu","resourceFieldRef":{"containerName":"c","resource":"limits.cpu"}},
    {"path":"millis","resourceFieldRef":{"containerName":"c","resource":"requests.cpu","divisor":"1m"}},
    {"path":"mem","resourceFieldRef":{"containerName":"c","resource":"limits.memory"}}]}})j"),
      ElementsAre("a 644 1", "cpu 644 2", "labels 644 a=\"1\"\nb=\"2\"", "mem 644 1073741824", "millis 644 1500",
                  "notes 400 k=\"line\\nquote\\\" back\\\\\""));
}

TEST(PodVolumes, SeveralSourcesInOneDirectory) {
  World w;
  const std::string projected = R"({"name":"v","projected":{"defaultMode":288,"sources":[
    {"configMap":{"name":"web","items":[{"key":"greeting","path":"x"}]}},
    {"secret":{"name":"login","items":[{"key":"user","path":"x"},{"key":"user","path":"y","mode":256}]}},
    {"serviceAccountToken":{"path":"token","expirationSeconds":600,"audience":"vault"}},
    {"downwardAPI":{"items":[{"path":"n","fieldRef":{"fieldPath":"metadata.namespace"}}]}}]}})";
  EXPECT_EQ(w.why_not(projected), "") << "the token is on its way";
  TokenWant asked;
  w.sources.token = [&](const TokenWant& want) {
    asked = want;
    return TokenLookup{SourceLookup::State::found, "a.b.c", ""};
  };
  EXPECT_THAT(w.files(projected), ElementsAre("n 440 default", "token 440 a.b.c", "x 440 ana", "y 400 ana"));
  EXPECT_EQ(asked, (TokenWant{"u", "default", "p", "default", "vault", 600}));
  w.sources.token = [&](const TokenWant&) {
    return TokenLookup{SourceLookup::State::missing, "", "serviceaccounts \"default\" not found"};
  };
  EXPECT_EQ(w.why_not(projected), "failed to fetch token: serviceaccounts \"default\" not found");

  auto p = World::pod(R"({"volumes":[{"name":"v","projected":{"sources":[
    {"configMap":{"name":"web","items":[{"key":"greeting","path":"x"}]}},{"secret":{"name":"login","items":[{"key":"user","path":"x/y"}]}}]}}]})");
  auto clash = pod_volumes(*p, w.facts, w.sources);
  ASSERT_FALSE(clash);
  EXPECT_THAT(clash.error().to_string(), HasSubstr("x would be a file and a directory"));
}

TEST(PodSources, EveryNameIsFound) {
  auto p = World::pod(
      R"({"serviceAccountName":"robot","containers":[{"name":"c","envFrom":[{"secretRef":{"name":"a"}},{"configMapRef":{"name":"b"}}],
    "env":[{"name":"X","valueFrom":{"secretKeyRef":{"name":"c","key":"k"}}},{"name":"Y","valueFrom":{"configMapKeyRef":{"name":"d","key":"k"}}}]}],
    "volumes":[{"name":"1","configMap":{"name":"e"}},{"name":"2","secret":{"secretName":"f"}},{"name":"3","emptyDir":{}},
    {"name":"4","projected":{"sources":[{"secret":{"name":"g"}},{"configMap":{"name":"h"}},{"serviceAccountToken":{"path":"t"}}]}}]})");
  auto names = named_sources(*p);
  std::vector<std::string> keys;
  for (const auto& key : names.objects) keys.push_back(key.to_string());
  EXPECT_THAT(
      keys, ElementsAre("configmaps/default/b", "configmaps/default/d", "configmaps/default/e", "configmaps/default/h",
                        "secrets/default/a", "secrets/default/c", "secrets/default/f", "secrets/default/g"));
  EXPECT_EQ(names.tokens, (std::set<TokenWant>{{"u", "default", "p", "robot", "", 3600}}));
}

TEST(PodMounts, ASubPathMayBeMadeFromVariables) {
  auto p = World::pod(
      R"j({"containers":[{"name":"c","volumeMounts":[{"name":"v","mountPath":"/a/","readOnly":true,"subPathExpr":"logs/$(POD)"}]}]})j");
  const auto& container = api::array_at(p->body, "spec.containers")[0].get_object();
  auto mounts = volume_mounts(container, {{"POD", "p-1"}});
  ASSERT_TRUE(mounts) << mounts.error().to_string();
  EXPECT_EQ(mounts->at(0), (netns::VolumeMount{"v", "/a", "logs/p-1", true}));
  EXPECT_FALSE(volume_mounts(container, {}));
  EXPECT_FALSE(volume_mounts(container, {{"POD", "../../x"}})) << "a value cannot lead out of the volume";
}

}  // namespace
}  // namespace trama::agent
