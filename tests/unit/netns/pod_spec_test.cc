// SPDX-License-Identifier: GPL-2.0-or-later
#include "netns/pod_spec.h"

#include <gmock/gmock.h>

#include "netns/launch.h"
#include "netns/pod_status.h"
#include "netns/privileges.h"
#include "netns/restart.h"
#include "netns/root_fs.h"

namespace trama::netns {
namespace {
using std::chrono::milliseconds;
using testing::ElementsAre;
using testing::HasSubstr;

PodSpec full() {
  PodSpec s;
  s.uid = "7f3a-1", s.ns = "default", s.name = "web-1", s.hostname = "web";
  s.netns_path = "/run/netns/default.web-1";
  s.hosts_path = "/etc/netns/default.web-1/hosts", s.resolv_conf_path = "/etc/netns/default.web-1/resolv.conf";
  ContainerSpec c;
  c.name = "main", c.image = "dir:/srv/image", c.command = {"sh", "-c"}, c.args = {"echo \"ü\"\n"};
  c.env = {{"A", "1"}, {"B", ""}}, c.working_dir = "/tmp", c.user = "33:33", c.oom_score_adj = 900;
  c.limits = {100, 50, 1 << 20, 7};
  s.containers = {c};
  s.containers.push_back(ContainerSpec{});
  s.containers[1].name = "second", s.containers[1].args = {"true"};
  s.volumes = {{"config", {}}, {"work", {true, 1 << 20}}};
  s.containers[0].mounts = {{"config", "/etc/web", "", true}, {"work", "/work", "a/b", false}};
  s.limits = {1000, 500, 1ull << 40, 100};
  s.restart = RestartPolicy::on_failure;
  s.grace = milliseconds(1234);
  s.timing = {milliseconds(1), milliseconds(2), milliseconds(3)};
  s.log = {70'000, 5};
  return s;
}

TEST(PodSpec, RoundTrip) {
  auto back = parse_pod_spec(to_json(full()));
  ASSERT_TRUE(back) << back.error().to_string();
  EXPECT_EQ(*back, full());
  PodLaunch launch;
  launch.spec = full(), launch.directory = "/d", launch.executable = "/x";
  launch.init_cgroups = {"/a", "/b"}, launch.container_cgroups = {{"/c"}, {"/d", "/e"}};
  auto again = parse_pod_launch(to_json(launch));
  ASSERT_TRUE(again) << again.error().to_string();
  EXPECT_EQ(again->spec, launch.spec);
  EXPECT_EQ(again->container_cgroups, launch.container_cgroups);
}

TEST(PodSpec, NamesWhatIsWrong) {
  auto broken = [](auto change) {
    PodSpec s = full();
    change(s);
    auto r = validate(s);
    return r ? std::string("accepted") : r.error().to_string();
  };
  EXPECT_EQ(broken([](PodSpec&) {}), "accepted");
  EXPECT_THAT(broken([](PodSpec& s) { s.uid = "../x"; }), HasSubstr("uid"));
  auto mount = [&](auto change) { return broken([&](PodSpec& s) { change(s.containers[0].mounts[0]); }); };
  EXPECT_THAT(mount([](VolumeMount& m) { m.volume = "other"; }), HasSubstr("volume \"other\" is not one of the pod's"));
  for (const char* path : {"", "/", "etc", "/a/../b", "/a//b"})
    EXPECT_THAT(mount([&](VolumeMount& m) { m.path = path; }), HasSubstr("expected an absolute path")) << path;
  EXPECT_THAT(mount([](VolumeMount& m) { m.path = "/proc/sys"; }), HasSubstr("/proc is the kernel's"));
  for (const char* path : {"/a", "..", "a/../..", "..data"})
    EXPECT_THAT(mount([&](VolumeMount& m) { m.sub_path = path; }), HasSubstr("subPath")) << path;
  EXPECT_THAT(broken([](PodSpec& s) { s.uid = ""; }), HasSubstr("uid"));
  EXPECT_THAT(broken([](PodSpec& s) { s.netns_path = ""; }), HasSubstr("netnsPath"));
  EXPECT_THAT(broken([](PodSpec& s) { s.containers.clear(); }), HasSubstr("at least one"));
  EXPECT_THAT(broken([](PodSpec& s) { s.containers[1].name = "main"; }),
              HasSubstr("containers[1].name: \"main\" is used twice"));
  EXPECT_THAT(broken([](PodSpec& s) { s.containers[0].name = "a/b"; }), HasSubstr("containers[0].name"));
  EXPECT_THAT(broken([](PodSpec& s) { s.containers[0].name = "init"; }), HasSubstr("init"));
  EXPECT_THAT(broken([](PodSpec& s) { s.containers[0].image = "nginx:1.27"; }),
              HasSubstr("\"nginx:1.27\" is not host"));
  EXPECT_THAT(broken([](PodSpec& s) { s.containers[1].args.clear(); }),
              HasSubstr("containers[1].command: nothing to run"));
  EXPECT_THAT(broken([](PodSpec& s) { s.containers[0].env["a=b"] = ""; }), HasSubstr("env"));
  EXPECT_THAT(broken([](PodSpec& s) { s.containers[0].command[0] = std::string("a\0b", 3); }), HasSubstr("NUL"));
  EXPECT_THAT(broken([](PodSpec& s) { s.containers[0].working_dir = "tmp"; }), HasSubstr("absolute"));
  EXPECT_THAT(broken([](PodSpec& s) { s.containers[0].oom_score_adj = -1; }), HasSubstr("oomScoreAdj"));
  EXPECT_THAT(broken([](PodSpec& s) { s.timing.highest = milliseconds(0); }), HasSubstr("timing"));
  EXPECT_THAT(broken([](PodSpec& s) { s.log.files = 0; }), HasSubstr("log"));
}

TEST(PodSpec, ParserNamesTheField) {
  auto error = [](const char* text) {
    auto r = parse_pod_spec(text);
    return r ? std::string("accepted") : r.error().to_string();
  };
  EXPECT_THAT(error("{"), HasSubstr("not valid JSON"));
  EXPECT_THAT(error("[]"), HasSubstr("expected an object"));
  EXPECT_THAT(error(R"({"uid":5})"), HasSubstr("spec.uid: expected a string"));
  EXPECT_THAT(error(R"({"containers":{}})"), HasSubstr("spec.containers: expected a list"));
  EXPECT_THAT(error(R"({"containers":[{"command":"sh"}]})"),
              HasSubstr("spec.containers[0].command: expected a list of strings"));
  EXPECT_THAT(error(R"({"containers":[{"limits":{"pids":-1}}]})"), HasSubstr("spec.containers[0].limits.pids"));
  EXPECT_THAT(error(R"({"restartPolicy":"Sometimes"})"), HasSubstr("one of Always, OnFailure, Never"));
  EXPECT_THAT(error(R"({"graceMs":1e9})"), HasSubstr("spec.graceMs"));
}

TEST(PodStatus, RoundTrip) {
  PodStatus s;
  s.uid = "u", s.sequence = 9, s.finished = true;
  ContainerStatus c;
  c.state = {"main", ContainerPhase::waiting, "CrashLoopBackOff", "back-off", 0, 0, 4, "", ""};
  c.pid = 77, c.start_time = 123'456'789'012;
  c.last = ContainerState{"main", ContainerPhase::terminated, "OOMKilled", "m", 137, 9, 3, "2026-01-02T15:04:05Z", "x"};
  s.containers = {c, ContainerStatus{}};
  auto back = parse_pod_status(to_json(s));
  ASSERT_TRUE(back) << back.error().to_string();
  EXPECT_EQ(*back, s);
  EXPECT_FALSE(parse_pod_status(R"({"containers":[{"state":"asleep"}]})"));
  EXPECT_FALSE(parse_pod_status(R"({"containers":[{"last":1}]})"));
}

TEST(RestartBackoff, DoublesFromTheSecondRestartOn) {
  RestartTiming t;
  RestartBackoff b(t);
  std::vector<std::int64_t> seconds;
  for (int i = 0; i < 8; ++i) seconds.push_back(b.ended(RestartPolicy::always, false, milliseconds(5))->count() / 1000);
  EXPECT_THAT(seconds, ElementsAre(0, 10, 20, 40, 80, 160, 300, 300));
  EXPECT_EQ(b.ended(RestartPolicy::always, false, milliseconds(599'999)), milliseconds(300'000));
  EXPECT_EQ(b.ended(RestartPolicy::always, false, milliseconds(600'000)), milliseconds(0)) << "ten good minutes";
  EXPECT_EQ(b.ended(RestartPolicy::always, false, milliseconds(5)), milliseconds(10'000));
}

TEST(RestartBackoff, FollowsThePolicy) {
  RestartBackoff b(RestartTiming{});
  EXPECT_FALSE(b.ended(RestartPolicy::never, false, milliseconds(0)));
  EXPECT_FALSE(b.ended(RestartPolicy::on_failure, true, milliseconds(0)));
  EXPECT_TRUE(b.ended(RestartPolicy::on_failure, false, milliseconds(0)));
  EXPECT_TRUE(b.ended(RestartPolicy::always, true, milliseconds(0)));
}

TEST(ResolveUser, NumbersAndNames) {
  const char* passwd = "root:x:0:0:root:/root:/bin/sh\nweb:x:33:34:web:/var/www:/bin/false\nbroken:x\n";
  const char* group = "root:x:0:\nweb:x:34:\nextra:x:50:other,web\n";
  auto web = resolve_user("web", passwd, group);
  ASSERT_TRUE(web) << web.error().to_string();
  EXPECT_EQ(web->uid, 33u);
  EXPECT_EQ(web->gid, 34u);
  EXPECT_THAT(web->groups, ElementsAre(50u));
  EXPECT_EQ(web->home, "/var/www");
  EXPECT_EQ(resolve_user("33", passwd, group)->gid, 34u) << "a known number has its usual group";
  EXPECT_EQ(resolve_user("web:extra", passwd, group)->gid, 50u);
  EXPECT_EQ(resolve_user("1234:5678", "", "")->gid, 5678u);
  EXPECT_EQ(resolve_user("1234", "", "")->home, "/");
  EXPECT_EQ(resolve_user("", "", "")->uid, 0u);
  EXPECT_EQ(resolve_user("", "", "")->home, "/root");
  for (const char* bad : {"nobody", "web:none", "-1", "4294967295", "99999999999"})
    EXPECT_FALSE(resolve_user(bad, passwd, group)) << bad;
}

TEST(Environment, PodVariablesWin) {
  Identity id;
  EXPECT_THAT(container_environment({{"HOME", "/x"}, {"Z", "1"}}, id, "web", false),
              ElementsAre("HOME=/x", "HOSTNAME=web",
                          "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "Z=1"));
}

TEST(MountsAmong, OnlyExactMountPoints) {
  const char* text =
      "27 1 254:0 / / rw - ext4 /dev/vda rw\n28 27 254:1 / /usr rw shared:1 - ext4 /dev/vdb rw\n"
      "29 27 254:2 / /var/lib/containers rw - ext4 /dev/vdc rw\nbroken\n";
  EXPECT_THAT(mounts_among(text, {"/usr", "/usr/local", "/var", "/var/lib"}), ElementsAre("/usr"));
}

}  // namespace
}  // namespace trama::netns
