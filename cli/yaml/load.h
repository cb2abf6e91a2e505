// SPDX-License-Identifier: GPL-2.0-or-later
// YAML (and JSON) text as boost::json values that know their lines. Bounded: size, depth and the work that aliases can
// cause; hostile input ends in an error, never in an exception, a crash or a full memory.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include <boost/json.hpp>

#include "base/result.h"

namespace trama::cli {

namespace json = boost::json;

// Field paths in Kubernetes' notation ("spec.ports[0].nodePort") and the line on which each field stands.
class FieldLines {
 public:
  void put(std::string path, int line) { lines_.emplace(std::move(path), line); }
  // Of the field, or of the nearest field around it; the document's first line for the empty path.
  int line_of(std::string_view path) const;

 private:
  std::map<std::string, int, std::less<>> lines_;
};

struct YamlDocument {
  json::value value;
  FieldLines lines;
  std::string file;  // as given: "hello.yaml", "-" = standard input
  // "hello.yaml:12: spec.ports[0].port: expected …"
  base::Error mistake(std::string_view path, std::string_view sentence) const;
};

struct YamlLimits {
  std::size_t bytes = 4u << 20;
  std::size_t depth = 64;
  std::size_t values = 500'000;  // in all documents together, aliases counted as often as they are used
};

// All documents of one text; empty ones are left out. YAML 1.2's core rules for plain scalars: `no` is a string.
// Refused: duplicate keys, keys that are not scalars, tags, anchors that contain themselves, numbers that JSON lacks.
base::Result<std::vector<YamlDocument>> load_yaml(std::string_view text, const std::string& file,
                                                  const YamlLimits& limits = {});

}  // namespace trama::cli
