// SPDX-License-Identifier: GPL-2.0-or-later
// Notifications that are lost: whoever listens must be told to look again, and hear what comes afterwards.
#include "base/netlink/monitor.h"

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <gtest/gtest.h>
#include <linux/rtnetlink.h>

#include "base/netlink/client.h"
#include "base/netlink/rtnl.h"
#include "tests/support/private_netns.h"

namespace trama::netlink {
namespace {

namespace asio = async::asio;

struct Listener {
  asio::io_context io;
  std::optional<Monitor> monitor;
  int overruns = 0, links = 0;

  explicit Listener(const trama::test::PrivateNetns& space) {
    space.run([&] {
      auto opened = Monitor::open(io.get_executor(), {RTNLGRP_LINK});
      if (!opened) throw std::runtime_error(opened.error().to_string());
      monitor.emplace(std::move(*opened));
    });
    auto listen = monitor->run([this](const Event& e) { e.overrun ? ++overruns : ++links; });
    asio::co_spawn(io, std::move(listen), asio::detached);
  }
  void hear() {
    io.restart();
    io.run_for(std::chrono::milliseconds(300));
  }
};

Reply ask(Client& client, Request request) {
  auto reply = client.call(request);
  if (!reply) throw std::runtime_error(reply.error().to_string());
  return *reply;
}

// Each call is two notifications at least.
void flap(Client& client, IfIndex link, int times) {
  for (int i = 0; i < times; ++i) ask(client, set_link_up(link, i % 2 == 0));
}

TEST(MonitorOverrun, IsToldAndWhatFollowsIsHeard) {
  trama::test::PrivateNetns space;
  std::optional<Client> client;
  space.run([&] { client.emplace(std::move(*Client::open(NETLINK_ROUTE))); });
  ask(*client, create_bridge("br0"));
  IfIndex link = decode_link(ask(*client, get_link("br0")).front())->index;
  Listener listener(space);

  flap(*client, link, 10);
  listener.hear();
  ASSERT_GE(listener.links, 10);
  ASSERT_EQ(listener.overruns, 0) << "the control: ten are no storm";

  flap(*client, link, 20'000);
  listener.hear();
  EXPECT_EQ(listener.overruns, 1) << "once for all that was lost";

  int before = listener.links;
  flap(*client, link, 2);
  listener.hear();
  EXPECT_GE(listener.links, before + 2);
}

}  // namespace
}  // namespace trama::netlink
