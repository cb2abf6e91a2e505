// SPDX-License-Identifier: GPL-2.0-or-later
#include "overlay/tunnel/tun_device.h"

#include <cerrno>
#include <cstring>

#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <sys/ioctl.h>

namespace trama::overlay::tunnel {

using base::Error;
using base::Result;
using base::UniqueFd;

namespace {

constexpr const char* kNode = "/dev/net/tun";
constexpr unsigned kUdpSegments = 0x20 | 0x40;  // TUN_F_USO4, TUN_F_USO6: Linux 6.2

Result<UniqueFd> open_driver() {
  UniqueFd fd(::open(kNode, O_RDWR | O_CLOEXEC | O_NONBLOCK));
  if (fd) return fd;
  return Error::from_errno(
      errno, fmt::format("open {} (`modprobe tun` loads the driver; a container must be given the device)", kNode));
}

Result<UniqueFd> open_queue(const std::string& name) {
  auto driver = open_driver();
  if (!driver) return std::move(driver).error();
  auto fd = std::move(*driver);
  ifreq request{};
  name.copy(request.ifr_name, IFNAMSIZ - 1);
  request.ifr_flags = static_cast<short>(IFF_TUN | IFF_NO_PI | IFF_VNET_HDR | IFF_MULTI_QUEUE);
  if (::ioctl(fd.get(), TUNSETIFF, &request) < 0)
    return Error::from_errno(errno, fmt::format("open a queue of {}", name));
  return fd;
}

}  // namespace

Result<> can_make_tun() {
  auto driver = open_driver();
  if (!driver) return std::move(driver).error();
  return {};
}

Result<UniqueFd> hold_tun(const std::string& name) {
  auto fd = open_queue(name);
  if (!fd) return std::move(fd).error();
  if (::ioctl(fd->get(), TUNSETPERSIST, 1) < 0) return Error::from_errno(errno, fmt::format("keep {}", name));
  ifreq request{};
  request.ifr_flags = static_cast<short>(IFF_DETACH_QUEUE);
  if (::ioctl(fd->get(), TUNSETQUEUE, &request) < 0) return Error::from_errno(errno, fmt::format("hold {}", name));
  return fd;
}

Result<std::vector<UniqueFd>> attach_tun(const std::string& name, unsigned queues) {
  std::vector<UniqueFd> out;
  if (::if_nametoindex(name.c_str()) == 0) return Error::from_errno(ENODEV, name);
  for (unsigned i = 0; i < queues; ++i) {
    auto fd = open_queue(name);
    if (!fd) return std::move(fd).error();
    constexpr unsigned kTcp = TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6 | TUN_F_TSO_ECN;
    if (::ioctl(fd->get(), TUNSETOFFLOAD, kTcp | kUdpSegments) < 0 && ::ioctl(fd->get(), TUNSETOFFLOAD, kTcp) < 0 &&
        ::ioctl(fd->get(), TUNSETOFFLOAD, 0) < 0)
      return Error::from_errno(errno, fmt::format("set the offloads of {}", name));
    out.push_back(std::move(*fd));
  }
  return out;
}

}  // namespace trama::overlay::tunnel
