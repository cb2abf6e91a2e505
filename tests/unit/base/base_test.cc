// SPDX-License-Identifier: GPL-2.0-or-later
// The vocabulary: addresses, results, differences, files, delays.
#include <random>

#include <gmock/gmock.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/backoff.h"
#include "base/crc32c.h"
#include "base/diff.h"
#include "base/digest.h"
#include "base/file.h"
#include "base/ip.h"
#include "base/line_buffer.h"
#include "base/result.h"
#include "base/timestamp.h"
#include "base/utf8.h"

namespace trama::base {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Pair;

Ip ip(const char* text) { return *Ip::parse(text); }

// The instant `seconds` after 2026-01-02T15:04:05Z.
Timestamp instant(std::int64_t seconds) { return Timestamp(std::chrono::seconds(1'767'366'245 + seconds)); }

TEST(TimestampTest, rfc_3339_both_ways) {
  EXPECT_EQ(format_timestamp(instant(0) + std::chrono::nanoseconds(7)), "2026-01-02T15:04:05.000000007Z");
  EXPECT_EQ(format_micros(instant(0) + std::chrono::nanoseconds(7'999)), "2026-01-02T15:04:05.000007Z");
  for (const char* text : {"2026-01-02T15:04:05.123456789Z", "1969-12-31T23:59:59.999999999Z"})
    EXPECT_EQ(format_timestamp(*parse_timestamp(text)), text);
  EXPECT_EQ(*parse_timestamp("2026-01-02T15:04:05Z"), instant(0));
  EXPECT_EQ(*parse_timestamp("2026-01-02t15:04:05z"), instant(0));
  EXPECT_EQ(format_seconds(instant(3) + std::chrono::nanoseconds(999'999'999)), "2026-01-02T15:04:08Z");
  EXPECT_EQ(*parse_timestamp("2026-01-02T17:34:05+02:30"), instant(0));
  EXPECT_EQ(*parse_timestamp("2026-01-02T15:04:05.5Z"), instant(0) + std::chrono::milliseconds(500));
  for (const char* text :
       {"", "2026", "2026-01-02 15:04:05Z", "2026-13-02T15:04:05Z", "2026-02-30T15:04:05Z", "2026-01-02T24:04:05Z",
        "2026-01-02T15:04:05", "2026-01-02T15:04:05.", "2026-01-02T15:04:05.5", "2026-01-02T15Z04:05Z",
        "x026-01-02T15:04:05Z", "2026-01-02T15:04:05.Z", "2026-01-02T15:04:05ZZ", "9999-01-02T15:04:05Z",
        "2026-01-02T-1:04:05Z", "2026-01-02T15:04:05+2:00"})
    EXPECT_FALSE(parse_timestamp(text)) << text;
}

TEST(IpTest, parses_what_inet_pton_parses_and_prints_it_back) {
  for (const char* text : {"0.0.0.0", "10.244.1.7", "255.255.255.255", "::", "::1", "fd00:244::7", "2001:db8::1"})
    EXPECT_EQ(ip(text).to_string(), text);
  EXPECT_EQ(ip("FD00::00A").to_string(), "fd00::a");
  for (const char* text : {"", "10.0.0", "10.0.0.256", "10.0.0.1/8", " 10.0.0.1", "10.0.0.1 ", "01.2.3.4", "fd00:::1",
                           "fe80::1%eth0", "localhost"}) {
    auto r = Ip::parse(text);
    ASSERT_FALSE(r) << text;
    EXPECT_THAT(r.error().to_string(), HasSubstr("is not an IP address"));
  }
  EXPECT_FALSE(Ip::parse(std::string_view("10.0.0.1\0.evil", 14)));
}

TEST(IpTest, knows_its_kind) {
  EXPECT_TRUE(ip("127.9.9.9").is_loopback());
  EXPECT_TRUE(ip("::1").is_loopback());
  EXPECT_FALSE(ip("::2").is_loopback());
  EXPECT_TRUE(ip("169.254.1.1").is_link_local());
  EXPECT_TRUE(ip("febf::1").is_link_local());
  EXPECT_FALSE(ip("fec0::1").is_link_local());
  EXPECT_TRUE(ip("239.0.0.1").is_multicast());
  EXPECT_FALSE(ip("240.0.0.1").is_multicast());
  EXPECT_TRUE(ip("ff02::1").is_multicast());
  EXPECT_TRUE(ip("::").is_unspecified());
  EXPECT_LT(ip("255.255.255.255"), ip("::"));
  EXPECT_LT(ip("9.0.0.0"), ip("10.0.0.0"));
}

TEST(IpTest, plus_carries_and_wraps) {
  EXPECT_EQ(ip("10.0.0.255").plus(1), ip("10.0.1.0"));
  EXPECT_EQ(ip("255.255.255.255").plus(1), ip("0.0.0.0"));
  EXPECT_EQ(ip("fd00::ffff:ffff:ffff:ffff").plus(1), ip("fd00:0:0:1::"));
  EXPECT_EQ(ip("10.0.0.0").plus(0), ip("10.0.0.0"));
  EXPECT_EQ(ip("::").plus(~std::uint64_t{0}), ip("::ffff:ffff:ffff:ffff"));
}

TEST(IpTest, from_bytes_takes_4_or_16) {
  for (std::size_t n : {0u, 3u, 5u, 8u, 15u, 17u}) EXPECT_FALSE(Ip::from_bytes(std::vector<std::byte>(n)));
  EXPECT_TRUE(Ip::from_bytes(std::vector<std::byte>(16))->is_unspecified());
}

TEST(CidrTest, parses_strictly) {
  EXPECT_EQ(Cidr::parse("10.244.0.0/16")->to_string(), "10.244.0.0/16");
  EXPECT_EQ(Cidr::parse("0.0.0.0/0")->length(), 0u);
  EXPECT_EQ(Cidr::parse("::/0")->family(), Family::v6);
  EXPECT_THAT(Cidr::parse("10.244.0.1/16").error().to_string(), HasSubstr("did you mean 10.244.0.0/16?"));
  for (const char* text : {"10.0.0.0", "10.0.0.0/", "10.0.0.0/33", "10.0.0.0/-1", "10.0.0.0/8x", "10.0.0.0/ 8", "/8",
                           "fd00::/129", "10.0.0.0/4294967304"})
    EXPECT_FALSE(Cidr::parse(text)) << text;
}

TEST(CidrTest, contains_overlaps_last) {
  auto net = *Cidr::parse("10.244.4.0/22");
  EXPECT_TRUE(net.contains(ip("10.244.7.255")));
  EXPECT_FALSE(net.contains(ip("10.244.8.0")));
  EXPECT_FALSE(net.contains(ip("fd00::1")));
  EXPECT_EQ(net.last(), ip("10.244.7.255"));
  EXPECT_EQ(Cidr::parse("fd00::/56")->last(), ip("fd00:0:0:ff:ffff:ffff:ffff:ffff"));
  EXPECT_TRUE(net.overlaps(*Cidr::parse("10.244.0.0/16")));
  EXPECT_TRUE(Cidr::parse("10.244.0.0/16")->overlaps(net));
  EXPECT_FALSE(net.overlaps(*Cidr::parse("10.244.8.0/22")));
  EXPECT_FALSE(Cidr::parse("0.0.0.0/0")->overlaps(*Cidr::parse("::/0")));
  EXPECT_TRUE(Cidr::parse("0.0.0.0/0")->contains(ip("255.255.255.255")));
}

TEST(CidrTest, subnets_are_counted_out_until_used_up) {
  auto net = *Cidr::parse("10.244.0.0/16");
  EXPECT_EQ(net.subnet(24, 0)->to_string(), "10.244.0.0/24");
  EXPECT_EQ(net.subnet(24, 255)->to_string(), "10.244.255.0/24");
  EXPECT_THAT(net.subnet(24, 256).error().to_string(), HasSubstr("used up"));
  EXPECT_FALSE(net.subnet(8, 0));
  EXPECT_FALSE(net.subnet(33, 0));
  EXPECT_EQ(net.subnet(16, 0)->to_string(), "10.244.0.0/16");
  EXPECT_FALSE(net.subnet(16, 1));
  EXPECT_EQ(Cidr::parse("fd00::/48")->subnet(64, 0x1234)->to_string(), "fd00:0:0:1234::/64");
  EXPECT_EQ(Cidr::parse("::/0")->subnet(128, 5)->to_string(), "::5/128");
}

TEST(CidrTest, of_agrees_with_contains_everywhere) {
  std::mt19937_64 random(116);
  for (int i = 0; i < 2000; ++i) {
    Ip a = (i % 2 ? ip("0.0.0.0") : ip("::")).plus(random());
    unsigned length = static_cast<unsigned>(random() % (a.bits() + 1));
    Cidr c = Cidr::of(a, length);
    ASSERT_TRUE(c.contains(a));
    ASSERT_TRUE(c.contains(c.last()));
    ASSERT_EQ(*Cidr::parse(c.to_string()), c);
    if (length == 0) continue;
    ASSERT_FALSE(c.contains(c.last().plus(1)));
  }
}

TEST(MacTest, parses_and_seeds) {
  EXPECT_EQ(Mac::parse("02:0a:ff:00:11:22")->to_string(), "02:0a:ff:00:11:22");
  for (const char* text : {"", "02:0a:ff:00:11", "02:0a:ff:00:11:2", "02-0a-ff-00-11-22", "02:0a:ff:00:11:2g",
                           "02:0a:ff:00:11:222", "-1:0a:ff:00:11:22", "+2:0a:ff:00:11:22", "0x:0a:ff:00:11:22"})
    EXPECT_FALSE(Mac::parse(text)) << text;
  auto mac = Mac::from_seed("pod");
  EXPECT_EQ(mac, Mac::from_seed("pod"));
  EXPECT_NE(mac, Mac::from_seed("pod2"));
  EXPECT_EQ(mac.octets[0] & 3, 2);  // locally administered, unicast
}

TEST(ResultTest, tells_a_story_from_outside_in) {
  Error e = Error::from_errno(ENOENT, "open netns").in("adopt sandbox 7f3a");
  EXPECT_EQ(e.to_string(), "adopt sandbox 7f3a: open netns: No such file or directory");
  EXPECT_TRUE(e.is(std::errc::no_such_file_or_directory));
  EXPECT_EQ(Error::text("nodePort: expected 30000-32767, got 5").to_string(), "nodePort: expected 30000-32767, got 5");
  Result<int> none;
  EXPECT_FALSE(none);
  EXPECT_EQ(none.value_or(7), 7);
  Result<> fine;
  EXPECT_TRUE(fine);
  Result<std::unique_ptr<int>> owned(std::make_unique<int>(4));
  EXPECT_EQ(*std::move(owned).operator*(), 4);
}

TEST(DiffTest, names_what_to_make_change_and_remove) {
  std::map<int, std::string> want{{1, "a"}, {2, "b"}, {4, "d"}}, have{{2, "B"}, {3, "c"}, {4, "d"}};
  auto d = diff(want, have);
  EXPECT_THAT(d.create, ElementsAre(Pair(1, "a")));
  EXPECT_THAT(d.update, ElementsAre(Pair(2, "b")));
  EXPECT_THAT(d.remove, ElementsAre(Pair(3, "c")));
  EXPECT_TRUE(diff(want, want).empty());
  EXPECT_TRUE((diff<int, int>({}, {}).empty()));
}

TEST(DiffTest, applied_it_gives_what_was_wanted) {
  std::mt19937 random(116);
  for (int round = 0; round < 500; ++round) {
    std::map<std::uint64_t, std::uint64_t> want, have;
    for (unsigned i = 0; i < random() % 20; ++i) want[random() % 20] = random() % 3;
    for (unsigned i = 0; i < random() % 20; ++i) have[random() % 20] = random() % 3;
    auto d = diff(want, have);
    for (auto& [k, v] : d.remove) ASSERT_EQ(have.erase(k), 1u);
    for (auto& [k, v] : d.create) ASSERT_TRUE(have.emplace(k, v).second);
    for (auto& [k, v] : d.update) have.at(k) = v;
    ASSERT_EQ(have, want);
  }
}

TEST(BackoffTest, doubles_to_its_limit_and_forgets_on_success) {
  using ms = std::chrono::milliseconds;
  Backoff b(ms(20), ms(70));
  EXPECT_EQ(b.delay(), ms(0));
  std::vector<long> seen;
  for (int i = 0; i < 4; ++i) {
    b.failed();
    seen.push_back(b.delay().count());
  }
  EXPECT_THAT(seen, ElementsAre(20, 40, 70, 70));
  b.succeeded();
  EXPECT_EQ(b.delay(), ms(0));
}

TEST(DigestTest, known_answers) {
  EXPECT_EQ(sha256_hex("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(crc32c("123456789"), 0xe3069283u);  // the CRC-32C check value
  EXPECT_EQ(crc32c_by_table("123456789"), 0xe3069283u);
  // Both ways give the same at every length and from every address, and every byte counts.
  std::string text(300, '\0');
  for (std::size_t i = 0; i < text.size(); ++i) text[i] = static_cast<char>(i * 37 + 11);
  for (std::size_t from = 0; from < 9; ++from)
    for (std::size_t n = 0; from + n <= text.size(); ++n) {
      auto part = std::string_view(text).substr(from, n);
      ASSERT_EQ(crc32c(part), crc32c_by_table(part)) << from << " " << n;
    }
  auto whole = crc32c(text);
  for (auto& c : text) {
    c = static_cast<char>(c ^ 1);
    EXPECT_NE(crc32c(text), whole);
    c = static_cast<char>(c ^ 1);
  }
  EXPECT_EQ(random_hex(8).size(), 16u);
  EXPECT_NE(random_uuid(), random_uuid());
  EXPECT_EQ(random_uuid().size(), 36u);
  EXPECT_EQ(random_uuid()[14], '4');
}

struct FileTest : ::testing::Test {
  std::string dir = fmt::format("/tmp/trama-file-test-{}", getpid());
  void SetUp() override { ASSERT_TRUE(make_directories(dir + "/a/b")); }
  void TearDown() override {
    EXPECT_TRUE(remove_tree(dir));
    EXPECT_NE(access(dir.c_str(), F_OK), 0);
  }
  std::uint64_t inode(const std::string& path) {
    struct stat st {};
    EXPECT_EQ(stat(path.c_str(), &st), 0);
    return st.st_ino;
  }
};

TEST_F(FileTest, reads_whole_and_bounded) {
  std::string path = dir + "/x", big(100'000, 'x');
  ASSERT_TRUE(write_file_atomic(path, big));
  EXPECT_EQ(*read_file(path), big);
  EXPECT_TRUE(read_file(path, 100'000));
  EXPECT_TRUE(read_file(path, 99'999).error().is(std::errc::file_too_large));
  EXPECT_TRUE(read_file(dir + "/none").error().is(std::errc::no_such_file_or_directory));
  EXPECT_TRUE(read_file(dir).error().is(std::errc::is_a_directory));
}

TEST_F(FileTest, atomic_replaces_in_place_keeps) {
  std::string path = dir + "/x";
  for (auto* write : {&write_file_atomic, &write_file_replace}) {
    ASSERT_TRUE(write(path, "one", 0600));
    auto first = inode(path);
    ASSERT_TRUE(write(path, "two", 0640));
    EXPECT_EQ(*read_file(path), "two");
    EXPECT_NE(inode(path), first);
    struct stat st {};
    ASSERT_EQ(stat(path.c_str(), &st), 0);
    EXPECT_EQ(st.st_mode & 0777, 0640u);
  }
  auto before = inode(path);
  ASSERT_TRUE(write_file_in_place(path, "a longer text"));
  ASSERT_TRUE(write_file_in_place(path, "short"));
  EXPECT_EQ(*read_file(path), "short");
  EXPECT_EQ(inode(path), before);
  std::string left;
  for (const char* name : {"/x.new", "/x.tmp"}) EXPECT_NE(access((dir + name).c_str(), F_OK), 0);
}

TEST_F(FileTest, failures_leave_nothing_and_follow_no_links) {
  EXPECT_FALSE(write_file_atomic(dir + "/none/x", "y"));
  EXPECT_FALSE(write_knob(dir + "/none", "1"));
  ASSERT_TRUE(write_file_atomic(dir + "/target", "safe"));
  ASSERT_EQ(symlink((dir + "/target").c_str(), (dir + "/link").c_str()), 0);
  EXPECT_FALSE(write_file_in_place(dir + "/link", "evil"));
  EXPECT_FALSE(write_knob(dir + "/link", "evil"));
  EXPECT_EQ(*read_file(dir + "/target"), "safe");
  // An atomic write replaces the link itself.
  ASSERT_TRUE(write_file_atomic(dir + "/link", "new"));
  EXPECT_EQ(*read_file(dir + "/target"), "safe");
  ASSERT_TRUE(write_file_atomic(dir + "/plain", "x"));
  EXPECT_FALSE(make_directories(dir + "/plain/below"));
  EXPECT_TRUE(make_directories(dir + "/a/b"));
  EXPECT_TRUE(remove_tree(dir + "/never-was"));
}

TEST(LineBuffer, GivesWholeLinesHoweverTheyAreCut) {
  const std::string text = "one\n\ntwo\nthree";
  for (std::size_t cut = 0; cut <= text.size(); ++cut) {
    LineBuffer lines;
    std::vector<std::string> seen;
    for (const auto& piece : {text.substr(0, cut), text.substr(cut), std::string("\n")}) {
      lines.add(piece);
      while (auto line = lines.next()) seen.push_back(*line);
    }
    EXPECT_EQ(seen, (std::vector<std::string>{"one", "two", "three"})) << cut;
  }
}

TEST(LineBuffer, GivesBackWhatIsNoLineYet) {
  LineBuffer lines;
  lines.add("one\ntw");
  EXPECT_EQ(lines.next(), "one");
  EXPECT_EQ(lines.next(), std::nullopt);
  EXPECT_EQ(lines.take(), "tw");
  lines.add("o\n");
  EXPECT_EQ(lines.next(), "o") << "what was taken is gone";
}

// Every character there is, written down the simple way, and nothing else.
TEST(Utf8, EveryCharacterAndNothingElse) {
  std::vector<bool> two(1 << 16), three(1 << 24);
  std::size_t known = 0;
  for (unsigned c = 0; c <= 0x10ffff; ++c) {
    if (c >= 0xd800 && c < 0xe000) continue;
    std::string s;
    auto more = [&](unsigned bits) { s += static_cast<char>(0x80 | (c >> bits & 0x3f)); };
    if (c < 0x80) {
      s += static_cast<char>(c);
    } else if (c < 0x800) {
      s += static_cast<char>(0xc0 | c >> 6), more(0);
      two[(0xc0u | c >> 6) << 8 | (0x80 | (c & 0x3f))] = true;
    } else if (c < 0x10000) {
      s += static_cast<char>(0xe0 | c >> 12), more(6), more(0);
      three[(0xe0u | c >> 12) << 16 | (0x80 | (c >> 6 & 0x3f)) << 8 | (0x80 | (c & 0x3f))] = true;
    } else {
      s += static_cast<char>(0xf0 | c >> 18), more(12), more(6), more(0);
    }
    known += utf8_length(s + "x") == s.size() && is_utf8(s) && to_utf8(s) == s &&
             !is_utf8(s.substr(0, s.size() - 1)) == (s.size() > 1);
  }
  EXPECT_EQ(known, 0x110000u - 0x800u);
  std::size_t wrong = 0;
  for (unsigned b = 0x800000; b < 1u << 24; ++b) {
    const char bytes[] = {static_cast<char>(b >> 16), static_cast<char>(b >> 8), static_cast<char>(b)};
    wrong += utf8_length({bytes, 3}) != (two[b >> 8] ? 2u : three[b] ? 3u : 0u);
  }
  EXPECT_EQ(wrong, 0u);
  for (const char* bad :
       {"\xc0\x80", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\xf0\x8f\xbf\xbf", "\xf5\x80\x80\x80", "a\xff", "\xe2\x82"})
    EXPECT_FALSE(is_utf8(bad));
  EXPECT_EQ(to_utf8("a\xe2\x82z"), "a\xef\xbf\xbd\xef\xbf\xbdz");
}

}  // namespace
}  // namespace trama::base
