// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include <map>
#include <optional>
#include <string>

#include "control/controllers/csr_plan.h"
#include "control/loops/loop.h"
#include "control/pki/authority.h"

namespace trama::control {

// Approves, signs and denies CertificateSigningRequests; deletes old ones and join tokens that have expired.
class CsrLoop {
 public:
  // `authority` outlives the loop. `life` is that of nodes' certificates; a name whose lease was renewed less than
  // `grace` ago is taken.
  CsrLoop(async::asio::any_io_executor ex, store::Store& store, const pki::Authority& authority, milliseconds life,
          milliseconds grace);
  Loop& loop() { return loop_; }

 private:
  void csr_seen(const store::Event& e);
  void lease_seen(const store::Event& e);
  void node_seen(const store::Event& e);
  awaitable<base::Result<>> handle(std::string key);
  awaitable<base::Result<>> sweep();
  CsrWorld world_of(const api::Object& csr, Time now) const;
  base::Result<std::string> sign(const api::Object& csr, const CsrVerdict& verdict, Time now) const;

  store::Store& store_;
  const pki::Authority& authority_;
  milliseconds life_, grace_;
  std::map<std::string, std::chrono::steady_clock::time_point> renewed_;  // by node name
  std::map<std::string, std::pair<std::string, Time>> joined_;  // node name -> request that was approved, and when
  Loop loop_;
};

// What a bearer token "id.secret" stands for: the record, when the secret is right and it has not expired.
std::optional<pki::TokenRecord> verify_join_token(const store::Store& store, std::string_view bearer, Time now);

}  // namespace trama::control
