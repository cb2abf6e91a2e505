// SPDX-License-Identifier: GPL-2.0-or-later
// The API server as blocking calls: what verbs are written against. The coroutines are behind it, in api.cc alone.
// Not thread-safe. Ctrl-C (cli/interrupt.h) ends every call with ECANCELED.
#pragma once

#include <chrono>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include <boost/json.hpp>

#include "base/result.h"

namespace trama::client {
struct ClientOptions;
struct Kubeconfig;
}  // namespace trama::client

namespace trama::cli {

namespace json = boost::json;
using std::chrono::milliseconds;

struct Call {
  std::string method = "GET";
  std::string path;  // with the query, encoded
  std::string body;
  std::string content_type = "application/json";
  std::string accept;  // "" = JSON
};

struct Answer {
  int status = 0;
  json::value body;
  std::string text;     // the body when it is not JSON
  std::string reason;   // of a Status: "NotFound", …; "" when ok
  std::string message;  // of a Status
  std::vector<std::string> warnings;
  bool ok() const { return status >= 200 && status < 300; }
};

// A body that is read line by line: a watch, `logs -f`.
class Lines {
 public:
  virtual ~Lines() = default;
  // ENODATA at the end, ETIMEDOUT after `limit` of silence.
  virtual base::Result<std::string> next(milliseconds limit) = 0;
  // Some bytes, however they come; "" at the end.
  virtual base::Result<std::string> some(milliseconds limit) = 0;
};

struct ExecOptions {
  std::string path;  // …/exec?command=…
  bool use_stdin = false;
  bool terminal = false;
};

class Api {
 public:
  // Does not connect yet.
  static base::Result<std::unique_ptr<Api>> open(const client::Kubeconfig& config);
  virtual ~Api() = default;

  // An error means that nothing answered; 4xx and 5xx are answers.
  virtual base::Result<Answer> call(Call call) = 0;
  // All at once; result i belongs to call i.
  virtual std::vector<base::Result<Answer>> call_all(std::vector<Call> calls) = 0;
  virtual base::Result<std::unique_ptr<Lines>> lines(std::string path, std::string accept = "") = 0;
  // Runs a command in a pod with this process's stdin, stdout and stderr; the value is the command's exit code.
  virtual base::Result<int> exec(ExecOptions options) = 0;
  virtual const std::string& server() const = 0;

  // The object that a 2xx answer carries; everything else is an error with the server's sentence.
  base::Result<json::object> object(Call call);
};

// The answer of a server that said no, as an error. `answer` must not be ok().
base::Error error_of(const Answer& answer);
// The object in the answer, or an error.
base::Result<json::object> object_of(base::Result<Answer> answer);

// Percent-encoding for one query value.
std::string encode(std::string_view value);

}  // namespace trama::cli
