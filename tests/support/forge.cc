// SPDX-License-Identifier: GPL-2.0-or-later
#include "tests/support/forge.h"

#include <csignal>
#include <ctime>
#include <memory>
#include <stdexcept>

#include <arpa/inet.h>
#include <openssl/bn.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

namespace trama::test {

namespace {

template <class T, void (*free_)(T*)>
struct Free {
  void operator()(T* p) const { free_(p); }
};
using Key = std::unique_ptr<EVP_PKEY, Free<EVP_PKEY, EVP_PKEY_free>>;
using Cert = std::unique_ptr<X509, Free<X509, X509_free>>;

void must(bool ok, const char* what) {
  if (ok) return;
  char text[256] = "";
  ERR_error_string_n(ERR_get_error(), text, sizeof text);
  throw std::runtime_error(std::string(what) + ": " + text);
}

std::string read_bio(BIO* bio) {
  char* data = nullptr;
  auto n = BIO_get_mem_data(bio, &data);
  std::string out(data, static_cast<std::size_t>(n));
  BIO_free(bio);
  return out;
}

Key make_key(const std::string& kind) {
  if (kind.starts_with("RSA-")) return Key(EVP_RSA_gen(static_cast<unsigned>(std::stoi(kind.substr(4)))));
  return Key(EVP_EC_gen(kind.c_str()));
}

Key read_key(const std::string& pem) {
  BIO* bio = BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size()));
  Key key(PEM_read_bio_PrivateKey(bio, nullptr, nullptr, nullptr));
  BIO_free(bio);
  must(key != nullptr, "read a key");
  return key;
}

std::vector<Cert> read_chain(const std::string& pem) {
  std::vector<Cert> out;
  BIO* bio = BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size()));
  while (X509* x = PEM_read_bio_X509(bio, nullptr, nullptr, nullptr)) out.emplace_back(x);
  BIO_free(bio);
  ERR_clear_error();
  return out;
}

std::string write_certificate(X509* x) {
  BIO* bio = BIO_new(BIO_s_mem());
  PEM_write_bio_X509(bio, x);
  return read_bio(bio);
}

void extend(X509* x, X509* issuer, int nid, const std::string& value) {
  X509V3_CTX context;
  X509V3_set_ctx(&context, issuer, x, nullptr, nullptr, 0);
  X509_EXTENSION* e = X509V3_EXT_conf_nid(nullptr, &context, nid, value.c_str());
  must(e && X509_add_ext(x, e, -1) == 1, value.c_str());
  X509_EXTENSION_free(e);
}

int connect_to(const std::string& ip, std::uint16_t port) {
  int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  timeval patience{15, 0};
  ::setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  ::setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
  sockaddr_in to{};
  to.sin_family = AF_INET;
  to.sin_port = htons(port);
  ::inet_pton(AF_INET, ip.c_str(), &to.sin_addr);
  if (::connect(fd, reinterpret_cast<sockaddr*>(&to), sizeof to) == 0) return fd;
  ::close(fd);
  return -1;
}

std::string status_of(const std::string& answer) {
  return answer.starts_with("HTTP/1.1 ") && answer.size() >= 12 ? answer.substr(9, 3) : "refused";
}

std::string offer_raw(int fd, const std::string& bytes) {
  (void)!::write(fd, bytes.data(), bytes.size());
  char buffer[4096];
  std::string got;
  while (auto n = ::read(fd, buffer, sizeof buffer)) {
    if (n < 0) return errno == EAGAIN ? "never closed" : "refused";
    got.append(buffer, static_cast<std::size_t>(n));
  }
  return status_of(got);
}

void prepare(SSL_CTX* ctx, const Offer& what) {
  SSL_CTX_set_security_level(ctx, 0);  // the other side is to refuse, not this one
  SSL_CTX_set_verify(ctx, SSL_VERIFY_NONE, nullptr);
  SSL_CTX_set_max_cert_list(ctx, 10 << 20);
  SSL_CTX_set_min_proto_version(ctx, what.lowest);
  SSL_CTX_set_max_proto_version(ctx, what.highest);
  SSL_CTX_set_cipher_list(ctx, what.ciphers.empty() ? "ALL:@SECLEVEL=0" : what.ciphers.c_str());
  if (what.fallback) SSL_CTX_set_mode(ctx, SSL_MODE_SEND_FALLBACK_SCSV);
  if (what.certificate_pem.empty()) return;
  auto chain = read_chain(what.certificate_pem);
  must(SSL_CTX_use_certificate(ctx, chain.at(0).get()) == 1, "use the certificate");
  auto key = read_key(what.key_pem);
  must(SSL_CTX_use_PrivateKey(ctx, key.get()) == 1, "use the key");
  for (std::size_t i = 1; i < chain.size(); ++i) must(SSL_CTX_add1_chain_cert(ctx, chain[i].get()) == 1, "chain");
}

}  // namespace

Pair forge(const Forgery& what, const Pair& issuer) {
  auto key = make_key(what.key);
  must(key != nullptr, what.key.c_str());
  Cert x(X509_new());
  X509_set_version(x.get(), X509_VERSION_3);
  BIGNUM* serial = BN_new();
  BN_rand(serial, 120, BN_RAND_TOP_ANY, BN_RAND_BOTTOM_ANY);
  BN_to_ASN1_INTEGER(serial, X509_get_serialNumber(x.get()));
  BN_free(serial);
  auto* name = X509_get_subject_name(x.get());
  auto add = [name](const char* field, const std::string& value) {
    X509_NAME_add_entry_by_txt(name, field, MBSTRING_UTF8, reinterpret_cast<const unsigned char*>(value.data()),
                               static_cast<int>(value.size()), -1, 0);
  };
  for (const auto& o : what.organizations) add("O", o);
  if (!what.common_name.empty()) add("CN", what.common_name);
  auto now = std::time(nullptr);
  ASN1_TIME_set(X509_getm_notBefore(x.get()), now + what.from);
  ASN1_TIME_set(X509_getm_notAfter(x.get()), now + what.to);
  X509_set_pubkey(x.get(), key.get());
  Cert parent;
  Key signer;
  if (!issuer.certificate_pem.empty()) {
    parent = std::move(read_chain(issuer.certificate_pem).at(0));
    signer = read_key(issuer.key_pem);
  }
  X509* by = parent ? parent.get() : x.get();
  X509_set_issuer_name(x.get(), X509_get_subject_name(by));
  extend(x.get(), by, NID_basic_constraints, what.authority ? "critical,CA:TRUE" : "critical,CA:FALSE");
  if (what.authority) extend(x.get(), by, NID_key_usage, "critical,keyCertSign,digitalSignature");
  if (!what.usage.empty()) extend(x.get(), by, NID_ext_key_usage, what.usage);
  if (!what.names.empty()) extend(x.get(), by, NID_subject_alt_name, what.names);
  must(X509_sign(x.get(), signer ? signer.get() : key.get(), EVP_get_digestbyname(what.digest.c_str())) > 0, "sign");
  BIO* bio = BIO_new(BIO_s_mem());
  PEM_write_bio_PrivateKey(bio, key.get(), nullptr, nullptr, 0, nullptr, nullptr);
  return {write_certificate(x.get()), read_bio(bio)};
}

std::string tampered(const std::string& certificate_pem, const std::string& subject_text) {
  auto x = std::move(read_chain(certificate_pem).at(0));
  unsigned char* der = nullptr;
  int n = i2d_X509(x.get(), &der);
  std::string bytes(reinterpret_cast<char*>(der), static_cast<std::size_t>(n));
  OPENSSL_free(der);
  auto at = bytes.find(subject_text);
  must(at != std::string::npos, "find the subject");
  bytes[at] = static_cast<char>(bytes[at] ^ 1);
  const auto* p = reinterpret_cast<const unsigned char*>(bytes.data());
  Cert changed(d2i_X509(nullptr, &p, n));
  must(changed != nullptr, "parse the changed certificate");
  return write_certificate(changed.get());
}

std::string offer(const std::string& ip, std::uint16_t port, const Offer& what, const std::string& path) {
  ::signal(SIGPIPE, SIG_IGN);  // who is refused writes into a closed connection
  int fd = connect_to(ip, port);
  if (fd < 0) return "no connection";
  std::string outcome = "refused";
  if (!what.raw.empty()) {
    outcome = offer_raw(fd, what.raw);
  } else {
    SSL_CTX* ctx = SSL_CTX_new(TLS_client_method());
    prepare(ctx, what);
    SSL* ssl = SSL_new(ctx);
    SSL_set_fd(ssl, fd);
    if (SSL_connect(ssl) == 1) {
      if (what.renegotiate && (SSL_renegotiate(ssl) != 1 || SSL_do_handshake(ssl) != 1)) SSL_shutdown(ssl);
      auto request = "GET " + path + " HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
      if (SSL_write(ssl, request.data(), static_cast<int>(request.size())) > 0) {
        char buffer[4096];
        int n = SSL_read(ssl, buffer, sizeof buffer);
        if (n > 0) outcome = status_of(std::string(buffer, static_cast<std::size_t>(n)));
      }
    }
    SSL_free(ssl);
    SSL_CTX_free(ctx);
    ERR_clear_error();
  }
  ::close(fd);
  return outcome;
}

}  // namespace trama::test
