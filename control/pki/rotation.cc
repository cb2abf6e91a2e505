// SPDX-License-Identifier: GPL-2.0-or-later
#include "control/pki/rotation.h"

#include <algorithm>

#include <unistd.h>

#include "base/file.h"
#include "control/pki/authority.h"

namespace trama::pki {

using base::Error;
using base::Result;

namespace {

constexpr std::size_t kShort = 16;

Result<> write_secret(const std::string& path, const std::string& content) {
  auto done = base::write_file_atomic(path, content, 0600);
  if (!done) return std::move(done).error().in("write " + path);
  return {};
}

Result<> remove_file(const std::string& path) {
  if (::unlink(path.c_str()) != 0 && errno != ENOENT) return Error::from_errno(errno, "remove " + path);
  return {};
}

// The pair of that name, or ENOENT when there is none.
Result<Authority> load(const std::string& dir, const std::string& name) {
  auto certificate = base::read_file(dir + "/" + name + ".crt");
  if (!certificate) return std::move(certificate).error();
  auto key = base::read_file(dir + "/" + name + ".key");
  if (!key) return std::move(key).error();
  auto authority = Authority::from_pem(*certificate, *key);
  if (!authority) return std::move(authority).error().in(fmt::format("{}/{}.crt, {}.key", dir, name, name));
  return authority;
}

Result<> save(const std::string& dir, const std::string& name, const Authority& authority) {
  auto key = authority.key_pem();
  if (!key) return std::move(key).error();
  if (auto ok = write_secret(dir + "/" + name + ".key", *key); !ok) return ok;
  return write_secret(dir + "/" + name + ".crt", authority.certificate_pem());
}

}  // namespace

std::string_view to_string(RotationPhase phase) {
  switch (phase) {
    case RotationPhase::started: return "started";
    case RotationPhase::switched: return "switched";
    case RotationPhase::steady: break;
  }
  return "steady";
}

RotationPhase rotation_phase(std::string_view text) {
  if (text == "started") return RotationPhase::started;
  return text == "switched" ? RotationPhase::switched : RotationPhase::steady;
}

std::string Authorities::bundle() const {
  std::string out;
  for (const auto& pem : pems) out += pem;
  return out;
}

bool Authorities::trusts(const std::string& pem) const {
  return std::find(pems.begin(), pems.end(), pem) != pems.end();
}

Result<std::vector<std::string>> split_bundle(std::string_view pem) {
  auto chain = Certificate::chain_from_pem(pem);
  if (!chain) return std::move(chain).error();
  std::vector<std::string> out;
  for (const auto& one : *chain) {
    if (!one.is_ca()) return Error::text(fmt::format("{} is not the certificate of a CA", one.subject().common_name));
    auto text = one.to_pem();
    if (!text) return std::move(text).error();
    if (std::find(out.begin(), out.end(), *text) == out.end()) out.push_back(std::move(*text));
  }
  return out;
}

std::string short_pins(std::string_view bundle) {
  std::string out;
  auto chain = Certificate::chain_from_pem(bundle);
  if (!chain) return out;
  for (const auto& one : *chain) out += (out.empty() ? "" : ",") + one.spki_pin().substr(0, kShort);
  return out;
}

Result<Authorities> read_authorities(const std::string& dir) {
  Authorities out;
  auto add = [&](const char* name, RotationPhase phase) -> Result<> {
    auto text = base::read_file(dir + "/" + name);
    if (!text) {
      if (text.error().is(std::errc::no_such_file_or_directory)) return {};
      return std::move(text).error();
    }
    auto split = split_bundle(*text);
    if (!split) return std::move(split).error().in(dir + "/" + name);
    for (auto& pem : *split) {
      if (out.trusts(pem)) continue;
      out.pems.push_back(std::move(pem));
      if (phase != RotationPhase::steady) out.phase = phase;
    }
    return {};
  };
  if (auto ok = add("ca.crt", RotationPhase::steady); !ok) return std::move(ok).error();
  if (auto ok = add("ca-next.crt", RotationPhase::started); !ok) return std::move(ok).error();
  if (auto ok = add("ca-old.crt", RotationPhase::switched); !ok) return std::move(ok).error();
  return out;
}

Result<std::string> make_next_authority(const std::string& dir, std::int64_t now) {
  auto have = load(dir, "ca-next");
  if (have) return have->certificate_pem();
  auto made = Authority::create("trama-ca", now);
  if (!made) return std::move(made).error();
  if (auto ok = save(dir, "ca-next", *made); !ok) return std::move(ok).error();
  return made->certificate_pem();
}

Result<> adopt_next_authority(const std::string& dir) {
  auto next = load(dir, "ca-next");
  if (!next) return std::move(next).error().in("the next CA");
  auto now = load(dir, "ca");
  // An interrupted run leaves the new key beside the old certificate: then the old pair has been put away already.
  if (now && now->pin() != next->pin())
    if (auto ok = save(dir, "ca-old", *now); !ok) return ok;
  if (!now && !base::read_file(dir + "/ca-old.crt")) return std::move(now).error();
  if (auto ok = save(dir, "ca", *next); !ok) return ok;
  if (auto ok = remove_file(dir + "/ca-next.crt"); !ok) return ok;
  return remove_file(dir + "/ca-next.key");
}

Result<> complete_switch(const std::string& dir) {
  if (!base::read_file(dir + "/ca-next.crt") || !base::read_file(dir + "/ca-old.crt")) return {};
  return adopt_next_authority(dir);
}

Result<> forget_old_authority(const std::string& dir) {
  if (auto ok = remove_file(dir + "/ca-old.key"); !ok) return ok;
  return remove_file(dir + "/ca-old.crt");
}

}  // namespace trama::pki
