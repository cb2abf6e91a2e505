// SPDX-License-Identifier: GPL-2.0-or-later
#include "netns/privileges.h"

#include <algorithm>
#include <charconv>
#include <cstddef>

#include <fcntl.h>
#include <grp.h>
#include <linux/audit.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/sched.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/file.h"

#if defined(__x86_64__)
#define TRAMA_AUDIT_ARCH AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define TRAMA_AUDIT_ARCH AUDIT_ARCH_AARCH64
#elif defined(__riscv) && __riscv_xlen == 64
#define TRAMA_AUDIT_ARCH AUDIT_ARCH_RISCV64
#else
#error "the system call filter knows x86-64, arm64 and riscv64 only"
#endif

namespace trama::netns {
using base::Error;
using base::Result;

namespace {
constexpr int kKept[] = {CAP_CHOWN,  CAP_DAC_OVERRIDE, CAP_FOWNER,           CAP_FSETID,  CAP_KILL,      CAP_SETGID,
                         CAP_SETUID, CAP_SETPCAP,      CAP_NET_BIND_SERVICE, CAP_NET_RAW, CAP_SYS_CHROOT};

constexpr int kDenied[] = {
    SYS_mount,
    SYS_umount2,
    SYS_pivot_root,
    SYS_move_mount,
    SYS_open_tree,
    SYS_fsopen,
    SYS_fsconfig,
    SYS_fsmount,
    SYS_fspick,
    SYS_mount_setattr,
    SYS_setns,
    SYS_swapon,
    SYS_swapoff,
    SYS_reboot,
    SYS_acct,
    SYS_quotactl,
    SYS_kexec_load,
    SYS_kexec_file_load,
    SYS_init_module,
    SYS_finit_module,
    SYS_delete_module,
    SYS_bpf,
    SYS_perf_event_open,
    SYS_userfaultfd,
    SYS_open_by_handle_at,
    SYS_keyctl,
    SYS_add_key,
    SYS_request_key,
    SYS_io_uring_setup,
    SYS_io_uring_enter,
    SYS_io_uring_register,
    SYS_settimeofday,
    SYS_clock_settime,
    SYS_clock_adjtime,
    SYS_adjtimex,
    SYS_sethostname,
    SYS_setdomainname,
    SYS_vhangup,
    SYS_lookup_dcookie,
    SYS_syslog,
    SYS_fanotify_init,
#ifdef SYS_iopl
    SYS_iopl,
    SYS_ioperm,
#endif
};

// A straight-line filter: load the number once, each rule decides or falls through.
class Filter {
 public:
  Filter() {
    load(offsetof(seccomp_data, arch));
    put(BPF_JMP | BPF_JEQ | BPF_K, TRAMA_AUDIT_ARCH, 1, 0);
    put(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS);
    load(offsetof(seccomp_data, nr));
#ifdef __x86_64__
    put(BPF_JMP | BPF_JGE | BPF_K, 0x40000000, 0, 1);  // the x32 calls
    put(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSYS);
#endif
  }
  void deny(int number, unsigned err) {
    put(BPF_JMP | BPF_JEQ | BPF_K, static_cast<unsigned>(number), 0, 1);
    put(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | err);
  }
  // Denied when the first argument has one of `bits`.
  void deny_flag(int number, unsigned bits, unsigned err) {
    put(BPF_JMP | BPF_JEQ | BPF_K, static_cast<unsigned>(number), 0, 4);
    load(offsetof(seccomp_data, args[0]));  // the low half: these machines are little-endian
    put(BPF_JMP | BPF_JSET | BPF_K, bits, 0, 1);
    put(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | err);
    put(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
  }
  Result<> install() {
    put(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    sock_fprog program{static_cast<unsigned short>(code_.size()), code_.data()};
    if (::syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program) < 0)
      return Error::from_errno(errno, "install the system call filter");
    return {};
  }

 private:
  void put(unsigned code, unsigned k, unsigned char yes = 0, unsigned char no = 0) {
    code_.push_back({static_cast<unsigned short>(code), yes, no, k});
  }
  void load(std::size_t offset) { put(BPF_LD | BPF_W | BPF_ABS, static_cast<unsigned>(offset)); }
  std::vector<sock_filter> code_;
};

std::vector<std::string_view> fields(std::string_view line, char separator) {
  std::vector<std::string_view> out;
  for (;;) {
    std::size_t end = line.find(separator);
    out.push_back(line.substr(0, end));
    if (end == std::string_view::npos) return out;
    line.remove_prefix(end + 1);
  }
}

std::optional<unsigned> number(std::string_view s) {
  unsigned n = 0;
  auto [end, error] = std::from_chars(s.data(), s.data() + s.size(), n);
  if (s.empty() || error != std::errc() || end != s.data() + s.size() || n == ~0u) return std::nullopt;
  return n;
}
}  // namespace

Result<Identity> resolve_user(std::string_view user, std::string_view passwd, std::string_view group) {
  Identity id;
  std::size_t colon = user.find(':');
  std::string_view name = user.substr(0, colon);
  if (name.empty()) name = "0";
  std::string_view wanted_group = colon == std::string_view::npos ? std::string_view() : user.substr(colon + 1);
  auto uid = number(name);
  std::string login;
  bool found = false;
  for (std::string_view line : fields(passwd, '\n')) {
    auto f = fields(line, ':');
    if (f.size() < 7 || !number(f[2]) || !number(f[3])) continue;
    if (uid ? *number(f[2]) != *uid : f[0] != name) continue;
    found = true, uid = number(f[2]), id.gid = *number(f[3]), login = f[0], id.home = f[5];
    break;
  }
  if (!uid) return Error::text(fmt::format("there is no user \"{}\" in the container's /etc/passwd", name));
  id.uid = *uid;
  if (!found) id.home = id.uid == 0 ? "/root" : "/";
  auto gid = number(wanted_group);
  for (std::string_view line : fields(group, '\n')) {
    auto f = fields(line, ':');
    if (f.size() < 4 || !number(f[2])) continue;
    if (!wanted_group.empty() && !gid && f[0] == wanted_group) gid = number(f[2]);
    auto members = fields(f[3], ',');
    if (!login.empty() && std::find(members.begin(), members.end(), login) != members.end())
      id.groups.push_back(*number(f[2]));
  }
  if (!wanted_group.empty() && !gid)
    return Error::text(fmt::format("there is no group \"{}\" in the container's /etc/group", wanted_group));
  if (gid) id.gid = *gid;
  return id;
}

Result<Identity> resolve_user(std::string_view user) {
  return resolve_user(user, base::read_file("/etc/passwd").value_or(std::string()),
                      base::read_file("/etc/group").value_or(std::string()));
}

Result<> drop_privileges(const Identity& id) {
  auto failed = [](const char* what) { return Error::from_errno(errno, what); };
  ::umask(022);
  rlimit none{0, 0};
  if (::setrlimit(RLIMIT_CORE, &none) < 0) return failed("limit core files");
  rlimit files{};
  if (::getrlimit(RLIMIT_NOFILE, &files) == 0) {
    files.rlim_cur = files.rlim_max = std::min<rlim_t>(files.rlim_max, 1 << 20);
    if (::setrlimit(RLIMIT_NOFILE, &files) < 0) return failed("limit open files");
  }

  std::uint64_t kept = 0;
  for (int c : kKept) kept |= std::uint64_t{1} << c;
  for (int c = 0; c < 64; ++c) {
    int has = ::prctl(PR_CAPBSET_READ, c, 0, 0, 0);
    if (has < 0) break;  // past the last one of this kernel
    if (has == 0) kept &= ~(std::uint64_t{1} << c);
    if (has == 1 && !(kept >> c & 1) && ::prctl(PR_CAPBSET_DROP, c, 0, 0, 0) < 0) return failed("drop a capability");
  }
  (void)::prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
  if (::setgroups(id.groups.size(), id.groups.data()) < 0) return failed("setgroups");
  if (::setresgid(id.gid, id.gid, id.gid) < 0) return failed("setgid");
  if (::setresuid(id.uid, id.uid, id.uid) < 0) return failed("setuid");
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct sets[2]{};
  if (id.uid == 0) {
    sets[0].effective = sets[0].permitted = static_cast<std::uint32_t>(kept);
    sets[1].effective = sets[1].permitted = static_cast<std::uint32_t>(kept >> 32);
  }
  if (::syscall(SYS_capset, &header, sets) < 0) return failed("capset");
  if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0) return failed("no_new_privs");

  Filter filter;
  for (int number : kDenied) filter.deny(number, EPERM);
  filter.deny(SYS_clone3, ENOSYS);  // its flags are out of the filter's reach; libc falls back to clone
  filter.deny_flag(SYS_clone, CLONE_NEWUSER, EPERM);
  filter.deny_flag(SYS_unshare, CLONE_NEWUSER, EPERM);
  return filter.install();
}

std::vector<std::string> container_environment(const std::map<std::string, std::string>& env, const Identity& identity,
                                               const std::string& hostname, bool host_root) {
  std::map<std::string, std::string> all{{"PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"},
                                         {"HOME", identity.home},
                                         {"HOSTNAME", hostname}};
  if (host_root) all["PATH"] += ":/run/trama";  // where root_fs puts the program itself
  for (const auto& [key, value] : env) all[key] = value;
  std::vector<std::string> out;
  for (const auto& [key, value] : all) out.push_back(key + "=" + value);
  return out;
}

Error execute(const std::vector<std::string>& words, const std::vector<std::string>& environment) {
  if (words.empty()) return Error::text("there is no command");
  std::vector<char*> argv, envp;
  for (const auto& w : words) argv.push_back(const_cast<char*>(w.c_str()));
  for (const auto& e : environment) envp.push_back(const_cast<char*>(e.c_str()));
  argv.push_back(nullptr), envp.push_back(nullptr);
  const std::string& program = words[0];
  if (program.find('/') != std::string::npos) {
    ::execve(program.c_str(), argv.data(), envp.data());
    return Error::from_errno(errno, fmt::format("exec \"{}\"", program));
  }
  int err = ENOENT;
  for (const auto& e : environment)
    if (e.starts_with("PATH="))
      for (std::string_view directory : fields(std::string_view(e).substr(5), ':')) {
        if (program.empty()) break;
        ::execve(fmt::format("{}/{}", directory, program).c_str(), argv.data(), envp.data());
        if (errno != ENOENT && errno != ENOTDIR) err = errno;
      }
  if (err == ENOENT)
    return Error(std::error_code(ENOENT, std::system_category()),
                 fmt::format("exec \"{}\": not found in the container's $PATH", program));
  return Error::from_errno(err, fmt::format("exec \"{}\"", program));
}

}  // namespace trama::netns
