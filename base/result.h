// SPDX-License-Identifier: GPL-2.0-or-later
// Error and Result: the only failure vocabulary of trama. Exceptions are for bugs.
#pragma once

#include <cerrno>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <variant>

#include <fmt/format.h>

namespace trama::base {

// A failure as a value: a machine-readable code plus the story of what was being attempted.
// Frames are pushed as the error travels up, so the text reads outermost first:
//   "adopt sandbox 7f3a: open netns: No such file or directory"
class [[nodiscard]] Error {
 public:
  // `what` is followed by the code's own message.
  Error(std::error_code code, std::string what) : code_(code), what_(std::move(what)) {}
  // err is a positive errno.
  static Error from_errno(int err, std::string what) {
    return Error(std::error_code(err, std::system_category()), std::move(what));
  }
  // `sentence` already says it all ("nodePort: expected 30000-32767, got 5"); no code message is appended.
  static Error text(std::string sentence, std::errc code = std::errc::invalid_argument) {
    return text(std::move(sentence), std::make_error_code(code));
  }
  static Error text(std::string sentence, std::error_code code) {
    Error e(code, std::move(sentence));
    e.complete_ = true;
    return e;
  }

  Error&& in(std::string_view frame) && {
    what_ = fmt::format("{}: {}", frame, what_);
    return std::move(*this);
  }
  std::error_code code() const noexcept { return code_; }
  bool is(std::errc c) const noexcept { return code_ == c; }
  std::string to_string() const { return complete_ ? what_ : fmt::format("{}: {}", what_, code_.message()); }

 private:
  std::error_code code_;
  std::string what_;
  bool complete_ = false;
};

// The subset of std::expected (C++23) that we use, so that the switch later is a search and replace.
// Default-constructible because boost::asio::co_spawn passes T() beside an exception.
template <class T = void>
class [[nodiscard]] Result {
  using Value = std::conditional_t<std::is_void_v<T>, std::monostate, T>;

 public:
  using value_type = T;

  Result() : v_(default_state()) {}
  Result(Value v) : v_(std::in_place_index<0>, std::move(v)) {}  // NOLINT: implicit on purpose
  Result(Error e) : v_(std::in_place_index<1>, std::move(e)) {}  // NOLINT: implicit on purpose

  explicit operator bool() const noexcept { return v_.index() == 0; }
  bool has_value() const noexcept { return v_.index() == 0; }
  Value& operator*() & { return std::get<0>(v_); }
  const Value& operator*() const& { return std::get<0>(v_); }
  Value&& operator*() && { return std::get<0>(std::move(v_)); }
  Value* operator->() { return &std::get<0>(v_); }
  const Value* operator->() const { return &std::get<0>(v_); }
  const Error& error() const& { return std::get<1>(v_); }
  Error&& error() && { return std::get<1>(std::move(v_)); }
  template <class U>
  Value value_or(U&& other) const& {
    return has_value() ? std::get<0>(v_) : static_cast<Value>(std::forward<U>(other));
  }

 private:
  using Storage = std::variant<Value, Error>;
  static Storage default_state() {
    if constexpr (std::is_void_v<T>)
      return Storage(std::in_place_index<0>);
    else
      return Storage(std::in_place_index<1>, Error::from_errno(EOWNERDEAD, "no result"));
  }
  Storage v_;
};

}  // namespace trama::base
