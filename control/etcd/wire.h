// SPDX-License-Identifier: GPL-2.0-or-later
// What goes over the wire to etcd's v3 JSON gateway and back. Pure: text in, values out.
//
// The gateway's habits (etcd 3.4 and 3.5): 64-bit numbers are strings, fields with their default value are absent, keys
// and values are base64, errors are {"error": …, "code": gRPC's code}.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include <boost/json.hpp>

#include "base/result.h"

namespace trama::etcd {

namespace json = boost::json;

// gRPC's codes that etcd uses and we tell apart.
enum class Code {
  ok = 0,
  unknown = 2,
  invalid = 3,
  exhausted = 8,
  out_of_range = 11,
  unavailable = 14,
  no_answer = -1
};

struct KeyValue {
  std::string key, value;
  std::uint64_t mod_revision = 0;
};

struct RangeAnswer {
  std::uint64_t revision = 0;  // of the whole etcd when it answered
  std::vector<KeyValue> items;
  bool more = false;
};

struct TxnAnswer {
  std::uint64_t revision = 0;  // succeeded, with writes: the mod_revision of all of them
  bool succeeded = false;
  std::vector<KeyValue> read;  // of the ranges in the branch that was taken
};

struct WatchEvent {
  bool erased = false;
  KeyValue item;
};

// One line of a watch stream.
struct WatchAnswer {
  std::uint64_t revision = 0;
  bool created = false, canceled = false;
  std::uint64_t compacted = 0;  // canceled because what was asked for is gone: the oldest revision there is
  std::string reason;           // why it was canceled, or the stream's error
  std::vector<WatchEvent> events;
};

struct Failure {
  Code code = Code::unknown;
  std::string message;
};

base::Result<RangeAnswer> parse_range(std::string_view text);
base::Result<TxnAnswer> parse_txn(std::string_view text);
base::Result<WatchAnswer> parse_watch(std::string_view line);
// The revision in any answer's header.
base::Result<std::uint64_t> parse_revision(std::string_view text);
// The body of an answer that is not 200; never fails: what is no gateway's error becomes `unknown` with the text
// itself.
Failure parse_failure(int http_status, std::string_view text);

base::Result<std::string> from_base64(std::string_view text);

// The end of the range of all keys that begin with `prefix`, which must not be empty or all 0xff.
std::string prefix_end(std::string prefix);

// A transaction as it is built up. At most kMostOps operations; comparisons beyond kMostCompares do not fit.
class Txn {
 public:
  // etcd takes 128 of a kind by default (--max-txn-ops), counted along every chain of nested transactions. So
  // operations are written as transactions in the transaction, 60 of 60.
  static constexpr std::size_t kMostCompares = 64, kMostOps = 3600;

  void expect_revision(std::string_view key, std::uint64_t mod_revision);  // 0: it does not exist
  // Nothing in the range was written at or after `mod_revision`.
  void expect_older(std::string_view key, std::string_view range_end, std::uint64_t mod_revision);
  void put(std::string_view key, std::string_view value);
  void erase(std::string_view key);
  // Read when a comparison fails.
  void otherwise_read(std::string_view key);
  std::size_t operations() const { return operations_.size(); }
  std::size_t compares() const { return compares_; }
  std::size_t bytes() const { return bytes_; }  // of keys and values, before base64
  std::string to_json() const;

 private:
  std::string compare_, otherwise_;
  std::vector<std::string> operations_;
  std::size_t compares_ = 0, bytes_ = 0;
};

std::string range_json(std::string_view key, std::string_view range_end, std::uint64_t limit, std::uint64_t revision,
                       bool keys_only);
std::string put_json(std::string_view key, std::string_view value);
std::string erase_json(std::string_view key);
std::string watch_json(std::string_view key, std::string_view range_end, std::uint64_t from);
std::string compaction_json(std::uint64_t revision);

}  // namespace trama::etcd
