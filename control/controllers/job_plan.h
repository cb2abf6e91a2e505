// SPDX-License-Identifier: GPL-2.0-or-later
// What a Job does to its pods, and when it is over. Pure.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "control/loops/meta.h"

namespace trama::control {

// Every pod of a Job carries this finalizer until it is counted: it can not go unnoticed, and the write that counts it
// takes the finalizer away, so it is never counted twice.
constexpr std::string_view kJobTracking = "batch.kubernetes.io/job-tracking";
constexpr std::string_view kCompletionIndex = "batch.kubernetes.io/job-completion-index";

struct JobOptions {
  std::chrono::milliseconds backoff_lowest{10'000};  // before the pod after a failed one, doubling with each failure
  std::chrono::milliseconds backoff_highest{600'000};
};

struct JobPlan {
  std::vector<api::ObjectPtr> adopt;    // match the selector and belong to nobody
  std::vector<api::ObjectPtr> release;  // ours, but no longer match
  std::vector<api::ObjectPtr> count;    // finished: `status` counts them, so their finalizer goes in the same write
  std::vector<api::ObjectPtr> remove;   // too many, or suspended: deleted without ever being counted
  std::vector<api::ObjectPtr> end;  // deleted because the Job has failed; counted as failed once they are on their way
  std::vector<std::optional<std::int64_t>> create;  // one pod each; its index when the Job is Indexed
  json::object status;
  struct Note {
    std::string type, reason, message;
  };
  std::vector<Note> notes;         // for Events
  bool expired = false;            // finished for longer than its TTL: to be deleted with its pods
  std::optional<Time> look_again;  // a deadline, the end of a back-off or of the TTL
};

// `pods` are those of the namespace that match the selector or are controlled by the Job.
JobPlan plan_job(const api::Object& job, const std::vector<api::ObjectPtr>& pods, const JobOptions& options, Time now);

bool is_job_finished(const json::object& job);
// The pod for one index, or for none; store::create() completes it.
json::object job_pod(const api::Object& job, std::optional<std::int64_t> index);
// What generated names of its pods begin with: "NAME-" or "NAME-INDEX-".
std::string job_pod_prefix(const api::Object& job, std::optional<std::int64_t> index);

}  // namespace trama::control
