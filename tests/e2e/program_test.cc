// SPDX-License-Identifier: GPL-2.0-or-later
// The real binary on a real command line, without a cluster: usage, exit codes, completion, streams.
#include <cstdlib>

#include <fmt/format.h>
#include <gmock/gmock.h>

#include "tests/support/private_netns.h"

namespace trama::cli {
namespace {

using testing::HasSubstr;

struct Ran {
  int code;
  std::string out;
};
Ran trama(const std::string& arguments) {
  Ran r{};
  // No lab, no kubeconfig, no terminal: the same on every machine.
  r.code = test::shell(
      fmt::format("env -u TRAMA_LAB -u KUBECONFIG HOME=/nonexistent {} {}", std::getenv("TRAMA_BINARY"), arguments),
      &r.out);
  return r;
}

TEST(Program, HelpAndVersion) {
  auto help = trama("--help");
  EXPECT_EQ(help.code, 0);
  for (auto word : {"lab", "get", "apply", "exec", "probe", "Exit codes"}) EXPECT_THAT(help.out, HasSubstr(word));
  EXPECT_THAT(help.out, testing::Not(HasSubstr("__complete")));
  EXPECT_THAT(trama("get --help").out, HasSubstr("--selector"));
  EXPECT_THAT(help.out, HasSubstr("Usage: trama ["));
  for (std::string command : {"get", "sim nodes", "lab up", "controller rotate-ca start", "token create"})
    EXPECT_THAT(trama(command + " --help").out, HasSubstr("Usage: trama " + command + " ")) << command;
  auto version = trama("version --client");
  EXPECT_EQ(version.code, 0);
  EXPECT_THAT(version.out, testing::StartsWith("trama "));
}

TEST(Program, MistakesSayWhatWasMeant) {
  auto verb = trama("gte pods");
  EXPECT_EQ(verb.code, 2);
  EXPECT_THAT(verb.out, HasSubstr("\"gte\" is not a command of trama; did you mean \"trama get\"?"));
  auto flag = trama("get pods --ouput wide");
  EXPECT_EQ(flag.code, 2);
  EXPECT_THAT(flag.out, HasSubstr("did you mean --output?"));
  EXPECT_EQ(trama("get").code, 2);
  EXPECT_EQ(trama("get pods -o xml").code, 2);
  EXPECT_EQ(trama("wait pod/x --for=condition=Ready --timeout=5parsecs").code, 2);
}

TEST(Program, ExitCodesWithoutACluster) {
  EXPECT_EQ(trama("--kubeconfig /dev/null get pods").code, 2);
  EXPECT_EQ(trama("--lab no-such-lab get pods").code, 3);
  EXPECT_EQ(trama("apply -f /nonexistent.yaml").code, 2);
  EXPECT_EQ(trama("exec pod").code, 2);
  EXPECT_NE(trama("get events").code, 2);  // a kind that is also the name of a verb
  EXPECT_EQ(trama("probe http://127.0.0.1:9 --timeout 1s").code, 1);
}

TEST(Program, RolesWithoutACluster) {
  auto matrix = trama("auth matrix");
  EXPECT_EQ(matrix.code, 0);
  for (const char* row :
       {"RESOURCE +ADMIN +EDIT +VIEW +NODE +PROXY +BOOTSTRAP", "pods +glwcupdD +glw.cupdD. +glw +.glwd. +- +-",
        "secrets +glwcupdD +.glwcupdD. +- +.glw. +- +-"})
    EXPECT_THAT(matrix.out, testing::ContainsRegex(row));
  EXPECT_EQ(trama("kubeconfig --role node").code, 2);
  EXPECT_THAT(trama("kubeconfig --role node").out, HasSubstr("trama token create"));
  EXPECT_EQ(trama("kubeconfig --role emperor").code, 2);
  EXPECT_EQ(trama("kubeconfig --role view --ttl 5s").code, 2);
  EXPECT_EQ(trama("kubeconfig --role view --user system:node:n1").code, 2);
}

TEST(Program, ManifestMistakesNameTheLine) {
  auto r = trama("apply --dry-run=client -f - <<'E'\napiVersion: v1\nkind: Pod\nmetadata:\n  nam: x\nE");
  EXPECT_EQ(r.code, 2);
  EXPECT_THAT(r.out, HasSubstr("standard input:3: metadata.name: is missing"));
  auto good = trama("apply --dry-run=client -f - <<'E'\napiVersion: v1\nkind: Pod\nmetadata: {name: x}\nE");
  EXPECT_EQ(good.code, 0);
  EXPECT_THAT(good.out, HasSubstr("pod/x valid"));
}

TEST(Program, CompletionKnowsVerbsOptionsAndKinds) {
  EXPECT_THAT(trama("__complete -- des").out, testing::StartsWith("describe\t"));
  EXPECT_THAT(trama("__complete -- get --sel").out, HasSubstr("--selector\t"));
  auto kinds = trama("__complete -- get po").out;
  EXPECT_THAT(kinds, HasSubstr("pods\tPod"));
  EXPECT_THAT(kinds, HasSubstr("pod/\tPod"));
  EXPECT_THAT(trama("__complete -- completion ''").out, HasSubstr("fish"));
  EXPECT_EQ(trama("__complete -- exec p -- ls ''").out, "");
  for (auto shell : {"bash", "zsh", "fish"}) EXPECT_EQ(trama(std::string("completion ") + shell).code, 0);
  std::string out;
  EXPECT_EQ(test::shell(fmt::format("{} completion bash | bash -n", std::getenv("TRAMA_BINARY")), &out), 0) << out;
}

}  // namespace
}  // namespace trama::cli
