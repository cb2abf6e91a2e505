// SPDX-License-Identifier: GPL-2.0-or-later
#include "control/api/patch.h"

#include <gtest/gtest.h>

#include "control/api/schema.h"

namespace trama::api {
namespace {

json::object object(std::string_view text) { return json::parse({text.data(), text.size()}).as_object(); }
json::value value(std::string_view text) { return json::parse({text.data(), text.size()}); }
std::string canonical(const json::object& o) {
  std::map<std::string, std::string> sorted;  // member order is not content
  for (const auto& [key, v] : o)
    sorted[std::string(key)] = v.is_object() ? canonical(v.get_object()) : json::serialize(v);
  std::string out = "{";
  for (const auto& [key, text] : sorted) out += (out.size() > 1 ? "," : "") + ("\"" + key + "\":" + text);
  return out + "}";
}

struct Merge {
  const char *target, *patch, *result;
};

// RFC 7386, appendix A: the cases whose documents and patches are objects, as ours always are.
TEST(MergePatch, Rfc7386Examples) {
  const Merge cases[] = {
      {R"({"a":"b"})", R"({"a":"c"})", R"({"a":"c"})"},
      {R"({"a":"b"})", R"({"b":"c"})", R"({"a":"b","b":"c"})"},
      {R"({"a":"b"})", R"({"a":null})", R"({})"},
      {R"({"a":"b","b":"c"})", R"({"a":null})", R"({"b":"c"})"},
      {R"({"a":["b"]})", R"({"a":"c"})", R"({"a":"c"})"},
      {R"({"a":"c"})", R"({"a":["b"]})", R"({"a":["b"]})"},
      {R"({"a":{"b":"c"}})", R"({"a":{"b":"d","c":null}})", R"({"a":{"b":"d"}})"},
      {R"({"a":[{"b":"c"}]})", R"({"a":[1]})", R"({"a":[1]})"},
      {R"({"e":null})", R"({"a":1})", R"({"e":null,"a":1})"},
      {R"({})", R"({"a":{"bb":{"ccc":null}}})", R"({"a":{"bb":{}}})"},
  };
  for (const auto& c : cases)
    EXPECT_EQ(canonical(merge_patch(object(c.target), object(c.patch))), canonical(object(c.result)))
        << c.target << " + " << c.patch;
}

struct Rfc6902 {
  const char *name, *target, *patch;
  const char* result;  // null = the patch must be refused
};

// RFC 6902, appendix A.
TEST(JsonPatch, Rfc6902Examples) {
  const Rfc6902 cases[] = {
      {"A.1 add a member", R"({"foo":"bar"})", R"([{"op":"add","path":"/baz","value":"qux"}])",
       R"({"baz":"qux","foo":"bar"})"},
      {"A.2 add an element", R"({"foo":["bar","baz"]})", R"([{"op":"add","path":"/foo/1","value":"qux"}])",
       R"({"foo":["bar","qux","baz"]})"},
      {"A.3 remove a member", R"({"baz":"qux","foo":"bar"})", R"([{"op":"remove","path":"/baz"}])", R"({"foo":"bar"})"},
      {"A.4 remove an element", R"({"foo":["bar","qux","baz"]})", R"([{"op":"remove","path":"/foo/1"}])",
       R"({"foo":["bar","baz"]})"},
      {"A.5 replace", R"({"baz":"qux","foo":"bar"})", R"([{"op":"replace","path":"/baz","value":"boo"}])",
       R"({"baz":"boo","foo":"bar"})"},
      {"A.6 move", R"({"foo":{"bar":"baz","waldo":"fred"},"qux":{"corge":"grault"}})",
       R"([{"op":"move","from":"/foo/waldo","path":"/qux/thud"}])",
       R"({"foo":{"bar":"baz"},"qux":{"corge":"grault","thud":"fred"}})"},
      {"A.7 move an element", R"({"foo":["all","grass","cows","eat"]})",
       R"([{"op":"move","from":"/foo/1","path":"/foo/3"}])", R"({"foo":["all","cows","eat","grass"]})"},
      {"A.8 test", R"({"baz":"qux","foo":["a",2,"c"]})",
       R"([{"op":"test","path":"/baz","value":"qux"},{"op":"test","path":"/foo/1","value":2}])",
       R"({"baz":"qux","foo":["a",2,"c"]})"},
      {"A.9 test fails", R"({"baz":"qux"})", R"([{"op":"test","path":"/baz","value":"bar"}])", nullptr},
      {"A.10 nested add", R"({"foo":"bar"})", R"([{"op":"add","path":"/child","value":{"grandchild":{}}}])",
       R"({"foo":"bar","child":{"grandchild":{}}})"},
      {"A.11 unknown members", R"({"foo":"bar"})", R"([{"op":"add","path":"/baz","value":"qux","xyz":123}])",
       R"({"foo":"bar","baz":"qux"})"},
      {"A.12 missing parent", R"({"foo":"bar"})", R"([{"op":"add","path":"/baz/bat","value":"qux"}])", nullptr},
      {"A.14 ~ escapes", R"({"/":9,"~1":10})", R"([{"op":"test","path":"/~01","value":10}])", R"({"/":9,"~1":10})"},
      {"A.15 strings are no numbers", R"({"/":9,"~1":10})", R"([{"op":"test","path":"/~01","value":"10"}])", nullptr},
      {"A.16 append", R"({"foo":["bar"]})", R"([{"op":"add","path":"/foo/-","value":["abc","def"]}])",
       R"({"foo":["bar",["abc","def"]]})"},
      {"index past the end", R"({"foo":[1]})", R"([{"op":"add","path":"/foo/2","value":3}])", nullptr},
      {"leading zero", R"({"foo":[1,2]})", R"([{"op":"replace","path":"/foo/01","value":3}])", nullptr},
      {"into itself", R"({"a":{"b":1}})", R"([{"op":"move","from":"/a","path":"/a/b"}])", nullptr},
      {"replace what is absent", R"({"a":1})", R"([{"op":"replace","path":"/b","value":1}])", nullptr},
      {"no value", R"({"a":1})", R"([{"op":"add","path":"/b"}])", nullptr},
      {"unknown operation", R"({"a":1})", R"([{"op":"increment","path":"/a","value":1}])", nullptr},
      {"second fails, nothing happens", R"({"a":1})",
       R"([{"op":"add","path":"/b","value":1},{"op":"remove","path":"/c"}])", nullptr},
  };
  for (const auto& c : cases) {
    auto got = json_patch(object(c.target), value(c.patch));
    if (!c.result) {
      ASSERT_FALSE(got) << c.name;
      EXPECT_GE(got.error().code, 400) << c.name;
      continue;
    }
    ASSERT_TRUE(got) << c.name << ": " << got.error().message;
    EXPECT_EQ(canonical(*got), canonical(object(c.result))) << c.name;
  }
}

TEST(JsonPatch, CopiesCanNotExhaustMemory) {
  json::array doubling;
  for (int i = 0; i < 60; ++i) {
    json::object op;
    op["op"] = "copy";
    op["from"] = "";
    op["path"] = "/x" + std::to_string(i);
    doubling.push_back(std::move(op));
  }
  auto got = json_patch(object(R"({"a":1})"), json::value(doubling));
  ASSERT_FALSE(got);
  EXPECT_EQ(got.error().code, 400);
  doubling.resize(5);  // the same patch with a few operations is fine
  EXPECT_TRUE(json_patch(object(R"({"a":1})"), json::value(doubling)));
}

json::object strategic(const char* resource, std::string_view target, std::string_view patch) {
  auto got = strategic_patch(*kind_of_resource(resource), object(target), object(patch));
  EXPECT_TRUE(got) << got.error().message;
  return got ? *got : json::object();
}

TEST(StrategicPatch, ContainersMergeByName) {
  auto got = strategic(
      "deployments",
      R"({"spec":{"template":{"spec":{"containers":[{"name":"a","image":"x:1","args":["1"]},{"name":"b","image":"y"}]}}}})",
      R"({"spec":{"template":{"spec":{"containers":[{"name":"a","image":"x:2"},{"name":"c","image":"z"}]}}}})");
  EXPECT_EQ(json::serialize(*at(got, "spec.template.spec.containers")),
            R"([{"name":"a","image":"x:2","args":["1"]},{"name":"b","image":"y"},{"name":"c","image":"z"}])");
}

TEST(StrategicPatch, ListsWithoutKeyAreReplaced) {
  auto got = strategic(
      "pods", R"({"spec":{"tolerations":[{"key":"a"},{"key":"b"}],"containers":[{"name":"a","args":["1","2"]}]}})",
      R"({"spec":{"tolerations":[{"key":"c"}],"containers":[{"name":"a","args":["3"]}]}})");
  EXPECT_EQ(json::serialize(*at(got, "spec.tolerations")), R"([{"key":"c"}])");
  EXPECT_EQ(json::serialize(array_at(got, "spec.containers")[0].at("args")), R"(["3"])");
}

TEST(StrategicPatch, DeleteDirectiveTakesOneElementOut) {
  auto got = strategic("services", R"({"spec":{"ports":[{"port":80},{"port":443}]}})",
                       R"({"spec":{"ports":[{"port":80,"$patch":"delete"}]}})");
  EXPECT_EQ(json::serialize(*at(got, "spec.ports")), R"([{"port":443}])");
}

TEST(StrategicPatch, ReplaceDirectiveReplacesListAndObject) {
  auto got =
      strategic("services", R"({"spec":{"ports":[{"port":80},{"port":443}],"selector":{"a":"1","b":"2"}}})",
                R"({"spec":{"ports":[{"port":8080},{"$patch":"replace"}],"selector":{"$patch":"replace","c":"3"}}})");
  EXPECT_EQ(json::serialize(*at(got, "spec.ports")), R"([{"port":8080}])");
  EXPECT_EQ(json::serialize(*at(got, "spec.selector")), R"({"c":"3"})");
}

TEST(StrategicPatch, OrderDirective) {
  auto got = strategic(
      "pods", R"({"spec":{"containers":[{"name":"a"},{"name":"b"}]}})",
      R"({"spec":{"$setElementOrder/containers":[{"name":"b"},{"name":"a"}],"containers":[{"name":"a","image":"i"}]}})");
  EXPECT_EQ(json::serialize(*at(got, "spec.containers")), R"([{"name":"b"},{"name":"a","image":"i"}])");
}

TEST(StrategicPatch, PrimitiveLists) {
  auto got = strategic("pods", R"({"metadata":{"finalizers":["a/x","b/x"]}})",
                       R"({"metadata":{"finalizers":["c/x"],"$deleteFromPrimitiveList/finalizers":["a/x"]}})");
  EXPECT_EQ(json::serialize(*at(got, "metadata.finalizers")), R"(["b/x","c/x"])");
}

TEST(StrategicPatch, RetainKeys) {
  auto got =
      strategic("deployments", R"({"spec":{"strategy":{"type":"RollingUpdate","rollingUpdate":{"maxSurge":1}}}})",
                R"({"spec":{"strategy":{"$retainKeys":["type"],"type":"Recreate"}}})");
  EXPECT_EQ(json::serialize(*at(got, "spec.strategy")), R"({"type":"Recreate"})");
}

TEST(StrategicPatch, NullDeletesAndMissingKeyIsRefused) {
  auto got = strategic("nodes", R"({"spec":{"unschedulable":true,"podCIDR":"10.0.0.0/24"}})",
                       R"({"spec":{"unschedulable":null}})");
  EXPECT_EQ(json::serialize(*at(got, "spec")), R"({"podCIDR":"10.0.0.0/24"})");
  auto refused = strategic_patch(*kind_of_resource("pods"), object(R"({"spec":{"containers":[]}})"),
                                 object(R"({"spec":{"containers":[{"image":"x"}]}})"));
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, 400);
}

TEST(StrategicPatch, ConditionsMergeByType) {
  auto got = strategic(
      "nodes",
      R"({"status":{"conditions":[{"type":"Ready","status":"True"},{"type":"DiskPressure","status":"False"}]}})",
      R"({"status":{"conditions":[{"type":"Ready","status":"False"}]}})");
  EXPECT_EQ(json::serialize(*at(got, "status.conditions")),
            R"([{"type":"Ready","status":"False"},{"type":"DiskPressure","status":"False"}])");
}

}  // namespace
}  // namespace trama::api
