// SPDX-License-Identifier: GPL-2.0-or-later
// What a NodeAgent says about one Service.
#include "agent/node_agent.h"

namespace trama::agent {

awaitable<void> NodeAgent::serve_service(AskService ask, HttpExchange& exchange) {
  const auto& node = settings_.options.node_name;
  HttpReply reply;
  std::optional<servicelb::ServiceView> view;
  if (auto service = view_.service(ask.key)) {
    auto outcome = compute_service(ask.key, service.get(), view_.slices_of(ask.key), services_->context());
    if (outcome.service) view = told_view(*outcome.service, node);
    if (view) view->failures = std::move(outcome.refusals);
  }
  if (view && describe_service_) {
    auto question = describe_service_(ask.key);
    auto described = co_await std::move(question);
    view = best_view(std::move(*view), std::move(described));
  } else if (view) {
    view->programmed = rooms_->services().programmed_generation() >= rooms_->services().generation();
  }
  reply.content_type = "text/plain; charset=utf-8";
  if (!view) {
    reply.status = 404;
    reply.body = fmt::format("service {} is not programmed on node {}\n", ask.key.to_string(), node);
  } else if (ask.as_nft) {
    reply.body = nft_page(*view);
  } else {
    reply.content_type = "application/json";
    reply.body = boost::json::serialize(service_page(*view, node)) + "\n";
  }
  co_await exchange.reply(reply);
}

}  // namespace trama::agent
