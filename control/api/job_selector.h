// SPDX-License-Identifier: GPL-2.0-or-later
// The labels by which a Job knows its pods: made from its uid, so that no two Jobs ever meet.
#pragma once

#include <string_view>
#include <vector>

#include "control/api/object.h"
#include "control/api/status.h"

namespace trama::api {

inline constexpr std::string_view kJobUidLabel = "batch.kubernetes.io/controller-uid";
inline constexpr std::string_view kJobNameLabel = "batch.kubernetes.io/job-name";

// Completes a new Job, whose uid and name are known: labels of its template (with the unprefixed names of old beside
// them) and the selector. A Job with manualSelector has its own and stays as it is.
void generate_job_selector(json::object& job);
// Whether that is what the Job has.
std::vector<Cause> check_generated_selector(const json::object& job);

}  // namespace trama::api
