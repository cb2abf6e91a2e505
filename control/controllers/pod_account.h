// SPDX-License-Identifier: GPL-2.0-or-later
// The ServiceAccount that a new pod speaks as, and the files by which it does: what upstream's admission plugin
// `ServiceAccount` adds to a pod, for pods that clients make and for those that the loops make alike.
#pragma once

#include <optional>

#include "control/api/status.h"
#include "control/loops/meta.h"
#include "control/store/store.h"

namespace trama::control {

inline constexpr const char* kDefaultAccount = "default";  // of every namespace
inline constexpr const char* kTokenDirectory = "/var/run/secrets/kubernetes.io/serviceaccount";

// The account `default` of a namespace that exists, made if it is not there.
api::ObjectPtr ensure_default_account(store::Transaction& tx, const std::string& ns, Time now);

// Completes the body of a pod that is about to be created: `default` where it names no account; in each container the
// volume kube-api-access-… (token, ca.crt, namespace) at kTokenDirectory, unless the pod, or else its account, says
// automountServiceAccountToken: false, or the container has something else there. Refuses an account that is not there;
// `default` is made, so that nobody has to wait for the loop that keeps it.
std::optional<api::Status> admit_pod_account(store::Transaction& tx, const api::Key& key, json::object& pod, Time now);

}  // namespace trama::control
