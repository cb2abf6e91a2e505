// SPDX-License-Identifier: GPL-2.0-or-later
// The API server: HTTPS/1.1 on sockets that are already listening, pure handlers behind thin sessions.
// Runs on the controller's one executor; nothing here is thread-safe.
#pragma once

#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/async/event.h"
#include "base/result.h"
#include "base/unique_fd.h"
#include "control/server/roles.h"
#include "control/server/throttle.h"
#include "control/store/store.h"

namespace trama::server {

using async::awaitable;

// One request as the handlers see it: no HTTP library in here.
struct Request {
  std::string method;  // "GET"
  std::string path;    // decoded, without the query
  std::map<std::string, std::vector<std::string>> query;
  std::map<std::string, std::string> headers;  // names in lower case
  std::string target;                          // as it came, for proxies
  std::string body;
  Identity identity;
  std::string authority;  // key pin of the CA that the client's certificate ends in; "" without a certificate
  std::string header(const std::string& lower_case_name) const;
  std::string parameter(const std::string& name) const;  // first value, "" when absent
  // As upstream reads them: there, and neither "false" in any case nor "0". The Python client says "True".
  bool flag(const std::string& parameter_name) const;
  bool has(const std::string& parameter_name) const { return query.count(parameter_name) != 0; }
};

struct Reply {
  int status = 200;
  std::string content_type = "application/json";
  std::string body;
  std::vector<std::pair<std::string, std::string>> headers;  // "Warning", "Retry-After", …
};

// The connection of one request, for answers that are streams (watch, logs) or that stop being HTTP (exec).
// Every call may fail because the client went away; then the caller just ends.
class Stream {
 public:
  virtual ~Stream() = default;
  // A complete answer. Once, and instead of everything else.
  virtual awaitable<base::Result<>> reply(Reply reply) = 0;
  // Starts a chunked answer; then chunk() any number of times; finish() ends it cleanly.
  virtual awaitable<base::Result<>> begin(int status, std::string content_type) = 0;
  virtual awaitable<base::Result<>> chunk(std::string data) = 0;
  virtual awaitable<base::Result<>> finish() = 0;
  // Raw bytes in both directions, after an upgrade; nothing of the above may be used any more.
  virtual awaitable<base::Result<std::string>> read_some() = 0;  // "" = the client has closed
  virtual awaitable<base::Result<>> write(std::string data) = 0;
};

// Handles paths that are not objects: pods/NAME/log, pods/NAME/exec, nodes/NAME/proxy/… Authorised already.
// `resource`, `ns`, `name`, `subresource` and `rest` (what follows the subresource, "" or "/status") describe the path.
struct SubresourcePath {
  std::string resource, ns, name, subresource, rest;
};
using RawHandler = std::function<awaitable<void>(SubresourcePath, Request, Stream&)>;

// Runs inside the write transaction of every create, update and delete of the API, after validation:
// allocates addresses and ports, refuses what may not be. `old` is null on create, `body` is null on delete.
using Admission = std::function<std::optional<api::Status>(store::Transaction&, const api::Key&, const api::Object* old,
                                                           api::json::object* body, const Identity&)>;

// A token of a ServiceAccount that may be made: everything about it was looked up and checked.
struct TokenGrant {
  std::string ns, account, account_uid;
  std::string pod, pod_uid;            // "" = bound to the account alone
  std::vector<std::string> audiences;  // empty = the API server
  std::chrono::seconds life{3600};
};
struct GrantedToken {
  std::string token;
  std::vector<std::string> audiences;
  std::chrono::system_clock::time_point expires;
};
struct ReviewedToken {
  Identity identity;
  std::vector<std::string> audiences;  // those of the asked ones that it is for
};

struct Options {
  std::string certificate_pem, key_pem;  // serving certificate with its chain
  std::string client_ca_pem;             // client certificates are optional; one that does not verify is refused
  std::function<std::optional<Identity>(std::string token)> authenticate_token;  // empty = no bearer tokens
  // Tokens of ServiceAccounts; empty = there are none, 404.
  std::function<base::Result<GrantedToken>(const TokenGrant&)> grant_token;
  // For TokenReview: whom a token speaks for towards one of `audiences` (empty = the API server), or why not.
  std::function<base::Result<ReviewedToken>(const std::string& token, const std::vector<std::string>& audiences)>
      review_token;
  std::function<std::string()> token_keys;  // the JSON of /openid/v1/jwks
  std::string token_issuer;
  std::vector<Admission> admissions;
  RawHandler raw;
  // GET /trama/ca: the CAs that are trusted, as PEM. Empty = 404.
  std::function<awaitable<Reply>(Request)> authorities;
  std::function<std::string()> metrics;     // text of /metrics; empty = 404
  std::function<std::string()> readiness;   // more lines of /readyz?verbose; empty = none
  std::string cluster_version = "v1.31.0";  // what /version claims to be compatible with
  std::chrono::milliseconds bookmark_period{30'000};
  std::chrono::milliseconds slow_client{10'000};  // to shake hands, to send a request, to take a piece of an answer
  std::chrono::milliseconds idle{120'000};        // between two requests; who has not said who it is has slow_client
  Limits limits;                                  // of one client
  std::size_t connections = 4096;                 // more than that wait in the listen queue
  std::size_t strangers_per_address = 1024;       // connections that have not said who they are; more are closed
};

class Server {
 public:
  static base::Result<std::unique_ptr<Server>> create(async::asio::any_io_executor ex, store::Store& store,
                                                      Options options);
  virtual ~Server() = default;
  // Serves on a listening socket until stop(); may be called for several sockets.
  virtual base::Result<> listen(base::UniqueFd socket) = 0;
  // For connections made from now on. Those that are there go on, unless their certificate's CA is no longer among
  // `client_ca_pem`: these are ended. On an error nothing changes.
  virtual base::Result<> use_tls(std::string certificate_pem, std::string key_pem, std::string client_ca_pem) = 0;
  // Ends every connection and watch, and waits.
  virtual awaitable<void> stop() = 0;
};

}  // namespace trama::server
