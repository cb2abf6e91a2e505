// SPDX-License-Identifier: GPL-2.0-or-later
#include <gmock/gmock.h>

#include "netns/cgroup.h"

namespace trama::netns {
namespace {
using testing::ElementsAre;
using testing::HasSubstr;

constexpr const char* kV2 =
    "22 27 0:21 / /proc rw,relatime - proc proc rw\n"
    "31 23 0:28 / /sys/fs/cgroup rw,nosuid,nodev,noexec,relatime shared:9 - cgroup2 cgroup2 rw,nsdelegate\n";
constexpr const char* kV1 =
    "31 23 0:28 / /sys/fs/cgroup ro,nosuid - tmpfs tmpfs ro,mode=755\n"
    "32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:10 - cgroup cgroup rw,cpu,cpuacct\n"
    "35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory\n"
    "37 31 0:34 / /sys/fs/cgroup/freezer rw,relatime - cgroup cgroup rw,freezer\n"
    "39 31 0:36 / /odd\\040place/pids rw,relatime - cgroup cgroup rw,pids\n"
    "40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,xattr,name=systemd\n";
const std::string kHybrid = std::string(kV1) + "41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n";

CgroupMounts parsed(std::string_view mountinfo, std::string_view controllers) {
  auto m = parse_cgroup_mounts(mountinfo, controllers);
  EXPECT_TRUE(m) << m.error().to_string();
  return m ? *m : CgroupMounts{};
}

std::vector<std::string> lines(const CgroupMounts& m, const Limits& l, const KnobOptions& o) {
  auto knobs = cgroup_knobs(m, l, o);
  std::vector<std::string> out;
  if (!knobs) return {knobs.error().to_string()};
  for (const Knob& k : *knobs) out.push_back(k.mount + "/" + k.file + "=" + k.value + (k.optional ? "?" : ""));
  return out;
}

Limits some() {
  Limits l;
  l.cpu_millis = 250, l.cpu_request_millis = 500, l.memory_bytes = 64 << 20, l.pids = 20;
  return l;
}

TEST(CgroupModel, RecognisesV2) {
  CgroupMounts m = parsed(kV2, "cpuset cpu io memory hugetlb pids rdma misc\n");
  EXPECT_EQ(m.layout, CgroupLayout::v2);
  EXPECT_EQ(m.unified, "/sys/fs/cgroup");
  EXPECT_EQ(m.controllers.size(), 3u);
  EXPECT_EQ(m.controllers.at("memory"), (CgroupMounts::Place{"/sys/fs/cgroup", 2}));
  EXPECT_EQ(unified_mount(kV2), "/sys/fs/cgroup");
}

TEST(CgroupModel, RecognisesV1WithCoMountedControllers) {
  CgroupMounts m = parsed(kV1, "");
  EXPECT_EQ(m.layout, CgroupLayout::v1);
  EXPECT_EQ(m.unified, "");
  EXPECT_EQ(m.controllers.at("cpu"), m.controllers.at("cpuacct"));
  EXPECT_EQ(m.controllers.at("cpu").mount, "/sys/fs/cgroup/cpu,cpuacct");
  EXPECT_EQ(m.controllers.at("pids").mount, "/odd place/pids");
}

TEST(CgroupModel, RecognisesHybridAndPrefersV1WhereMounted) {
  CgroupMounts m = parsed(kHybrid, "hugetlb memory\n");  // a kernel never lists memory twice; if it did, v1 is in force
  EXPECT_EQ(m.layout, CgroupLayout::hybrid);
  EXPECT_EQ(m.unified, "/sys/fs/cgroup/unified");
  EXPECT_EQ(m.controllers.at("memory").version, 1);
}

TEST(CgroupModel, MixedHierarchies) {
  std::string text = "39 31 0:36 / /c/cpu rw - cgroup cgroup rw,cpu\n41 31 0:38 / /c/unified rw - cgroup2 cgroup2 rw\n";
  CgroupMounts m = parsed(text, "memory pids");
  EXPECT_EQ(m.layout, CgroupLayout::hybrid);
  EXPECT_EQ(m.controllers.at("pids"), (CgroupMounts::Place{"/c/unified", 2}));
  EXPECT_EQ(m.controllers.at("cpu"), (CgroupMounts::Place{"/c/cpu", 1}));
}

TEST(CgroupModel, NoCgroupsIsAnError) {
  auto m = parse_cgroup_mounts("22 27 0:21 / /proc rw,relatime - proc proc rw\n", "");
  ASSERT_FALSE(m);
  EXPECT_THAT(m.error().to_string(), HasSubstr("mount"));
  EXPECT_FALSE(parse_cgroup_mounts("garbage - \n - cgroup\n\n", ""));
}

TEST(CgroupModel, KnobsOfV2) {
  KnobOptions whole;
  whole.kill_as_one = true;
  EXPECT_THAT(lines(parsed(kV2, "cpu memory pids"), some(), whole),
              ElementsAre("/sys/fs/cgroup/cpu.max=25000 100000", "/sys/fs/cgroup/cpu.weight=20",
                          "/sys/fs/cgroup/memory.max=67108864", "/sys/fs/cgroup/memory.swap.max=0?",
                          "/sys/fs/cgroup/memory.oom.group=1?", "/sys/fs/cgroup/pids.max=20"));
  EXPECT_THAT(lines(parsed(kV2, "cpu memory pids"), Limits{}, KnobOptions{}),
              ElementsAre("/sys/fs/cgroup/cpu.max=max 100000?", "/sys/fs/cgroup/cpu.weight=100",
                          "/sys/fs/cgroup/memory.max=max", "/sys/fs/cgroup/memory.swap.max=max?",
                          "/sys/fs/cgroup/memory.oom.group=0?", "/sys/fs/cgroup/pids.max=4096"));
}

TEST(CgroupModel, KnobsOfV1) {
  for (const auto& m : {parsed(kV1, ""), parsed(kHybrid, "hugetlb")})
    EXPECT_THAT(
        lines(m, some(), KnobOptions{}),
        ElementsAre("/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us=100000",
                    "/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us=25000", "/sys/fs/cgroup/cpu,cpuacct/cpu.shares=512",
                    "/sys/fs/cgroup/memory/memory.limit_in_bytes=67108864",
                    "/sys/fs/cgroup/memory/memory.memsw.limit_in_bytes=67108864?", "/odd place/pids/pids.max=20"));
}

TEST(CgroupModel, LimitsWithoutControllerAreRefused) {
  CgroupMounts m = parsed(kV2, "cpu");
  Limits l;
  EXPECT_TRUE(cgroup_knobs(m, l, KnobOptions{})) << "no limit, no need";
  l.memory_bytes = 1 << 20;
  EXPECT_THAT(lines(m, l, KnobOptions{}), ElementsAre(HasSubstr("no \"memory\" cgroup controller")));
  l = Limits{}, l.pids = 5;
  EXPECT_THAT(lines(m, l, KnobOptions{}), ElementsAre(HasSubstr("no \"pids\" cgroup controller")));
}

TEST(CgroupModel, SharesAndWeights) {
  EXPECT_EQ(cpu_shares(0), 2u);
  EXPECT_EQ(cpu_shares(1000), 1024u);
  EXPECT_EQ(cpu_shares(4'000'000), 262'144u);
  EXPECT_EQ(cpu_weight(2), 1u);
  EXPECT_EQ(cpu_weight(1024), 39u);
  EXPECT_EQ(cpu_weight(262'144), 10'000u);
}

TEST(CgroupModel, DirectoriesFollowTheLayout) {
  CgroupRoot v2("trama.slice", parsed(kV2, "cpu memory pids"));
  EXPECT_THAT(v2.directories("pod-1"), ElementsAre("/sys/fs/cgroup/trama.slice/pod-1"));
  CgroupRoot v1("trama.slice/hello.n1", parsed(kV1, ""));
  EXPECT_THAT(v1.directories("pod-1"), ElementsAre("/odd place/pids/trama.slice/hello.n1/pod-1",
                                                   "/sys/fs/cgroup/cpu,cpuacct/trama.slice/hello.n1/pod-1",
                                                   "/sys/fs/cgroup/freezer/trama.slice/hello.n1/pod-1",
                                                   "/sys/fs/cgroup/memory/trama.slice/hello.n1/pod-1"));
  CgroupRoot hybrid("trama.slice", parsed(kHybrid, ""));
  EXPECT_THAT(hybrid.directories("pod-1"),
              ElementsAre("/odd place/pids/trama.slice/pod-1", "/sys/fs/cgroup/cpu,cpuacct/trama.slice/pod-1",
                          "/sys/fs/cgroup/memory/trama.slice/pod-1", "/sys/fs/cgroup/unified/trama.slice/pod-1"));
}

TEST(CgroupModel, RootsThatLeadElsewhereAreRefused) {
  for (const char* root : {"", "/", "/trama.slice", "../x", "a/../b", "a/.."})
    EXPECT_FALSE(CgroupRoot::open(root)) << root;
}

}  // namespace
}  // namespace trama::netns
