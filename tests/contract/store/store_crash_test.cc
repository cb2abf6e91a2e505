// SPDX-License-Identifier: GPL-2.0-or-later
// kill -9 at random moments: what was acknowledged is there afterwards, and no revision ever means two things.
#include <filesystem>
#include <map>
#include <random>
#include <sstream>

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/contract/store/store_rig.h"

namespace trama::store {
namespace {

using api::Answer;
using api::ObjectPtr;

// A writer process: creates, changes and deletes a few objects for ever and tells each acknowledged step through the
// pipe as "put NAME REVISION" or "del NAME REVISION". Never returns.
[[noreturn]] void write_for_ever(const std::string& path, int out, unsigned seed) {
  async::asio::io_context context;
  auto store = open_sqlite_store(path, context.get_executor());
  if (!store) _exit(3);
  std::mt19937 random(seed);
  auto writer = [&](int lane) -> async::awaitable<int> {
    for (;;) {
      auto name = "o" + std::to_string(lane) + "-" + std::to_string(random() % 5);
      bool remove = random() % 4 == 0;
      auto big = std::string(random() % 3000, 'x');
      std::uint64_t revision = 0;
      // Every third object is of the class that is written behind: its revisions must not be used twice either.
      std::string resource = random() % 3 == 0 ? "events" : "pods";
      Decision decide = [&](Transaction& tx) -> Answer<ObjectPtr> {
        api::Key key{resource, "default", name};
        if (!remove || !tx.get(key)) return tx.put(key, test::StoreRig::body(name, big));
        tx.erase(key);
        return ObjectPtr();
      };
      auto got = co_await (*store)->write(std::move(decide));
      if (!got) _exit(4);
      revision = *got ? (*got)->revision : (*store)->revision();
      auto line = (*got ? "put " : "del ") + resource + " " + name + " " + std::to_string(revision) + "\n";
      if (write(out, line.data(), line.size()) < 0) _exit(5);
    }
  };
  for (int lane = 0; lane < 3; ++lane) async::asio::co_spawn(context, writer(lane), [](std::exception_ptr, int) {});
  context.run();
  _exit(6);
}

struct Acknowledged {
  std::map<std::string, std::uint64_t> present;  // pods: name -> revision; 0 = deleted
  std::uint64_t highest = 0;
};

// Runs a writer for a random while, kills it, and reads what it had acknowledged.
void one_life(const std::string& path, unsigned seed, Acknowledged& known, std::size_t& steps) {
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  pid_t pid = fork();
  ASSERT_GE(pid, 0);
  if (pid == 0) {
    ::close(ends[0]);
    write_for_ever(path, ends[1], seed);
  }
  ::close(ends[1]);
  std::string text;
  char buffer[65536];
  // The first acknowledgement says that it lives; then a random number of more bytes, then the end, mid-flight.
  std::mt19937 random(seed);
  std::size_t enough = 200 + random() % 6000;
  bool killed = false;
  for (;;) {
    ssize_t n = read(ends[0], buffer, sizeof buffer);
    if (n <= 0) break;
    text.append(buffer, static_cast<std::size_t>(n));
    if (text.size() > enough && !killed) {
      usleep(static_cast<useconds_t>(random() % 3000));  // anywhere within a commit, not only right after an answer
      kill(pid, SIGKILL);
      killed = true;
    }
  }
  ::close(ends[0]);
  int status = 0;
  waitpid(pid, &status, 0);
  ASSERT_TRUE(killed && WIFSIGNALED(status)) << "the writer ended by itself: " << status;
  std::istringstream lines(text.substr(0, text.rfind('\n') + 1));
  std::string verb, resource, name;
  std::uint64_t revision;
  while (lines >> verb >> resource >> name >> revision) {
    ++steps;
    known.highest = std::max(known.highest, revision);
    if (resource == "pods") known.present[name] = verb == "put" ? revision : 0;
  }
}

// Everything wrong with the store at `path`, given what was acknowledged; "" when all is well.
std::string check(const std::string& path, Acknowledged& known) {
  async::asio::io_context context;
  auto store = open_sqlite_store(path, context.get_executor());
  if (!store) return store.error().to_string();
  std::ostringstream wrong;
  if ((*store)->revision() < known.highest)
    wrong << "revision went back to " << (*store)->revision() << " from " << known.highest << "\n";
  for (const auto& [name, revision] : known.present) {
    auto o = (*store)->get({"pods", "default", name});
    // A later write of the same object may have been durable without its answer having come out of the process.
    if (revision != 0 && o && o->revision < revision) wrong << name << " is older than acknowledged\n";
    if (revision != 0 && !o) wrong << name << " (revision " << revision << ") is gone\n";
  }
  known.present.clear();
  for (const auto& o : (*store)->list("pods")) known.present[o->key.name] = o->revision;
  known.highest = std::max(known.highest, (*store)->revision());
  auto end = [](Store& s) -> async::awaitable<int> {
    co_await s.close();
    co_return 0;
  };
  test::run_coroutine(context, end(**store));
  return wrong.str();
}

struct Directory {
  Directory() {
    std::string pattern = std::filesystem::temp_directory_path() / "trama-crash-XXXXXX";
    path = mkdtemp(pattern.data());
  }
  ~Directory() { std::filesystem::remove_all(path); }
  std::string path;
};

TEST(StoreCrash, NothingAcknowledgedIsLostAndNoRevisionIsReused) {
  Directory directory;
  auto path = directory.path + "/store.db";
  Acknowledged known;
  std::size_t steps = 0;
  for (unsigned cycle = 0; cycle < 30; ++cycle) {
    // The revisions that this life gives out must all be new.
    auto before = known.highest;
    Acknowledged life;
    life.present = known.present;
    one_life(path, 116 + cycle, life, steps);
    if (HasFatalFailure()) return;
    // A deletion may have been durable without its answer having been read: what is not there then must have been
    // touched in this life, which check() can not know. Deletions in flight are few: at most one per lane.
    std::string wrong = check(path, life);
    std::size_t missing = 0;
    for (std::size_t at = wrong.find(" is gone"); at != std::string::npos; at = wrong.find(" is gone", at + 1))
      ++missing;
    EXPECT_LE(missing, 3u) << "cycle " << cycle << ": " << wrong;
    EXPECT_EQ(wrong.find("older"), std::string::npos) << wrong;
    EXPECT_EQ(wrong.find("went back"), std::string::npos) << wrong;
    EXPECT_GT(life.highest, before) << "cycle " << cycle;
    known = life;
  }
  EXPECT_GT(steps, 500u) << "too little was written to prove anything";
}

// The check must be able to fail: the log is put back to an earlier state, as a disk that lies about fsync would.
TEST(StoreCrash, TheCheckFindsALostCommit) {
  Directory directory;
  auto path = directory.path + "/store.db";
  Acknowledged known;
  std::size_t steps = 0;
  one_life(path, 7, known, steps);
  if (HasFatalFailure()) return;
  ASSERT_EQ(check(path, known).find("went back"), std::string::npos);
  std::filesystem::copy(path, directory.path + "/earlier.db");
  one_life(path, 8, known, steps);
  if (HasFatalFailure()) return;
  for (const char* suffix : {"-wal", "-shm"}) std::filesystem::remove(path + suffix);
  std::filesystem::copy(directory.path + "/earlier.db", path, std::filesystem::copy_options::overwrite_existing);
  auto wrong = check(path, known);
  EXPECT_NE(wrong.find("older"), std::string::npos) << "a lost write went unnoticed: " << wrong;
}

}  // namespace
}  // namespace trama::store
