// SPDX-License-Identifier: GPL-2.0-or-later
// The third node's part in a conversation of two others: it passes their bytes on and reads none of them (they are
// TLS between those two). Pure.
//
// Members alone can ask for it, for members alone: whoever asks has shown a node's certificate, and what it asks for is
// a node, never an address. What arrives from a third node is for its receiver: it is passed on once and no further.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "overlay/peers/doorman.h"
#include "overlay/peers/relay_wire.h"

namespace trama::overlay::peers {

class SpliceDesk {
 public:
  static constexpr std::size_t kMost = 32, kEach = 4;   // at once; of one opener
  static constexpr std::size_t kMostBytes = 64 * 1024;  // in one direction: a handshake has a tenth of that
  static constexpr Millis kLongest{15'000};
  static constexpr double kRate = 1, kBurst = 8;  // of one opener, each second

  explicit SpliceDesk(std::string self) : self_(std::move(self)) {}

  struct Out {
    std::string to;
    Splice splice;
  };
  // `from` is who said it. `why_not` is asked about the node that a splice is to lead to: "" = we speak with it and it
  // knows splices.
  std::vector<Out> take(const std::string& from, const Splice& splice,
                        const std::function<std::string(const std::string&)>& why_not, Millis now);
  std::vector<Out> tick(Millis now);
  // The conversation with that node has ended.
  std::vector<Out> gone(const std::string& node);

  std::size_t open() const { return legs_.size() / 2; }
  std::uint64_t opened() const { return opened_; }
  std::uint64_t refused() const { return refused_; }

  // Whether `opener` may have given out that id towards `other`.
  static bool is_id_of(std::uint32_t id, const std::string& opener, const std::string& other) {
    return (id & 1) == (opener < other ? 0u : 1u);
  }

 private:
  using Leg = std::pair<std::string, std::uint32_t>;  // a node, and the id that the two of us use
  struct End {
    Leg other;
    bool opener = false;    // it has asked for the splice
    std::size_t bytes = 0;  // that have come from it
    Millis began{0};
  };
  std::string refuse(const std::string& from, const Splice& splice,
                     const std::function<std::string(const std::string&)>& why_not, Millis now);
  void close(std::map<Leg, End>::iterator leg, const std::string& why, std::vector<Out>& out);

  std::string self_;
  std::map<Leg, End> legs_;
  std::map<std::string, TokenBucket> rates_;
  std::uint32_t next_ = 0;
  std::uint64_t opened_ = 0, refused_ = 0;
};

}  // namespace trama::overlay::peers
