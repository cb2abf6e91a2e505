// SPDX-License-Identifier: GPL-2.0-or-later
#include "agent/cluster_view.h"

#include <gtest/gtest.h>

#include "agent/view_file.h"
#include "tests/unit/agent/objects.h"

namespace trama::agent {
namespace {

api::ObjectPtr node(const std::string& name, int revision = 1) {
  return object_from("nodes", fmt::format(R"({{"metadata":{{"name":"{}","uid":"u-{}","resourceVersion":"{}"}}}})", name,
                                          name, revision));
}
api::ObjectPtr service(const std::string& name, const std::string& ip, int revision = 1) {
  return object_from("services",
                     fmt::format(R"({{"metadata":{{"name":"{}","namespace":"default","resourceVersion":"{}"}},
                                     "spec":{{"clusterIPs":["{}"]}}}})",
                                 name, revision, ip));
}
api::ObjectPtr slice(const std::string& name, const std::string& service, int revision = 1) {
  return object_from("endpointslices",
                     fmt::format(R"({{"metadata":{{"name":"{}","namespace":"default","resourceVersion":"{}",
                                     "labels":{{"kubernetes.io/service-name":"{}"}}}}}})",
                                 name, revision, service));
}
std::string names(const ClusterView::Objects& objects) {
  std::string out;
  for (const auto& [name, object] : objects) out += (out.empty() ? "" : " ") + name;
  return out;
}

TEST(ClusterView, AListReplacesAndEventsFollow) {
  ClusterView view;
  EXPECT_FALSE(view.known(Kind::nodes));
  EXPECT_EQ(view.list(Kind::nodes, {node("a"), node("b")}, 10), 0u);
  EXPECT_TRUE(view.known(Kind::nodes));
  EXPECT_TRUE(view.synced(Kind::nodes));
  view.put(Kind::nodes, node("c", 11));
  view.remove(Kind::nodes, node("a", 12));
  EXPECT_EQ(names(view.nodes()), "b c");
  EXPECT_EQ(view.revision(Kind::nodes), 12u);
  EXPECT_TRUE(view.take_dirty().nodes);
  EXPECT_FALSE(view.take_dirty().any());
  auto edits = view.edits(Kind::nodes);
  EXPECT_EQ(view.list(Kind::nodes, {node("b"), node("c", 11)}, 13), 0u);
  EXPECT_FALSE(view.take_dirty().any()) << "an equal list changes nothing";
  EXPECT_EQ(view.edits(Kind::nodes), edits);
}

TEST(ClusterView, AnEmptyListDeletesNothingUntilItIsConfirmed) {
  ClusterView view;
  view.load(Kind::nodes, {node("a"), node("b"), node("c")}, 5);
  EXPECT_TRUE(view.known(Kind::nodes));
  EXPECT_FALSE(view.synced(Kind::nodes));
  view.take_dirty();
  EXPECT_EQ(view.list(Kind::nodes, {}, 6), 3u);
  EXPECT_EQ(names(view.nodes()), "a b c");
  EXPECT_FALSE(view.take_dirty().any());
  view.put(Kind::nodes, node("b", 7));  // an event vouches for it
  view.confirm(Kind::nodes, {node("c")});
  EXPECT_EQ(names(view.nodes()), "b c") << "only a was missing twice";
  EXPECT_EQ(view.suspects(Kind::nodes), 0u);
}

TEST(ClusterView, LessThanHalfIsSuspiciousHalfIsNot) {
  ClusterView view;
  view.load(Kind::nodes, {node("a"), node("b"), node("c"), node("d")}, 5);
  EXPECT_EQ(view.list(Kind::nodes, {node("a")}, 6), 3u);
  EXPECT_EQ(names(view.nodes()), "a b c d");
  EXPECT_EQ(view.list(Kind::nodes, {node("a")}, 7), 0u) << "the second consistent list is the confirmation";
  EXPECT_EQ(names(view.nodes()), "a");

  ClusterView other;
  other.load(Kind::nodes, {node("a"), node("b"), node("c"), node("d")}, 5);
  EXPECT_EQ(other.list(Kind::nodes, {node("a"), node("d")}, 6), 0u);
  EXPECT_EQ(names(other.nodes()), "a d");
}

TEST(ClusterView, ADeleteEventIsBelievedWhileSuspectsAreHeld) {
  ClusterView view;
  view.load(Kind::nodes, {node("a"), node("b"), node("c")}, 5);
  view.list(Kind::nodes, {}, 6);
  view.remove(Kind::nodes, node("b", 7));
  EXPECT_EQ(names(view.nodes()), "a c");
  EXPECT_EQ(view.suspects(Kind::nodes), 2u);
}

TEST(ClusterView, SlicesMarkTheirServiceAndFollowItsLabel) {
  ClusterView view;
  view.put(Kind::services, service("web", "10.96.0.10"));
  view.put(Kind::slices, slice("web-1", "web"));
  view.put(Kind::slices, slice("orphan", ""));
  auto dirty = view.take_dirty();
  EXPECT_EQ(dirty.services, (std::set<ServiceKey>{{"default", "web"}}));
  EXPECT_TRUE(dirty.service_names);
  EXPECT_EQ(view.slices_of({"default", "web"}).size(), 1u);

  view.put(Kind::slices, slice("web-1", "db", 2));  // moved: both Services are to be looked at
  dirty = view.take_dirty();
  EXPECT_EQ(dirty.services, (std::set<ServiceKey>{{"default", "db"}, {"default", "web"}}));
  EXPECT_FALSE(dirty.service_names) << "endpoints are not in hosts files";
  EXPECT_TRUE(view.slices_of({"default", "web"}).empty());

  view.put(Kind::services, service("web", "10.96.0.10", 3));
  EXPECT_FALSE(view.take_dirty().service_names);
  view.put(Kind::services, service("web", "10.96.0.11", 4));
  EXPECT_TRUE(view.take_dirty().service_names);
}

TEST(ViewFile, RoundTrip) {
  auto text = encode_view(Kind::services, 77, {service("a", "10.96.0.1", 5), service("b", "10.96.0.2", 6)});
  auto back = decode_view(Kind::services, text);
  ASSERT_TRUE(back) << back.error().to_string();
  EXPECT_EQ(back->revision, 77u);
  ASSERT_EQ(back->objects.size(), 2u);
  EXPECT_EQ(back->objects[1]->key.to_string(), "services/default/b");
  EXPECT_EQ(back->objects[1]->revision, 6u);
  auto none = decode_view(Kind::services, encode_view(Kind::services, 1, {}));
  ASSERT_TRUE(none);
  EXPECT_TRUE(none->objects.empty());
}

TEST(ViewFile, DamageIsNoticed) {
  auto text = encode_view(Kind::services, 77, {service("a", "10.96.0.1"), service("b", "10.96.0.2")});
  EXPECT_FALSE(decode_view(Kind::nodes, text)) << "another kind";
  for (std::size_t cut = 0; cut < text.size(); ++cut)
    EXPECT_FALSE(decode_view(Kind::services, std::string_view(text).substr(0, cut))) << "cut at " << cut;
  for (std::size_t i = 0; i < text.size(); ++i) {
    auto bad = text;
    bad[i] = static_cast<char>(bad[i] ^ 1);
    auto got = decode_view(Kind::services, bad);
    // One bit of the header's revision is not covered by the checksum; everything else is.
    if (got) {
      EXPECT_LT(i, text.find('\n')) << "flip at " << i;
    }
  }
}

}  // namespace
}  // namespace trama::agent
