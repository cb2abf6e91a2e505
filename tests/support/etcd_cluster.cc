// SPDX-License-Identifier: GPL-2.0-or-later
#include "tests/support/etcd_cluster.h"

#include <chrono>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <stdexcept>
#include <thread>

#include <arpa/inet.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <netinet/in.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/unique_fd.h"
#include "tests/support/private_netns.h"

namespace trama::test {

std::vector<std::uint16_t> free_ports(std::size_t count) {
  std::vector<base::UniqueFd> held;
  std::vector<std::uint16_t> out;
  for (std::size_t i = 0; i < count; ++i) {
    base::UniqueFd fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_in a{};
    a.sin_family = AF_INET;
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof a;
    if (!fd || ::bind(fd.get(), reinterpret_cast<sockaddr*>(&a), sizeof a) != 0 ||
        ::getsockname(fd.get(), reinterpret_cast<sockaddr*>(&a), &size) != 0)
      throw std::runtime_error("no free port");
    out.push_back(ntohs(a.sin_port));
    held.push_back(std::move(fd));
  }
  return out;
}

void EtcdCluster::make_certificates() const {
  auto key = std::string("-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes");
  auto issue = [&](const std::string& name, const std::string& usage) {
    return fmt::format(
        " && openssl req {0} -keyout {1}.key -out {1}.csr -subj /CN={1} && printf "
        "'subjectAltName=IP:127.0.0.1\\nextendedKeyUsage={2}' >{1}.ext && openssl x509 -req -in {1}.csr -CA "
        "ca.crt -CAkey ca.key -CAcreateserial -days 2 -extfile {1}.ext -out {1}.crt",
        key, name, usage);
  };
  // The gateway is a client of its own member, with the member's certificate.
  std::string said;
  if (shell(fmt::format("cd {} && (openssl req -x509 {} -keyout ca.key -out ca.crt -days 2 -subj /CN=etcd-ca{}{}) 2>&1",
                        directory_, key, issue("server", "serverAuth,clientAuth"), issue("client", "clientAuth")),
            &said) != 0)
    throw std::runtime_error("no certificates: " + said);
}

EtcdCluster::EtcdCluster(unsigned members, bool tls) : tls_(tls) {
  bool shm = std::filesystem::is_directory("/dev/shm");
  std::string pattern =
      (shm ? std::filesystem::path("/dev/shm") : std::filesystem::temp_directory_path()) / "trama-etcd-XXXXXX";
  if (!::mkdtemp(pattern.data())) throw std::runtime_error("mkdtemp failed");
  directory_ = pattern;
  if (tls_) make_certificates();
  auto ports = free_ports(2 * members);
  for (unsigned i = 0; i < members; ++i) members_.push_back({ports[2 * i], ports[2 * i + 1], 0});
  for (std::size_t i = 0; i < members_.size(); ++i) start(i);
  wait_until_all_serve();
}

EtcdCluster::~EtcdCluster() {
  for (auto& m : members_) stop(m);
  std::error_code ignored;
  std::filesystem::remove_all(directory_, ignored);
}

void EtcdCluster::stop(Member& m) const {
  if (m.pid == 0) return;
  ::kill(m.pid, SIGKILL);
  ::waitpid(m.pid, nullptr, 0);
  m.pid = 0;
}

std::vector<std::string> EtcdCluster::urls() const {
  std::vector<std::string> out;
  for (const auto& m : members_) out.push_back(fmt::format("http{}://127.0.0.1:{}", tls_ ? "s" : "", m.client));
  return out;
}

std::string EtcdCluster::store() const { return fmt::format("etcd:{}", fmt::join(urls(), ",")); }

void EtcdCluster::start(std::size_t n) {
  auto& me = members_.at(n);
  std::string cluster;
  for (std::size_t i = 0; i < members_.size(); ++i)
    cluster += fmt::format("{}m{}=http://127.0.0.1:{}", i ? "," : "", i, members_[i].peer);
  auto client = urls()[n], peer = fmt::format("http://127.0.0.1:{}", me.peer);
  std::vector<std::string> arguments{"etcd", "--name", fmt::format("m{}", n), "--data-dir",
                                     fmt::format("{}/m{}", directory_, n), "--listen-client-urls", client,
                                     "--advertise-client-urls", client, "--listen-peer-urls", peer,
                                     "--initial-advertise-peer-urls", peer, "--initial-cluster", cluster,
                                     // Patient enough for a machine that is busy, quick enough for a test.
                                     "--heartbeat-interval", "50", "--election-timeout", "500"};
  if (tls_)
    for (const char* a :
         {"--client-cert-auth", "--trusted-ca-file=ca.crt", "--cert-file=server.crt", "--key-file=server.key"})
      arguments.emplace_back(a);
  std::vector<char*> argv;
  for (auto& a : arguments) argv.push_back(a.data());
  argv.push_back(nullptr);
  auto log = fmt::format("{}/m{}.log", directory_, n);
  me.pid = ::fork();
  if (me.pid < 0) throw std::runtime_error("fork failed");
  if (me.pid == 0) {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    int fd = ::open(log.c_str(), O_WRONLY | O_CREAT | O_APPEND, 0600);
    ::dup2(fd, STDOUT_FILENO), ::dup2(fd, STDERR_FILENO);
    if (::chdir(directory_.c_str()) != 0) ::_exit(126);
    ::execvp("etcd", argv.data());
    ::_exit(127);
  }
}

void EtcdCluster::kill(std::size_t n) { stop(members_.at(n)); }
void EtcdCluster::pause(std::size_t n) { ::kill(members_.at(n).pid, SIGSTOP); }
void EtcdCluster::resume(std::size_t n) { ::kill(members_.at(n).pid, SIGCONT); }

bool EtcdCluster::serves(std::size_t n) const {
  std::string said;
  auto certificates =
      tls_ ? fmt::format("--cacert {0}/ca.crt --cert {0}/client.crt --key {0}/client.key", directory_) : std::string();
  auto command = fmt::format("curl -s -m 2 {} {}/health", certificates, urls().at(n));
  return shell(command, &said) == 0 && said.find("\"true\"") != std::string::npos;
}

void EtcdCluster::wait_until_all_serve() const {
  for (std::size_t i = 0; i < members_.size(); ++i)
    if (!eventually([&] { return serves(i); }, 20'000)) {
      std::string said;
      shell(fmt::format("tail -5 {}/m{}.log; command -v etcd || echo 'no etcd: scripts/install-packages test'",
                        directory_, i),
            &said);
      throw std::runtime_error("etcd does not serve: " + said);
    }
}

std::string EtcdCluster::ctl(const std::string& arguments) const {
  std::string said;
  shell(fmt::format("ETCDCTL_API=3 etcdctl --endpoints {} {}", fmt::join(urls(), ","), arguments), &said);
  return said;
}

EtcdCluster& EtcdCluster::shared() {
  static EtcdCluster cluster;
  return cluster;
}

}  // namespace trama::test
