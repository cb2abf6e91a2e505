// SPDX-License-Identifier: GPL-2.0-or-later
// The real kubectl against a whole controller on loopback: what people type, and what it prints.
#pragma once

#include <atomic>
#include <string>
#include <thread>

#include <gtest/gtest.h>

namespace trama::test {

// Debian's kubectl as scripts/install-packages puts it, or the one that TRAMA_KUBECTL names, or TRAMA_KUBECTL_NAME in
// .cache.
std::string kubectl_path();

struct Ran {
  int status = -1;
  std::string out;  // stdout and stderr
};

// A controller in a thread of this process, one for all tests: each test keeps to a namespace of its own.
class KubectlCluster {
 public:
  static KubectlCluster& instance();
  const std::string dir;
  // `arguments` is a shell line; `input` goes to stdin.
  Ran kubectl(const std::string& arguments, const std::string& input = "") const;

 private:
  KubectlCluster();
  ~KubectlCluster();
  std::atomic<bool> stop_{false};
  std::thread thread_;
};

// The minor version of the kubectl that runs these tests.
int kubectl_minor();

// Deployment "web" of two pods.
extern const char* const kDeployment;
// A Job of three pods that end at once.
extern const char* const kJob;

class Kubectl : public testing::Test {
 protected:
  Kubectl();
  void SetUp() override;
  std::string cluster(const std::string& arguments, const std::string& input = "", int status = 0);
  // In the test's own namespace.
  std::string kubectl(const std::string& arguments, const std::string& input = "", int status = 0);
  // Until the output contains it; the controller's loops need a moment.
  std::string eventually(const std::string& arguments, const std::string& text);
  std::string ns_;
};

}  // namespace trama::test
