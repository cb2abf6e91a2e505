// SPDX-License-Identifier: GPL-2.0-or-later
#include "control/api/protobuf.h"

#include <cstdlib>
#include <filesystem>
#include <set>

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/file.h"
#include "control/api/schema_table.h"
#include "tests/unit/control/api/wire_writer.h"

namespace trama::api {
namespace {

using testing::HasSubstr;

std::filesystem::path testdata() {
  const char* source = std::getenv("TRAMA_SOURCE_DIR");
  return std::filesystem::path(source ? source : ".") / "tests/testdata/protobuf";
}
std::string content(const std::filesystem::path& path) {
  auto read = base::read_file(path.string());
  if (!read) throw std::runtime_error(read.error().to_string());
  return *read;
}
json::object object(std::string_view text) { return json::parse({text.data(), text.size()}).as_object(); }

std::string_view message_named(std::string_view api_version, std::string_view kind) {
  const auto* known = kind_of_manifest(api_version, kind);
  return known ? message_of(*known) : kind;
}

json::object decode_body(const std::string& body) {
  auto envelope = open_envelope(body);
  if (!envelope) throw std::runtime_error(envelope.error().message);
  auto out = decode_message(message_named(envelope->api_version, envelope->kind), envelope->message);
  if (!out) throw std::runtime_error(out.error().message);
  (*out)["apiVersion"] = envelope->api_version;
  (*out)["kind"] = envelope->kind;
  return *out;
}

json::object decode(std::string_view message, const std::string& bytes) {
  auto out = decode_message(message, bytes);
  return out ? *out : json::object{{"error", out.error().message}};
}

// Every row that a document touches.
void visit(std::string_view message, const json::object& body, bool whole, std::set<const Field*>& seen) {
  for (const auto& [name, value] : body) {
    const auto* f = whole && name == "metadata" ? &metadata_field() : find_field(message, name);
    if (!f) continue;
    seen.insert(f);
    if (f->type == Type::object) visit(f->of, value.as_object(), false, seen);
    if (f->type == Type::list)
      for (const auto& item : value.as_array()) visit(f->of, item.as_object(), false, seen);
  }
}

// The bodies are of Google's protobuf library, with the descriptors that upstream's own programs carry; the documents
// are what upstream's names and types make of the same values.
TEST(Protobuf, EveryFieldOfEveryKind) {
  std::set<const Field*> seen;
  int bodies = 0;
  for (const auto& file : std::filesystem::directory_iterator(testdata())) {
    auto path = file.path();
    if (path.extension() != ".pb" || !path.filename().string().starts_with("every-field-")) continue;
    SCOPED_TRACE(path.filename());
    ++bodies;
    auto decoded = decode_body(content(path));
    auto expected = object(content(path.replace_extension(".json")));
    EXPECT_EQ(decoded, expected) << json::serialize(decoded) << "\n" << json::serialize(expected);
    visit(message_named(text_at(decoded, "apiVersion"), text_at(decoded, "kind")), decoded, true, seen);
  }
  EXPECT_EQ(bodies, 28);
  for (const auto& part : schema_parts())
    for (const auto& f : part.rows) {
      if (f.type == Type::inlined) continue;
      EXPECT_TRUE(seen.count(&f)) << "no body has " << f.message << "." << f.name;
    }
}

// What kubectl 1.33 sends for `kubectl create …`, and what it prints with -o json for the same command.
TEST(Protobuf, BodiesOfKubectl) {
  int bodies = 0;
  for (const auto& file : std::filesystem::directory_iterator(testdata())) {
    auto path = file.path();
    if (path.extension() != ".pb" || !path.filename().string().starts_with("kubectl-")) continue;
    SCOPED_TRACE(path.filename());
    ++bodies;
    auto decoded = decode_body(content(path));
    auto expected = object(content(path.replace_extension(".json")));
    if (const auto* kind = kind_of_manifest(text_at(expected, "apiVersion"), text_at(expected, "kind"))) {
      Findings a, b;  // drops the nulls that Go's JSON has
      check_schema(*kind, decoded, a);
      check_schema(*kind, expected, b);
      EXPECT_TRUE(a.unknown.empty() && a.mistyped.empty() && a.invalid.empty());
    }
    EXPECT_EQ(decoded, expected) << json::serialize(decoded) << "\n" << json::serialize(expected);
  }
  EXPECT_EQ(bodies, 10);
}

struct Case {
  const char* what;
  std::string_view message;
  std::string bytes;
  const char* json;
};

TEST(Protobuf, ZeroesMeanUnsetWhereGoHasNoPointer) {
  using namespace wire;
  const Case cases[] = {
      {"port numbers", "ServicePort", bytes(1, "") + number(3, 0) + number(5, 0), R"({"port":0})"},
      {"allocated address", "ServiceSpec", bytes(3, "") + number(12, 0) + number(13, 0), "{}"},
      {"explicit no", "ServiceSpec", number(20, 0), R"({"allocateLoadBalancerNodePorts":false})"},
      {"scaled to nothing", "DeploymentSpec", number(1, 0) + number(5, 0) + number(7, 0), R"({"replicas":0})"},
      {"number of a Scale", "ScaleSpec", number(1, 0), R"({"replicas":0})"},
      {"not ready", "EndpointConditions", number(1, 0) + number(2, 1), R"({"ready":false,"serving":true})"},
      {"unnamed port of a slice", "EndpointPort", bytes(1, ""), R"({"name":""})"},
      {"a lease let go", "LeaseSpec", bytes(1, ""), R"({"holderIdentity":""})"},
      {"killed at once", "DeleteOptions", number(1, 0), R"({"gracePeriodSeconds":0})"},
      {"root", "SecurityContext", number(4, 0) + number(2, 0), R"({"runAsUser":0,"privileged":false})"},
      {"empty messages are there", "Volume", bytes(1, "v") + bytes(2, bytes(2, "")), R"({"name":"v","emptyDir":{}})"},
      {"no time", "ObjectMeta", bytes(8, ""), "{}"},
      {"the year 1", "ObjectMeta", bytes(8, number(1, -62'135'596'800)), "{}"},
      {"1970", "ObjectMeta", bytes(8, number(1, 0) + number(2, 0)), R"({"creationTimestamp":"1970-01-01T00:00:00Z"})"},
      {"before 1970", "LeaseSpec", bytes(4, number(1, -1) + number(2, 999'999'999)),
       R"({"renewTime":"1969-12-31T23:59:59.999999Z"})"},
      {"empty values of maps", "ConfigMap", entry(2, "a", "") + bytes(2, bytes(1, "b")), R"({"data":{"a":"","b":""}})"},
      {"a quantity of nothing", "EmptyDirVolumeSource", bytes(2, ""), R"({"sizeLimit":"0"})"},
  };
  for (const auto& c : cases) EXPECT_EQ(decode(c.message, c.bytes), object(c.json)) << c.what;
}

TEST(Protobuf, RepeatedFieldsAreWhatGoMakesOfThem) {
  using namespace wire;
  const Case cases[] = {
      {"the last text", "PodSpec", bytes(10, "a") + bytes(10, "b"), R"({"nodeName":"b"})"},
      {"an unset one too", "PodSpec", bytes(10, "a") + bytes(10, ""), "{}"},
      {"messages are merged", "Pod", bytes(2, bytes(10, "a")) + bytes(2, bytes(3, "Never")),
       R"({"spec":{"nodeName":"a","restartPolicy":"Never"}})"},
      {"one by one and packed", "PodSecurityContext",
       number(4, 1) + bytes(4, varint(2) + varint(300)) + number(4, -1) + bytes(4, ""),
       R"({"supplementalGroups":[1,2,300,-1]})"},
      {"negative", "Toleration", number(5, -5), R"({"tolerationSeconds":-5})"},
      {"32 bits", "ServicePort", number(3, (1LL << 32) + 80), R"({"port":80})"},
      {"numbers of newer versions", "PodSpec",
       number(9000, 7) + bytes(9001, "x") + varint(9002 << 3 | 1) + "12345678" + varint(9003 << 3 | 5) + "1234" +
           varint(9004 << 3 | 3) + number(1, 1) + varint(9005 << 3 | 3) + varint(9005 << 3 | 4) +
           varint(9004 << 3 | 4) + bytes(10, "n"),
       R"({"nodeName":"n"})"},
      {"text that is not UTF-8", "ConfigMap", entry(2, "\xff", "a\xc0\x80z\xed\xa0\x80\xc3\xa9"),
       "{\"data\":{\"\xef\xbf\xbd\":\"a\xef\xbf\xbd\xef\xbf\xbdz\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xc3\xa9\"}}"},
      {"bytes", "Secret", entry(2, "k", std::string_view("\0\xff", 2)) + entry(4, "t", "x"),
       R"({"data":{"k":"AP8="},"stringData":{"t":"x"}})"},
  };
  for (const auto& c : cases) EXPECT_EQ(decode(c.message, c.bytes), object(c.json)) << c.what;
}

TEST(Protobuf, WhatIsBrokenIsNamed) {
  using namespace wire;
  std::string crowd;
  for (int i = 0; i < 1'000'001; ++i) crowd += bytes(2, "");
  std::string deep;
  for (int i = 0; i < 100; ++i) deep = "{\"a\":" + (deep.empty() ? "1" : deep) + "}";
  const Case cases[] = {
      {"cut in a length", "Pod", "\x12\x05\x01", "unexpected EOF"},
      {"cut in a number", "ServicePort", "\x18\x80", "unexpected EOF"},
      {"endless number", "ServicePort", "\x18" + std::string(11, '\xff'), "proto: integer overflow"},
      {"huge length", "Pod", "\x12" + std::string(9, '\xff') + "\x01",
       "proto: negative length found during unmarshaling"},
      {"field 0", "Pod", std::string(2, '\0'), "proto: illegal tag 0 (wire type 0)"},
      {"wire type 7", "Pod", "\x0f", "proto: illegal tag 1 (wire type 7)"},
      {"end without group", "Pod", "\x0c", "proto: Pod: wiretype end group for non-group"},
      {"group without end", "Pod", varint(900 << 3 | 3), "unexpected EOF"},
      {"text for a number", "DeploymentSpec", bytes(1, "x"), "proto: wrong wireType = 2 for field Replicas"},
      {"number for a text", "PodSpec", number(10, 1), "proto: wrong wireType = 0 for field NodeName"},
      {"packed and cut", "PodSecurityContext", bytes(4, "\x01\x80"), "unexpected EOF"},
      {"neither number nor text", "ServicePort", bytes(4, number(1, 2)), "impossible IntOrString.Type"},
      {"far future", "ObjectMeta", bytes(8, number(1, 1LL << 40)), "are no time"},
      {"wild nanoseconds", "ObjectMeta", bytes(8, number(2, 1'000'000'000)), "are no time"},
      {"managed fields", "ManagedFieldsEntry", bytes(7, bytes(1, "{")), "fieldsV1"},
      {"deep managed fields", "ManagedFieldsEntry", bytes(7, bytes(1, deep)), "fieldsV1"},
      {"crowd", "PodSpec", crowd, "too many values"},
      {"crowd of numbers", "PodSecurityContext", bytes(4, std::string(1'000'001, '\1')), "too many values"},
  };
  for (const auto& c : cases) {
    auto out = decode_message(c.message, c.bytes);
    ASSERT_FALSE(out) << c.what;
    EXPECT_EQ(out.error().code, 400);
    EXPECT_THAT(out.error().message, HasSubstr(c.json)) << c.what;
  }
  // At any cut a body is an error or a smaller object, never a fault.
  auto whole = content(testdata() / "every-field-deployment.pb");
  for (std::size_t n = 0; n < whole.size() - 4; ++n) {  // the last four bytes are empty fields of the envelope
    auto envelope = open_envelope(std::string_view(whole).substr(0, n));
    EXPECT_FALSE(envelope && !envelope->message.empty()) << n;
  }
  auto envelope = open_envelope(whole);
  ASSERT_TRUE(envelope);
  int refused = 0;
  for (std::size_t n = 0; n < envelope->message.size(); n += 7)
    refused += !decode_message("Deployment", envelope->message.substr(0, n));
  EXPECT_GT(refused, 1000);
}

TEST(Protobuf, Envelopes) {
  using namespace wire;
  EXPECT_EQ(open_envelope("").error().message, "empty data");
  EXPECT_EQ(open_envelope("{}").error().message,
            "provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]");
  EXPECT_EQ(open_envelope(std::string_view("k8s\0", 4)).error().message, "empty body");
  EXPECT_EQ(open_envelope(std::string_view("k8s\0\x12\x09", 6)).error().message, "unexpected EOF");
  auto body = envelope("apps/v1", "Deployment", "abc");
  auto open = open_envelope(body);
  ASSERT_TRUE(open);
  EXPECT_EQ(open->api_version, "apps/v1");
  EXPECT_EQ(open->kind, "Deployment");
  EXPECT_EQ(open->message, "abc");
  auto bare = std::string("k8s\0", 4) + bytes(2, "");
  open = open_envelope(bare);
  ASSERT_TRUE(open);
  EXPECT_EQ(open->kind, "");
}

}  // namespace
}  // namespace trama::api
