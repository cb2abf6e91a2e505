// SPDX-License-Identifier: GPL-2.0-or-later
#include "agent/api/logs.h"

#include <boost/asio/experimental/awaitable_operators.hpp>

#include "base/async/run_on.h"
#include "netns/log_file.h"

namespace trama::agent {
namespace {

constexpr auto kLook = std::chrono::milliseconds(100);

struct Piece {
  std::string text;
  bool more = false;   // there may be more to read right now
  bool ended = false;  // limit_bytes reached
};

base::Result<Piece> read_piece(netns::LogReader& reader, bool timestamps) {
  Piece out;
  auto take = [&](const netns::LogLine& line) {
    if (timestamps) out.text += base::format_timestamp(line.time) + " ";
    out.text += line.text;
    if (!line.partial) out.text += '\n';
    return true;
  };
  auto more = reader.read(take);
  if (!more) return more.error();
  out.more = *more;
  out.ended = reader.ended();
  return out;
}

awaitable<void> send(AskLogs ask, LogSource source, HttpExchange& exchange, netns::LogReader& reader) {
  bool last_look = false;
  for (;;) {
    // Asked before reading: what was written before the end is read in this round.
    bool growing = source.may_grow();
    auto job = [&] { return read_piece(reader, ask.timestamps); };
    auto piece = co_await async::run_on(source.files, job);
    if (!piece) {
      auto sentence = "trama: the log cannot be read: " + piece.error().to_string() + "\n";
      co_await exchange.chunk(sentence);
      co_return;
    }
    auto sent = co_await exchange.chunk(std::move(piece->text));
    if (!sent || piece->ended) co_return;
    if (piece->more) continue;
    if (!ask.follow || last_look) co_return;
    if (!growing) last_look = true;  // the writer may still have been flushing
    co_await async::sleep_for(kLook);
  }
}

}  // namespace

awaitable<void> serve_logs(AskLogs ask, LogSource source, HttpExchange& exchange) {
  using namespace async::asio::experimental::awaitable_operators;
  HttpReply refusal;
  refusal.status = 400;
  refusal.content_type = "text/plain";
  if (ask.previous) {
    refusal.body = "the output of previous runs stands in the same log, before that of the present one\n";
    co_await exchange.reply(refusal);
    co_return;
  }
  netns::LogQuery query;
  if (ask.tail_lines) query.tail = static_cast<std::size_t>(*ask.tail_lines);
  if (ask.limit_bytes) query.limit_bytes = *ask.limit_bytes;
  if (ask.since_seconds) query.since = base::now() - std::chrono::seconds(*ask.since_seconds);
  if (!ask.since_time.empty()) {
    auto since = base::parse_timestamp(ask.since_time);
    if (!since) {
      refusal.body = "sinceTime: " + since.error().to_string() + "\n";
      co_await exchange.reply(refusal);
      co_return;
    }
    query.since = *since;
  }
  std::string type = "text/plain";
  auto begun = co_await exchange.begin(200, type);
  if (!begun) co_return;
  netns::LogReader reader(source.path, query);
  if (!ask.follow) {
    co_await send(ask, source, exchange, reader);
    co_await exchange.finish();
    co_return;
  }
  auto sending = send(ask, source, exchange, reader);
  auto leaving = exchange.gone();
  auto winner = co_await (std::move(sending) || std::move(leaving));
  if (winner.index() == 0) co_await exchange.finish();
}

}  // namespace trama::agent
