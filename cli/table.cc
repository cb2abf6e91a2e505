// SPDX-License-Identifier: GPL-2.0-or-later
#include "cli/table.h"

#include <algorithm>

#include "base/columns.h"
#include "control/api/object.h"

namespace trama::cli {

using base::Error;
using base::Result;

std::string Table::to_text(bool with_header, std::vector<std::size_t>* widths) const {
  std::vector<std::vector<std::string>> all;
  if (with_header && !header.empty()) all.push_back(header);
  all.insert(all.end(), rows.begin(), rows.end());
  return base::columns(all, 3, widths);
}

namespace {

std::string cell_text(const json::value& v) {
  if (v.is_string()) {
    std::string text(v.get_string());
    // A cell is one line: control characters of hostile objects never reach the terminal.
    std::replace_if(
        text.begin(), text.end(), [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; }, ' ');
    return text.empty() ? "<none>" : text;
  }
  if (v.is_null()) return "<none>";
  return json::serialize(v);
}

std::string upper(std::string_view s) {
  std::string out(s);
  for (char& c : out)
    if (c >= 'a' && c <= 'z') c = static_cast<char>(c - 32);
  return out;
}

}  // namespace

Result<Table> from_server_table(const json::object& table, const TableOptions& options) {
  const auto& columns = api::array_at(table, "columnDefinitions");
  if (columns.empty()) return Error::text("the server's table has no columns", std::errc::protocol_error);
  Table out;
  std::vector<std::size_t> shown;
  std::size_t name_column = columns.size();
  if (options.with_namespace) out.header.emplace_back("NAMESPACE");
  for (std::size_t i = 0; i < columns.size(); ++i) {
    const auto* column = columns[i].if_object();
    if (!column) return Error::text("a column of the server's table is not an object", std::errc::protocol_error);
    if (api::int_at(*column, "priority") > 0 && !options.wide) continue;
    auto name = api::text_at(*column, "name");
    if (name == "Name") name_column = i;
    shown.push_back(i);
    out.header.push_back(upper(name));
  }
  for (const auto& r : api::array_at(table, "rows")) {
    const auto* row = r.if_object();
    if (!row) continue;
    const auto& cells = api::array_at(*row, "cells");
    std::vector<std::string> line;
    if (options.with_namespace) line.push_back(api::text_at(*row, "object.metadata.namespace"));
    for (auto i : shown)
      line.push_back((i == name_column ? options.name_prefix : "") + (i < cells.size() ? cell_text(cells[i]) : ""));
    out.rows.push_back(std::move(line));
  }
  return out;
}

}  // namespace trama::cli
