// SPDX-License-Identifier: GPL-2.0-or-later
#include "cli/yaml/emit.h"

#include "cli/yaml/scalar.h"

namespace trama::cli {

namespace json = boost::json;

namespace {

std::string scalar(const json::value& v) {
  if (v.is_object()) return "{}";
  if (v.is_array()) return "[]";
  if (!v.is_string()) return json::serialize(v);
  std::string_view text = v.get_string();
  return needs_quotes(text) ? json::serialize(v) : std::string(text);  // a JSON string is a double-quoted YAML one
}

bool is_block(const json::value& v) {
  return (v.is_object() && !v.get_object().empty()) || (v.is_array() && !v.get_array().empty());
}

// Several lines that end in a newline, without anything that a literal block would lose.
bool is_literal(const json::value& v) {
  if (!v.is_string()) return false;
  std::string_view t = v.get_string();
  if (t.find('\n') == std::string_view::npos || t.front() == ' ' || t.front() == '\n') return false;
  for (char c : t)
    if (c != '\n' && (static_cast<unsigned char>(c) < 0x20 || c == 0x7f)) return false;
  return t.back() == '\n' && (t.size() < 2 || t[t.size() - 2] != '\n');
}

void literal(std::string_view text, std::size_t indent, std::string& out) {
  out += " |\n";
  while (!text.empty()) {
    auto line = text.substr(0, text.find('\n'));
    text.remove_prefix(line.size() + 1);
    if (!line.empty()) out.append(indent, ' ').append(line);
    out += '\n';
  }
}

void block(const json::value& v, std::size_t indent, bool first_line_indented, std::string& out);

void entry(const json::value& v, std::size_t indent, std::string& out) {
  if (is_block(v)) {
    out += '\n';
    // Sequences stand at their key's own depth, as kubectl writes them.
    block(v, v.is_array() ? indent : indent + 2, true, out);
  } else if (is_literal(v)) {
    literal(v.get_string(), indent + 2, out);
  } else {
    out += " " + scalar(v) + "\n";
  }
}

void block(const json::value& v, std::size_t indent, bool first_line_indented, std::string& out) {
  bool first = true;
  auto margin = [&] {
    if (!first || first_line_indented) out.append(indent, ' ');
    first = false;
  };
  if (v.is_object()) {
    for (const auto& [key, value] : v.get_object()) {
      margin();
      out += scalar(json::value(json::string(key))) + ":";
      entry(value, indent, out);
    }
    return;
  }
  for (const auto& value : v.get_array()) {
    margin();
    if (is_block(value)) {
      out += "- ";
      block(value, indent + 2, false, out);
    } else if (is_literal(value)) {
      out += "-";
      literal(value.get_string(), indent + 2, out);
    } else {
      out += "- " + scalar(value) + "\n";
    }
  }
}

void pretty(const json::value& v, std::size_t indent, std::string& out) {
  auto list = [&](char open, char close, std::size_t n, auto&& items) {
    if (n == 0) {
      out += open;
      out += close;
      return;
    }
    out += open;
    out += '\n';
    std::size_t i = 0;
    items([&](auto&& item) {
      out.append(indent + 4, ' ');
      item();
      out += ++i < n ? ",\n" : "\n";
    });
    out.append(indent, ' ') += close;
  };
  if (v.is_object()) {
    list('{', '}', v.get_object().size(), [&](auto&& each) {
      for (const auto& [key, value] : v.get_object())
        each([&] {
          out += json::serialize(json::string(key)) + ": ";
          pretty(value, indent + 4, out);
        });
    });
  } else if (v.is_array()) {
    list('[', ']', v.get_array().size(), [&](auto&& each) {
      for (const auto& value : v.get_array()) each([&] { pretty(value, indent + 4, out); });
    });
  } else {
    out += json::serialize(v);
  }
}

}  // namespace

std::string to_yaml(const json::value& v) {
  if (!is_block(v)) return scalar(v) + "\n";
  std::string out;
  block(v, 0, true, out);
  return out;
}

std::string to_pretty_json(const json::value& v) {
  std::string out;
  pretty(v, 0, out);
  return out + "\n";
}

}  // namespace trama::cli
