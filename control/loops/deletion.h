// SPDX-License-Identifier: GPL-2.0-or-later
// How the loops delete: with finalizers and a pod's grace period respected, inside a transaction.
#pragma once

#include "control/loops/meta.h"
#include "control/store/store.h"

namespace trama::control {

// Erases the object, or marks it as terminating when finalizers or a pod's node have to agree first. Marking twice
// changes nothing. Returns the object as it was left (null when it does not exist).
api::ObjectPtr begin_delete(store::Transaction& tx, const api::Key& key, Time now);
// For pods whose node has gone: erases without asking it. Whoever holds the pod with a finalizer still has its say, and
// finds it Failed.
api::ObjectPtr force_delete(store::Transaction& tx, const api::Key& key, Time now);
// Writes `body` back, or erases the object when it is terminating and nothing holds it any more.
api::ObjectPtr put_or_finish(store::Transaction& tx, const api::Key& key, json::object body);

}  // namespace trama::control
