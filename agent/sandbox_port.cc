// SPDX-License-Identifier: GPL-2.0-or-later
#include "agent/sandbox_port.h"

#include <boost/asio/post.hpp>

namespace trama::agent {
namespace {

template <class Op>
netns::Uid uid_of(const Op& op) {
  if constexpr (requires { op.sandbox.uid; })
    return op.sandbox.uid;
  else if constexpr (requires { op.uid; })
    return op.uid;
  else
    return "";
}

std::string step_of(const netns::Op& op) {
  if (std::holds_alternative<netns::CreateNetwork>(op)) return "CreateNetwork";
  if (std::holds_alternative<netns::StartProcesses>(op) || std::holds_alternative<netns::ReleaseContainers>(op))
    return "StartProcesses";
  return "other";
}

}  // namespace

SandboxPort::SandboxPort(netns::Kernel& kernel, async::asio::any_io_executor brain, OnObserved on_observed,
                         OnOutcome on_outcome)
    : kernel_(kernel),
      brain_(std::move(brain)),
      on_observed_(std::move(on_observed)),
      on_outcome_(std::move(on_outcome)) {}

base::Result<netns::Observed> SandboxPort::observe() {
  auto seen = kernel_.observe();
  if (!seen) return seen;
  auto copy = std::make_shared<const netns::Observed>(*seen);
  async::asio::post(brain_, [this, copy] { on_observed_(copy); });
  return seen;
}

base::Result<> SandboxPort::apply(const netns::Op& op) {
  auto result = kernel_.apply(op);
  Outcome outcome;
  outcome.uid = std::visit([](const auto& o) { return uid_of(o); }, op);
  outcome.operation = netns::to_text(op);
  outcome.step = step_of(op);
  if (!result) outcome.error = result.error().to_string();
  async::asio::post(brain_, [this, outcome = std::move(outcome)] { on_outcome_(outcome); });
  return result;
}

}  // namespace trama::agent
