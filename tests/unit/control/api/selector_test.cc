// SPDX-License-Identifier: GPL-2.0-or-later
#include "control/api/selector.h"

#include <gtest/gtest.h>

namespace trama::api {
namespace {

ObjectPtr pod(std::string_view body) {
  auto o = json::parse({body.data(), body.size()}).as_object();
  auto ns = text_at(o, "metadata.namespace"), name = text_at(o, "metadata.name");
  return make_object({"pods", ns, name}, std::move(o), 7);
}

const char* kPod = R"({"metadata":{"name":"a","namespace":"d","labels":{"app":"web","tier":"front","empty":""}},
                       "spec":{"nodeName":"n1","hostNetwork":true},"status":{"phase":"Running"}})";

bool matches(std::string_view labels, std::string_view fields = "") {
  auto s = Selector::parse(*kind_of_resource("pods"), labels, fields);
  EXPECT_TRUE(s) << labels << " / " << fields << ": " << (s ? "" : s.error().message);
  return s && s->matches(*pod(kPod));
}

TEST(LabelSelector, Grammar) {
  for (const char* yes : {"", "app=web", "app==web", "app = web", "app", "!other", "app!=db", "app in (web,db)",
                          "app in ( web , db )", "app notin (db)", "other notin (x)", "other!=x", "app=web,tier=front",
                          "empty=", "empty in ()", "empty", "app,!x,tier in (front)"})
    EXPECT_TRUE(matches(yes)) << yes;
  for (const char* no : {"app=db", "!app", "other", "app!=web", "app notin (web,db)", "app in (db)",
                         "app=web,tier=back", "app=", "other=web"})
    EXPECT_FALSE(matches(no)) << no;
}

TEST(LabelSelector, MistakesAre400) {
  for (const char* bad : {"app in web", "app in (web", "app in (web))", ",app", "app,", "=web", "app=we b", "app>1",
                          "a in (b) c", "!", "app foo (x)", "(", ")"}) {
    auto s = Selector::parse(*kind_of_resource("pods"), bad, "");
    ASSERT_FALSE(s) << bad;
    EXPECT_EQ(s.error().code, 400) << bad;
  }
}

TEST(FieldSelector, KnownFields) {
  for (const char* yes : {"metadata.name=a", "metadata.namespace==d", "spec.nodeName=n1", "status.phase!=Failed",
                          "spec.hostNetwork=true", "spec.nodeName=n1,status.phase=Running", "status.podIP="})
    EXPECT_TRUE(matches("", yes)) << yes;
  for (const char* no : {"metadata.name=b", "spec.nodeName=", "spec.nodeName!=n1", "status.phase=Pending"})
    EXPECT_FALSE(matches("", no)) << no;
}

// Ignoring an unknown field would answer with too much.
TEST(FieldSelector, UnknownFieldsAreRefused) {
  for (auto [resource, fields] : {std::pair{"pods", "spec.foo=1"},
                                  {"nodes", "spec.nodeName=n1"},
                                  {"services", "status.phase=x"},
                                  {"pods", "x"},
                                  {"pods", "=x"}}) {
    auto s = Selector::parse(*kind_of_resource(resource), "", fields);
    ASSERT_FALSE(s) << fields;
    EXPECT_EQ(s.error().code, 400);
  }
}

TEST(FieldSelector, EventsUnderBothGroups) {
  auto event =
      make_object({"events", "d", "e"},
                  json::parse(R"({"metadata":{"name":"e","namespace":"d"},"involvedObject":{"kind":"Pod","name":"a"},
      "source":{"component":"scheduler"},"type":"Warning"})")
                      .as_object(),
                  1);
  const auto& core = *find_kind("", "v1", "events");
  const auto& newer = *find_kind("events.k8s.io", "v1", "events");
  EXPECT_TRUE(Selector::parse(core, "", "involvedObject.name=a,involvedObject.kind=Pod,type=Warning")->matches(*event));
  EXPECT_TRUE(Selector::parse(core, "", "source=scheduler")->matches(*event));
  EXPECT_TRUE(Selector::parse(newer, "", "regarding.name=a")->matches(*event));
  EXPECT_FALSE(Selector::parse(newer, "", "regarding.name=b")->matches(*event));
}

TEST(FieldSelector, NameShortcut) {
  EXPECT_EQ(Selector::parse(*kind_of_resource("pods"), "", "metadata.name=a")->name(), "a");
  EXPECT_EQ(Selector::parse(*kind_of_resource("pods"), "", "metadata.name!=a")->name(), "");
}

}  // namespace
}  // namespace trama::api
