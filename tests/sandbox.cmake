# SPDX-License-Identifier: GPL-2.0-or-later
trama_test(netns_sandbox_kernel_test LABEL kernel SOURCES kernel/netns/sandbox_test.cc LINKS trama_netns)
trama_test(netns_reconciler_kernel_test LABEL kernel SOURCES kernel/netns/reconciler_test.cc LINKS trama_netns_reconciler)
