// SPDX-License-Identifier: GPL-2.0-or-later
#include "tests/e2e/support/service_world.h"

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <thread>

#include <arpa/inet.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sched.h>
#include <sys/socket.h>

#include "control/api/object.h"
#include "tests/support/private_netns.h"

namespace trama::test {

namespace {

using std::chrono::milliseconds;
using Clock = std::chrono::steady_clock;

// The socket belongs to the namespace it was opened in; this thread's own does not change.
int socket_in(const std::string& netns_path, int type) {
  int fd = -1;
  std::thread([&] {
    base::UniqueFd ns(::open(netns_path.c_str(), O_RDONLY | O_CLOEXEC));
    if (ns && ::setns(ns.get(), CLONE_NEWNET) == 0) fd = ::socket(AF_INET, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  }).join();
  return fd;
}

bool ready_for(int fd, short events, int wait_milliseconds) {
  pollfd p{fd, events, 0};
  return ::poll(&p, 1, wait_milliseconds) == 1;
}

std::map<std::string, int> counts(const json::object& report, const char* field) {
  std::map<std::string, int> out;
  for (const auto& [name, n] : api::object_at(report, field)) out[std::string(name)] = n.to_number<int>();
  return out;
}

std::string braces(const std::string& inner) { return "{" + inner + "}"; }

std::string kubectl_path() {
  if (const char* given = std::getenv("TRAMA_KUBECTL")) return given;
  const char* source = std::getenv("TRAMA_SOURCE_DIR");
  auto cached = std::string(source ? source : ".") + "/.cache/kubectl";
  return std::filesystem::exists(cached) ? cached : "/usr/bin/kubectl";
}

}  // namespace

std::set<std::string> Answers::who() const {
  std::set<std::string> out;
  for (const auto& [pod, n] : pods) out.insert(pod);
  return out;
}

std::string Answers::text() const {
  auto out = fmt::format("{} answers, {} failures in {} ms", answers, failures, milliseconds);
  for (const auto& [pod, n] : pods) out += fmt::format("; {} x{}", pod, n);
  for (const auto& [why, n] : errors) out += fmt::format("; failed x{}: {}", n, why);
  return out;
}

std::string told(const std::string& line, const std::string& key) {
  auto at = (" " + line).find(" " + key + "=");
  if (at == std::string::npos) return "";
  auto from = at + key.size() + 1;
  return line.substr(from, line.find_first_of(" \r\n", from) - from);
}

std::string client_address(const std::string& line) {
  auto client = told(line, "client");
  return client.substr(0, client.rfind(':'));
}

std::string url(const std::string& protocol, const std::string& ip, int port) {
  return fmt::format("{}://{}:{}", protocol, ip, port);
}

Flow::Flow(const std::string& netns_path, int type, const std::string& ip, int port, int source_port)
    : fd_(socket_in(netns_path, type)), type_(type) {
  sockaddr_in from{}, to{};
  from.sin_family = to.sin_family = AF_INET;
  from.sin_port = htons(static_cast<std::uint16_t>(source_port));
  to.sin_port = htons(static_cast<std::uint16_t>(port));
  ::inet_pton(AF_INET, ip.c_str(), &to.sin_addr);
  if (!fd_) return;
  if (source_port != 0 && ::bind(fd_.get(), reinterpret_cast<sockaddr*>(&from), sizeof from) != 0) {
    fd_.reset();
    return;
  }
  if (::connect(fd_.get(), reinterpret_cast<sockaddr*>(&to), sizeof to) == 0) return;
  int err = errno;
  socklen_t size = sizeof err;
  if (err == EINPROGRESS && ready_for(fd_.get(), POLLOUT, 10'000))
    ::getsockopt(fd_.get(), SOL_SOCKET, SO_ERROR, &err, &size);
  if (err != 0) fd_.reset();
}

std::string Flow::ask(int wait_milliseconds) {
  if (!fd_) return "";
  auto until = Clock::now() + milliseconds(wait_milliseconds);
  // Answers that came late belong to earlier questions.
  static int serial = 0;
  auto question = fmt::format("question-{}\n", ++serial);
  auto sent = ::send(fd_.get(), question.data(), question.size(), MSG_NOSIGNAL);
  if (sent < 0 && type_ == SOCK_STREAM) fd_.reset();
  std::string got;
  while (fd_) {
    auto left = std::chrono::duration_cast<milliseconds>(until - Clock::now()).count();
    if (left <= 0 || !ready_for(fd_.get(), POLLIN, static_cast<int>(left))) return "";
    char buffer[4096];
    auto n = ::recv(fd_.get(), buffer, sizeof buffer, 0);
    if (n <= 0 && type_ == SOCK_STREAM) fd_.reset();
    if (n < 0 && type_ == SOCK_DGRAM) return "";
    if (n > 0) got.append(buffer, static_cast<std::size_t>(n));
    if (got.find(question.substr(0, question.size() - 1)) == std::string::npos) continue;
    return type_ == SOCK_STREAM ? "answered" : told(got.substr(got.rfind("pod=")), "pod");
  }
  return "";
}

Cluster* ServiceSuite::cluster_ = nullptr;

void ServiceSuite::SetUpTestSuite() {
  ClusterOptions options;
  options.agent_arguments += " --allow-external-ips";
  cluster_ = new Cluster(options);
  cluster_->start_controller();
  for (auto node : {"n1", "n2", "n3"})
    cluster_->add_node(
        node, fmt::format("--label topology.kubernetes.io/zone={}", std::string(node) == "n3" ? "west" : "east"));
  std::string clients;
  for (int i = 1; i <= 3; ++i) {
    cluster_->ok() && cluster_->wait_node_ready(fmt::format("n{}", i));
    clients += fmt::format(
        "---\napiVersion: v1\nkind: Pod\nmetadata: {{name: c{0}}}\nspec:\n  nodeName: n{0}\n"
        "  terminationGracePeriodSeconds: 0\n  containers: [{{name: main, image: host, command: [sleep, infinity]}}]\n",
        i);
  }
  if (cluster_->ok() && !HasFailure()) make(clients);
}

void ServiceSuite::TearDownTestSuite() { delete std::exchange(cluster_, nullptr); }

void ServiceSuite::SetUp() { ASSERT_TRUE(cluster_ && cluster_->ok()); }

std::string ServiceSuite::echo_pod(const Pod& pod) {
  return fmt::format(
      "---\napiVersion: v1\nkind: Pod\nmetadata: {{name: {}, labels: {{app: {}}}}}\nspec:\n  nodeName: {}\n"
      "  terminationGracePeriodSeconds: 20\n  containers:\n    - name: echo\n      image: host\n"
      "      command: [sh, -c, 'exec trama echo --http :{} --tcp :{} --udp :{} --drain {} {}']\n{}",
      pod.name, pod.app.empty() ? pod.name : pod.app, pod.node, kHttp, kTcp, kUdp, pod.drain, pod.arguments,
      pod.ports.empty() ? "" : "      " + pod.ports + "\n");
}

std::string ServiceSuite::echo_pods(const std::string& app, int count) {
  std::string out;
  for (int i = 1; i <= count; ++i)
    out += echo_pod({fmt::format("{}-{}", app, i), fmt::format("n{}", (i - 1) % 3 + 1), app});
  return out;
}

std::string ServiceSuite::service(const std::string& name, const std::string& spec, const std::string& metadata) {
  std::string all = spec;
  auto add = [&](const std::string& text) { all += (all.empty() ? "" : ", ") + text; };
  if (all.find("selector:") == std::string::npos) add("selector: {app: " + name + "}");
  if (all.find("ports:") == std::string::npos) add(fmt::format("ports: [{{port: 80, targetPort: {}}}]", kHttp));
  return fmt::format("---\napiVersion: v1\nkind: Service\nmetadata: {{name: {}{}}}\nspec: {}\n", name,
                     metadata.empty() ? "" : ", " + metadata, braces(all));
}

std::string ServiceSuite::slice(const std::string& name, const std::string& service, const std::string& endpoints,
                                const std::string& ports) {
  return fmt::format(
      "---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\n"
      "metadata: {{name: {}, labels: {{kubernetes.io/service-name: {}}}}}\naddressType: IPv4\nendpoints: [{}]\n"
      "ports: [{}]\n",
      name, service, endpoints, ports);
}

void ServiceSuite::make(const std::string& manifest) {
  ASSERT_TRUE(cluster().apply(manifest));
  const std::string head = "kind: Pod\nmetadata: {name: ";
  for (auto at = manifest.find(head); at != std::string::npos; at = manifest.find(head, at + 1)) {
    auto from = at + head.size();
    ASSERT_TRUE(cluster().wait_pod_ready(manifest.substr(from, manifest.find_first_of(",}", from) - from)));
  }
}

void ServiceSuite::remove(const std::string& what, const std::string& options) {
  std::string output;
  EXPECT_EQ(cluster().trama("delete " + what + " " + options, &output), 0) << output;
}

int ServiceSuite::kubectl(const std::string& arguments, std::string* output) {
  return cluster().on_node("hub",
                           fmt::format("HOME={0} timeout 30 {1} --kubeconfig {0}/controller/admin.kubeconfig "
                                       "--cache-dir {0}/cache {2}",
                                       cluster().directory(), kubectl_path(), arguments),
                           output);
}

void ServiceSuite::change(const std::string& service, const std::string& merge_patch) {
  std::string output;
  EXPECT_EQ(kubectl(fmt::format("patch service {} --type merge -p '{}'", service, merge_patch), &output), 0) << output;
}

void ServiceSuite::give_load_balancer(const std::string& service, const std::string& ingress) {
  auto object = cluster().get("service " + service);
  ASSERT_TRUE(object.is_object());
  object.as_object()["status"] = json::parse(R"({"loadBalancer":{"ingress":)" + ingress + "}}");
  auto file = cluster().directory() + "/status.json";
  std::string output;
  ASSERT_EQ(shell("cat > " + file + " <<'END'\n" + json::serialize(object) + "\nEND"), 0);
  EXPECT_EQ(
      kubectl(fmt::format("replace --raw /api/v1/namespaces/default/services/{}/status -f {}", service, file), &output),
      0)
      << output;
}

int ServiceSuite::node_port(const std::string& service, int index) {
  auto object = cluster().get("service " + service);
  if (!object.is_object()) return 0;
  const auto& ports = api::array_at(object.get_object(), "spec.ports");
  auto at = static_cast<std::size_t>(index);
  return at < ports.size() ? static_cast<int>(api::int_at(ports[at].get_object(), "nodePort")) : 0;
}

std::string ServiceSuite::netns_path(const std::string& place) { return "/run/netns/" + cluster().netns(place); }

Answers ServiceSuite::ask(const std::string& from, const std::string& url, int count, const std::string& options) {
  Answers out;
  std::string output;
  cluster().on_node(from,
                    fmt::format("{} probe {} --json --count {} {}", cluster().binary(), url, count,
                                options.empty() ? "--timeout 3s" : options),
                    &output);
  boost::system::error_code ec;
  auto report = json::parse(output.substr(std::min(output.find('{'), output.size())), ec);
  if (ec || !report.is_object()) {
    ADD_FAILURE() << "probe " << url << " from " << from << ": " << output;
    return out;
  }
  const auto& r = report.get_object();
  out.answers = static_cast<int>(api::int_at(r, "answers"));
  out.failures = static_cast<int>(api::int_at(r, "failures"));
  out.pods = counts(r, "pods");
  out.errors = counts(r, "errors");
  out.last = api::text_at(r, "lastAnswer");
  out.milliseconds = static_cast<int>(api::int_at(r, "elapsedMilliseconds"));
  out.longest_gap_milliseconds = static_cast<int>(api::int_at(r, "longestGapMilliseconds"));
  return out;
}

::testing::AssertionResult ServiceSuite::reaches(const std::string& from, const std::string& url, const Names& pods,
                                                 int milliseconds) {
  Answers seen;
  // One pod needs fewer draws, but wrong ones must have a chance to show.
  int draws = pods.size() > 3 ? static_cast<int>(pods.size()) * 20 : kDraws;
  auto right = [&] {
    seen = ask(from, url, draws, "--timeout 1s --concurrency 4");
    return seen.failures == 0 && seen.who() == pods;
  };
  if (eventually(right, milliseconds)) return ::testing::AssertionSuccess();
  return ::testing::AssertionFailure() << url << " from " << from << ": " << seen.text();
}

::testing::AssertionResult ServiceSuite::refused(const std::string& from, const std::string& url, int milliseconds) {
  Answers seen;
  auto right = [&] {
    seen = ask(from, url, 1, "--timeout 2s");
    if (seen.failures != 1 || seen.milliseconds >= 1000) return false;
    const auto& why = seen.errors.begin()->first;
    // What the output hook refuses is an error of send() first, an ICMP message second.
    bool own_datagram = url.starts_with("udp:") && from.find('.') == std::string::npos;
    return why.find("refused") != std::string::npos ||
           (own_datagram && why.find("send: Operation not permitted") != std::string::npos);
  };
  if (eventually(right, milliseconds)) return ::testing::AssertionSuccess();
  return ::testing::AssertionFailure() << url << " from " << from << " is not refused: " << seen.text();
}

::testing::AssertionResult ServiceSuite::dropped(const std::string& from, const std::string& url, int milliseconds) {
  Answers seen;
  auto right = [&] {
    seen = ask(from, url, 1, "--timeout 400ms");
    return seen.failures == 1 && seen.errors.begin()->first.find("timed out") != std::string::npos;
  };
  if (eventually(right, milliseconds)) return ::testing::AssertionSuccess();
  return ::testing::AssertionFailure() << url << " from " << from << " is not dropped: " << seen.text();
}

}  // namespace trama::test
