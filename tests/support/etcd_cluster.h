// SPDX-License-Identifier: GPL-2.0-or-later
// A real etcd of one or more members on loopback, with ports that the kernel chose, in a directory of its own.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <sys/types.h>

namespace trama::test {

class EtcdCluster {
 public:
  // Starts `members` and waits until they serve; throws when they do not. They end with this process at the latest.
  // With `tls` clients need a certificate: ca.crt, client.crt and client.key are then in directory().
  explicit EtcdCluster(unsigned members = 1, bool tls = false);
  ~EtcdCluster();
  EtcdCluster(const EtcdCluster&) = delete;
  EtcdCluster& operator=(const EtcdCluster&) = delete;

  std::vector<std::string> urls() const;
  const std::string& directory() const { return directory_; }
  std::string store() const;  // "etcd:URL,URL", as --store takes it
  std::size_t size() const { return members_.size(); }
  void kill(std::size_t member);    // SIGKILL
  void start(std::size_t member);   // after kill()
  void pause(std::size_t member);   // SIGSTOP
  void resume(std::size_t member);  // SIGCONT
  bool serves(std::size_t member) const;
  void wait_until_all_serve() const;
  // Runs etcdctl against all members; returns its output.
  std::string ctl(const std::string& arguments) const;

  // One member, started on first use, for all tests of a program; each uses a prefix of its own.
  static EtcdCluster& shared();

 private:
  struct Member {
    std::uint16_t client = 0, peer = 0;
    pid_t pid = 0;
  };
  void stop(Member& m) const;
  void make_certificates() const;
  std::string directory_;
  bool tls_;
  std::vector<Member> members_;
};

// Ports that nobody listened on a moment ago, all different.
std::vector<std::uint16_t> free_ports(std::size_t count);

}  // namespace trama::test
