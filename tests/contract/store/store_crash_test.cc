// SPDX-License-Identifier: GPL-2.0-or-later
// kill -9 of a process that writes, at random moments: what was acknowledged is there afterwards, no revision ever
// means two things, and a watch goes on where it was or is told to begin anew.
#include <cstdlib>
#include <filesystem>
#include <map>
#include <random>
#include <set>
#include <sstream>

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/digest.h"
#include "base/file.h"
#include "tests/contract/store/log_model.h"
#include "tests/contract/store/store_rig.h"

namespace trama::store {
namespace {

using test::ScratchDirectory;

struct Version {
  std::uint64_t revision = 0;
  unsigned hash = 0;
  friend bool operator==(const Version&, const Version&) = default;
};
using World = std::map<std::string, Version>;  // pods by name

// One life of a writer, as its output tells it.
struct Life {
  std::uint64_t begin = 0;
  World acknowledged;                            // last acknowledged put of each pod
  std::set<std::string> deleted;                 // pods whose last acknowledged step is a deletion
  std::map<std::uint64_t, std::string> meaning;  // revision -> what it was
  World watched;                                 // pods as the watch showed them, from the state at `begin` on
  std::uint64_t pods_seen = 0, events_seen = 0;  // last revision of each watch
  std::size_t steps = 0;
};

SqliteOptions options() {
  SqliteOptions o;
  o.ring = 1000;
  o.checkpoint_pages = 100;
  o.ballast = 0;
  return o;
}

void read_life(const std::string& text, Life& life) {
  std::istringstream lines(text.substr(0, text.rfind('\n') + 1));
  std::string line;
  while (std::getline(lines, line)) {
    std::istringstream words(line);
    std::string verb, what, resource, name;
    std::uint64_t revision = 0;
    unsigned hash = 0;
    words >> verb;
    if (verb == "begin") {
      words >> life.begin;
      life.pods_seen = life.events_seen = life.begin;
      continue;
    }
    words >> what >> resource >> name >> revision >> hash;
    if (verb == "event") {
      // A revision has one meaning, in this life and in all others.
      life.meaning[revision] = fmt::format("{} {} {} {}", what, resource, name, hash);
      (resource == "pods" ? life.pods_seen : life.events_seen) = revision;
      if (resource != "pods") continue;
      if (what == "deleted")
        life.watched.erase(name);
      else
        life.watched[name] = Version{revision, hash};
      continue;
    }
    ++life.steps;
    if (resource != "pods") continue;
    life.deleted.erase(name);
    if (what == "put") {
      life.acknowledged[name] = Version{revision, hash};
    } else {
      life.acknowledged.erase(name);
      life.deleted.insert(name);
    }
  }
}

// Runs a writer for a random while and kills it in the middle of what it does.
void one_life(const std::string& path, unsigned seed, Life& life) {
  int ends[2];
  ASSERT_EQ(pipe2(ends, O_CLOEXEC), 0);
  auto seed_text = std::to_string(seed);
  const char* program = std::getenv("TRAMA_STORE_WRITER");
  ASSERT_TRUE(program) << "TRAMA_STORE_WRITER must name the writer; ctest sets it";
  pid_t pid = fork();
  ASSERT_GE(pid, 0);
  if (pid == 0) {
    dup2(ends[1], STDOUT_FILENO);
    execl(program, program, path.c_str(), seed_text.c_str(), nullptr);
    _exit(9);
  }
  ::close(ends[1]);
  std::string text;
  char buffer[65536];
  std::mt19937 random(seed);
  std::size_t enough = 100 + random() % 30'000;
  bool killed = false;
  for (;;) {
    ssize_t n = read(ends[0], buffer, sizeof buffer);
    if (n <= 0) break;
    text.append(buffer, static_cast<std::size_t>(n));
    if (text.size() > enough && !killed) {
      usleep(static_cast<useconds_t>(random() % 1000));  // anywhere within a commit, not only right after an answer
      kill(pid, SIGKILL);
      killed = true;
    }
  }
  ::close(ends[0]);
  int status = 0;
  waitpid(pid, &status, 0);
  ASSERT_TRUE(killed && WIFSIGNALED(status)) << "the writer ended by itself: " << status;
  read_life(text, life);
}

// What is there now, and everything wrong with it given what the life had said.
struct Found {
  World pods;
  std::uint64_t revision = 0;
  bool resumed = false;
  std::string wrong;
};

Found look(const std::string& path, const Life& life) {
  Found out;
  std::ostringstream wrong;
  async::asio::io_context context;
  auto store = open_sqlite_store(path, context.get_executor(), {}, options());
  if (!store) return Found{{}, 0, false, store.error().to_string()};
  for (const auto& o : (*store)->list("pods")) out.pods[o->key.name] = Version{o->revision, base::crc32c(o->text())};
  out.revision = (*store)->revision();
  if (!life.meaning.empty() && out.revision < life.meaning.rbegin()->first)
    wrong << "the revision went back to " << out.revision << "\n";

  // The last watcher comes back with the last revision that it saw.
  auto resumed = life.watched;
  std::set<std::string> touched;  // after the last that was seen: durable, but nobody has been told
  auto watch = (*store)->watch("pods", life.pods_seen);
  if (!watch && watch.error().code != 410) wrong << "watch: " << watch.error().message << "\n";
  if (watch) {
    out.resumed = true;
    auto events = test::run_coroutine(context, (*watch)->next(std::chrono::milliseconds(1)));
    if (!events) wrong << "resumed watch: " << events.error().message << "\n";
    auto last = life.pods_seen;
    for (const auto& e : *events) {
      if (e.revision <= last) wrong << "event " << e.revision << " after " << last << "\n";
      last = e.revision;
      auto& name = e.object->key.name;
      touched.insert(name);
      if (e.type == Event::Type::deleted)
        resumed.erase(name);
      else
        resumed[name] = Version{e.revision, base::crc32c(e.object->text())};
    }
    if (resumed != out.pods) wrong << "what the watch showed is not what is there\n";
  }
  auto behind = (*store)->watch("events", life.events_seen);
  if (behind ? life.events_seen != out.revision : behind.error().code != 410)
    wrong << "a watch of what is written behind went on, as if nothing could be missing\n";

  // Every acknowledged write is there, or a later one of the same object whose answer did not come out any more; that
  // one must be in the history.
  for (const auto& [name, version] : life.acknowledged) {
    auto it = out.pods.find(name);
    if (it != out.pods.end() && it->second == version) continue;
    bool later = it != out.pods.end() ? it->second.revision > version.revision : true;
    if (!later ||
        (out.resumed && life.watched.contains(name) && life.watched.at(name) == version && !touched.contains(name)))
      wrong << name << " (revision " << version.revision << ") is lost\n";
    else if (it == out.pods.end() && !out.resumed)
      wrong << name << " (revision " << version.revision << ") is gone, and no history tells why\n";
  }
  for (const auto& name : life.deleted)
    if (out.pods.contains(name) && !touched.contains(name) && !life.watched.contains(name))
      wrong << name << " is back\n";

  auto end = [](Store& s) -> async::awaitable<int> {
    co_await s.close();
    co_return 0;
  };
  test::run_coroutine(context, end(**store));
  out.wrong = wrong.str();
  return out;
}

TEST(StoreCrash, NothingAcknowledgedIsLostAndNoRevisionIsReused) {
  ScratchDirectory directory, copies;
  auto path = directory.path + "/store.db";
  std::map<std::uint64_t, std::string> meaning;
  Found before;
  std::size_t steps = 0, resumed = 0;
  int cycles = test::times(100, 1'000);
  for (int cycle = 0; cycle < cycles; ++cycle) {
    Life life;
    life.watched = before.pods;
    one_life(path, 116 + static_cast<unsigned>(cycle), life);
    if (HasFatalFailure()) return;
    ASSERT_GE(life.begin, before.revision);
    steps += life.steps;
    for (const auto& [revision, what] : life.meaning) {
      auto [it, fresh] = meaning.emplace(revision, what);
      ASSERT_TRUE(fresh || it->second == what) << revision << " was " << it->second << " and is " << what;
    }
    // Every other time at a copy, so that the next life begins with what the crash left.
    auto looked_at = path;
    if (cycle % 2) {
      looked_at = copies.path + "/store.db";
      for (const char* suffix : {"", "-wal"}) {
        std::filesystem::remove(looked_at + suffix);
        if (std::filesystem::exists(path + suffix)) std::filesystem::copy(path + suffix, looked_at + suffix);
      }
    }
    before = look(looked_at, life);
    ASSERT_EQ(before.wrong, "") << "cycle " << cycle;
    resumed += before.resumed;
  }
  EXPECT_GT(steps, static_cast<std::size_t>(cycles) * 50) << "too little was written to prove anything";
  EXPECT_GT(resumed, static_cast<std::size_t>(cycles) * 3 / 4) << "hardly a watch could go on";
}

// The check must be able to fail: the files are put back to an earlier state, as a disk that lies about fsync would.
TEST(StoreCrash, TheCheckFindsALostCommit) {
  ScratchDirectory directory;
  auto path = directory.path + "/store.db";
  Life first, second;
  one_life(path, 7, first);
  if (HasFatalFailure()) return;
  auto earlier = look(path, first);
  ASSERT_EQ(earlier.wrong, "");
  auto content = base::read_file(path, 64 << 20);
  ASSERT_TRUE(content);
  second.watched = earlier.pods;
  one_life(path, 8, second);
  if (HasFatalFailure()) return;
  for (const char* suffix : {"-wal", "-shm"}) ::unlink((path + suffix).c_str());
  ASSERT_TRUE(base::write_file_replace(path, *content));
  auto wrong = look(path, second).wrong;
  EXPECT_NE(wrong.find("is lost"), std::string::npos) << "a lost write went unnoticed: " << wrong;
  EXPECT_NE(wrong.find("is not what is there"), std::string::npos) << wrong;
}

}  // namespace
}  // namespace trama::store
