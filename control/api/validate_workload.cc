// SPDX-License-Identifier: GPL-2.0-or-later
// Deployments, ReplicaSets, DaemonSets and Jobs.
#include <charconv>
#include <optional>

#include "control/api/job_selector.h"
#include "control/api/validate_rules.h"

namespace trama::api {
namespace {

bool template_matches(const json::object& body) {
  auto labels_of_pod = strings_at(body, "spec.template.metadata.labels");
  for (const auto& [key, value] : strings_at(body, "spec.selector.matchLabels")) {
    auto it = labels_of_pod.find(key);
    if (it == labels_of_pod.end() || it->second != value) return false;
  }
  return true;
}

void pod_template(Causes& out, const json::object& body) {
  if (!template_matches(body))
    invalid(out, "spec.template.metadata.labels", json::serialize(object_at(body, "spec.template.metadata.labels")),
            "`selector` does not match template `labels`");
  labels(out, body, "spec.template.metadata.labels");
  if (at(body, "spec.template.spec")) pod_spec(out, object_at(body, "spec.template.spec"), "spec.template.spec");
}

void required_selector(Causes& out, const json::object& body, std::string_view owner) {
  selector(out, body, "spec.selector");
  if (object_at(body, "spec.selector.matchLabels").empty() && array_at(body, "spec.selector.matchExpressions").empty())
    invalid(out, "spec.selector", "{}", fmt::format("empty selector is invalid for {}", owner));
}

void always_restarted(Causes& out, const json::object& body) {
  auto restart = text_at(body, "spec.template.spec.restartPolicy");
  if (!restart.empty() && restart != "Always")
    not_supported(out, "spec.template.spec.restartPolicy", restart, "\"Always\"");
}

void immutable(Causes& out, const json::object& body, const json::object& old, const std::string& path) {
  const auto *was = at(old, path), *is = at(body, path);
  if (!was && !is) return;
  if (was && is && *was == *is) return;
  invalid(out, path, is ? shown(*is) : "null", "field is immutable");
}

// A number of pods, or a share of them in percent.
struct Amount {
  std::int64_t number = 0;
  bool percent = false;
};
std::optional<Amount> amount_of(const json::value* v) {
  Amount a;
  if (!v) return a;
  if (v->is_int64()) {
    a.number = v->get_int64();
    return a;
  }
  if (!v->is_string()) return std::nullopt;
  std::string_view text(v->get_string());
  if (!text.ends_with('%')) return std::nullopt;
  text.remove_suffix(1);
  auto [end, ec] = std::from_chars(text.data(), text.data() + text.size(), a.number);
  if (ec != std::errc{} || end != text.data() + text.size() || text.starts_with('-')) return std::nullopt;
  a.percent = true;
  return a;
}

// The amount, 0 when it is none.
std::int64_t amount(Causes& out, const json::object& body, const std::string& path) {
  const auto* v = at(body, path);
  auto a = amount_of(v);
  if (!a) {
    invalid(out, path, shown(*v),
            "a valid percent string must be a numeric string followed by an ending '%' (e.g. "
            "'1%',  or '93%', regex used for validation is '[0-9]+%')");
    return 0;
  }
  if (a->number < 0) invalid(out, path, shown(*v), "must be greater than or equal to 0");
  if (a->percent && a->number > 100) invalid(out, path, shown(*v), "must not be greater than 100%");
  return a->number;
}

// What may still change in the template of a Job that has never run: where its pods may go, and their marks.
json::object without_placement(json::object pod_template) {
  for (const char* field : {"labels", "annotations"}) make_object_at(pod_template, "metadata").erase(field);
  auto& spec = make_object_at(pod_template, "spec");
  for (const char* field : {"nodeSelector", "tolerations", "schedulingGates"}) spec.erase(field);
  if (at(spec, "affinity")) make_object_at(spec, "affinity").erase("nodeAffinity");
  if (object_at(spec, "affinity").empty()) spec.erase("affinity");
  return pod_template;
}

void job_template_update(Causes& out, const json::object& body, const json::object& old) {
  bool never_ran = bool_at(old, "spec.suspend") && text_at(old, "status.startTime").empty();
  if (!never_ran) return immutable(out, body, old, "spec.template");
  if (without_placement(object_at(old, "spec.template")) != without_placement(object_at(body, "spec.template")))
    invalid(out, "spec.template", shown(json::value(object_at(body, "spec.template"))), "field is immutable");
}

void job_update(Causes& out, const json::object& body, const json::object& old) {
  immutable(out, body, old, "spec.selector");
  immutable(out, body, old, "spec.completionMode");
  job_template_update(out, body, old);
  const auto *was = at(old, "spec.completions"), *is = at(body, "spec.completions");
  if (text_at(body, "spec.completionMode") != "Indexed" || !is || !was)
    return immutable(out, body, old, "spec.completions");
  if (*was != *is && int_at(body, "spec.completions") != int_at(body, "spec.parallelism", 1))
    invalid(out, "spec.completions", shown(*is), "can only be modified in tandem with spec.parallelism");
}

}  // namespace

void validate_replicas(Causes& out, const json::object& body, const json::object* old) {
  not_negative(out, body, "spec.replicas");
  required_selector(out, body, "deployment");
  pod_template(out, body);
  always_restarted(out, body);
  if (old) immutable(out, body, *old, "spec.selector");
}

void validate_daemon_set(Causes& out, const json::object& body, const json::object* old) {
  required_selector(out, body, "daemonset");
  pod_template(out, body);
  always_restarted(out, body);
  if (at(body, "spec.template.spec.activeDeadlineSeconds"))
    forbidden(out, "spec.template.spec.activeDeadlineSeconds", "activeDeadlineSeconds in DaemonSet is not Supported");
  not_negative(out, body, "spec.minReadySeconds");
  not_negative(out, body, "spec.revisionHistoryLimit");
  const std::string rolling = "spec.updateStrategy.rollingUpdate";
  if (text_at(body, "spec.updateStrategy.type") == "RollingUpdate") {
    if (!at(body, rolling)) required(out, rolling);
    auto unavailable = amount(out, body, rolling + ".maxUnavailable"), surge = amount(out, body, rolling + ".maxSurge");
    if (unavailable != 0 && surge != 0)
      invalid(out, rolling + ".maxSurge", shown(*at(body, rolling + ".maxSurge")),
              "may not be set when maxUnavailable is non-zero");
    if (unavailable == 0 && surge == 0) required(out, rolling + ".maxUnavailable", "cannot be 0 when maxSurge is 0");
  }
  if (old) immutable(out, body, *old, "spec.selector");
}

void validate_job(Causes& out, const json::object& body, const json::object* old) {
  if (!old && !bool_at(body, "spec.manualSelector"))
    for (auto& cause : check_generated_selector(body)) out.push_back(std::move(cause));
  for (const char* field :
       {"parallelism", "completions", "activeDeadlineSeconds", "backoffLimit", "ttlSecondsAfterFinished"})
    not_negative(out, body, std::string("spec.") + field);
  if (!at(body, "spec.selector"))
    required(out, "spec.selector");
  else
    selector(out, body, "spec.selector");
  pod_template(out, body);
  auto restart = text_at(body, "spec.template.spec.restartPolicy");
  if (restart.empty() || restart == "Always")
    required(out, "spec.template.spec.restartPolicy", "valid values: \"OnFailure\", \"Never\"");
  if (text_at(body, "spec.completionMode") == "Indexed") {
    constexpr std::int64_t kMost = 100'000;
    auto parallelism = int_at(body, "spec.parallelism", 1), completions = int_at(body, "spec.completions");
    if (!at(body, "spec.completions")) required(out, "spec.completions", "when completion mode is Indexed");
    if (parallelism > kMost)
      invalid(out, "spec.parallelism", std::to_string(parallelism),
              "must be less than or equal to 100000 when completion mode is Indexed");
    if (completions > 0) {
      auto last = fmt::format("{}-{}", text_at(body, "metadata.name"), completions - 1);
      if (!is_dns_label(last))
        invalid(out, "metadata.name", in_quotes(text_at(body, "metadata.name")),
                fmt::format("will not able to create pod with invalid DNS label: {}", last));
    }
  }
  // Known, and not honoured: a Job that counts on them must not run without them.
  for (const char* field :
       {"podFailurePolicy", "successPolicy", "backoffLimitPerIndex", "maxFailedIndexes", "managedBy"})
    if (at(body, std::string("spec.") + field))
      forbidden(out, std::string("spec.") + field, "this server does not support it yet");
  if (old) job_update(out, body, *old);
}

void validate_controller_revision(Causes& out, const json::object& body, const json::object* old) {
  not_negative(out, body, "revision");
  if (!at(body, "data"))
    required(out, "data", "data is mandatory");
  else if (!at(body, "data")->is_object())
    invalid(out, "data", shown(*at(body, "data")), "must be an object");
  if (old) immutable(out, body, *old, "data");
}

}  // namespace trama::api
