// SPDX-License-Identifier: GPL-2.0-or-later
#include "cli/verbs/rotate_ca.h"

#include <algorithm>
#include <cstdio>
#include <ctime>
#include <optional>
#include <thread>

#include "cli/api.h"
#include "cli/exit.h"
#include "cli/fetch.h"
#include "cli/table.h"
#include "control/api/object.h"
#include "control/api/simulated.h"
#include "control/client/kubeconfig.h"
#include "control/client/paths.h"
#include "control/controllers/api_servers.h"
#include "control/controllers/bootstrap.h"
#include "control/pki/rotation.h"

namespace trama::cli {

using base::Error;
using base::Result;
using pki::Authorities;
using pki::RotationPhase;

namespace {

// A node or a controller, and how far it has come.
struct Part {
  std::string name, state;
  bool counts = true;     // false: it is away, and nobody waits for it
  bool trusts = false;    // the new CA
  bool replaced = false;  // what it shows is from the new CA
  std::string note;
};

std::string annotation(const json::object& object, const char* name) {
  const auto* v = api::object_at(object, "metadata.annotations").if_contains(name);
  return v != nullptr && v->is_string() ? std::string(v->get_string()) : "";
}

bool has(const std::string& pins, const std::string& pin) { return pins.find(pin) != std::string::npos; }

// The one that the rotation leads to: the last to come while it is started, the first once it signs.
std::string new_pin(const Authorities& all) {
  return pki::short_pins(all.phase == RotationPhase::started ? all.pems.back() : all.pems.front());
}

class Rotation {
 public:
  Rotation(std::unique_ptr<Api> api, std::string dir) : api_(std::move(api)), dir_(std::move(dir)) {}

  Result<> read() {
    Call c;
    c.path = client::object_path(control::kCaConfigMap);
    auto map = api_->object(std::move(c));
    if (!map) return std::move(map).error().in("ask which CAs are trusted");
    map_ = std::move(*map);
    authorities_ = control::authorities_of(map_);
    if (authorities_.pems.empty()) return Error::text("the ConfigMap kube-system/kube-root-ca.crt has no CA");
    return read_parts();
  }

  const Authorities& authorities() const { return authorities_; }
  const std::vector<Part>& parts() const { return parts_; }

  Result<> write(Authorities next) {
    Call c;
    c.method = "PUT";
    c.path = client::object_path(control::kCaConfigMap);
    c.body = json::serialize(control::with_authorities(map_, next));
    auto done = api_->object(std::move(c));
    if (!done) return std::move(done).error().in("say which CAs are trusted");
    return {};
  }

  // Until the controller of this machine has followed: its files and its listener are what others see.
  Result<> wait_for_controller(const Authorities& wanted) {
    for (int i = 0; i < 200; ++i) {
      Call c;
      c.path = "/trama/ca";
      auto said = api_->call(std::move(c));
      auto files = pki::read_authorities(dir_);
      bool there =
          said && said->ok() && said->text == wanted.bundle() && files && files->pems.front() == wanted.pems.front();
      if (there) return {};
      std::this_thread::sleep_for(std::chrono::milliseconds(50));
    }
    return Error::text("the controller has not followed within 10 s: look at its log", std::errc::timed_out);
  }

  std::string text() const {
    std::string out = fmt::format("phase: {}\n", pki::to_string(authorities_.phase));
    for (std::size_t i = 0; i < authorities_.pems.size(); ++i)
      out += fmt::format("CA {}{}\n", pki::short_pins(authorities_.pems[i]), i == 0 ? ": signs" : ": is trusted");
    Table t;
    bool rotating = authorities_.phase != RotationPhase::steady;
    t.header = {"NAME", "STATE", "TRUSTS NEW", "SHOWS NEW", "NOTE"};
    auto word = [&](bool yes) { return std::string(!rotating ? "-" : yes ? "yes" : "no"); };
    for (const auto& p : parts_) t.rows.push_back({p.name, p.state, word(p.trusts), word(p.replaced), p.note});
    return out + t.to_text();
  }

 private:
  Result<> read_parts() {
    parts_.clear();
    auto pin = new_pin(authorities_);
    auto nodes = list_items(*api_, client::collection_path("nodes"));
    if (!nodes) return std::move(nodes).error();
    for (const auto& node : *nodes) {
      Part p;
      p.name = "node/" + api::text_at(node, "metadata.name");
      for (const auto& c : api::array_at(node, "status.conditions"))
        if (c.is_object() && api::text_at(c.get_object(), "type") == "Ready")
          p.state = api::text_at(c.get_object(), "status") == "Unknown" ? "silent" : "alive";
      if (p.state.empty()) p.state = "new";
      p.counts = p.state == "alive";
      p.trusts = has(annotation(node, control::kTrustedCa), pin);
      auto serving = annotation(node, control::kServingCa);
      p.replaced = annotation(node, control::kCertificateCa) == pin && (serving.empty() || serving == pin);
      if (!p.counts) p.note = "must join again if it comes back after `finish`";
      if (api::object_at(node, "metadata.labels").contains(api::kSimulated)) {
        p.counts = false;
        p.state = "simulated";
        p.note = "has no certificate of its own";
      }
      parts_.push_back(std::move(p));
    }
    auto leases = list_items(*api_, client::collection_path("leases", "kube-system"));
    if (!leases) return std::move(leases).error();
    for (const auto& lease : *leases) {
      auto name = api::text_at(lease, "metadata.name");
      if (!name.starts_with("apiserver-")) continue;
      Part p;
      p.name = "controller/" + name.substr(10);
      p.state = "alive";
      auto pins = annotation(lease, control::kApiServerCa);
      p.trusts = has(pins, pin);
      p.replaced = pins.starts_with(pin);
      if (!p.trusts) p.note = "copy ca-next.crt and ca-next.key into its pki folder (mode 0600)";
      parts_.push_back(std::move(p));
    }
    return {};
  }

  std::unique_ptr<Api> api_;
  std::string dir_;
  json::object map_;
  Authorities authorities_;
  std::vector<Part> parts_;
};

// Nothing when all who count are there; otherwise the exit code, after it was said who is not.
std::optional<int> wait_is_over(const Rotation& rotation, bool force, bool Part::*reached, const char* lacks) {
  std::vector<std::string> missing;
  for (const auto& p : rotation.parts())
    if (p.counts && !(p.*reached)) missing.push_back(p.name + (p.note.empty() ? "" : " (" + p.note + ")"));
  if (missing.empty()) return std::nullopt;
  auto who = fmt::format("{}", fmt::join(missing, ", "));
  if (force) {
    fmt::print(stderr, "trama: {}: {}; going on all the same (--force)\n", lacks, who);
    return std::nullopt;
  }
  return fail(Exit::no, fmt::format("{}: {}", lacks, who),
              "wait, and look with: trama controller rotate-ca status; or --force: these will be shut out");
}

int advance(Rotation& rotation, const Authorities& next, const char* then) {
  if (auto ok = rotation.write(next); !ok) return fail(ok.error());
  if (auto ok = rotation.wait_for_controller(next); !ok) return fail(ok.error());
  if (auto ok = rotation.read(); !ok) return fail(ok.error());
  fmt::print("{}  next: {}\n", rotation.text(), then);
  return code(Exit::ok);
}

int start(Rotation& rotation, const std::string& dir) {
  const auto& now = rotation.authorities();
  if (now.phase == RotationPhase::switched)
    return fail(Exit::conflict, "the CA before this one is still trusted", "trama controller rotate-ca finish");
  auto made = pki::make_next_authority(dir, std::time(nullptr));
  if (!made) return fail(made.error());
  auto next = now;
  if (now.phase == RotationPhase::started && !now.trusts(*made))
    return fail(Exit::conflict,
                fmt::format("another controller has started this already, and {}/ca-next.crt is not its CA", dir),
                "remove ca-next.* here, and copy that controller's");
  next.phase = RotationPhase::started;
  if (!next.trusts(*made)) next.pems.push_back(*made);
  return advance(rotation, next,
                 "new kubeconfigs to all people and programs; ca-next.crt and ca-next.key to the other controllers; "
                 "then trama controller rotate-ca switch");
}

int switch_over(Rotation& rotation, const std::string& dir, bool force) {
  auto next = rotation.authorities();
  if (next.phase != RotationPhase::started || next.pems.size() < 2)
    return fail(
        Exit::conflict, fmt::format("nothing to switch to: the rotation is {}", pki::to_string(next.phase)),
        next.phase == RotationPhase::steady ? "trama controller rotate-ca start" : "trama controller rotate-ca finish");
  auto own = pki::read_authorities(dir);
  if (!own) return fail(own.error());
  if (!own->trusts(next.pems.back()))
    return fail(Exit::conflict, fmt::format("the new CA is not in {}", dir),
                "run this where `start` was run, or copy its ca-next.crt and ca-next.key");
  if (auto no = wait_is_over(rotation, force, &Part::trusts, "not everybody trusts the new CA yet")) return *no;
  std::rotate(next.pems.begin(), next.pems.end() - 1, next.pems.end());
  next.phase = RotationPhase::switched;
  return advance(rotation, next, "when all show the new one: trama controller rotate-ca finish");
}

int finish(Rotation& rotation, bool force) {
  auto next = rotation.authorities();
  if (next.phase != RotationPhase::switched)
    return fail(
        Exit::conflict, fmt::format("nothing to finish: the rotation is {}", pki::to_string(next.phase)),
        next.phase == RotationPhase::steady ? "trama controller rotate-ca start" : "trama controller rotate-ca switch");
  if (auto no = wait_is_over(rotation, force, &Part::replaced, "not everybody shows a certificate of the new CA yet"))
    return *no;
  next.pems.resize(1);
  next.phase = RotationPhase::steady;
  return advance(rotation, next, "nothing; whoever has only the old CA is shut out from now on");
}

}  // namespace

int controller_rotate_ca(const control::ControllerOptions& controller, const RotateCaOptions& options) {
  auto dir = controller.data_dir + "/pki";
  auto config = client::read_kubeconfig(controller.data_dir + "/admin.kubeconfig");
  if (!config)
    return fail(exit_of(config.error()), config.error().to_string(),
                "run this on the controller's machine, with its --data-dir");
  auto api = Api::open(*config);
  if (!api) return fail(api.error());
  Rotation rotation(std::move(*api), dir);
  if (auto ok = rotation.read(); !ok) return fail(ok.error());
  if (options.step == "start") return start(rotation, dir);
  if (options.step == "switch") return switch_over(rotation, dir, options.force);
  if (options.step == "finish") return finish(rotation, options.force);
  std::fputs(rotation.text().c_str(), stdout);
  return code(Exit::ok);
}

}  // namespace trama::cli
