// SPDX-License-Identifier: GPL-2.0-or-later
#include "netns/log_file.h"

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include <gmock/gmock.h>

namespace trama::netns {
namespace {
using testing::ElementsAre;

base::Timestamp at(std::int64_t seconds) { return base::Timestamp(std::chrono::seconds(1'767'366'245 + seconds)); }

TEST(LogLine, RoundTrip) {
  LogLine line{at(0), LogStream::err, true, "some text  with blanks "};
  std::string text = format_log_line(line);
  EXPECT_EQ(text, "2026-01-02T15:04:05.000000000Z stderr P some text  with blanks \n");
  EXPECT_EQ(*parse_log_line(text), line);
  EXPECT_EQ(parse_log_line("2026-01-02T15:04:05Z stdout F ")->text, "");
  for (const char* bad :
       {"", "x", "2026-01-02T15:04:05Z", "2026-01-02T15:04:05Z stdout", "2026-01-02T15:04:05Z stdin F a",
        "2026-01-02T15:04:05Z stdout X a", "2026-01-02T15:04:05Z stdout F"})
    EXPECT_FALSE(parse_log_line(bad)) << bad;
}

TEST(LogSplitter, CutsLinesWhereverTheBytesAreCut) {
  std::string input = "one\n\nthree" + std::string(3 * kLongestLogText / 2, 'x') + "\nlast";
  std::string whole;
  LogSplitter all(LogStream::out);
  all.feed(input, at(0), whole);
  all.finish(at(0), whole);
  for (std::size_t piece : {std::size_t{1}, std::size_t{7}, kLongestLogText, kLongestLogText + 1}) {
    LogSplitter s(LogStream::out);
    std::string out;
    for (std::size_t i = 0; i < input.size(); i += piece) s.feed(std::string_view(input).substr(i, piece), at(0), out);
    s.finish(at(0), out);
    EXPECT_EQ(out, whole) << piece;
  }
  EXPECT_EQ(std::count(whole.begin(), whole.end(), '\n'), 5);
  EXPECT_NE(whole.find(" P three"), std::string::npos);
  EXPECT_NE(whole.find(" F last\n"), std::string::npos);
}

TEST(LogSplitter, ALineOfExactlyTheLongestLengthIsWhole) {
  LogSplitter s(LogStream::out);
  std::string out;
  s.feed(std::string(kLongestLogText, 'x') + "\n", at(0), out);
  EXPECT_EQ(std::count(out.begin(), out.end(), '\n'), 1);
  EXPECT_EQ(out.find(" P "), std::string::npos);
}

class LogFile : public testing::Test {
 protected:
  void SetUp() override {
    char name[] = "/tmp/trama-log-XXXXXX";
    ASSERT_NE(::mkdtemp(name), nullptr);
    directory_ = name;
    path_ = directory_ + "/c.log";
  }
  void TearDown() override { std::filesystem::remove_all(directory_); }

  void write(int from, int to, LogBounds bounds) {
    auto w = LogWriter::open(path_, bounds);
    ASSERT_TRUE(w) << w.error().to_string();
    for (int i = from; i < to; ++i)
      ASSERT_TRUE(w->append(format_log_line({at(i), LogStream::out, false, "line " + std::to_string(i)})));
  }
  static std::vector<std::string> texts(LogReader& r, std::size_t max = 1 << 20) {
    std::vector<std::string> out;
    for (;;) {
      auto more = r.read(
          [&](const LogLine& l) {
            out.push_back(l.text);
            return true;
          },
          max);
      EXPECT_TRUE(more) << more.error().to_string();
      if (!more || !*more) return out;
    }
  }
  std::vector<std::string> query(LogQuery q) {
    LogReader r(path_, q);
    return texts(r);
  }
  static std::vector<std::string> numbered(int from, int to) {
    std::vector<std::string> out;
    for (int i = from; i < to; ++i) out.push_back("line " + std::to_string(i));
    return out;
  }

  std::string directory_, path_;
};

constexpr LogBounds kSmall{500, 3};  // ten lines of 46 to 48 bytes a file

TEST_F(LogFile, KeepsItsBoundAndTheNewest) {
  write(0, 1000, kSmall);
  std::uintmax_t total = 0;
  for (const auto& e : std::filesystem::directory_iterator(directory_)) total += e.file_size();
  EXPECT_LE(total, 1500u);
  auto lines = query({});
  EXPECT_GE(lines.size(), 20u);
  EXPECT_EQ(lines, numbered(1000 - static_cast<int>(lines.size()), 1000));
}

TEST_F(LogFile, OneBigBatchIsCutAtLines) {
  std::string batch;
  for (int i = 0; i < 1000; ++i) batch += format_log_line({at(i), LogStream::out, false, "line " + std::to_string(i)});
  auto w = LogWriter::open(path_, kSmall);
  ASSERT_TRUE(w && w->append(batch));
  for (const auto& e : std::filesystem::directory_iterator(directory_)) EXPECT_LE(e.file_size(), 500u);
  auto lines = query({});
  EXPECT_EQ(lines, numbered(1000 - static_cast<int>(lines.size()), 1000));
}

TEST_F(LogFile, ReopensAndContinues) {
  write(0, 3, kSmall);
  write(3, 5, kSmall);
  EXPECT_EQ(query({}), numbered(0, 5));
}

TEST_F(LogFile, TailReachesAcrossFiles) {
  write(0, 25, kSmall);
  for (std::size_t n : {0u, 1u, 4u, 5u, 6u, 14u, 15u, 16u, 24u}) {
    LogQuery q;
    q.tail = n;
    EXPECT_EQ(query(q), numbered(25 - static_cast<int>(n), 25)) << n;
  }
  LogQuery all;
  all.tail = 10'000;
  EXPECT_EQ(query(all), query({}));
}

TEST_F(LogFile, SinceAndLimit) {
  write(0, 25, kSmall);
  LogQuery since;
  since.since = at(20);
  EXPECT_EQ(query(since), numbered(20, 25));
  LogQuery limited;
  limited.tail = 3;
  limited.limit_bytes = 12;  // "line 22\n" and four more bytes
  LogReader r(path_, limited);
  EXPECT_THAT(texts(r), ElementsAre("line 22", "line"));
  EXPECT_TRUE(r.ended());
}

TEST_F(LogFile, FollowsAcrossRotation) {
  LogReader r(path_, {});
  EXPECT_TRUE(texts(r).empty()) << "a log that is not there yet";
  for (int i = 0; i < 100; i += 7) {
    write(i, i + 7, kSmall);
    EXPECT_EQ(texts(r), numbered(i, i + 7));
  }
  EXPECT_FALSE(r.lost());
}

TEST_F(LogFile, ASlowReaderSkipsAndSaysSo) {
  write(0, 5, kSmall);
  LogReader r(path_, {});
  EXPECT_EQ(texts(r), numbered(0, 5));
  write(5, 500, kSmall);
  auto lines = texts(r);
  EXPECT_TRUE(r.lost());
  ASSERT_FALSE(lines.empty());
  EXPECT_EQ(lines.back(), "line 499");
}

TEST_F(LogFile, SinkMayPauseAndReadingIsBounded) {
  write(0, 10, kSmall);
  LogReader r(path_, {});
  std::vector<std::string> got;
  for (int i = 0; i < 10; ++i) {
    auto more = r.read([&](const LogLine& l) {
      got.push_back(l.text);
      return false;
    });
    ASSERT_TRUE(more && *more);
  }
  EXPECT_EQ(got, numbered(0, 10));
  LogReader small(path_, {});
  EXPECT_EQ(texts(small, 1), numbered(0, 10));
}

TEST_F(LogFile, ForeignLinesAreSkipped) {
  std::ofstream(path_) << "no log line\n"
                       << std::string(100'000, 'x') << "\n"
                       << format_log_line({at(0), LogStream::out, false, "good"}) << "torn";
  EXPECT_EQ(query({}), std::vector<std::string>{"good"});
}

TEST_F(LogFile, AFullDiskIsReportedAndLeavesNoTornLine) {
  auto w = LogWriter::open("/dev/full", kSmall);
  ASSERT_TRUE(w);
  EXPECT_TRUE(w->append("2026-01-02T15:04:05Z stdout F x\n").error().is(std::errc::no_space_on_device));
}

}  // namespace
}  // namespace trama::netns
