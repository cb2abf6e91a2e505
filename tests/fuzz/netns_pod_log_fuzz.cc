// SPDX-License-Identifier: GPL-2.0-or-later
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "netns/log_file.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace trama::netns;
  std::string_view text(reinterpret_cast<const char*>(data), size);
  if (auto line = parse_log_line(text); line && line->text.find('\n') == std::string::npos) {
    auto again = parse_log_line(format_log_line(*line));
    if (!again || !(*again == *line)) std::abort();
  }
  // However a stream is cut, the same records come out.
  trama::base::Timestamp t{};
  std::string whole, cut;
  LogSplitter a(LogStream::out), b(LogStream::out);
  a.feed(text, t, whole);
  a.finish(t, whole);
  for (std::size_t at = 0, step = 1; at < text.size(); at += step, step = step * 3 % 101 + 1)
    b.feed(text.substr(at, step), t, cut);
  b.finish(t, cut);
  if (whole != cut) std::abort();
  return 0;
}
