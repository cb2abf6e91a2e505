// SPDX-License-Identifier: GPL-2.0-or-later
// One nftables transaction: everything in it happens, in the order given, or nothing does.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "base/nft/rule.h"
#include "base/nft/set.h"
#include "base/nft/table.h"

namespace trama::nft {

// Pure: encodes messages as they are added. Consecutive elements of one set share messages of less than 60 KB.
// Nothing here fails; what the kernel thinks of it is the answer to Session::commit.
class Batch {
 public:
  Batch();

  // put_*: created if absent; an equal one that exists is no error.
  Batch& put_table(const Table& table);
  Batch& delete_table(const Table& table);  // with everything in it; ENOENT when absent
  Batch& put_chain(const Table& table, const Chain& chain);
  Batch& delete_chain(const Table& table, const std::string& chain);                // must be empty and unreferenced
  Batch& flush_chain(const Table& table, const std::string& chain);                 // deletes its rules
  Batch& add_rule(const Table& table, const std::string& chain, const Rule& rule);  // appends
  Batch& delete_rule(const Table& table, const std::string& chain, std::uint64_t handle);
  Batch& put_set(const Table& table, const Set& set);
  Batch& delete_set(const Table& table, const std::string& set);
  Batch& flush_set(const Table& table, const std::string& set);  // deletes its elements
  // An equal element that exists is no error, one with other data is EEXIST: delete it first, in the same batch.
  Batch& put_element(const Table& table, const Set& set, const Element& element);
  // By key; ENOENT when absent.
  Batch& delete_element(const Table& table, const Set& set, const Element& element);

  bool empty() const { return messages_.empty(); }
  std::size_t messages() const { return messages_.size(); }
  std::size_t elements() const { return elements_; }              // element operations inside
  std::size_t operations() const { return elements_ + others_; }  // and tables, chains, sets and rules
  std::size_t bytes() const { return bytes_.size(); }

  // Messages in nft's own words, one line per table, chain, set, rule and element; at most `limit` lines, then one
  // that says how many follow.
  std::vector<std::string> text(std::size_t limit = SIZE_MAX) const;
  // What message i does, on one line, for errors.
  std::string describe(std::size_t message) const;

  // The datagram: BATCH_BEGIN with `first_seq`, the messages with the following numbers, BATCH_END. Only the last
  // message asks for an acknowledgement. With a generation the kernel refuses (ERESTART) when it is not the current
  // one.
  Bytes finish(std::uint32_t first_seq, std::optional<std::uint32_t> generation = {});
  std::uint32_t last_seq(std::uint32_t first_seq) const {
    return first_seq + static_cast<std::uint32_t>(messages_.size());
  }
  // The messages as they go over the wire, for fakes and tests.
  void for_each(const std::function<void(const nlmsghdr&, Bytes payload)>& fn) const;

 private:
  struct Message {
    std::size_t offset = 0;
    std::string text;           // empty for elements: their text is read from the bytes
    bool part_of_rule = false;  // an anonymous set: the text of its rule shows it
    const Set* set = nullptr;
    const Table* table = nullptr;
  };
  std::size_t begin(std::uint16_t type, std::uint16_t flags, Family family);
  void end(std::size_t at);
  void element(std::uint16_t type, const Table& table, const Set& set, const Element& element);
  void open_elements(std::uint16_t type, const Table& table, const Set& set);
  void close_elements();
  void put_attr(std::uint16_t type, Bytes value);
  void put_text(std::uint16_t type, const std::string& value);
  void put_u32(std::uint16_t type, std::uint32_t value);
  std::size_t nest(std::uint16_t type);
  void unnest(std::size_t at);
  void one_element(const Set& set, const Element& element, bool with_data, bool interval_end);

  std::vector<std::byte> bytes_;
  std::vector<Message> messages_;
  std::deque<std::pair<Table, Set>> sets_;  // of the element messages; addresses stay valid
  std::size_t elements_ = 0, others_ = 0;
  std::uint32_t next_set_id_ = 1;
  // the element message being filled
  std::uint16_t open_type_ = 0;
  std::size_t open_message_ = 0, open_list_ = 0;
  bool finished_ = false;
};

}  // namespace trama::nft
