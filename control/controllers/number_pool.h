// SPDX-License-Identifier: GPL-2.0-or-later
// Who holds which number of a range: the bookkeeping behind service addresses and node ports. Pure.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>

namespace trama::control {

// A hint, not the truth: an entry counts only while `still_held` confirms it. So an allocation whose transaction failed
// or whose holder has gone needs no undo; it is found stale when somebody wants the number.
class NumberPool {
 public:
  // Numbers 0 … size-1. Those below `band` are left for static requests as long as the rest lasts; `kept` ones are for
  // static requests alone.
  NumberPool(std::uint64_t size, std::uint64_t band, std::set<std::uint64_t> kept = {});

  using StillHeld = std::function<bool(const std::string& holder, std::uint64_t number)>;
  // A free number for `holder`, or nothing when all are held; what `holder` itself was given is asked about as well.
  // Goes round the upper band, so that a number that was just given back is not the next one handed out.
  std::optional<std::uint64_t> take_any(const std::string& holder, const StillHeld& still_held);
  // False when another holder has it.
  bool take(std::uint64_t number, const std::string& holder, const StillHeld& still_held);
  // What is known from the store at start: no questions asked.
  void remember(std::uint64_t number, const std::string& holder);
  std::uint64_t size() const { return size_; }
  std::uint64_t band() const { return band_; }

 private:
  bool is_free(std::uint64_t number, const std::string& holder, const StillHeld& still_held);
  std::optional<std::uint64_t> scan(std::uint64_t from, std::uint64_t to, std::uint64_t start,
                                    const StillHeld& still_held);
  std::uint64_t size_, band_, cursor_;
  std::set<std::uint64_t> kept_;
  std::map<std::uint64_t, std::string> holder_;
};

}  // namespace trama::control
