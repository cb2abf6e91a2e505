// SPDX-License-Identifier: GPL-2.0-or-later
// Text tables: columns as wide as their widest cell, three blanks between them, nothing else.
#pragma once

#include <string>
#include <vector>

#include <boost/json.hpp>

#include "base/result.h"

namespace trama::cli {

namespace json = boost::json;

struct Table {
  std::vector<std::string> header;
  std::vector<std::vector<std::string>> rows;
  // Shorter rows are fine; the last column is not padded. `with_header` false leaves the header line away.
  // `widths` are the narrowest the columns may be, and afterwards what they became: tables that follow each other line
  // up.
  std::string to_text(bool with_header = true, std::vector<std::size_t>* widths = nullptr) const;
};

struct TableOptions {
  bool wide = false;            // columns of priority > 0 too
  bool with_namespace = false;  // a NAMESPACE column in front (from each row's object metadata)
  std::string name_prefix;      // "pod/" when several kinds are shown together
};
// A meta.k8s.io/v1 Table, as the server prints objects. An error names what is missing.
base::Result<Table> from_server_table(const json::object& table, const TableOptions& options);

}  // namespace trama::cli
