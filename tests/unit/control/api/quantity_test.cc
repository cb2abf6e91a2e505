// SPDX-License-Identifier: GPL-2.0-or-later
#include "control/api/quantity.h"

#include <gtest/gtest.h>

namespace trama::api {
namespace {

TEST(Quantity, Milli) {
  const std::pair<const char*, std::int64_t> cases[] = {
      {"0", 0},           {"1", 1000},       {"100m", 100},      {"1.5", 1500},    {"0.1", 100},  {"0.29", 290},
      {".5", 500},        {"2k", 2'000'000}, {"1e3", 1'000'000}, {"1E2", 100'000}, {"-1", -1000}, {"+1", 1000},
      {"1Ki", 1'024'000}, {"1u", 1},         {"1n", 1},          {"1.0001", 1001}, {"5e-1", 500},
  };
  for (auto [text, milli] : cases) EXPECT_EQ(parse_milli(text), milli) << text;
}

TEST(Quantity, Units) {
  const std::pair<const char*, std::int64_t> cases[] = {
      {"64Mi", 67'108'864}, {"1Gi", 1'073'741'824}, {"1G", 1'000'000'000},      {"1.5Gi", 1'610'612'736},
      {"100m", 1},          {"16Ei", INT64_MAX},    {"128974848", 128'974'848},
  };
  for (auto [text, units] : cases) EXPECT_EQ(parse_units(text), units) << text;
}

TEST(Quantity, Refused) {
  for (const char* bad :
       {"", "m", "1x", "1 Mi", "Mi", "1..5", "1.5.5", "--1", "1mi", "1KI", "e3", "1e", "0x10", "1e+", "NaN"})
    EXPECT_FALSE(parse_milli(bad)) << bad;
}

TEST(Quantity, OfJson) {
  EXPECT_EQ(milli_of(json::value(2)), 2000);
  EXPECT_EQ(milli_of(json::value("250m")), 250);
  EXPECT_EQ(units_of(json::value(true)), 0);
}

}  // namespace
}  // namespace trama::api
