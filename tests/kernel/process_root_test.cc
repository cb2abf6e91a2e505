// SPDX-License-Identifier: GPL-2.0-or-later
// What a container sees and may do.
#include <sys/stat.h>

#include "tests/kernel/process_fixture.h"

namespace trama::netns {
namespace {
using testing::Test;

bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

class RootTest : public ProcessTest {};

TEST_F(RootTest, HostRootIsReadOnlyAndScratchIsPrivate) {
  std::string mark = "trama-test-" + std::to_string(::getpid());
  PodSpec s = pod("for d in / /etc /usr /usr/bin /var/lib /opt; do touch $d/" + mark +
                  " 2>/dev/null && echo wrote $d; done\n"
                  "for d in /tmp /var/tmp /run /root /home /var/log /dev/shm; do touch $d/" +
                  mark +
                  " || echo cannot $d; done\n"
                  "ls -A /tmp /root /home; chmod 777 /etc/passwd 2>/dev/null && echo chmod; echo done");
  s.containers[0].working_dir = "/usr";
  std::string out = run(s);
  EXPECT_FALSE(contains(out, "wrote")) << out;
  EXPECT_FALSE(contains(out, "cannot")) << out;
  EXPECT_FALSE(contains(out, "chmod")) << out;
  EXPECT_TRUE(contains(out, "done"));
  for (const char* d : {"/tmp/", "/var/tmp/", "/run/", "/root/", "/home/", "/var/log/", "/dev/shm/"})
    EXPECT_FALSE(std::filesystem::exists(d + mark)) << d;
}

TEST_F(RootTest, SecretsAreHidden) {
  ASSERT_GT(std::filesystem::file_size("/etc/shadow"), 0u) << "the control: the host has something to hide";
  PodSpec s =
      pod("wc -c < /etc/shadow; cat /proc/kcore /proc/keys /proc/timer_list 2>/dev/null | wc -c; ls /etc/ssh "
          "/etc/ssl/private /var/lib/trama 2>/dev/null | grep -v "
          ": | wc -w; "
          "ls /root | wc -l; (echo x > /proc/sys/kernel/hostname) 2>/dev/null || echo readonly; ls -d /sys/fs/cgroup/* "
          "2>/dev/null | "
          "wc -l");
  std::string out = run(s);
  EXPECT_TRUE(out.starts_with("0\n0\n0\n0\n")) << out;
  EXPECT_TRUE(contains(out, "readonly")) << out;
  EXPECT_TRUE(out.ends_with("\n0\n")) << out;
}

TEST_F(RootTest, PrivilegesAreDropped) {
  PodSpec s =
      pod("grep -E '^(Cap|NoNewPrivs|Seccomp:)' /proc/self/status; ls /proc/self/fd | tr '\\n' ' '; "
          "mount -t tmpfs x /tmp 2>&1; unshare -U true 2>&1; unshare -n true 2>&1; "
          "ip link set lo down 2>&1; cat /proc/1/environ 2>&1; ls /proc/1/root 2>&1; cat /proc/self/oom_score_adj");
  std::string out = run(s);
  // CHOWN DAC_OVERRIDE FOWNER FSETID KILL SETGID SETUID SETPCAP NET_BIND_SERVICE NET_RAW SYS_CHROOT
  for (const char* line : {"CapInh:\t0000000000000000", "CapPrm:\t00000000000425fb", "CapEff:\t00000000000425fb",
                           "CapBnd:\t00000000000425fb", "CapAmb:\t0000000000000000", "NoNewPrivs:\t1", "Seccomp:\t2"})
    EXPECT_TRUE(contains(out, line)) << line << "\n" << out;
  EXPECT_TRUE(contains(out, "0 1 2 3 ")) << "3 is ls's own\n" << out;
  EXPECT_FALSE(contains(out, " 4 ")) << out;
  EXPECT_TRUE(contains(out, "mount: ")) << out;
  EXPECT_TRUE(contains(out, "unshare failed: Operation not permitted")) << out;
  EXPECT_TRUE(contains(out, "RTNETLINK answers: Operation not permitted")) << out;
  EXPECT_TRUE(contains(out, "/proc/1/environ: Permission denied")) << out;
  EXPECT_TRUE(contains(out, "'/proc/1/root': Permission denied") || contains(out, "/proc/1/root: Permission denied"))
      << out;
  EXPECT_TRUE(out.ends_with("500\n")) << out;
}

TEST_F(RootTest, UsersAndEnvironment) {
  PodSpec s = pod("id -u; id -g; pwd; env | sort; echo to-stdout > /dev/stdout; grep CapEff /proc/self/status");
  s.containers[0].user = "www-data";
  s.containers[0].env = {{"GREETING", "hello world"}};
  s.containers[0].working_dir = "/usr";
  std::string out = run(s);
  EXPECT_TRUE(out.starts_with("33\n33\n/usr\n")) << out;
  EXPECT_TRUE(contains(out, "GREETING=hello world\nHOME=/var/www\nHOSTNAME=web-0\n")) << out;
  EXPECT_TRUE(contains(out, "PATH=")) << out;
  EXPECT_FALSE(contains(out, "TRAMA_POD_ENTRY")) << "the agent's environment is not the pod's\n" << out;
  EXPECT_TRUE(contains(out, "to-stdout\n")) << out;
  EXPECT_TRUE(contains(out, "CapEff:\t0000000000000000")) << out;
}

TEST_F(RootTest, NamespacesAreThePods) {
  PodSpec s =
      pod("readlink /proc/self/ns/net /proc/self/ns/pid /proc/self/ns/mnt; ls /sys/class/net; cat /proc/self/cgroup; "
          "ls /dev | tr '\\n' ' '; ls /proc | grep -c '^[0-9]'; test -x /run/trama/trama && echo program");
  std::string out = run(s);
  struct stat n {};
  ASSERT_EQ(::fstat(network_.fd(), &n), 0);
  EXPECT_TRUE(out.starts_with("net:[" + std::to_string(n.st_ino) + "]\n")) << out;
  for (const char* kind : {"pid", "mnt"})
    EXPECT_FALSE(contains(out, std::filesystem::read_symlink(std::string("/proc/self/ns/") + kind).string())) << out;
  EXPECT_TRUE(contains(out, "\nlo\n")) << out;
  EXPECT_FALSE(contains(out, "pod-" + s.uid)) << "the cgroup namespace hides where it is\n" << out;
  EXPECT_TRUE(contains(out, "fd full null ptmx pts random shm stderr stdin stdout tty urandom zero ")) << out;
  EXPECT_TRUE(contains(out, "program\n")) << out;
}

TEST_F(RootTest, NamesComeFromTheGivenFiles) {
  PodSpec s = pod("cat /etc/hosts /etc/resolv.conf; echo x > /etc/hosts || echo readonly; echo up; sleep 1000");
  s.hosts_path = scratch_ + "/hosts", s.resolv_conf_path = scratch_ + "/resolv.conf";
  ASSERT_TRUE(base::write_file_atomic(s.hosts_path, "10.9.8.7 db\n"));
  ASSERT_TRUE(base::write_file_atomic(s.resolv_conf_path, "nameserver 10.9.8.1\n"));
  start_until(s, "up");
  EXPECT_TRUE(output(s.uid).starts_with("10.9.8.7 db\nnameserver 10.9.8.1\n")) << output(s.uid);
  EXPECT_TRUE(contains(output(s.uid), "readonly"));
  ASSERT_TRUE(base::write_file_in_place(s.hosts_path, "10.9.8.6 db\n"));
  EXPECT_EQ(exec(s.uid, {"cat", "/etc/hosts"}).out, "10.9.8.6 db\n") << "later changes are seen";
}

TEST_F(RootTest, DirectoriesAsImages) {
  std::string image = scratch_ + "/image";
  // A root of its own: a few programs of the host and the libraries they need.
  ASSERT_TRUE(base::make_directories(image));
  ASSERT_EQ(
      test::shell("cp --parents -L /bin/sh /bin/cat /bin/ls $(ldd /bin/sh /bin/cat /bin/ls | grep -o '/[^ ]*[^ :]') " +
                  image),
      0);
  PodSpec s = pod("echo $PATH; echo new > /data && cat /data; ls /");
  s.containers[0].image = "dir:" + image;
  s.containers[0].command[0] = "/bin/sh";
  std::string out = run(s);
  EXPECT_TRUE(contains(out, "\nnew\n")) << story(s.uid);
  EXPECT_FALSE(contains(out, "home")) << out;
  EXPECT_FALSE(std::filesystem::exists(image + "/data")) << "writes to a dir: image stay in memory";
  PodSpec b = s;
  b.uid = "bound";
  b.containers[0].image = "bind:" + image;
  EXPECT_TRUE(contains(run(b), "\nnew\n")) << story(b.uid);
  EXPECT_TRUE(std::filesystem::exists(image + "/data")) << "writes to a bind: image stay";
}

TEST_F(RootTest, APodKeepsNoMountOfTheHostBusy) {
  PodSpec s = pod("echo up; sleep 1000");
  std::string held = scratch_ + "/held";
  ASSERT_TRUE(base::make_directories(held));
  ASSERT_EQ(test::shell("mount -t tmpfs held " + held), 0);
  RunningPod p = start_until(s, "up");
  std::string mounts = *base::read_file("/proc/" + std::to_string(p.pid) + "/mountinfo", 16 << 20) +
                       *base::read_file("/proc/" + std::to_string(container(s.uid).pid) + "/mountinfo", 16 << 20);
  EXPECT_FALSE(contains(mounts, "/held")) << mounts;
  EXPECT_FALSE(contains(mounts, "nsfs")) << mounts;
  EXPECT_EQ(test::shell("umount " + held), 0);
}

TEST_F(RootTest, NginxServes) {
  if (!std::filesystem::exists("/usr/sbin/nginx")) FAIL() << "install nginx-light";
  PodSpec s = pod("");
  std::string config =
      "daemon off; error_log /dev/stderr; pid /run/nginx.pid; events {} http { access_log /dev/stdout; "
      "server { listen 127.0.0.1:80; location / { return 200 \"hello from $hostname\\n\"; } } }";
  s.containers[0].command = {"sh", "-c",
                             "cat > /tmp/nginx.conf <<'E'\n" + config + "\nE\nexec nginx -c /tmp/nginx.conf"};
  start(s);
  std::string answer;
  EXPECT_TRUE(test::eventually(
      [&] {
        network_.shell(
            "bash -c \"exec 3<>/dev/tcp/127.0.0.1/80 && printf 'GET / HTTP/1.0\\r\\n\\r\\n' >&3 && cat <&3\"", &answer);
        return contains(answer, "hello from web-0");
      },
      10000))
      << answer << story(s.uid);
  ASSERT_TRUE(pods_->stop(s.uid, std::chrono::milliseconds(5000)));
  EXPECT_EQ(container(s.uid).state.reason, "Completed") << story(s.uid);
  EXPECT_TRUE(contains(output(s.uid), "GET / HTTP/1.0")) << output(s.uid);
}

}  // namespace
}  // namespace trama::netns
