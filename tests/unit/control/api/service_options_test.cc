// SPDX-License-Identifier: GPL-2.0-or-later
#include "control/api/service_options.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "control/api/kinds.h"
#include "control/api/validate.h"

namespace trama::api {
namespace {

using std::chrono::seconds;
using testing::HasSubstr;

ReadOptions read(std::string_view annotations) {
  return read_service_options(json::parse({annotations.data(), annotations.size()}).as_object());
}

TEST(ServiceOptions, NothingAskedForIsTheDefault) {
  auto got = read(R"({"trama.dev/unknown":"x","example.org/algorithm":"nonsense"})");
  EXPECT_TRUE(got.faults.empty()) << "other annotations are somebody else's";
  EXPECT_EQ(got.options.algorithm, Balancing::random);
  EXPECT_TRUE(got.options.weights.empty());
  EXPECT_EQ(got.options.slow_start, seconds(0));
  EXPECT_FALSE(got.options.drain);
  EXPECT_FALSE(got.options.counters);
}

TEST(ServiceOptions, EverythingIsRead) {
  auto got = read(R"({"trama.dev/algorithm":"maglev","trama.dev/weights":" web-1=3, 10.244.1.7=0,fd00:0::1=100",
                      "trama.dev/slow-start":"1m30s","trama.dev/drain":"0s","trama.dev/counters":"true"})");
  EXPECT_TRUE(got.faults.empty());
  EXPECT_EQ(got.options.algorithm, Balancing::maglev);
  ASSERT_EQ(got.options.weights.size(), 3u);
  EXPECT_EQ(got.options.weights.at("web-1"), 3u);
  EXPECT_EQ(got.options.weights.at("10.244.1.7"), 0u);
  EXPECT_EQ(got.options.weights.at("fd00::1"), 100u) << "addresses are compared in their one canonical form";
  EXPECT_EQ(got.options.slow_start, seconds(90));
  EXPECT_EQ(got.options.drain, seconds(0)) << "0s is a wish, not the absence of one";
  EXPECT_TRUE(got.options.counters);
}

TEST(ServiceOptions, AMistakeCostsOnlyItsOwnOption) {
  auto got = read(R"({"trama.dev/algorithm":"Maglev","trama.dev/weights":"web-1=3,web-2","trama.dev/drain":"30s",
                      "trama.dev/counters":true})");
  ASSERT_EQ(got.faults.size(), 3u);
  EXPECT_EQ(got.faults[0].annotation, "trama.dev/algorithm");
  EXPECT_EQ(got.faults[0].value, "Maglev");
  EXPECT_EQ(got.faults[0].why, "must be one of random, round-robin, source-hash, maglev");
  EXPECT_THAT(got.faults[1].why, HasSubstr("\"web-2\": must be a list of pod names"));
  EXPECT_EQ(got.faults[2].why, "must be a string");
  EXPECT_TRUE(got.options.weights.empty())
      << "half a list of weights would be another distribution than the one wanted";
  EXPECT_EQ(got.options.drain, seconds(30));
}

TEST(ServiceOptions, WeightsThatAreNone) {
  for (const char* bad : {"web-1=101", "web-1=-1", "web-1=", "web-1", "=3", "web-1=1,web-1=2", "web-1=1,", ",", "a b=1",
                          "10.0.0.1=1,10.0.0.1=2", "web-1=1.5", "web-1=99999999999999999999", "Web=1", "web-1==1"}) {
    auto got = read(std::string(R"({"trama.dev/weights":")") + bad + "\"}");
    EXPECT_EQ(got.faults.size(), 1u) << bad;
    EXPECT_TRUE(got.options.weights.empty()) << bad;
  }
  EXPECT_TRUE(read(R"({"trama.dev/weights":""})").faults.empty());
}

TEST(ServiceOptions, Durations) {
  EXPECT_EQ(parse_whole_seconds("30s"), seconds(30));
  EXPECT_EQ(parse_whole_seconds("5m"), seconds(300));
  EXPECT_EQ(parse_whole_seconds("1h30m5s"), seconds(5405));
  EXPECT_EQ(parse_whole_seconds("24h"), seconds(86'400));
  for (const char* bad : {"", "30", "s", "100ms", "1.5s", "-1s", "+1s", " 1s", "1s ", "1s1m", "1s1s", "25h", "24h1s",
                          "1d", "999999999h", "9999999999999s", "30S"})
    EXPECT_FALSE(parse_whole_seconds(bad)) << bad;
}

TEST(ServiceOptions, SourceRangesAreReadAsKubeProxyReadsThem) {
  EXPECT_EQ(parse_source_range(" 10.1.2.3/8 ")->to_string(), "10.0.0.0/8");
  EXPECT_EQ(parse_source_range("0.0.0.0/0")->to_string(), "0.0.0.0/0");
  EXPECT_EQ(parse_source_range("2001:db8::1/32")->to_string(), "2001:db8::/32");
  for (const char* bad : {"", "10.0.0.0", "10.0.0.0/33", "10.0.0.0/", "/8", "10.0.0.0/-1", "10.0.0.0/8/8", "x/8"})
    EXPECT_FALSE(parse_source_range(bad)) << bad;
}

TEST(ServiceOptions, TheServerRefusesWhatTheAgentCouldNotUse) {
  auto said = [](std::string_view metadata, std::string_view spec) {
    auto text = fmt::format(R"({{"metadata":{{"name":"s","namespace":"d",{}}},"spec":{{"ports":[{{"port":80}}]{}}}}})",
                            metadata, spec);
    std::string out;
    auto body = json::parse(text).as_object();
    for (const auto& c : validate(*kind_of_resource("services"), body, nullptr))
      out += c.reason + " " + c.field + ": " + c.message + "\n";
    return out;
  };
  EXPECT_EQ(said(R"("annotations":{"trama.dev/algorithm":"source-hash","trama.dev/drain":"0s"})", ""), "");
  EXPECT_EQ(said(R"("annotations":{"trama.dev/drain":"500ms"})", ""),
            "FieldValueInvalid metadata.annotations[trama.dev/drain]: Invalid value: \"500ms\": must be whole seconds, "
            "minutes or hours up to 24h, e.g. 30s, 5m or 1h30m\n");
  EXPECT_THAT(said(R"("annotations":{})", R"(,"loadBalancerSourceRanges":["10.0.0.0/8","10.0.0.0"])"),
              HasSubstr("spec.loadBalancerSourceRanges[1]: Invalid value: \"10.0.0.0\": must be a valid CIDR value"));
}

}  // namespace
}  // namespace trama::api
