// SPDX-License-Identifier: GPL-2.0-or-later
// A process that writes to a store until it is killed, and says on stdout what was acknowledged and what it watched:
//   begin REVISION                      the state that it found
//   ack put|del RESOURCE NAME REVISION HASH
//   event added|modified|deleted RESOURCE NAME REVISION HASH
// One line is one write(2): a reader sees whole lines but for the last.
//
// usage: trama_store_writer STORE SEED
#include <cstdio>
#include <random>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <unistd.h>

#include "base/digest.h"
#include "control/store/memory_store.h"

namespace trama::store {
namespace {

using api::Answer;
using api::ObjectPtr;

constexpr int kLanes = 8;

void say(const std::string& line) {
  if (write(STDOUT_FILENO, line.data(), line.size()) != static_cast<ssize_t>(line.size())) _exit(5);
}

unsigned hash(const ObjectPtr& o) { return o ? base::crc32c(o->text()) : 0; }

async::awaitable<void> write_for_ever(Store& store, std::mt19937& random, int lane) {
  for (;;) {
    auto name = "o" + std::to_string(lane) + "-" + std::to_string(random() % 5);
    bool remove = random() % 4 == 0;
    auto filler = std::string(random() % 3000, 'x') + std::to_string(random());
    // Every third object is of the class that is written behind: its revisions must not be used twice either.
    std::string resource = random() % 3 == 0 ? "events" : "pods";
    api::Key key{resource, "default", name};
    bool removed = false;
    Decision decide = [&](Transaction& tx) -> Answer<ObjectPtr> {
      removed = remove && tx.get(key);
      if (removed) {
        tx.erase(key);
        return ObjectPtr();
      }
      api::json::object body;
      api::make_object_at(body, "metadata")["name"] = name;
      body["data"] = filler;
      return tx.put(key, std::move(body));
    };
    auto got = co_await store.write(std::move(decide));
    if (!got) _exit(4);
    auto revision = removed ? 0 : (*got)->revision;
    say(fmt::format("ack {} {} {} {} {}\n", removed ? "del" : "put", resource, name, revision, hash(*got)));
  }
}

async::awaitable<void> watch_for_ever(Store& store, std::string resource) {
  auto watch = store.watch(resource, store.revision());
  if (!watch) _exit(7);
  for (;;) {
    auto events = co_await (*watch)->next(std::chrono::seconds(10));
    if (!events) _exit(8);
    for (const auto& e : *events) {
      auto type = e.type == Event::Type::added ? "added" : e.type == Event::Type::modified ? "modified" : "deleted";
      say(fmt::format("event {} {} {} {} {}\n", type, resource, e.object->key.name, e.revision, hash(e.object)));
    }
  }
}

int run(const char* path, unsigned seed) {
  async::asio::io_context context;
  SqliteOptions options;
  options.ring = 1000;  // goes round within a few lives
  options.checkpoint_pages = 100;
  options.ballast = 0;
  auto store = open_sqlite_store(path, context.get_executor(), {}, options);
  if (!store) {
    std::fprintf(stderr, "%s\n", store.error().to_string().c_str());
    return 3;
  }
  say(fmt::format("begin {}\n", (*store)->revision()));
  std::mt19937 random(seed);
  auto ended = [](const std::exception_ptr&) { _exit(6); };
  for (const char* resource : {"pods", "events"})
    async::asio::co_spawn(context, watch_for_ever(**store, resource), ended);
  for (int lane = 0; lane < kLanes; ++lane)
    async::asio::co_spawn(context, write_for_ever(**store, random, lane), ended);
  context.run();
  return 6;
}

}  // namespace
}  // namespace trama::store

int main(int argc, char** argv) {
  return argc == 3 ? trama::store::run(argv[1], static_cast<unsigned>(std::stoul(argv[2]))) : 2;
}
