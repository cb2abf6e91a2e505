// SPDX-License-Identifier: GPL-2.0-or-later
#include "control/pki/jwt.h"

#include <gtest/gtest.h>

#include "control/pki/authority.h"

namespace trama::pki {
namespace {

constexpr std::int64_t kNow = 1'800'000'000;

std::string token(const std::string& header, const std::string& claims, const std::string& signature) {
  return to_base64url(header) + "." + to_base64url(claims) + "." + to_base64url(signature);
}
std::string why(const std::string& text) {
  auto parsed = parse_jwt(text);
  return parsed ? "accepted" : parsed.error().to_string();
}

TEST(Jwt, WhatIsSignedIsVerifiedByThatKeyOnly) {
  auto ca = std::move(*Authority::create("one", kNow)), other = std::move(*Authority::create("two", kNow));
  json::object claims{{"sub", "system:serviceaccount:a:b"}, {"exp", kNow}};
  for (int i = 0; i < 50; ++i) {  // r and s begin with zeros now and then
    claims["jti"] = std::to_string(i);
    auto text = sign_jwt(ca.key(), ca.pin(), claims);
    ASSERT_TRUE(text) << text.error().to_string();
    auto parsed = parse_jwt(*text);
    ASSERT_TRUE(parsed) << parsed.error().to_string();
    EXPECT_EQ(parsed->key_id, ca.pin());
    EXPECT_EQ(parsed->claims, claims);
    EXPECT_TRUE(verify_jwt(*parsed, ca.certificate()));
    EXPECT_FALSE(verify_jwt(*parsed, other.certificate()));
    auto altered = *parsed;
    altered.signed_text[altered.signed_text.size() - 2] ^= 1;
    EXPECT_FALSE(verify_jwt(altered, ca.certificate()));
    for (std::size_t at : {0u, 31u, 32u, 63u}) {
      altered = *parsed;
      altered.signature[at] ^= 1;
      EXPECT_FALSE(verify_jwt(altered, ca.certificate())) << at;
    }
    altered.signature.assign(64, '\0');
    EXPECT_FALSE(verify_jwt(altered, ca.certificate())) << "zeros are no signature";
    altered.signature.assign(64, '\xff');
    EXPECT_FALSE(verify_jwt(altered, ca.certificate()));
  }
}

TEST(Jwt, OnlyOneFormIsRead) {
  const std::string good = R"({"alg":"ES256","kid":"k"})", sixty_four(64, 'x');
  EXPECT_EQ(why(token(good, "{}", sixty_four)), "accepted") << "the control";
  for (const char* header : {R"({"alg":"none","kid":"k"})", R"({"alg":"HS256","kid":"k"})",
                             R"({"alg":"es256","kid":"k"})", R"({"kid":"k"})", R"({"alg":["ES256"],"kid":"k"})"})
    EXPECT_EQ(why(token(header, "{}", sixty_four)), "the token is not signed with ES256") << header;
  EXPECT_NE(why(token(R"({"alg":"ES256"})", "{}", sixty_four)), "accepted");
  EXPECT_NE(why(token(R"({"alg":"ES256","kid":"k","crit":["b64"],"b64":false})", "{}", sixty_four)), "accepted");
  EXPECT_NE(why(token(good, "[]", sixty_four)), "accepted");
  EXPECT_NE(why(token(good, "{", sixty_four)), "accepted");
  EXPECT_NE(why(token(good, "{}", "")), "accepted");
  EXPECT_NE(why(token(good, "{}", sixty_four + "x")), "accepted");
  EXPECT_NE(why(token(good, "{}", sixty_four) + "."), "accepted");
  EXPECT_NE(why(token(good, "{}", sixty_four) + "="), "accepted");
  EXPECT_NE(why(" " + token(good, "{}", sixty_four)), "accepted");
  EXPECT_NE(why(".."), "accepted");
  EXPECT_NE(why(""), "accepted");
  EXPECT_EQ(why(token(good, R"({"a":")" + std::string(20'000, 'x') + "\"}", sixty_four)),
            "the token is longer than 16 KiB");
  EXPECT_FALSE(looks_like_jwt("abcdef.0123456789abcdef"));
}

TEST(Jwt, BytesHaveOneSpelling) {
  for (std::string text : {"", "f", "fo", "foo", "\xff\xfe\xfd", "\xfb\xff"}) {
    auto coded = to_base64url(text);
    EXPECT_EQ(coded.find_first_of("+/="), coded.npos);
    auto back = from_base64url(coded);
    ASSERT_TRUE(back);
    EXPECT_EQ(*back, text);
  }
  for (const char* bad : {"Zg==", "Z", "Zh", "Zm 9", "Zm+v", "Zm/v", "Zm9v\n"})
    EXPECT_FALSE(from_base64url(bad)) << bad;
}

TEST(Jwt, AKeyIsShownAsOthersReadIt) {
  auto ca = std::move(*Authority::create("one", kNow));
  auto key = to_jwk(ca.certificate());
  ASSERT_TRUE(key) << key.error().to_string();
  EXPECT_EQ(key->at("kid").as_string(), ca.pin());
  EXPECT_EQ(from_base64url(std::string(key->at("x").as_string()))->size(), 32u);
  EXPECT_EQ(from_base64url(std::string(key->at("y").as_string()))->size(), 32u);
}

}  // namespace
}  // namespace trama::pki
