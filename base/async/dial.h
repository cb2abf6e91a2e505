// SPDX-License-Identifier: GPL-2.0-or-later
// What every client of ours does around a TCP connection, whatever it speaks over it.
#pragma once

#include <chrono>
#include <string>
#include <vector>

#include <boost/asio/ip/tcp.hpp>

#include "base/async/event.h"
#include "base/result.h"

namespace trama::async {

using tcp = asio::ip::tcp;

// `host` without brackets: an address, or a name that is looked up. `port` is a number.
awaitable<base::Result<std::vector<tcp::endpoint>>> resolve(asio::any_io_executor ex, std::string host,
                                                            std::string port);
// A peer that vanished without a FIN is noticed within `idle` and three times `interval`, whether we are writing or
// only listening. Nothing waits to be sent together with more.
void keep_alive(tcp::socket& socket, std::chrono::seconds idle, std::chrono::seconds interval);
// Whether an idle connection may carry another request: nothing to read means that nobody has closed it.
bool looks_alive(tcp::socket& socket);
// A transport failure as an Error: Beast's own timeout becomes ETIMEDOUT.
base::Error transport_error(const boost::system::error_code& ec, std::string what);

}  // namespace trama::async
