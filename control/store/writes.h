// SPDX-License-Identifier: GPL-2.0-or-later
// Creating, changing and deleting objects inside a transaction, with all the bookkeeping of control/api/lifecycle.h.
// The API's handlers and the loops write through these, so that both do the same thing.
#pragma once

#include <functional>
#include <optional>

#include "control/api/lifecycle.h"
#include "control/store/store.h"

namespace trama::store {

// Looks at a write before it happens, inside its transaction; may change `body` or refuse. `old` is null on create,
// `body` is null on delete.
using Hook = std::function<std::optional<api::Status>(Transaction&, const api::Key&, const api::Object* old,
                                                      api::json::object* body)>;

// 409 when it exists, 404 when its namespace does not, 403 when that namespace is being deleted.
// `key.name` may be empty when metadata.generateName is given.
api::Answer<api::ObjectPtr> create(Transaction& tx, const api::Kind& kind, api::Key key, api::json::object body,
                                   api::Time now, const Hook& hook = nullptr);
// 404 when it does not exist; 409 on a stale resourceVersion. Removes the object when its last finalizer goes.
// Writes nothing when nothing changes.
api::Answer<api::ObjectPtr> update(Transaction& tx, const api::Kind& kind, const api::Key& key, api::json::object body,
                                   api::Part part, api::Time now, const Hook& hook = nullptr);
// The object as it was, or as it is now when it stays for a while (deletionTimestamp is set then).
api::Answer<api::ObjectPtr> remove(Transaction& tx, const api::Kind& kind, const api::Key& key,
                                   const api::DeleteOptions& options, api::Time now, const Hook& hook = nullptr);

}  // namespace trama::store
