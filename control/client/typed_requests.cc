// SPDX-License-Identifier: GPL-2.0-or-later
// The object-shaped half of ApiClient: JSON in, JSON or the server's own sentence out.
#include "control/api/object.h"
#include "control/client/api_client.h"

namespace trama::client {

using base::Error;
using base::Result;

namespace {

constexpr std::size_t kMostItems = 4'000'000;  // of one list

Result<json::object> object_of(Result<Response> answer) {
  if (!answer) return std::move(answer).error();
  if (!answer->ok()) return error_of(*answer);
  if (auto* o = answer->body.if_object()) return std::move(*o);
  return Error::text(fmt::format("the server's answer is no API object ({}): is this a Kubernetes-shaped API?",
                                 answer->odd.empty() ? "it is JSON of another kind" : answer->odd),
                     std::errc::protocol_error);
}

std::string patch_type(const std::string& kind) {
  if (kind == "json") return "application/json-patch+json";
  if (kind == "strategic") return "application/strategic-merge-patch+json";
  return "application/merge-patch+json";
}

}  // namespace

std::string url_encode(std::string_view value) {
  std::string out;
  for (char c : value) {
    bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '.' ||
                 c == '_' || c == '~';
    if (plain)
      out += c;
    else
      out += fmt::format("%{:02X}", static_cast<unsigned char>(c));
  }
  return out;
}

awaitable<Result<json::object>> ApiClient::get(std::string path) { co_return object_of(co_await request("GET", path)); }

awaitable<Result<json::object>> ApiClient::create(std::string collection_path, json::object body) {
  auto text = json::serialize(body);
  auto answer = co_await request("POST", collection_path, text);
  co_return object_of(std::move(answer));
}

awaitable<Result<json::object>> ApiClient::update(std::string path, json::object body) {
  auto text = json::serialize(body);
  auto answer = co_await request("PUT", path, text);
  co_return object_of(std::move(answer));
}

awaitable<Result<json::object>> ApiClient::patch(std::string path, json::value body, std::string kind) {
  auto text = json::serialize(body);
  auto type = patch_type(kind);
  auto answer = co_await request("PATCH", path, text, type);
  co_return object_of(std::move(answer));
}

awaitable<Result<json::object>> ApiClient::remove(std::string path, json::object options) {
  auto text = options.empty() ? std::string() : json::serialize(options);
  auto answer = co_await request("DELETE", path, text);
  co_return object_of(std::move(answer));
}

awaitable<Result<ApiClient::Listed>> ApiClient::list(std::string collection_path, std::string query, unsigned page) {
  Listed all;
  std::string token;
  do {
    auto path = fmt::format("{}?limit={}", collection_path, page);
    if (!query.empty()) path += "&" + query;
    if (!token.empty()) path += "&continue=" + url_encode(token);
    auto answer = co_await request("GET", path);
    auto body = object_of(std::move(answer));
    if (!body) co_return std::move(body).error();
    auto* items = body->if_contains("items");
    auto kind = api::text_at(*body, "kind");
    if (!kind.ends_with("List") || items == nullptr || !(items->is_array() || items->is_null()))
      co_return Error::text(fmt::format("{} did not answer with a list", collection_path), std::errc::protocol_error);
    kind.resize(kind.size() - 4);
    auto version = api::text_at(*body, "apiVersion");
    if (items->is_array()) {
      for (auto& item : items->get_array()) {
        if (!item.is_object()) continue;
        auto& o = item.get_object();
        // Servers leave these two out of list items.
        if (!o.contains("kind")) o["kind"] = kind;
        if (!o.contains("apiVersion")) o["apiVersion"] = version;
        all.items.push_back(std::move(o));
      }
    }
    all.revision = api::text_at(*body, "metadata.resourceVersion");
    auto next = api::text_at(*body, "metadata.continue");
    if ((!next.empty() && next == token) || all.items.size() > kMostItems)
      co_return Error::text(fmt::format("the list {} does not end", collection_path), std::errc::protocol_error);
    token = std::move(next);
  } while (!token.empty());
  co_return all;
}

}  // namespace trama::client
