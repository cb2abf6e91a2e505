// SPDX-License-Identifier: GPL-2.0-or-later
#include <gmock/gmock.h>

#include "cli/yaml/emit.h"
#include "cli/yaml/load.h"
#include "cli/yaml/scalar.h"

namespace trama::cli {
namespace {

using testing::HasSubstr;

json::value one(std::string_view text) {
  auto all = load_yaml(text, "t.yaml");
  EXPECT_TRUE(all) << (all ? "" : all.error().to_string());
  if (!all || all->size() != 1) return nullptr;
  return (*all)[0].value;
}

std::string failure(std::string_view text, YamlLimits limits = {}) {
  auto all = load_yaml(text, "t.yaml", limits);
  return all ? "no failure" : all.error().to_string();
}

TEST(YamlLoad, ScalarsFollowTheCoreSchema) {
  EXPECT_EQ(
      json::serialize(one("a: 1\nb: -2\nc: 0x10\nd: 0644\ne: 1.5\nf: true\ng: no\nh: ~\ni: \"1\"\nj: 'x'\nk: 1e3\n")),
      R"({"a":1,"b":-2,"c":16,"d":420,"e":1.5E0,"f":true,"g":"no","h":null,"i":"1","j":"x","k":1E3})");
}

TEST(YamlLoad, BigNumbersAndThingsThatOnlyLookLikeNumbers) {
  EXPECT_EQ(json::serialize(one("[18446744073709551615, 10.244.0.0/16, 1.2.3, 12:30, 0x, 1_000, -, '']")),
            R"([18446744073709551615,"10.244.0.0/16","1.2.3","12:30","0x","1_000","-",""])");
}

TEST(YamlLoad, SeveralDocumentsAndEmptyOnes) {
  auto all = load_yaml("---\n# nothing\n---\na: 1\n---\n---\n- x\n", "t.yaml");
  ASSERT_TRUE(all);
  ASSERT_EQ(all->size(), 2u);
  EXPECT_EQ(json::serialize((*all)[1].value), R"(["x"])");
}

TEST(YamlLoad, JsonIsYaml) { EXPECT_EQ(json::serialize(one(R"({"a":[1,{"b":"c"}]})")), R"({"a":[1,{"b":"c"}]})"); }

TEST(YamlLoad, KnowsTheLineOfEveryField) {
  auto all = load_yaml("a: 1\nspec:\n  ports:\n    - name: x\n      nodePort: 5\n    - name: y\n", "t.yaml");
  ASSERT_TRUE(all);
  const auto& d = (*all)[0];
  EXPECT_EQ(d.lines.line_of("spec.ports[0].nodePort"), 5);
  EXPECT_EQ(d.lines.line_of("spec.ports[1]"), 6);
  EXPECT_EQ(d.lines.line_of("spec.ports[1].absent.deeper"), 6);
  EXPECT_EQ(d.mistake("spec.ports[0].nodePort", "expected 30000-32767").to_string(),
            "t.yaml:5: spec.ports[0].nodePort: expected 30000-32767");
}

TEST(YamlLoad, AnchorsAndAliasesAreCopies) {
  EXPECT_EQ(json::serialize(one("a: &x {k: 1}\nb: *x\nc: [*x, *x]\n")),
            R"({"a":{"k":1},"b":{"k":1},"c":[{"k":1},{"k":1}]})");
}

TEST(YamlLoad, MistakesNameFileLineAndField) {
  EXPECT_EQ(failure("a: 1\nb: 2\na: 3\n"), "t.yaml:3: a: this field is given twice");
  EXPECT_THAT(failure("a: [1\n"), HasSubstr("t.yaml:2: not YAML"));
  EXPECT_EQ(failure("s:\n  v: .inf\n"), "t.yaml:2: s.v: \".inf\" is no number that JSON knows");
  EXPECT_THAT(failure("v: !!binary aGk=\n"), HasSubstr("t.yaml:1: v: tags are not supported"));
  EXPECT_THAT(failure("? {a: 1}\n: 2\n"), HasSubstr("a key must be plain text"));
  EXPECT_THAT(failure(std::string_view("a: \0b", 5)), HasSubstr("not a text file"));
}

TEST(YamlLoad, RefusesBombs) {
  std::string bomb = "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n";
  for (int i = 1; i < 12; ++i)
    bomb += fmt::format("a{0}: &a{0} [*a{1},*a{1},*a{1},*a{1},*a{1},*a{1},*a{1},*a{1},*a{1},*a{1}]\n", i, i - 1);
  EXPECT_THAT(failure(bomb), HasSubstr("too many values"));
  EXPECT_THAT(failure("a: &a [*a]\n"), HasSubstr("contains it"));
  EXPECT_THAT(failure(std::string(100, '[') + std::string(100, ']')), HasSubstr("nested deeper than 64 levels"));
  EXPECT_THAT(failure(std::string(1'000'000, '[')), HasSubstr("nested too deeply"));
  EXPECT_THAT(failure(std::string(200, 'x'), YamlLimits{100, 64, 100}), HasSubstr("larger than"));
  std::string nested;
  for (int i = 0; i < 100; ++i) nested += std::string(static_cast<std::size_t>(i), ' ') + "a:\n";
  EXPECT_THAT(failure(nested + std::string(100, ' ') + "b"), HasSubstr("nested deeper"));
}

TEST(YamlEmit, ReadsBackAsTheSameValue) {
  const char* values[] = {
      R"({"apiVersion":"v1","metadata":{"name":"web","labels":{"a/b":"true","n":"1","e":""}},"list":[{"a":1,"b":[]},[1,2],"x: y"]})",
      R"({"text":"line one\nline two\n","tail":"no newline\nat the end","odd":" lead","date":"2024-01-01","hash":"a #b","port":":8080"})",
      R"([null,true,false,-1,1.5,"null","~","no","yes","0x1f","1e5","- a","? b","{}","[]","'q'","\"q\"","\u0001\u007f","*a","&a","!t","%p","@x","`y","a:"])",
      R"({"deep":[[[{"a":[{"b":{}}]}]]],"multi":["one\ntwo\n",{"k":"x\ny\n"}]})",
      R"("just text")",
      "{}",
      "[]",
      "[[],{}]"};
  for (const char* text : values) {
    auto value = json::parse(text);
    auto yaml = to_yaml(value);
    auto back = load_yaml(yaml, "t.yaml");
    ASSERT_TRUE(back) << yaml << back.error().to_string();
    ASSERT_EQ(back->size(), 1u) << yaml;
    EXPECT_EQ((*back)[0].value, value) << yaml;
    EXPECT_EQ(json::parse(to_pretty_json(value)), value);
  }
}

TEST(YamlEmit, LooksAsPeopleExpect) {
  auto value = json::parse(R"({"kind":"Pod","spec":{"containers":[{"name":"a","args":["x","8080"]}],"empty":{}}})");
  EXPECT_EQ(to_yaml(value),
            "kind: Pod\nspec:\n  containers:\n  - name: a\n    args:\n    - x\n    - \"8080\"\n  empty: {}\n");
}

}  // namespace
}  // namespace trama::cli
