// SPDX-License-Identifier: GPL-2.0-or-later
// What goes back to the client: an object, a table, a Status.
#pragma once

#include <string>
#include <vector>

#include "control/api/lifecycle.h"
#include "control/api/status.h"
#include "control/api/table.h"
#include "control/server/server.h"

namespace trama::server {

api::Time now();

Reply reply_status(const api::Status& status);
Reply reply_json(const api::json::object& body, int status = 200);
// As this group shows it, or as a table; `warnings` become Warning headers.
Reply reply_object(const Request& request, const api::Kind& kind, const api::ObjectPtr& object, int status,
                   const std::vector<std::string>& warnings = {});
// Status Success, for verbs that have no object to show.
Reply success(const api::Key& key, const std::string& uid);

// Table when the client accepts it and the answer may be one.
bool wants_table(const Request& request);
api::RowObject include_object(const Request& request);

}  // namespace trama::server
