// SPDX-License-Identifier: GPL-2.0-or-later
#include "control/server/route.h"

#include <gtest/gtest.h>

namespace trama::server {
namespace {

std::string shown(std::string_view path) {
  auto p = parse_resource(path);
  if (!p) return "-";
  std::string out(p->kind->resource);
  out += "|" + p->ns + "|" + p->name + "|" + p->subresource + "|" + p->rest;
  return (p->watch ? "watch:" : "") + out;
}

TEST(Route, Resources) {
  const std::pair<const char*, const char*> cases[] = {
      {"/api/v1/pods", "pods||||"},
      {"/api/v1/namespaces/default/pods", "pods|default|||"},
      {"/api/v1/namespaces/default/pods/a", "pods|default|a||"},
      {"/api/v1/namespaces/default/pods/a/status", "pods|default|a|status|"},
      {"/api/v1/namespaces", "namespaces||||"},
      {"/api/v1/namespaces/x", "namespaces||x||"},
      {"/api/v1/namespaces/x/status", "namespaces||x|status|"},
      {"/api/v1/nodes/n1", "nodes||n1||"},
      {"/api/v1/nodes/n1/proxy/a/b", "nodes||n1|proxy|/a/b"},
      {"/apis/apps/v1/namespaces/d/deployments/x/scale", "deployments|d|x|scale|"},
      {"/api/v1/watch/pods", "watch:pods||||"},
      {"/api/v1/namespaces/d/nodes/n1", "-"},  // nodes live in no namespace
      {"/apis/apps/v1/pods", "-"},             // another group's
      {"/apis/apps/v2/deployments", "-"},
      {"/api/v1/unicorns", "-"},
      {"/api/v1", "-"},
      {"/apis", "-"},
      {"/version", "-"},
      {"/api/v1/namespaces/../pods/x", "-"},
      {"/api/v1/namespaces/d/pods/..", "-"},
  };
  for (auto [path, want] : cases) EXPECT_EQ(shown(path), want) << path;
}

TEST(Target, DecodesOnce) {
  auto t = parse_target("/api/v1/pods?labelSelector=a%3Db%2Cc+d&watch=1&x&x=2#frag");
  ASSERT_TRUE(t);
  EXPECT_EQ(t->path, "/api/v1/pods");
  EXPECT_EQ(t->query["labelSelector"].at(0), "a=b,c d");
  EXPECT_EQ(t->query["x"].size(), 2u);
  EXPECT_EQ(parse_target("/a%2520b")->path, "/a%20b") << "once only";
}

TEST(Target, Malformed) {
  for (const char* bad : {"", "api", "/%", "/%4", "/%zz", "/a%00b", "/a?x=%", "/api/v1/namespaces/d%2Fpods/x",
                          "/api/v1/namespaces/d%2fpods/x"})
    EXPECT_FALSE(parse_target(bad)) << bad;
  std::string many = "/a?";
  for (int i = 0; i < 1001; ++i) many += "x=1&";
  EXPECT_FALSE(parse_target(many));
}

}  // namespace
}  // namespace trama::server
