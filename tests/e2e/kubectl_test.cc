// SPDX-License-Identifier: GPL-2.0-or-later
// The real kubectl against a whole controller on loopback: what people type, and what it prints.
#include <cstdlib>
#include <filesystem>
#include <thread>

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/digest.h"
#include "base/file.h"
#include "control/controller.h"

namespace trama {
namespace {

using testing::AllOf;
using testing::AnyOf;
using testing::ContainsRegex;
using testing::HasSubstr;
using testing::Not;

// Debian's kubectl as scripts/install-packages puts it, or the one that TRAMA_KUBECTL names.
std::string kubectl_path() {
  if (const char* given = std::getenv("TRAMA_KUBECTL")) return given;
  const char* source = std::getenv("TRAMA_SOURCE_DIR");
  auto cached = std::string(source ? source : ".") + "/.cache/kubectl";
  return std::filesystem::exists(cached) ? cached : "/usr/bin/kubectl";
}

struct Ran {
  int status = -1;
  std::string out;  // stdout and stderr
};

// A controller in a thread of this process, one for all tests: each test keeps to a namespace of its own.
class Cluster {
 public:
  static Cluster& instance() {
    static Cluster one;
    return one;
  }
  std::string dir = fmt::format("/tmp/trama-kubectl-test-{}-{}", ::getpid(), base::random_hex(4));

  // `arguments` is a shell line; `input` goes to stdin.
  Ran kubectl(const std::string& arguments, const std::string& input = "") const {
    auto file = dir + "/stdin";
    if (!base::write_file_atomic(file, input)) abort();
    auto line =
        fmt::format("HOME={0} timeout 60 {1} --kubeconfig {0}/admin.kubeconfig --cache-dir {0}/cache {2} < {3} 2>&1",
                    dir, kubectl_path(), arguments, file);
    Ran r;
    FILE* pipe = popen(line.c_str(), "r");
    if (!pipe) return r;
    char buffer[4096];
    while (std::size_t n = fread(buffer, 1, sizeof buffer, pipe)) r.out.append(buffer, n);
    int status = pclose(pipe);
    r.status = WIFEXITED(status) ? WEXITSTATUS(status) : 128;
    return r;
  }

 private:
  Cluster() {
    int fds[2];
    if (::pipe(fds) != 0) abort();
    control::ControllerOptions o;
    o.data_dir = dir;
    o.listen = {"127.0.0.1:0"};
    o.inherit_sockets = false;
    o.scheduler_port = o.controllers_port = 0;
    o.timers = control::LoopTimers::lab();
    o.handle_signals = false;
    o.ready_fd = fds[1];
    o.stop = &stop_;
    thread_ = std::thread([o] {
      auto ended = control::run_controller(o);
      if (!ended) fmt::print(stderr, "controller: {}\n", ended.error().to_string());
    });
    char text[6];
    if (::read(fds[0], text, sizeof text) != 6) fmt::print(stderr, "the controller did not become ready\n");
    ::close(fds[0]);
  }
  ~Cluster() {
    stop_ = true;
    thread_.join();
    (void)base::remove_tree(dir);
  }
  std::atomic<bool> stop_{false};
  std::thread thread_;
};

class Kubectl : public testing::Test {
 protected:
  Kubectl() {
    std::string name = testing::UnitTest::GetInstance()->current_test_info()->name();
    for (auto& c : name) ns_ += static_cast<char>(c >= 'A' && c <= 'Z' ? c + 32 : c);
    ns_ = "t-" + ns_;
    cluster("create -f -", fmt::format(R"({{"apiVersion":"v1","kind":"Namespace","metadata":{{"name":"{}"}}}})", ns_));
  }
  std::string cluster(const std::string& arguments, const std::string& input = "", int status = 0) {
    auto r = Cluster::instance().kubectl(arguments, input);
    EXPECT_EQ(r.status, status) << "kubectl " << arguments << "\n" << r.out;
    return r.out;
  }
  // In the test's own namespace.
  std::string kubectl(const std::string& arguments, const std::string& input = "", int status = 0) {
    return cluster("-n " + ns_ + " " + arguments, input, status);
  }
  // Until the output contains it; the controller's loops need a moment.
  std::string eventually(const std::string& arguments, const std::string& text) {
    std::string out;
    for (auto end = std::chrono::steady_clock::now() + std::chrono::seconds(20);
         std::chrono::steady_clock::now() < end;) {
      out = Cluster::instance().kubectl("-n " + ns_ + " " + arguments).out;
      if (out.find(text) != std::string::npos) return out;
    }
    ADD_FAILURE() << arguments << ": never said \"" << text << "\":\n" << out;
    return out;
  }
  std::string ns_;
};

constexpr const char* kDeployment = R"(
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - {name: main, image: "host", command: ["sleep", "1000"], ports: [{containerPort: 80}]}
)";

constexpr const char* kService = R"(
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {type: NodePort, selector: {app: web}, ports: [{port: 80, targetPort: 8080}]}
)";

TEST_F(Kubectl, DiscoveryAndVersion) {
  EXPECT_THAT(cluster("version"), HasSubstr("trama"));
  EXPECT_THAT(cluster("api-resources"), AllOf(HasSubstr("deploy"), HasSubstr("EndpointSlice"), HasSubstr("csr")));
  EXPECT_THAT(cluster("api-versions"), HasSubstr("apps/v1"));
  EXPECT_THAT(cluster("cluster-info"), HasSubstr("running at"));
  EXPECT_THAT(cluster("get unicorns", "", 1), HasSubstr("the server doesn't have a resource type \"unicorns\""));
}

TEST_F(Kubectl, ApplyIsIdempotentAndValidates) {
  EXPECT_THAT(kubectl("apply -f -", kDeployment), HasSubstr("deployment.apps/web created"));
  EXPECT_THAT(kubectl("apply -f -", kDeployment), HasSubstr("deployment.apps/web unchanged"));
  std::string changed = kDeployment;
  changed.replace(changed.find("replicas: 2"), 11, "replicas: 3");
  EXPECT_THAT(kubectl("apply -f -", changed), HasSubstr("deployment.apps/web configured"));
  EXPECT_EQ(kubectl("get deploy web -o 'jsonpath={.spec.replicas} {.metadata.generation}'"), "3 2");
  std::string wrong = kDeployment;
  wrong.replace(wrong.find("replicas: 2"), 11, "replicas: -1");
  EXPECT_THAT(kubectl("apply -f -", wrong, 1), HasSubstr("must be greater than or equal to 0"));
  EXPECT_EQ(kubectl("get deploy web -o 'jsonpath={.spec.replicas}'"), "3");
}

TEST_F(Kubectl, WorkloadsBecomePodsAndSlices) {
  kubectl("apply -f -", kDeployment);
  kubectl("apply -f -", kService);
  EXPECT_THAT(eventually("get deploy web", "0/2"),
              AllOf(HasSubstr("NAME"), HasSubstr("READY"), HasSubstr("UP-TO-DATE"), HasSubstr("AVAILABLE")));
  EXPECT_THAT(eventually("get rs", "2         2"), HasSubstr("DESIRED"));
  EXPECT_THAT(eventually("get pods -o wide", "Pending"),
              AllOf(HasSubstr("NOMINATED NODE"), HasSubstr("READINESS GATES"), HasSubstr("0/1")));
  EXPECT_THAT(eventually("get endpointslices", "web-"), HasSubstr("ADDRESSTYPE"));
  EXPECT_THAT(kubectl("get svc web"), AllOf(HasSubstr("NodePort"), HasSubstr("80:3")));
  EXPECT_THAT(kubectl("get all"), AllOf(HasSubstr("pod/web-"), HasSubstr("service/web"),
                                        HasSubstr("deployment.apps/web"), HasSubstr("replicaset.apps/web-")));
  EXPECT_THAT(kubectl("describe deploy web"), AllOf(HasSubstr("RollingUpdate"), HasSubstr("app=web")));
  EXPECT_THAT(kubectl("describe svc web"), AllOf(HasSubstr("NodePort:"), HasSubstr("app=web")));
  EXPECT_THAT(kubectl("describe pods -l app=web"), HasSubstr("Status:"));
  EXPECT_THAT(cluster("describe ns " + ns_), HasSubstr("Active"));
  EXPECT_THAT(kubectl("scale deploy web --replicas=4"), HasSubstr("scaled"));
  eventually("get rs", "4         4");
  EXPECT_THAT(kubectl("set image deploy/web main=other"), HasSubstr("image updated"));
  eventually("get rs -o 'jsonpath={.items[*].spec.template.spec.containers[0].image}'", "other");
  EXPECT_THAT(kubectl("rollout history deploy/web"), HasSubstr("REVISION"));
  EXPECT_THAT(kubectl("delete deploy,svc web"),
              AllOf(HasSubstr("deployment.apps \"web\" deleted"), HasSubstr("service \"web\" deleted")));
  eventually("get pods", "No resources found");
}

constexpr const char* kDaemonSet = R"(
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: probe}
spec:
  selector: {matchLabels: {app: probe}}
  template:
    metadata: {labels: {app: probe}}
    spec:
      nodeSelector: {disk: ssd}
      containers:
      - {name: main, image: "host", command: ["sleep", "1000"]}
)";

constexpr const char* kJob = R"(
apiVersion: batch/v1
kind: Job
metadata: {name: load}
spec:
  completions: 3
  parallelism: 2
  template:
    spec:
      restartPolicy: Never
      containers:
      - {name: main, image: "host", command: ["true"]}
)";

constexpr const char* kPolicy = R"(
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: web}
spec:
  podSelector: {matchLabels: {app: web}}
  ingress:
  - from:
    - namespaceSelector: {}
      podSelector: {matchLabels: {role: client}}
    - ipBlock: {cidr: 10.0.0.0/8, except: [10.1.0.0/16]}
    ports: [{protocol: TCP, port: 8080, endPort: 8090}]
  egress: [{to: [{podSelector: {}}], ports: [{protocol: UDP, port: 53}]}]
)";

TEST_F(Kubectl, DaemonSetsAndJobsOnPaper) {
  EXPECT_THAT(cluster("api-resources"),
              AllOf(ContainsRegex("daemonsets +ds +(true +)?apps(/v1)?"), ContainsRegex("jobs +(true +)?batch(/v1)?")));
  EXPECT_THAT(kubectl("apply -f -", kDaemonSet), HasSubstr("daemonset.apps/probe created"));
  EXPECT_THAT(kubectl("apply -f -", kDaemonSet), HasSubstr("daemonset.apps/probe unchanged"));
  EXPECT_THAT(eventually("get ds", "disk=ssd"),
              AllOf(HasSubstr("NODE SELECTOR"), ContainsRegex("probe +0 +0 +0 +0 +0 +disk=ssd")));
  EXPECT_THAT(kubectl("describe ds probe"), AllOf(HasSubstr("Node-Selector:  disk=ssd"), HasSubstr("app=probe")));
  std::string moved = kDaemonSet;
  for (auto at = moved.find("app: probe"); at != std::string::npos; at = moved.find("app: probe"))
    moved.replace(at, 10, "app: other");
  EXPECT_THAT(kubectl("apply -f -", moved, 1), AllOf(HasSubstr("spec.selector"), HasSubstr("field is immutable")));

  EXPECT_THAT(kubectl("apply -f -", kJob), HasSubstr("job.batch/load created"));
  EXPECT_THAT(kubectl("apply -f -", kJob), HasSubstr("job.batch/load unchanged"));
  EXPECT_THAT(eventually("get jobs", "0/3"), AllOf(HasSubstr("COMPLETIONS"), ContainsRegex("load +Running +0/3")));
  EXPECT_THAT(eventually("describe job load", "SuccessfulCreate"),
              AllOf(ContainsRegex("Parallelism: +2"), ContainsRegex("Completions: +3")));
  EXPECT_THAT(eventually("get pods -l job-name=load", "Pending"), HasSubstr("load-"));
  EXPECT_THAT(kubectl("get all"), AllOf(HasSubstr("daemonset.apps/probe"), HasSubstr("job.batch/load")));
  EXPECT_THAT(kubectl("get jobs --field-selector status.successful=0 -o name"), HasSubstr("job.batch/load"));
  EXPECT_THAT(kubectl("get jobs --field-selector status.successful=1 -o name"), Not(HasSubstr("job.batch/load")));
  std::string changed = kJob;
  changed.replace(changed.find("\"true\""), 6, "\"false\"");
  EXPECT_THAT(kubectl("apply -f -", changed, 1), AllOf(HasSubstr("spec.template"), HasSubstr("field is immutable")));
  std::string forever = kJob;
  forever.replace(forever.find("restartPolicy: Never"), 20, "restartPolicy: Always");
  forever.replace(forever.find("load"), 4, "ever");
  EXPECT_THAT(kubectl("apply -f -", forever, 1),
              HasSubstr("spec.template.spec.restartPolicy: Required value: valid values: \"OnFailure\", \"Never\""));
  EXPECT_THAT(kubectl("delete job,ds --all"), AllOf(HasSubstr("\"load\" deleted"), HasSubstr("\"probe\" deleted")));
  eventually("get pods", "No resources found");
}

TEST_F(Kubectl, NetworkPoliciesAreKeptAndChecked) {
  EXPECT_THAT(cluster("api-resources"), ContainsRegex("networkpolicies +netpol +(true +)?networking.k8s.io"));
  EXPECT_THAT(kubectl("apply -f -", kPolicy), HasSubstr("networkpolicy.networking.k8s.io/web created"));
  EXPECT_THAT(kubectl("apply -f -", kPolicy), HasSubstr("networkpolicy.networking.k8s.io/web unchanged"));
  EXPECT_THAT(kubectl("get netpol"), AllOf(HasSubstr("POD-SELECTOR"), ContainsRegex("web +app=web")));
  EXPECT_THAT(kubectl("describe netpol web"),
              AllOf(HasSubstr("PodSelector:     app=web"), HasSubstr("NamespaceSelector: <none>"),
                    HasSubstr("CIDR: 10.0.0.0/8"), HasSubstr("Except: 10.1.0.0/16"),
                    HasSubstr("Policy Types: Ingress, Egress"), HasSubstr("To Port: 53/UDP")));
  EXPECT_EQ(kubectl("get netpol web -o 'jsonpath={.spec.policyTypes} {.spec.ingress[0].ports[0].endPort}'"),
            R"(["Ingress","Egress"] 8090)");
  std::string wrong = kPolicy;
  wrong.replace(wrong.find("10.1.0.0/16"), 11, "11.0.0.0/16");
  EXPECT_THAT(kubectl("apply -f -", wrong, 1),
              HasSubstr("spec.ingress[0].from[1].ipBlock.except[0]: Invalid value: \"11.0.0.0/16\": must be a strict "
                        "subset of `cidr`"));
  EXPECT_THAT(kubectl(R"(patch netpol web --type merge -p '{"spec":{"egress":[]}}')"), HasSubstr("patched"));
  EXPECT_EQ(kubectl("get netpol web -o 'jsonpath={.metadata.generation}'"), "2");
  EXPECT_THAT(kubectl("delete netpol web"), HasSubstr("deleted"));
}

TEST_F(Kubectl, PatchesLabelsAndSelectors) {
  for (const char* name : {"a", "b"})
    kubectl(
        "create -f -",
        fmt::format(R"({{"apiVersion":"v1","kind":"ConfigMap","metadata":{{"name":"{}"}},"data":{{"x":"1"}}}})", name));
  EXPECT_THAT(kubectl("label cm a tier=front"), HasSubstr("labeled"));
  EXPECT_THAT(kubectl("annotate cm a note='some words'"), HasSubstr("annotate"));  // 1.27 prints just that
  EXPECT_THAT(kubectl("get cm -l tier=front -o name"), AllOf(HasSubstr("configmap/a"), Not(HasSubstr("configmap/b"))));
  EXPECT_THAT(kubectl("get cm -l 'tier notin (front)' -o name"),
              AllOf(HasSubstr("configmap/b"), Not(HasSubstr("configmap/a"))));
  EXPECT_THAT(kubectl("get cm --field-selector metadata.name=b -o name"),
              AllOf(HasSubstr("configmap/b"), Not(HasSubstr("configmap/a"))));
  EXPECT_THAT(kubectl("get cm --field-selector spec.x=b", "", 1), HasSubstr("field label not supported"));
  kubectl(R"(patch cm a -p '{"data":{"y":"2"}}')");
  kubectl(R"(patch cm a --type merge -p '{"data":{"x":null}}')");
  kubectl(R"(patch cm a --type json -p '[{"op":"add","path":"/data/z","value":"3"}]')");
  EXPECT_EQ(kubectl("get cm a -o 'jsonpath={.data}'"), R"({"y":"2","z":"3"})");
  EXPECT_THAT(kubectl(R"(patch cm a --type json -p '[{"op":"test","path":"/data/z","value":"4"}]')", "", 1),
              HasSubstr("z"));
  EXPECT_THAT(kubectl("label cm a tier-"), HasSubstr("a"));
  EXPECT_THAT(kubectl("get cm a --show-labels"), HasSubstr("<none>"));
}

TEST_F(Kubectl, ReplaceConflicts) {
  kubectl("create -f -", R"({"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a"},"data":{"x":"1"}})");
  auto stale = kubectl("get cm a -o json");
  kubectl("label cm a x=y");
  EXPECT_THAT(kubectl("replace -f -", stale, 1), HasSubstr("the object has been modified"));
  EXPECT_THAT(kubectl("create -f -", R"({"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a"}})", 1),
              HasSubstr("AlreadyExists"));
  kubectl("delete cm a");
  EXPECT_THAT(kubectl("get cm a", "", 1), HasSubstr("configmaps \"a\" not found"));
  EXPECT_THAT(kubectl("delete cm a", "", 1), HasSubstr("NotFound"));
}

TEST_F(Kubectl, WatchAndWait) {
  auto& c = Cluster::instance();
  std::string out;
  std::thread watcher([&] { out = c.kubectl("-n " + ns_ + " get cm -w --request-timeout=6s").out; });
  // Something to see at once and something after the watch has begun; a change each time round.
  for (int i = 0; i < 8; ++i) {
    auto r =
        popen(fmt::format("echo '{{\"apiVersion\":\"v1\",\"kind\":\"ConfigMap\",\"metadata\":{{\"name\":\"w{}\"}}}}' | "
                          "HOME={} {} --kubeconfig {}/admin.kubeconfig -n {} create -f - >/dev/null 2>&1",
                          i, c.dir, kubectl_path(), c.dir, ns_)
                  .c_str(),
              "r");
    if (r) pclose(r);
  }
  watcher.join();
  EXPECT_THAT(out, HasSubstr("NAME"));
  EXPECT_THAT(out, HasSubstr("w7")) << "changes after the list are shown by the watch";
  EXPECT_EQ(out.find("NAME"), out.rfind("NAME")) << "one header for list and watch together:\n" << out;
  kubectl("delete cm --all --wait=true");
  kubectl(
      "create -f -",
      R"({"apiVersion":"v1","kind":"Pod","metadata":{"name":"p"},"spec":{"nodeName":"nowhere","containers":[{"name":"c","image":"host"}]}})");
  EXPECT_THAT(kubectl("wait --for=condition=Ready pod/p --timeout=1s", "", 1), HasSubstr("timed out"));
  EXPECT_THAT(kubectl("delete pod p --grace-period=0 --force"), HasSubstr("deleted"));
}

TEST_F(Kubectl, NodesCordonAndTaint) {
  auto node = ns_ + "-node";
  cluster("create -f -", fmt::format(R"({{"apiVersion":"v1","kind":"Node","metadata":{{"name":"{}"}}}})", node));
  EXPECT_THAT(cluster("cordon " + node), HasSubstr("cordoned"));
  EXPECT_THAT(cluster("get nodes"), HasSubstr("SchedulingDisabled"));
  EXPECT_THAT(cluster("uncordon " + node), HasSubstr("uncordoned"));
  EXPECT_THAT(cluster(fmt::format("taint node {} k=v:NoSchedule", node)), HasSubstr("tainted"));
  EXPECT_THAT(cluster("describe node " + node), AllOf(HasSubstr("k=v:NoSchedule"), HasSubstr("PodCIDR")));
  cluster("delete node " + node);
}

TEST_F(Kubectl, ManyObjectsInChunks) {
  std::string list;
  for (int i = 0; i < 30; ++i)
    list += fmt::format("---\napiVersion: v1\nkind: ConfigMap\nmetadata: {{name: c{:02}}}\n", i);
  kubectl("create -f -", list);
  auto names = kubectl("get cm --chunk-size=7 -o name");
  EXPECT_EQ(std::count(names.begin(), names.end(), '\n'), 30);
  auto sorted = kubectl("get cm --sort-by=.metadata.name --no-headers");
  EXPECT_LT(sorted.find("c00"), sorted.find("c29"));
}

TEST_F(Kubectl, ImpersonationAndStrangersAreRefused) {
  EXPECT_THAT(cluster("--as jane get pods", "", 1), HasSubstr("impersonation is not supported"));
  EXPECT_THAT(cluster("--as jane get pods -w", "", 1), HasSubstr("impersonation is not supported"));
  auto server = cluster("config view -o 'jsonpath={.clusters[0].cluster.server}'");
  auto anonymous =
      fmt::format("HOME=/nonexistent {} --server {} --insecure-skip-tls-verify --token wrong get pods 2>&1 </dev/null",
                  kubectl_path(), server);
  FILE* pipe = popen(anonymous.c_str(), "r");
  ASSERT_NE(pipe, nullptr);
  char text[4096] = {};
  EXPECT_GT(fread(text, 1, sizeof text - 1, pipe), 0u);
  EXPECT_NE(pclose(pipe), 0);
  EXPECT_THAT(std::string(text), AnyOf(HasSubstr("Unauthorized"), HasSubstr("You must be logged in to the server")));
}

// The minor version of the kubectl that runs these tests.
int kubectl_minor() {
  auto version = Cluster::instance().kubectl("version --client -o json").out;
  auto at = version.find("\"minor\": \"");
  return at == std::string::npos ? 0 : std::atoi(version.c_str() + at + 10);
}

TEST_F(Kubectl, ServerSideApply) {
  auto config = [](const char* extra, int replicas) {
    return fmt::format(R"(
apiVersion: apps/v1
kind: Deployment
metadata: {{name: web}}
spec:
  replicas: {}
  selector: {{matchLabels: {{app: web}}}}
  template:
    metadata: {{labels: {{app: web}}}}
    spec:
      containers:
      - {{name: main, image: "host", command: ["sleep", "1000"]{}}}
)",
                       replicas, extra);
  };
  auto two_ports = ", ports: [{containerPort: 53, protocol: UDP}, {containerPort: 53, protocol: TCP}]";
  EXPECT_THAT(kubectl("apply --server-side -f -", config(two_ports, 0)), HasSubstr("serverside-applied"));
  auto ports = "get deploy web -o 'jsonpath={.spec.template.spec.containers[0].ports[*].protocol}'";
  EXPECT_EQ(kubectl(ports), "UDP TCP");
  EXPECT_THAT(kubectl("apply --server-side -f -", config("", 0)), HasSubstr("serverside-applied"));
  EXPECT_EQ(kubectl(ports), "") << "what is no longer applied goes";
  EXPECT_EQ(kubectl("get deploy web -o 'jsonpath={.spec.template.spec.containers[0].image}'"), "host");

  EXPECT_THAT(kubectl("apply --server-side --field-manager=other -f -", config("", 3), 1),
              AllOf(HasSubstr("conflict with \"kubectl\""), HasSubstr(".spec.replicas")));
  kubectl("scale deploy web --replicas=1");
  EXPECT_THAT(kubectl("apply --server-side -f -", config("", 0), 1), HasSubstr(".spec.replicas"));
  EXPECT_THAT(kubectl("apply --server-side --force-conflicts -f -", config("", 0)), HasSubstr("serverside-applied"));
  EXPECT_EQ(kubectl("get deploy web -o 'jsonpath={.spec.replicas}'"), "0");
  if (kubectl_minor() >= 27) {  // before, it looks for dryRun in the older form of the schemas
    EXPECT_THAT(kubectl("apply --server-side --dry-run=server --force-conflicts -f -", config("", 2)),
                HasSubstr("serverside-applied (server dry run)"));
  }
  EXPECT_EQ(kubectl("get deploy web -o 'jsonpath={.spec.replicas}'"), "0");

  // A type that is no longer applied takes the node port that came with it along.
  auto service = [](const char* type) {
    return fmt::format(R"({{"apiVersion":"v1","kind":"Service","metadata":{{"name":"web"}},
      "spec":{{{}"selector":{{"app":"web"}},"ports":[{{"port":80}}]}}}})",
                       type);
  };
  kubectl("apply --server-side -f -", service(R"("type":"NodePort",)"));
  EXPECT_THAT(kubectl("get svc web -o 'jsonpath={.spec.type} {.spec.ports[0].nodePort}'"), HasSubstr("NodePort 3"));
  auto address = kubectl("get svc web -o 'jsonpath={.spec.clusterIP}'");
  EXPECT_THAT(kubectl("apply --server-side -f -", service("")), HasSubstr("serverside-applied"));
  EXPECT_EQ(kubectl("get svc web -o 'jsonpath={.spec.type} {.spec.ports[0].nodePort}'"), "ClusterIP ");
  EXPECT_EQ(kubectl("get svc web -o 'jsonpath={.spec.clusterIP}'"), address) << "addresses stay";

  // From client-side apply to server-side apply.
  auto map = [](const char* value) {
    return fmt::format(R"({{"apiVersion":"v1","kind":"ConfigMap","metadata":{{"name":"m"}},"data":{{"x":"{}"}}}})",
                       value);
  };
  kubectl("apply -f -", map("1"));
  EXPECT_THAT(kubectl("apply --server-side -f -", map("2")), HasSubstr("serverside-applied"));
  EXPECT_EQ(kubectl("get cm m -o 'jsonpath={.data.x}'"), "2");
}

// Generators of kubectl: from 1.32 on their bodies are protobuf.
TEST_F(Kubectl, CreatesWithoutFiles) {
  EXPECT_THAT(kubectl("create deployment web --image=host --replicas=0 --port=80 -- sleep 1000"), HasSubstr("created"));
  EXPECT_THAT(kubectl("create service nodeport web --tcp=80:8080"), HasSubstr("created"));
  EXPECT_THAT(kubectl("create configmap settings --from-literal=a=1"), HasSubstr("created"));
  EXPECT_THAT(kubectl("create secret generic key --from-literal=p=s3cret"), HasSubstr("created"));
  EXPECT_THAT(kubectl("create serviceaccount robot"), HasSubstr("created"));
  EXPECT_EQ(kubectl("get deploy web -o 'jsonpath={.spec.replicas} {.spec.template.spec.containers[0].command[0]}'"),
            "0 sleep");
  EXPECT_EQ(kubectl("get svc web -o 'jsonpath={.spec.type} {.spec.ports[0].targetPort}'"), "NodePort 8080");
  EXPECT_EQ(kubectl("get cm settings -o 'jsonpath={.data.a}'"), "1");
  EXPECT_EQ(kubectl("get secret key -o 'jsonpath={.data.p}'"), "czNjcmV0");
  EXPECT_THAT(cluster("create namespace " + ns_, "", 1), HasSubstr("already exists"));
  EXPECT_THAT(kubectl("create configmap settings --from-literal=a=2", "", 1), HasSubstr("already exists"));
}

TEST_F(Kubectl, ExplainsEveryKind) {
  if (kubectl_minor() < 27) GTEST_SKIP() << "kubectl before 1.27 reads another form of the schemas";
  EXPECT_THAT(cluster("explain pod"), AllOf(HasSubstr("KIND:       Pod"), HasSubstr("VERSION:    v1"),
                                            HasSubstr("A pod is a group of containers"), HasSubstr("<PodSpec>")));
  EXPECT_THAT(cluster("explain pod.spec.containers"),
              AllOf(HasSubstr("FIELD: containers <[]Container>"), HasSubstr("image\t<string>"),
                    HasSubstr("name\t<string> -required-"), HasSubstr("livenessProbe\t<Probe>")));
  EXPECT_THAT(cluster("explain pod.spec.containers.livenessProbe.httpGet.port"), HasSubstr("<IntOrString>"));
  EXPECT_THAT(cluster("explain deployment.spec.strategy.type"),
              AllOf(HasSubstr("GROUP:      apps"), HasSubstr("RollingUpdate or Recreate")));
  EXPECT_THAT(cluster("explain svc --recursive"), AllOf(HasSubstr("clientIP"), HasSubstr("timeoutSeconds")));
  EXPECT_THAT(cluster("explain events --api-version=events.k8s.io/v1"), HasSubstr("regarding"));
  for (const char* resource : {"ns", "no", "svc", "ev", "cm", "secret", "sa", "rs", "endpointslice", "lease", "csr"})
    EXPECT_THAT(cluster(std::string("explain ") + resource),
                AllOf(HasSubstr("KIND:"), HasSubstr("metadata\t<ObjectMeta>")))
        << resource;
  EXPECT_THAT(cluster("explain pod.spec.nonsense", "", 1), HasSubstr("nonsense"));
}

TEST_F(Kubectl, UnknownFieldsAreRefusedByTheServer) {
  if (kubectl_minor() < 27) GTEST_SKIP() << "kubectl before 1.27 checks fields itself or not at all";
  EXPECT_THAT(
      kubectl("create -f -", R"({"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a"},"daata":{"x":"1"}})", 1),
      HasSubstr("unknown field \"daata\""));
}

// What roles may do, asked by kubectl with kubeconfigs that `trama kubeconfig` has made.
TEST_F(Kubectl, RolesAndWhatTheyMay) {
  auto& cluster_ = Cluster::instance();
  const char* binary = std::getenv("TRAMA_BINARY");
  ASSERT_TRUE(binary && *binary);
  auto trama = [&](const std::string& arguments, std::string* out) {
    auto line = fmt::format("{} --kubeconfig {}/admin.kubeconfig {} 2>&1 </dev/null", binary, cluster_.dir, arguments);
    FILE* pipe = popen(line.c_str(), "r");
    char buffer[4096];
    while (std::size_t n = fread(buffer, 1, sizeof buffer, pipe)) out->append(buffer, n);
    return WEXITSTATUS(pclose(pipe));
  };
  for (const std::string role : {"admin", "edit", "view", "proxy"}) {
    std::string out;
    ASSERT_EQ(trama(fmt::format("kubeconfig --role {0} --ttl 1h -o {1}/{0}", role, cluster_.dir), &out), 0) << out;
  }
  auto as = [&](const std::string& role, const std::string& arguments, int status) {
    auto r = cluster_.kubectl(fmt::format("--kubeconfig {}/{} -n {} {}", cluster_.dir, role, ns_, arguments));
    EXPECT_EQ(r.status, status) << role << ": kubectl " << arguments << "\n" << r.out;
    return r.out;
  };
  struct Case {
    const char *role, *question;
    bool yes;
  };
  const Case cases[] = {{"admin", "'*' '*'", true},
                        {"admin", "create pods", true},
                        {"edit", "create pods", true},
                        {"edit", "create deployments.apps", true},
                        {"edit", "get secrets", true},
                        {"edit", "get secrets -n kube-system", false},
                        {"edit", "'*' '*'", false},
                        {"edit", "create nodes", false},
                        {"view", "create pods", false},
                        {"view", "list pods", true},
                        {"view", "get pods --subresource=log", true},
                        {"view", "get secrets", false},
                        {"view", "get /healthz", true},
                        {"view", "get /metrics", false},
                        {"proxy", "watch endpointslices.discovery.k8s.io", true},
                        {"proxy", "list pods", false}};
  for (const auto& c : cases)
    EXPECT_THAT(as(c.role, std::string("auth can-i ") + c.question, c.yes ? 0 : 1), HasSubstr(c.yes ? "yes" : "no"));
  EXPECT_THAT(as("view", "auth can-i --list", 0),
              AllOf(ContainsRegex("pods.* \\[get list watch\\]"), HasSubstr("/healthz"), Not(HasSubstr("secrets"))));
  EXPECT_THAT(as("admin", "auth can-i --list", 0), ContainsRegex("\\*\\.\\* .*\\[\\*\\]"));
  if (kubectl_minor() >= 28) {
    EXPECT_THAT(as("edit", "auth whoami", 0), AllOf(HasSubstr("trama:edit"), HasSubstr("system:authenticated")));
  }
  // And the deeds themselves.
  as("edit", "create configmap made --from-literal=a=1", 0);
  EXPECT_THAT(as("view", "get cm made", 0), HasSubstr("made"));
  EXPECT_THAT(as("view", "create configmap not --from-literal=a=1", 1), HasSubstr("cannot create resource"));
  EXPECT_THAT(as("view", "get secrets", 1), HasSubstr("cannot list resource \"secrets\""));
  EXPECT_THAT(as("edit", "get secrets -A", 1), HasSubstr("only in one namespace at a time"));
  EXPECT_THAT(as("edit", "get csr", 1), HasSubstr("forbidden"));
  EXPECT_THAT(as("admin", "get pods --as=jane", 1), HasSubstr("impersonation"));
  EXPECT_THAT(as("admin", "get csr", 0), HasSubstr("No resources found")) << "requests are cleaned up";
  // Only an administrator makes kubeconfigs.
  std::string out;
  auto line = fmt::format("{} --kubeconfig {}/edit kubeconfig --role admin 2>&1 </dev/null", binary, cluster_.dir);
  FILE* pipe = popen(line.c_str(), "r");
  char buffer[4096];
  while (std::size_t n = fread(buffer, 1, sizeof buffer, pipe)) out.append(buffer, n);
  EXPECT_EQ(WEXITSTATUS(pclose(pipe)), 7) << out;
}

TEST_F(Kubectl, NamespacesGoWithTheirContent) {
  auto victim = ns_ + "-gone";
  cluster("create -f -", fmt::format(R"({{"apiVersion":"v1","kind":"Namespace","metadata":{{"name":"{}"}}}})", victim));
  cluster("-n " + victim + " create -f -", R"({"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a"}})");
  cluster("-n " + victim + " apply -f -", kJob);
  for (auto end = std::chrono::steady_clock::now() + std::chrono::seconds(20);
       cluster("-n " + victim + " get pods -o name").empty() && std::chrono::steady_clock::now() < end;) {
  }
  EXPECT_THAT(cluster("-n " + victim + " get pods -o 'jsonpath={.items[*].metadata.finalizers}'"),
              HasSubstr("batch.kubernetes.io/job-tracking"));
  EXPECT_THAT(cluster("delete ns " + victim), HasSubstr("deleted"));
  EXPECT_THAT(cluster("get ns " + victim, "", 1), HasSubstr("not found"));
  EXPECT_THAT(cluster("-n " + victim + " get cm a", "", 1), HasSubstr("not found"));
}

}  // namespace
}  // namespace trama
