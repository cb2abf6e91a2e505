// SPDX-License-Identifier: GPL-2.0-or-later
#include <fstream>
#include <sstream>

#include <gmock/gmock.h>
#include <unistd.h>

#include "cli/lab/model.h"
#include "cli/lab/plan.h"
#include "cli/lab/registry.h"

namespace trama::cli {
namespace {

using testing::HasSubstr;

base::Result<LabSpec> parse(std::string_view text) {
  auto documents = load_yaml(text, "lab.yaml");
  if (!documents) return std::move(documents).error();
  return parse_lab(std::move(*documents));
}
std::string failure(std::string_view text) {
  auto lab = parse(text);
  return lab ? "no failure" : lab.error().to_string();
}
std::string with_spec(const std::string& spec) {
  return "apiVersion: trama.dev/v1\nkind: Lab\nmetadata: {name: t}\nspec:\n" + spec;
}

TEST(LabDocument, TheBuiltInOneIsTheFirstExample) {
  std::ifstream file(std::string(std::getenv("TRAMA_SOURCE_DIR")) + "/examples/hello.yaml");
  std::stringstream text;
  text << file.rdbuf();
  EXPECT_EQ(std::string(hello_lab()), text.str());
  auto lab = parse(hello_lab());
  ASSERT_TRUE(lab) << lab.error().to_string();
  EXPECT_EQ(lab->name, "hello");
  ASSERT_EQ(lab->nodes.size(), 3u);
  EXPECT_EQ(lab->nodes[0].address.to_string(), "172.30.0.11");
  EXPECT_EQ(lab->switch_address.to_string(), "172.30.0.1");
  EXPECT_EQ(lab->manifests.size(), 3u);
}

TEST(LabDocument, NodesAsListLabelsAndAddresses) {
  auto lab =
      parse(with_spec("  underlay: 10.9.0.0/16\n  podCIDR: 10.1.0.0/16,fd00::/48\n  nodes:\n    - a\n    - {name: b, "
                      "address: 10.9.0.11, labels: {zone: x}}\n    - c\n"));
  ASSERT_TRUE(lab) << lab.error().to_string();
  EXPECT_EQ(lab->nodes[0].address.to_string(), "10.9.0.12");  // .11 is taken by name
  EXPECT_EQ(lab->nodes[1].address.to_string(), "10.9.0.11");
  EXPECT_EQ(lab->nodes[1].labels.at("zone"), "x");
  EXPECT_EQ(lab->nodes[2].address.to_string(), "10.9.0.13");
  EXPECT_EQ(lab->pod_cidrs, (std::vector<std::string>{"10.1.0.0/16", "fd00::/48"}));
}

TEST(LabDocument, MistakesNameFileLineFieldAndWhatWasExpected) {
  EXPECT_EQ(failure(with_spec("  nodes: {n1: {adress: 1}}\n")),
            "lab.yaml:5: spec.nodes.n1.adress: unknown field (expected one of labels, address); did you mean address?");
  EXPECT_THAT(failure(with_spec("  nodes:\n    n1:\n      address: 10.0.0.1\n")),
              HasSubstr("lab.yaml:7: spec.nodes.n1.address: expected a free address in 172.30.0.0/24"));
  EXPECT_THAT(failure(with_spec("  nodes: {n1: {labels: {a: 1}}}\n")),
              HasSubstr("spec.nodes.n1.labels.a: expected text, got 1"));
  EXPECT_THAT(failure(with_spec("  nodes: {N1: {}}\n")), HasSubstr("expected a node's name"));
  EXPECT_THAT(failure(with_spec("  nodes: {switch: {}}\n")), HasSubstr("take another"));
  EXPECT_THAT(failure(with_spec("  nodes: []\n")), HasSubstr("expected nodes, e.g."));
  EXPECT_THAT(failure(with_spec("  nodes: [a, a]\n")), HasSubstr("already is a node a"));
  EXPECT_THAT(failure(with_spec("  podCIDR: 10.96.0.0/12\n  nodes: [a]\n")), HasSubstr("overlaps"));
  EXPECT_THAT(failure(with_spec("  podCIDR: lots\n  nodes: [a]\n")), HasSubstr("spec.podCIDR: expected a prefix"));
  EXPECT_THAT(failure(with_spec("  directRouting: maybe\n  nodes: [a]\n")),
              HasSubstr("spec.directRouting: expected true or false"));
  EXPECT_THAT(failure(with_spec("  wireguard: maybe\n  nodes: [a]\n")),
              HasSubstr("spec.wireguard: expected auto or off"));
  EXPECT_THAT(failure(with_spec("  encryption: required\n  directRouting: true\n  nodes: [a]\n")),
              HasSubstr("packets would go in the clear"));
  EXPECT_THAT(failure(with_spec("  nodes: {a: {address: 172.30.0.9}, b: {address: 172.30.0.9}}\n")),
              HasSubstr("two nodes"));
  EXPECT_THAT(failure("apiVersion: v1\nkind: Pod\nmetadata: {name: a}\n"), HasSubstr("holds no Lab"));
  EXPECT_THAT(failure("apiVersion: trama/v9\nkind: Lab\n"), HasSubstr("apiVersion: expected trama.dev/v1"));
  EXPECT_THAT(failure(with_spec("  nodes: [a]\n") + "---\napiVersion: v1\nkind: Pod\nmetadata: {}\n"),
              HasSubstr("lab.yaml:9: metadata.name: is missing"));
  EXPECT_THAT(failure(with_spec("  nodes: [a]\n") + "---\n" + with_spec("  nodes: [b]\n")), HasSubstr("second Lab"));
}

TEST(LabPlan, IsCompleteAndReadable) {
  auto lab = parse(with_spec("  nodes: {n1: {}, a-very-long-node-name: {}}\n"));
  ASSERT_TRUE(lab);
  std::string text;
  for (const auto& op : plan_switch(*lab)) text += to_text(op) + "\n";
  for (const auto& n : lab->nodes)
    for (const auto& op : plan_node(*lab, n)) text += to_text(op) + "\n";
  EXPECT_EQ(text,
            "namespace t.switch net/bridge/bridge-nf-call-iptables=0 net/bridge/bridge-nf-call-ip6tables=0 "
            "net/ipv4/ip_forward=1\n"
            "bridge t.switch/switch 172.30.0.1/24\n"
            "namespace t.n1\n"
            "veth t.switch/n1 master switch <-> t.n1/eth0 172.30.0.11/24 via 172.30.0.1 mtu 1500\n"
            "namespace t.a-very-long-node-name\n"
            "veth t.switch/a-very-lon-2 master switch <-> t.a-very-long-node-name/eth0 172.30.0.12/24 via 172.30.0.1 "
            "mtu 1500\n");
}

TEST(LabPlan, ASecondUplinkHasASwitchOfItsOwn) {
  auto lab = parse(with_spec("  uplinks: 2\n  nodes: {n1: {}, a-very-long-node-name: {address: 172.30.0.200}}\n"));
  ASSERT_TRUE(lab);
  std::string text;
  for (const auto& op : plan_switch(*lab)) text += to_text(op) + "\n";
  for (const auto& n : lab->nodes)
    for (const auto& op : plan_node(*lab, n)) text += to_text(op) + "\n";
  EXPECT_THAT(text, HasSubstr("bridge t.switch/switch2 172.30.1.1/24\n"));
  EXPECT_THAT(text, HasSubstr("veth t.switch/n1.1-2 master switch2 <-> t.n1/eth1 172.30.1.11/24 mtu 1500\n"));
  EXPECT_THAT(text, HasSubstr("veth t.switch/a-very-l.2-2 master switch2 <-> t.a-very-long-node-name/eth1 "
                              "172.30.1.200/24 mtu 1500\n"));
  EXPECT_THAT(failure(with_spec("  uplinks: 3\n  nodes: [a]\n")), HasSubstr("spec.uplinks: expected 1 or 2, got 3"));
  EXPECT_THAT(failure(with_spec("  uplinks: 2\n  podCIDR: 172.30.1.0/24\n  nodes: [a]\n")),
              HasSubstr("172.30.1.0/24 overlaps uplinks 172.30.1.0/24"));
}

TEST(LabRegistry, RecordsSurviveWritingAndReading) {
  char directory[] = "/tmp/trama-registry-XXXXXX";
  ASSERT_NE(mkdtemp(directory), nullptr);
  LabRegistry registry(directory);
  LabRecord r;
  r.name = "t";
  r.state = "up";
  r.creator = *identify(getpid());
  r.processes.push_back(LabProcess{"controller", "", *identify(getpid())});
  r.nodes.push_back(LabNode{"n1", "172.30.0.11"});
  r.switch_address = "172.30.0.1";
  r.api_port = 6443;
  r.made_directories = {"/run/trama"};
  r.made_netns_mount = true;
  r.created_at = 7;
  ASSERT_TRUE(registry.write(r));
  EXPECT_EQ(*registry.read("t"), r);
  EXPECT_EQ(registry.list().size(), 1u);
  EXPECT_EQ(state_of(r), LabState::running);
  // A pid alone is no identity: another start time is another process.
  r.processes[0].id.start_time += 1;
  EXPECT_EQ(state_of(r), LabState::broken);
  r.state = "starting";
  EXPECT_EQ(state_of(r), LabState::starting);
  r.creator.start_time += 1;
  EXPECT_EQ(state_of(r), LabState::broken);
  EXPECT_TRUE(registry.read("../t").error().is(std::errc::no_such_file_or_directory));
  EXPECT_TRUE(registry.read("absent").error().is(std::errc::no_such_file_or_directory));
  {
    auto lock = registry.lock("t");
    ASSERT_TRUE(lock);
    EXPECT_FALSE(registry.lock("t"));
  }
  EXPECT_TRUE(registry.lock("t"));
  // A directory with rubbish in it is a broken lab, not an error of the list.
  std::ofstream(std::string(directory) + "/t/lab.json") << "{";
  ASSERT_EQ(registry.list().size(), 1u);
  EXPECT_EQ(state_of(registry.list()[0]), LabState::broken);
  ASSERT_EQ(std::system(("rm -r " + std::string(directory)).c_str()), 0);
}

}  // namespace
}  // namespace trama::cli
