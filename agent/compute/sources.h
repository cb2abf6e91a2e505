// SPDX-License-Identifier: GPL-2.0-or-later
// What pods are made from besides their own text: ConfigMaps, Secrets and tokens that they name.
#pragma once

#include <compare>
#include <cstdint>
#include <functional>
#include <optional>
#include <set>
#include <string>

#include "control/api/object.h"

namespace trama::agent {

namespace json = boost::json;

struct SourceLookup {
  enum class State { unknown, missing, found };  // unknown: the server was not heard about it yet
  State state = State::unknown;
  api::ObjectPtr object;  // when found
};

// The file of a volume that a token is in.
struct TokenPlace {
  std::string volume = {}, path = {};
  // Wherever it is, it is the same token.
  friend std::strong_ordering operator<=>(const TokenPlace&, const TokenPlace&) { return std::strong_ordering::equal; }
  friend bool operator==(const TokenPlace&, const TokenPlace&) { return true; }
};
// A token of a pod's account, as a projected volume asks for it.
struct TokenWant {
  std::string pod_uid, ns, pod, account;
  std::string audience;  // "" = the API server
  std::int64_t seconds = 3600;
  TokenPlace place = {};  // one of those that ask for it
  friend auto operator<=>(const TokenWant&, const TokenWant&) = default;
};
struct TokenLookup {
  SourceLookup::State state = SourceLookup::State::unknown;
  std::string token;  // when found
  std::string why;    // when missing: what the server said
};

struct Sources {
  // Of the key's resource "configmaps" and "secrets".
  std::function<SourceLookup(const api::Key&)> object = [](const api::Key&) { return SourceLookup(); };
  std::function<TokenLookup(const TokenWant&)> token = [](const TokenWant&) { return TokenLookup(); };
};

// What a pod names in variables and volumes, optional ones included.
struct SourceNames {
  std::set<api::Key> objects;
  std::set<TokenWant> tokens;
};
SourceNames named_sources(const api::Object& pod);
// Of one serviceAccountToken of a projected volume.
TokenWant wanted_token(const api::Object& pod, const json::object& source);

// Why something cannot be made now, though it may be later. `message` is "" while the server was not heard.
struct SourceProblem {
  std::string message;
  friend bool operator==(const SourceProblem&, const SourceProblem&) = default;
};

// A ConfigMap or Secret by name. Nothing when it is not there: then `problem` is set unless it is optional.
api::ObjectPtr find_source(const Sources& sources, const api::Key& key, bool optional,
                           std::optional<SourceProblem>& problem);
// The bytes of one key: data or binaryData of a ConfigMap, data of a Secret.
std::optional<std::string> source_value(const api::Object& source, const std::string& key, bool binary = true);
// All keys that source_value() knows.
std::set<std::string> source_keys(const api::Object& source, bool binary = true);

}  // namespace trama::agent
