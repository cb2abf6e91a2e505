// SPDX-License-Identifier: GPL-2.0-or-later
#include "cli/api.h"

#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>

#include "cli/exec.h"
#include "cli/interrupt.h"
#include "control/api/object.h"
#include "control/client/api_client.h"
#include "control/client/kubeconfig.h"

namespace trama::cli {

using async::awaitable;
using base::Error;
using base::Result;
namespace asio = boost::asio;

namespace {

Answer to_answer(client::Response r) {
  Answer a;
  a.status = r.status;
  a.reason = r.ok() ? "" : r.reason();
  a.message = r.ok() ? "" : r.message();
  for (auto& [name, value] : r.warnings) a.warnings.push_back(value);
  a.body = std::move(r.body);
  a.text = std::move(r.text);
  return a;
}

// Transport errors say where we wanted to go; the kernel's sentence alone says little.
Error unreachable(Error e, const std::string& server) {
  return std::move(e).in(fmt::format("cannot talk to the controller at {}", server));
}

// Runs the context until `done`, looking up every 50 ms for Ctrl-C.
bool run_until(asio::io_context& context, const bool& done) {
  context.restart();
  while (!done) {
    if (interrupted()) return false;
    context.run_one_for(milliseconds(50));
  }
  return true;
}

template <class T>
Result<T> wait_for(asio::io_context& context, awaitable<Result<T>> task) {
  struct State {
    bool done = false;
    Result<T> value;
  };
  auto state = std::make_shared<State>();
  asio::cancellation_signal cancel;
  asio::co_spawn(context, std::move(task),
                 asio::bind_cancellation_slot(cancel.slot(), [state](std::exception_ptr e, Result<T> r) {
                   state->done = true;
                   state->value = e ? Result<T>(Error::from_errno(ECANCELED, "request")) : std::move(r);
                 }));
  if (!run_until(context, state->done)) {
    cancel.emit(asio::cancellation_type::all);
    context.restart();
    while (!state->done && context.run_one_for(milliseconds(500)) > 0) {
    }
    return Error::text("interrupted", std::errc::operation_canceled);
  }
  return std::move(state->value);
}

class BlockingLines final : public Lines {
 public:
  BlockingLines(asio::io_context& context, std::unique_ptr<client::Stream> stream)
      : context_(context), stream_(std::move(stream)) {}
  Result<std::string> next(milliseconds limit) override { return wait_for(context_, stream_->read_line(limit)); }
  Result<std::string> some(milliseconds limit) override { return wait_for(context_, stream_->read(limit)); }

 private:
  asio::io_context& context_;
  std::unique_ptr<client::Stream> stream_;
};

class BlockingApi final : public Api {
 public:
  Result<> start(client::ClientOptions options) {
    server_ = options.server;
    auto made = client::ApiClient::make(context_.get_executor(), std::move(options));
    if (!made) return std::move(made).error();
    client_ = std::move(*made);
    return {};
  }

  Result<Answer> call(Call call) override {
    auto answer = wait_for(context_, one(std::move(call)));
    return answer;
  }

  std::vector<Result<Answer>> call_all(std::vector<Call> calls) override {
    std::vector<Result<Answer>> results(calls.size());
    auto left = std::make_shared<std::size_t>(calls.size());
    auto done = std::make_shared<bool>(calls.empty());
    auto kept = std::make_shared<std::vector<Result<Answer>>>(calls.size());
    for (std::size_t i = 0; i < calls.size(); ++i)
      asio::co_spawn(context_, one(std::move(calls[i])), [=](std::exception_ptr e, Result<Answer> r) {
        (*kept)[i] = e ? Result<Answer>(Error::from_errno(ECANCELED, "request")) : std::move(r);
        if (--*left == 0) *done = true;
      });
    if (run_until(context_, *done)) return std::move(*kept);
    for (auto& r : results) r = Error::text("interrupted", std::errc::operation_canceled);
    return results;
  }

  Result<std::unique_ptr<Lines>> lines(std::string path, std::string accept) override {
    client::Headers extra;
    if (!accept.empty()) extra.emplace_back("Accept", accept);
    auto stream = wait_for(context_, client_->stream(std::move(path), std::move(extra)));
    if (!stream) {
      if (client::http_status(stream.error()) == 0) return unreachable(std::move(stream).error(), server_);
      return std::move(stream).error();
    }
    return std::unique_ptr<Lines>(std::make_unique<BlockingLines>(context_, std::move(*stream)));
  }

  Result<int> exec(ExecOptions options) override {
    return wait_for(context_, exec_session(*client_, std::move(options)));
  }

  const std::string& server() const override { return server_; }

 private:
  awaitable<Result<Answer>> one(Call call) {
    client::Headers extra;
    if (!call.accept.empty()) extra.emplace_back("Accept", call.accept);
    auto r = co_await client_->request(call.method, call.path, call.body, call.content_type, extra);
    if (!r) co_return unreachable(std::move(r).error(), server_);
    co_return to_answer(std::move(*r));
  }

  std::string server_;
  asio::io_context context_{1};
  std::unique_ptr<client::ApiClient> client_;
};

}  // namespace

Result<std::unique_ptr<Api>> Api::open(const client::Kubeconfig& config) {
  auto api = std::make_unique<BlockingApi>();
  auto options = config.client_options();
  options.user_agent = "trama-cli/" TRAMA_VERSION;
  if (auto r = api->start(std::move(options)); !r) return std::move(r).error().in("use the kubeconfig");
  return std::unique_ptr<Api>(std::move(api));
}

Result<json::object> Api::object(Call c) { return object_of(call(std::move(c))); }

Error error_of(const Answer& a) {
  auto message = a.message.empty() ? fmt::format("the server answered {}", a.status) : a.message;
  std::errc c = std::errc::io_error;
  if (a.status == 404) c = std::errc::no_such_file_or_directory;
  if (a.status == 409)
    c = a.reason == "AlreadyExists" ? std::errc::file_exists : std::errc::resource_unavailable_try_again;
  if (a.status == 401 || a.status == 403) c = std::errc::permission_denied;
  if (a.status == 400 || a.status == 422 || a.status == 415) c = std::errc::invalid_argument;
  if (a.status == 408 || a.status == 504) c = std::errc::timed_out;
  if (a.status == 502 || a.status == 503) c = std::errc::host_unreachable;
  return Error::text(message, c);
}

Result<json::object> object_of(Result<Answer> a) {
  if (!a) return std::move(a).error();
  if (!a->ok()) return error_of(*a);
  if (!a->body.is_object()) return Error::text("the server's answer is not a JSON object", std::errc::protocol_error);
  return std::move(a->body.get_object());
}

std::string encode(std::string_view value) { return client::url_encode(value); }

}  // namespace trama::cli
