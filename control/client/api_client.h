// SPDX-License-Identifier: GPL-2.0-or-later
// Talks to a Kubernetes-shaped API server: ours, or a real kube-apiserver. HTTPS/1.1 with kept-alive connections.
//
// Everything runs on the executor given at construction (one thread). A request in flight is cancelled by cancelling
// the coroutine that awaits it. No byte of a request leaves before the server's certificate was verified.
#pragma once

#include <chrono>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include <boost/json.hpp>

#include "base/async/event.h"
#include "base/async/websocket.h"
#include "base/result.h"

namespace trama::client {

namespace json = boost::json;
using async::awaitable;
using std::chrono::milliseconds;

struct ClientOptions {
  // "https://10.0.0.1:6443" or "https://[fd00::1]:6443"; the path part is ignored. Several, with commas between them,
  // are servers of one cluster: one is used for as long as it can be reached and does not answer 503, then the next.
  std::string server;
  std::string ca_pem;  // trust anchors, one or more PEM certificates
  // SHA-256 of the CA's SubjectPublicKeyInfo, lower-case hex. With `ca_pem` empty, a chain is accepted iff it ends in
  // a self-signed CA with this key. With both given, both must hold.
  std::string ca_pin;
  // Verify the certificate for this name instead of the URL's host. With a pin alone the default is
  // "kubernetes.default.svc": only the API server's certificate carries it, so no node can pose as the server.
  std::string server_name;
  std::string certificate_pem;  // client certificate (chain) and its key; both or none
  std::string key_pem;
  std::string bearer_token;
  std::string user_agent = "trama/" TRAMA_VERSION;
  milliseconds connect_timeout{5'000};      // TCP and TLS handshake together
  milliseconds request_timeout{30'000};     // one whole request and its answer; streams: until the answer's head
  std::size_t response_limit = 128u << 20;  // bytes of one answer; lists come in pages
  std::size_t line_limit = 32u << 20;       // bytes of one line of a stream: an event of a watch
  std::size_t idle_connections = 8;         // kept for the next request; more are closed
};

using Headers = std::vector<std::pair<std::string, std::string>>;

struct Response {
  int status = 0;  // HTTP status; 4xx and 5xx are answers, not transport errors
  std::string content_type;
  json::value body;  // null unless the answer is JSON
  std::string text;  // the raw body when it is not JSON
  std::string odd;   // why it is not, in words; "" when it is
  Headers warnings;  // Warning headers, in order
  bool ok() const { return status >= 200 && status < 300; }
  std::string reason() const;   // Status.reason: "NotFound", "AlreadyExists", ...; "" when ok
  std::string message() const;  // Status.message, or a sentence made from the HTTP status
};

// Errors made from an answer of the server keep its HTTP status and reason; transport errors have neither.
// They also compare with std::errc: 404 no_such_file_or_directory, AlreadyExists file_exists, other 409
// resource_unavailable_try_again, 401 and 403 permission_denied, 408 and 504 timed_out, 410 stale (no errc):
// is_expired().
int http_status(const base::Error& e);         // 404, or 0 for a transport error
bool is_not_found(const base::Error& e);       // 404
bool is_already_exists(const base::Error& e);  // 409 AlreadyExists
bool is_conflict(const base::Error& e);        // 409 Conflict
bool is_expired(const base::Error& e);         // 410
bool is_forbidden(const base::Error& e);       // 401, 403
base::Error error_of(const Response& answer);  // answer must not be ok()

// A response body that is read as it comes: a watch, `logs -f`. Destroying it closes the connection.
class Stream {
 public:
  virtual ~Stream() = default;
  virtual int status() const = 0;
  // The next piece of the body, "" once it is complete. ETIMEDOUT when nothing came within `limit`.
  virtual awaitable<base::Result<std::string>> read(milliseconds limit) = 0;
  // The next line without its end; an empty line is skipped. ENODATA at the end of the body; ETIMEDOUT when it was not
  // whole within `limit`.
  virtual awaitable<base::Result<std::string>> read_line(milliseconds limit) = 0;
};

// A connection after "101 Switching Protocols": plain bytes both ways. One reader and one writer at a time.
class Tunnel {
 public:
  virtual ~Tunnel() = default;
  // Some bytes; "" at the end of the stream.
  virtual awaitable<base::Result<std::string>> read() = 0;
  virtual awaitable<base::Result<>> write(std::string bytes) = 0;
  virtual void close() = 0;
};

struct Upgraded {
  int status = 0;                  // 101, or what the server said instead
  Headers headers;                 // of the answer
  std::string head;                // the answer's head as received, for tunnels that pass it on
  Response refusal;                // filled in when status is not 101
  std::unique_ptr<Tunnel> tunnel;  // null when status is not 101
};

using async::WebSocket;

class ApiClient {
 public:
  // Fails when the URL, the PEM texts or the pin can not be used; does not connect.
  static base::Result<std::unique_ptr<ApiClient>> make(async::asio::any_io_executor ex, ClientOptions options);
  virtual ~ApiClient() = default;

  // One request. An error means that no answer came; an answer of 4xx/5xx is a Response that is not ok().
  // A kept-alive connection that the server has closed meanwhile is replaced, except for POST once bytes were sent.
  virtual awaitable<base::Result<Response>> request(std::string method, std::string path, std::string body = "",
                                                    std::string content_type = "application/json",
                                                    Headers extra = {}) = 0;
  // Writes the head with `Connection: Upgrade` and hands the connection over.
  virtual awaitable<base::Result<Upgraded>> upgrade(std::string method, std::string path, Headers headers) = 0;
  // As `exec` uses it.
  virtual awaitable<base::Result<std::unique_ptr<WebSocket>>> websocket(std::string path, std::string subprotocol) = 0;
  // A streaming GET. An answer that is not 2xx is an error (see http_status).
  virtual awaitable<base::Result<std::unique_ptr<Stream>>> stream(std::string path, Headers extra = {}) = 0;
  // Closes idle connections, e.g. after the credentials changed on the server's side.
  virtual void close_idle() = 0;
  // Ends every connection, as if the server had closed it: this machine's address has changed, and nothing would come
  // over them any more.
  virtual void close_all() = 0;
  // Replaces the client certificate for connections made from now on (renewal).
  virtual base::Result<> use_certificate(std::string certificate_pem, std::string key_pem) = 0;
  // Replaces the CAs that are trusted, for connections made from now on.
  virtual base::Result<> use_trust(std::string ca_pem) = 0;
  // Replaces the bearer token, from the next request on.
  virtual void use_token(std::string token) = 0;
  // The CA certificate at the end of the last verified chain; "" before the first connection.
  virtual std::string verified_ca_pem() const = 0;
  // The one of `server` that is used now, without its path: "https://10.0.0.1:6443".
  virtual std::string current_server() const = 0;
  virtual const ClientOptions& options() const = 0;

  // Objects. Paths are the API's ("/api/v1/namespaces/default/pods/web-1"); see object_path() in paths.h.
  // Anything but 2xx is an error with the server's own sentence.
  awaitable<base::Result<json::object>> get(std::string path);
  awaitable<base::Result<json::object>> create(std::string collection_path, json::object body);
  awaitable<base::Result<json::object>> update(std::string path, json::object body);  // PUT
  // kind is "merge", "strategic" or "json"; a JSON patch is an array.
  awaitable<base::Result<json::object>> patch(std::string path, json::value body, std::string kind = "merge");
  awaitable<base::Result<json::object>> remove(std::string path, json::object options = json::object());  // DELETE
  struct Listed {
    std::vector<json::object> items;  // apiVersion and kind filled in
    std::string revision;             // metadata.resourceVersion of the list
  };
  // All pages, or an error: never a part. `query` is already encoded ("labelSelector=a%3Db").
  awaitable<base::Result<Listed>> list(std::string collection_path, std::string query = "", unsigned page = 500);
};

// Percent-encoding for one query value.
std::string url_encode(std::string_view value);

}  // namespace trama::client
