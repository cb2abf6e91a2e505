// SPDX-License-Identifier: GPL-2.0-or-later
// EndpointSlices of Endpoints that somebody wrote for a Service without a selector: nodes read slices only. Pure.
#pragma once

#include <vector>

#include "control/controllers/endpoint_slice_plan.h"

namespace trama::control {

constexpr std::string_view kSkipMirror = "endpointslice.kubernetes.io/skip-mirror";
constexpr std::size_t kMirroredPerSubset = 1000;

// Whether the Endpoints are somebody's who wants nodes to see them: the Service exists and has no selector, and they
// carry neither the label skip-mirror=true nor a leader's record.
bool is_mirrored(const api::Object& endpoints, const api::Object* service);

struct MirrorPlan {
  std::vector<SliceOp> ops;  // what is written comes before what is removed
  std::size_t skipped = 0;   // addresses beyond kMirroredPerSubset
};

// One slice for each set of ports and address family. `slices` are those of this mirror that the Endpoints have now;
// slice_object(op, endpoints, …) makes the objects.
MirrorPlan plan_mirror(const api::Object& endpoints, const std::vector<api::ObjectPtr>& slices);
// Nothing is to be mirrored any more.
std::vector<SliceOp> plan_no_mirror(const std::vector<api::ObjectPtr>& slices);

}  // namespace trama::control
