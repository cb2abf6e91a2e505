// SPDX-License-Identifier: GPL-2.0-or-later
// Makes certificates that no decent authority would make, and offers them to a TLS port.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace trama::test {

struct Pair {
  std::string certificate_pem, key_pem;
};

struct Forgery {
  std::string common_name = "mallory";
  std::vector<std::string> organizations = {"system:masters"};
  std::string key = "P-256";           // or "P-192", "RSA-1024", "RSA-2048"
  std::int64_t from = -60, to = 3600;  // seconds from now
  std::string usage = "clientAuth";    // extendedKeyUsage; "" = none
  std::string names;                   // subjectAltName: "DNS:a,IP:127.0.0.1"
  bool authority = false;
  std::string digest = "SHA256";
};
// Signed by `issuer`; by itself when that is empty.
Pair forge(const Forgery& what, const Pair& issuer = {});
// The same certificate with one bit of its subject turned over: the signature no longer fits.
std::string tampered(const std::string& certificate_pem, const std::string& subject_text);

struct Offer {
  std::string certificate_pem, key_pem;  // chain; "" = none
  int lowest = 0, highest = 0;           // TLS1_2_VERSION and the like; 0 = whatever the library has
  std::string ciphers;                   // of TLS 1.2 and older; "" = the library's
  bool fallback = false;                 // claims to have tried a newer version before
  bool renegotiate = false;              // asks for a new handshake in the middle
  std::string raw;                       // no TLS at all: these bytes, then wait
};
// What came of it: "200", "403" (an HTTP status), or "refused" when the connection ended without HTTP.
std::string offer(const std::string& ip, std::uint16_t port, const Offer& what, const std::string& path);

}  // namespace trama::test
