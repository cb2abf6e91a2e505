// SPDX-License-Identifier: GPL-2.0-or-later
#include "control/etcd/wire.h"

#include <gtest/gtest.h>

#include "control/api/base64.h"
#include "control/store/etcd_layout.h"

namespace trama::etcd {
namespace {

TEST(EtcdWire, Base64IsReadAsItIsWritten) {
  std::string all;
  for (int i = 0; i < 256; ++i) {
    all += static_cast<char>(i);
    auto back = from_base64(api::base64(all));
    ASSERT_TRUE(back);
    EXPECT_EQ(*back, all);
  }
  for (const char* bad : {"a", "ab", "abc", "a===", "ab=c", "a b=", "====", "ab\n="})
    EXPECT_FALSE(from_base64(bad)) << bad;
}

TEST(EtcdWire, DefaultsAreAbsent) {
  auto txn = parse_txn(R"({"header":{"revision":"7"}})");
  ASSERT_TRUE(txn);
  EXPECT_FALSE(txn->succeeded);
  EXPECT_EQ(txn->revision, 7u);
  auto range = parse_range(R"({"header":{}})");
  ASSERT_TRUE(range);
  EXPECT_TRUE(range->items.empty());
  EXPECT_FALSE(range->more);
}

TEST(EtcdWire, AWatchIsToldThatItIsCompacted) {
  auto gone = parse_watch(R"({"result":{"header":{"raft_term":"2"},"canceled":true,"compact_revision":"42"}})");
  ASSERT_TRUE(gone);
  EXPECT_TRUE(gone->canceled);
  EXPECT_EQ(gone->compacted, 42u);
  auto ended = parse_watch(R"({"error":{"grpc_code":14,"message":"etcdserver: no leader"}})");
  ASSERT_TRUE(ended);
  EXPECT_TRUE(ended->canceled);
  EXPECT_EQ(ended->reason, "etcdserver: no leader");
}

TEST(EtcdWire, WhatIsWrongIsAnError) {
  for (const char* bad : {"", "[]", "{}", R"({"header":{"revision":"x"}})", R"({"header":{"revision":"-1"}})",
                          R"({"header":{"revision":"1"},"kvs":{}})", R"({"header":{},"kvs":[{"key":"%"}]})"})
    EXPECT_FALSE(parse_range(bad)) << bad;
  EXPECT_FALSE(parse_watch(R"({"result":{"header":{},"events":[{}]}})"));
  EXPECT_FALSE(parse_watch("{}"));
}

TEST(EtcdWire, FailuresAreToldApart) {
  EXPECT_EQ(parse_failure(400, R"({"message":"etcdserver: request is too large","code":3})").code, Code::invalid);
  EXPECT_EQ(parse_failure(503, R"({"error":"etcdserver: no leader","code":14})").code, Code::unavailable);
  auto odd = parse_failure(502, "<html>bad gateway</html>");
  EXPECT_EQ(odd.code, Code::unknown);
  EXPECT_NE(odd.message.find("HTTP 502"), std::string::npos);
  EXPECT_EQ(parse_failure(200, R"({"message":"x","code":0})").code, Code::unknown) << "never success";
}

TEST(EtcdWire, PrefixesEndWhereTheyShould) {
  EXPECT_EQ(prefix_end("/a/"), "/a0");
  EXPECT_EQ(prefix_end("a\xff"), "b");
}

TEST(EtcdWire, ManyOperationsAreNested) {
  Txn small, big;
  for (int i = 0; i < 60; ++i) small.put("k", "v");
  for (int i = 0; i < 61; ++i) big.put("k", "v");
  EXPECT_EQ(small.to_json().find("request_txn"), std::string::npos);
  auto text = big.to_json();
  auto parsed = json::parse(text).as_object();
  ASSERT_EQ(parsed.at("success").as_array().size(), 2u);
  EXPECT_EQ(
      parsed.at("success").as_array()[1].as_object().at("request_txn").as_object().at("success").as_array().size(), 1u);
}

TEST(EtcdLayout, KeysAndValuesComeBack) {
  store::EtcdLayout layout("/x");
  for (const api::Key& key : {api::Key{"pods", "default", "a"}, api::Key{"nodes", "", "n1"}}) {
    auto back = layout.parse_object_key(layout.object(key));
    ASSERT_TRUE(back);
    EXPECT_EQ(*back, key);
  }
  for (const char* alien :
       {"/x/o/pods/default", "/x/o/pods/default/", "/x/o//a/b", "/x/o/pods/a/b/c", "/y/o/pods/a/b", "/x/head"})
    EXPECT_FALSE(layout.parse_object_key(alien)) << alien;
  api::Key key{"pods", "default", "a"};
  auto text = store::encode_object(
      key, json::parse(R"({"metadata":{"name":"a","resourceVersion":"99"},"d":1})").as_object(), 5);
  auto object = store::decode_object(key, text, 8192);
  ASSERT_TRUE(object);
  EXPECT_EQ((*object)->revision, 8197u);
  EXPECT_EQ(api::text_at((*object)->body, "metadata.resourceVersion"), "8197");
  for (const char* bad : {"", "[]", "{}", R"({"metadata":{"resourceVersion":"4096"}})"})
    EXPECT_FALSE(store::decode_object(key, bad, 0)) << bad;
  EXPECT_FALSE(store::EtcdMeta::parse(R"({"format":2,"base":"0"})")) << "a later version's";
}

}  // namespace
}  // namespace trama::etcd
