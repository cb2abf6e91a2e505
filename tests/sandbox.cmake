# SPDX-License-Identifier: GPL-2.0-or-later
trama_test(netns_sandbox_kernel_test LABEL kernel SOURCES kernel/netns/sandbox_test.cc LINKS trama_netns)
trama_test(netns_guard_kernel_test LABEL kernel SOURCES kernel/netns/guard_test.cc LINKS trama_netns)
trama_test(netns_crash_kernel_test LABEL kernel SOURCES kernel/netns/crash_test.cc LINKS trama_netns)
trama_test(netns_reconciler_kernel_test LABEL kernel SOURCES kernel/netns/reconciler_test.cc LINKS trama_netns_reconciler)

add_executable(sandbox_bench bench/sandbox_bench.cc)
target_link_libraries(sandbox_bench PRIVATE trama_netns trama_test_support)
trama_test(netns_plan_test LABEL unit SOURCES unit/netns/plan_test.cc LINKS trama_netns_model)
trama_test(netlink_message_test LABEL unit SOURCES unit/netlink/message_test.cc LINKS trama_netlink)
trama_fuzz(netlink_fuzz SOURCES fuzz/netlink_fuzz.cc LINKS trama_netlink CORPUS netlink)
trama_test(base_test LABEL unit SOURCES unit/base/base_test.cc LINKS trama_base)
trama_test(async_test LABEL unit SOURCES unit/async/async_test.cc LINKS trama_async)
trama_test(netlink_contract_test LABEL contract SOURCES contract/netlink/rtnl_test.cc LINKS trama_netlink)
