# SPDX-License-Identifier: GPL-2.0-or-later
trama_test(netns_sandbox_kernel_test LABEL kernel SOURCES kernel/netns/sandbox_test.cc LINKS trama_netns)
trama_test(netns_guard_kernel_test LABEL kernel SOURCES kernel/netns/guard_test.cc LINKS trama_netns)
trama_test(netns_crash_kernel_test LABEL kernel SOURCES kernel/netns/crash_test.cc LINKS trama_netns)
trama_test(netns_reconciler_kernel_test LABEL kernel SOURCES kernel/netns/reconciler_test.cc LINKS trama_netns_reconciler)

add_executable(sandbox_bench bench/sandbox_bench.cc)
target_link_libraries(sandbox_bench PRIVATE trama_netns trama_test_support)
trama_test(netns_plan_test LABEL unit SOURCES unit/netns/plan_test.cc LINKS trama_netns_model)
