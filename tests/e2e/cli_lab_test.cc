// SPDX-License-Identifier: GPL-2.0-or-later
// Whole labs by the real binary: up, used, broken, down. Each test compares the machine before and after.
#include <cstdlib>
#include <fstream>
#include <sstream>

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <unistd.h>

#include "tests/support/private_netns.h"

namespace trama::cli {
namespace {

using testing::ContainsRegex;
using testing::HasSubstr;
using testing::Not;

struct Ran {
  int code;
  std::string out;
};
Ran sh(const std::string& command) {
  Ran r{};
  r.code = test::shell("unset KUBECONFIG TRAMA_LAB; " + command, &r.out);
  return r;
}
std::string source(const std::string& path) { return std::string(std::getenv("TRAMA_SOURCE_DIR")) + "/" + path; }

class LabTest : public testing::Test {
 protected:
  void SetUp() override {
    binary_ = std::getenv("TRAMA_BINARY");
    name_ = fmt::format("t{}", getpid());
    char dir[] = "/tmp/trama-lab-XXXXXX";
    ASSERT_NE(mkdtemp(dir), nullptr);
    dir_ = dir;
    before_ = machine();
  }
  void TearDown() override {
    for (const auto& n : {name_, name_ + "b"}) trama("lab down " + n);
    sh("rm -r " + dir_);
    EXPECT_EQ(machine(), before_);
  }
  static std::string machine() { return sh(source("scripts/machine_state")).out; }

  Ran trama(const std::string& arguments) const { return sh(binary_ + " " + arguments); }
  Ran in_lab(const std::string& arguments) const { return trama("--lab " + name_ + " " + arguments); }
  // An example under another lab name, so that it does not meet a lab of the person who runs the tests.
  std::string file_of(const std::string& example, const std::string& lab) const {
    std::ifstream in(source("examples/" + example));
    std::stringstream text;
    text << in.rdbuf();
    auto all = text.str();
    auto at = all.find("metadata:\n  name: ");
    auto end = all.find('\n', at + 18);
    all.replace(at + 18, end - at - 18, lab);
    auto path = dir_ + "/" + lab + "-" + example;
    std::ofstream(path) << all;
    return path;
  }
  std::string up(const std::string& example = "hello.yaml") {
    auto r = trama("lab up " + file_of(example, name_));
    EXPECT_EQ(r.code, 0) << r.out;
    return r.out;
  }

  // Of the fastest of three pings, in milliseconds; very large when none comes back.
  double round_trip(const std::string& node, const std::string& to) const {
    auto out = sh(fmt::format("ip netns exec {}.{} ping -c3 -i0.1 -W1 -q {}", name_, node, to)).out;
    auto at = out.find("min/avg/max/mdev = ");
    return at == std::string::npos ? 1e9 : std::atof(out.c_str() + at + 19);
  }

  std::string binary_, name_, dir_, before_;
};

TEST_F(LabTest, EveryKindOfTrafficWorksAndNothingIsLeftBehind) {
  auto shown = up();
  EXPECT_THAT(shown, HasSubstr(fmt::format("lab {} is up in", name_)));
  EXPECT_THAT(in_lab("get pods -o wide").out, HasSubstr("client"));
  EXPECT_THAT(in_lab("get nodes").out, HasSubstr("n3"));
  auto spread = in_lab("exec client -- trama probe http://web/ --count 60 --concurrency 4 --pods 3");
  EXPECT_EQ(spread.code, 0) << spread.out;
  for (auto from : {"n1", "switch"})
    for (auto to : {"172.30.0.11", "172.30.0.12", "172.30.0.13"}) {
      auto r = sh(fmt::format("ip netns exec {}.{} {} probe http://{}:30080/", name_, from, binary_, to));
      EXPECT_EQ(r.code, 0) << from << " to " << to << ": " << r.out;
    }
  // A lab has no world outside: a name there is answered for at once, and not as if it did not exist.
  auto outside = sh(fmt::format(
      "ip netns exec {0}.n1.client dig +tries=1 +time=5 www.example.org | grep -E 'status|Query time'", name_));
  EXPECT_THAT(outside.out, ContainsRegex("SERVFAIL"));
  EXPECT_THAT(outside.out, ContainsRegex("Query time: [0-9]{1,3} msec"));
  // The host itself has not become a part of it.
  EXPECT_THAT(sh("ip route show table all; ip -o link; nft list ruleset").out, Not(HasSubstr("172.30.0")));
  auto down = trama("lab down " + name_);
  EXPECT_EQ(down.code, 0) << down.out;
  EXPECT_EQ(machine(), before_);
}

TEST_F(LabTest, ExecPassesStreamsAndExitCodesOn) {
  up();
  EXPECT_EQ(in_lab("exec client -- sh -c 'exit 42'").code, 42);
  EXPECT_EQ(sh("printf 'a\\nb\\n' | " + binary_ + " --lab " + name_ + " exec -i client -- wc -l").out, "2\n");
  EXPECT_EQ(in_lab("exec client -- sh -c 'echo out; echo err >&2' 2>/dev/null").out, "out\n");
  EXPECT_EQ(in_lab("exec nobody -- true").code, 3);
  auto terminal = sh(fmt::format(
      "script -qec '{} --lab {} exec -it client -- sh -c \"test -t 0 && tty && exit 7\"' /dev/null </dev/null", binary_,
      name_));
  EXPECT_THAT(terminal.out, HasSubstr("/dev/pts"));
  EXPECT_EQ(terminal.code, 7);
}

TEST_F(LabTest, VerbsChangeWhatIsThere) {
  up();
  EXPECT_EQ(in_lab("scale deployment/web --replicas 1").code, 0);
  auto fewer = in_lab("wait deployment/web --for='jsonpath={.status.replicas}=1' --timeout 20s");
  EXPECT_EQ(fewer.code, 0) << fewer.out;
  EXPECT_EQ(in_lab("wait pod/client --for=condition=Ready=False --timeout 200ms").code, 6);
  auto again = trama("lab up " + dir_ + "/" + name_ + "-hello.yaml");
  EXPECT_EQ(again.code, 0) << again.out;
  EXPECT_THAT(again.out, HasSubstr("was up"));
  EXPECT_THAT(in_lab("get deployment web -o yaml").out, HasSubstr("readyReplicas: 3"));
  auto deleted = in_lab("delete pod/client --now");
  EXPECT_EQ(deleted.code, 0) << deleted.out;
  EXPECT_EQ(in_lab("get pod client").code, 3);
  EXPECT_EQ(
      in_lab("create -f - <<'E'\napiVersion: v1\nkind: Service\nmetadata: {name: web}\nspec: {ports: [{port: 80}]}\nE")
          .code,
      4);
  auto wrong = in_lab(
      "apply -f - <<'E'\napiVersion: v1\nkind: Service\nmetadata: {name: bad}\nspec:\n  ports:\n    - port: 99999\nE");
  EXPECT_EQ(wrong.code, 2);
  EXPECT_THAT(wrong.out, HasSubstr("standard input:6: spec.ports[0].port"));
  EXPECT_THAT(in_lab("describe svc/web").out, HasSubstr("node port 30080"));
  EXPECT_EQ(in_lab("status").code, 0);
}

TEST_F(LabTest, TheDoctorAndAServiceSeenFromANode) {
  up();
  auto well = in_lab("doctor");
  EXPECT_EQ(well.code, 0) << well.out;
  EXPECT_THAT(well.out, HasSubstr("all is well"));
  auto web = in_lab("service web --node n2");
  EXPECT_EQ(web.code, 0) << web.out;
  EXPECT_THAT(web.out, HasSubstr("service default/web on node n2: programmed"));
  EXPECT_THAT(web.out, HasSubstr("NodePort"));
  EXPECT_THAT(in_lab("service web -o nft").out, HasSubstr("# default/web"));
  EXPECT_THAT(in_lab("describe svc web").out, HasSubstr("service default/web on node n1"));
  EXPECT_EQ(in_lab("service nobody").code, 3);
  EXPECT_EQ(in_lab("service web --node n9").code, 3);
  EXPECT_EQ(in_lab("service pod/client").code, 2);

  auto nft = [this](const std::string& command) {
    auto done = sh(fmt::format("ip netns exec {}.n1 nft {}", name_, command));
    EXPECT_EQ(done.code, 0) << done.out;
  };
  nft("add table ip filter");
  nft("add chain ip filter FORWARD '{ type filter hook forward priority 0; policy drop; }'");
  EXPECT_TRUE(test::eventually([&] { return in_lab("doctor services").code == 1; }));
  auto ill = in_lab("doctor services");
  EXPECT_THAT(ill.out, HasSubstr("FAIL  foreign    table ip filter, chain FORWARD"));
  EXPECT_THAT(ill.out, HasSubstr("to do: iptables -P FORWARD ACCEPT"));
  auto condition = "wait node/n1 --for=condition=ServicesUnobstructed=";
  EXPECT_EQ(in_lab(condition + std::string("False --timeout 20s")).code, 0);
  EXPECT_THAT(in_lab("describe node n1").out, HasSubstr("ForeignChainDrops"));
  EXPECT_THAT(in_lab("describe node n2").out, HasSubstr("NoForeignDrops")) << "the other node is well";
  nft("delete table ip filter");
  EXPECT_EQ(in_lab(condition + std::string("True --timeout 20s")).code, 0);
  EXPECT_EQ(in_lab("doctor services").code, 0);
}

TEST_F(LabTest, TwoLabsSideBySide) {
  up();
  auto second = trama("lab up " + file_of("hello.yaml", name_ + "b"));
  EXPECT_EQ(second.code, 0) << second.out;
  auto ambiguous = trama("get pods");
  EXPECT_EQ(ambiguous.code, 2);
  EXPECT_THAT(ambiguous.out, HasSubstr("several labs are running"));
  EXPECT_EQ(trama("lab down " + name_).code, 0);
  auto other = trama("--lab " + name_ + "b exec client -- trama probe http://web/ --count 9");
  EXPECT_EQ(other.code, 0) << other.out;
}

TEST_F(LabTest, AHalfDeadLabIsNamedAndPruned) {
  up();
  auto pid =
      sh(binary_ +
         " lab ls -o json | grep -B3 '\"role\": \"controller\"' | sed -n 's/.*\"pid\": \\([0-9]*\\).*/\\1/p' | head -1")
          .out;
  ASSERT_FALSE(pid.empty());
  sh("kill -9 " + pid);
  ASSERT_TRUE(test::eventually([&] { return trama("lab ls").out.find("broken") != std::string::npos; }));
  auto refused = trama("lab up " + dir_ + "/" + name_ + "-hello.yaml");
  EXPECT_EQ(refused.code, 4);
  EXPECT_THAT(refused.out, HasSubstr("trama lab prune"));
  EXPECT_THAT(trama("lab prune --dry-run").out, HasSubstr(name_ + ".n1"));
  EXPECT_THAT(trama("lab ls").out, HasSubstr("broken"));  // a dry run changes nothing
  auto pruned = trama("lab prune");
  EXPECT_EQ(pruned.code, 0) << pruned.out;
  EXPECT_EQ(machine(), before_);
}

TEST_F(LabTest, CtrlCWhileItComesUpLeavesNothing) {
  auto file = file_of("hello.yaml", name_);
  auto r =
      sh(fmt::format("{} lab up {} & p=$!; for i in $(seq 500); do [ -e /run/netns/{}.n1 ] && break; sleep 0.01; done; "
                     "kill -INT $p; wait $p",
                     binary_, file, name_));
  EXPECT_EQ(r.code, 130) << r.out;
  EXPECT_EQ(machine(), before_);
}

TEST_F(LabTest, EveryExampleComesUp) {
  for (auto example : {"two-tier.yaml", "udp-and-nodeport.yaml", "stock-programs.yaml", "balancing.yaml",
                       "workloads.yaml", "links.yaml", "configuration.yaml"}) {
    auto r = trama("lab up " + file_of(example, name_));
    EXPECT_EQ(r.code, 0) << example << ": " << r.out;
    if (std::string_view(example) == "stock-programs.yaml") {
      auto site = in_lab("exec load -- curl -s --max-time 5 http://site/");
      EXPECT_THAT(site.out, HasSubstr("hello from nginx-"));
    }
    if (std::string_view(example) == "udp-and-nodeport.yaml") {
      auto udp = in_lab("exec client -- trama probe udp://answer:5300 --count 30 --pods 3");
      EXPECT_EQ(udp.code, 0) << udp.out;
      auto sticky = in_lab("exec client -- trama probe tcp://sticky:5300 --count 12");
      EXPECT_THAT(sticky.out, HasSubstr("100.0 %"));
    }
    if (std::string_view(example) == "balancing.yaml") {
      // 100 draws of a probability of 3/4: 55 or fewer happen once in 60,000 runs.
      auto weighted = in_lab("exec client -- trama probe weighted --count 100");
      auto big = sh("printf '%s' '" + weighted.out + "' | awk '$1 == \"big\" {print $2}'").out;
      EXPECT_GT(std::atoi(big.c_str()), 55) << weighted.out;
      auto in_turn = in_lab("exec client -- trama probe in-turn --count 12");
      EXPECT_THAT(in_turn.out, HasSubstr("50.0 %"));
      auto remembered = in_lab("exec client -- trama probe remembered --count 12");
      EXPECT_THAT(remembered.out, HasSubstr("100.0 %"));
      auto service = in_lab("service weighted --node n1");
      EXPECT_EQ(service.code, 0) << service.out;
      EXPECT_THAT(service.out, HasSubstr("big"));
    }
    if (std::string_view(example) == "configuration.yaml") {
      auto seen = in_lab(
          "exec web -- sh -c 'cat /scratch/said /etc/web/motd; echo; cat /etc/podinfo/labels; echo; "
          "echo $WEB_password; stat -L -c %a /etc/web-secrets/token'");
      EXPECT_EQ(seen.out, "good morning\nas it was\napp=\"web\"\ncorrect horse\n400\n");
    }
    if (std::string_view(example) == "workloads.yaml") {
      auto done = in_lab("wait job/measure --for=condition=Complete --timeout 60s");
      EXPECT_EQ(done.code, 0) << done.out << in_lab("describe job measure").out << in_lab("get pods").out;
      EXPECT_THAT(in_lab("get jobs").out, HasSubstr("4/4"));
      EXPECT_THAT(in_lab("get ds echo").out, ContainsRegex("echo +3 +3 +3 +3 +3"));
      auto log = in_lab("logs $(" + binary_ + " --lab " + name_ + " get pods -o name | grep -m1 measure-2-)");
      EXPECT_THAT(log.out, HasSubstr("run 2"));
    }
    if (std::string_view(example) == "links.yaml") {
      EXPECT_THAT(in_lab("link show").out, ContainsRegex("east1>west1 +- +delay 40ms ±2ms"));
      EXPECT_GE(round_trip("east1", "172.30.0.12"), 76);
      EXPECT_LT(round_trip("west1", "172.30.0.1"), 20);
      auto everywhere = in_lab("exec near -- trama probe site --count 30 --concurrency 4 --timeout 5s --pods 3");
      EXPECT_EQ(everywhere.code, 0) << everywhere.out;
    }
    EXPECT_EQ(trama("lab down " + name_).code, 0);
  }
}

TEST_F(LabTest, LinksAreSlowUntilTheyEndOrTheirServiceDoes) {
  auto file = dir_ + "/links.yaml";
  auto write = [&](const std::string& links) {
    std::ofstream(file) << "apiVersion: trama.dev/v1\nkind: Lab\nmetadata: {name: " << name_
                        << "}\nspec:\n  nodes: [n1, n2]\n"
                        << links;
  };
  write("  links: {n1-n2: {dealy: 1ms}}\n");
  auto wrong = trama("lab up " + file);
  EXPECT_EQ(wrong.code, 2);
  EXPECT_THAT(wrong.out, HasSubstr("links.yaml:6: spec.links.n1-n2.dealy: unknown field"));
  write("");
  ASSERT_EQ(trama("lab up " + file).code, 0);
  EXPECT_LT(round_trip("n1", "172.30.0.12"), 20);
  EXPECT_THAT(in_lab("link show").out, HasSubstr("as good as new"));
  // It ends by itself, and nobody of us is there.
  auto set = in_lab("link set n1-n2 --delay 50ms --for 2s");
  ASSERT_EQ(set.code, 0) << set.out;
  EXPECT_GE(round_trip("n1", "172.30.0.12"), 100);
  EXPECT_TRUE(test::eventually([&] { return in_lab("link show").out.find("as good as new") != std::string::npos; }));
  EXPECT_LT(round_trip("n1", "172.30.0.12"), 20);
  // The document, made anew; what was set by hand besides stays.
  EXPECT_EQ(in_lab("link drop 'n1>n2' --only tcp:9").code, 0);
  write("  links: {n1-n2: {delay: 50ms}}\n");
  auto again = trama("lab up " + file);
  EXPECT_EQ(again.code, 0) << again.out;
  EXPECT_THAT(again.out, HasSubstr("links"));
  EXPECT_GE(round_trip("n1", "172.30.0.12"), 100);
  EXPECT_THAT(in_lab("link show").out, ContainsRegex("n1>n2 +tcp:9 +down"));
  EXPECT_EQ(in_lab("get nodes").code, 0);
  // Mistakes.
  EXPECT_EQ(in_lab("link set n1-n7 --loss 1%").code, 2);
  EXPECT_EQ(in_lab("link set n1-n2").code, 2);
  EXPECT_EQ(in_lab("link up n2").code, 3);
  // Nonsense is answered, and silence is not waited for.
  auto nonsense =
      sh("python3 -c 'import socket,sys\n"
         "silent = socket.socket(socket.AF_UNIX); silent.connect(sys.argv[1])\n"
         "s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]); s.send(b\"]\\n\"); print(s.recv(999).decode())' "
         "/run/trama/labs/" +
         name_ + "/links.sock");
  EXPECT_THAT(nonsense.out, HasSubstr("expected one line of JSON"));
  EXPECT_GE(round_trip("n1", "172.30.0.12"), 100);
  // A killed service: links are whole at once, and whoever asks is told.
  auto pid = sh("sed -n 's/.*\"pid\":\\([0-9]*\\),\"startTime\":[0-9]*,\"role\":\"links\".*/\\1/p' /run/trama/labs/" +
                name_ + "/lab.json")
                 .out;
  ASSERT_FALSE(pid.empty());
  sh("kill -9 " + pid);
  EXPECT_TRUE(test::eventually([&] { return round_trip("n1", "172.30.0.12") < 20; }));
  auto told = in_lab("link show");
  EXPECT_EQ(told.code, 1) << told.out;
  EXPECT_THAT(told.out, HasSubstr("trama link restore"));
  EXPECT_THAT(trama("lab ls").out, HasSubstr("nobody keeps up the 3 rules"));
  EXPECT_EQ(in_lab("link restore").code, 0);
  EXPECT_GE(round_trip("n1", "172.30.0.12"), 100);
  EXPECT_EQ(in_lab("link show").code, 0);
  EXPECT_EQ(in_lab("link clear").code, 0);
  EXPECT_LT(round_trip("n1", "172.30.0.12"), 20);
  EXPECT_EQ(in_lab("link flap n1 --down 10s --up 10s").code, 0);
  EXPECT_GT(round_trip("n1", "172.30.0.12"), 1e6);
  // One that the record has forgotten ends with the lab, too.
  sh("sed -i 's/\"role\":\"links\"/\"role\":\"lost\"/; s/\"pid\":\\([0-9]*\\),\"startTime\":[0-9]*,\"role\":\"lost\"/"
     "\"pid\":\\1,\"startTime\":1,\"role\":\"lost\"/' /run/trama/labs/" +
     name_ + "/lab.json");
  EXPECT_EQ(trama("lab down " + name_).code, 0);
  EXPECT_TRUE(test::eventually([&] { return sh("pgrep -f 'link serv[e] " + name_ + " '").code == 1; }));
  EXPECT_EQ(machine(), before_);
}

}  // namespace
}  // namespace trama::cli
