// SPDX-License-Identifier: GPL-2.0-or-later
#include "base/log.h"

#include <map>
#include <mutex>

#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

namespace trama::base {
namespace {
struct Settings {
  std::mutex mutex;
  spdlog::sink_ptr sink = std::make_shared<spdlog::sinks::stderr_sink_mt>();
  spdlog::level::level_enum level = spdlog::level::info;
  std::map<std::string, spdlog::level::level_enum, std::less<>> per_component;
  std::map<std::string, std::shared_ptr<spdlog::logger>, std::less<>> loggers;
  std::string pattern = "%Y-%m-%dT%H:%M:%S.%e %^%L%$ %n: %v";
};
Settings& settings() {
  static Settings s;
  return s;
}
Result<spdlog::level::level_enum> level_of(std::string_view name) {
  for (auto [text, level] : {std::pair{"error", spdlog::level::err},
                             {"warn", spdlog::level::warn},
                             {"info", spdlog::level::info},
                             {"debug", spdlog::level::debug},
                             {"trace", spdlog::level::trace}})
    if (name == text) return level;
  return Error::text(fmt::format("log level \"{}\" (expected error, warn, info, debug or trace)", name));
}
}  // namespace

std::shared_ptr<spdlog::logger> logger(std::string_view component) {
  auto& s = settings();
  std::lock_guard lock(s.mutex);
  if (auto it = s.loggers.find(component); it != s.loggers.end()) return it->second;
  auto made = std::make_shared<spdlog::logger>(std::string(component), s.sink);
  made->set_pattern(s.pattern);
  auto own = s.per_component.find(component);
  made->set_level(own != s.per_component.end() ? own->second : s.level);
  made->flush_on(spdlog::level::trace);
  s.loggers.emplace(std::string(component), made);
  return made;
}

Result<> configure_logging(std::string_view spec) {
  auto& s = settings();
  std::lock_guard lock(s.mutex);
  while (!spec.empty()) {
    auto comma = spec.find(',');
    auto item = spec.substr(0, comma);
    spec = comma == std::string_view::npos ? std::string_view{} : spec.substr(comma + 1);
    auto eq = item.find('=');
    auto level = level_of(eq == std::string_view::npos ? item : item.substr(eq + 1));
    if (!level) return std::move(level).error();
    if (eq == std::string_view::npos)
      s.level = *level;
    else
      s.per_component[std::string(item.substr(0, eq))] = *level;
  }
  for (auto& [name, log] : s.loggers) {
    auto own = s.per_component.find(name);
    log->set_level(own != s.per_component.end() ? own->second : s.level);
    log->set_pattern(s.pattern);
  }
  return {};
}

}  // namespace trama::base
