# SPDX-License-Identifier: GPL-2.0-or-later
trama_test(nft_kernel_test LABEL kernel SOURCES kernel/nft/ruleset_test.cc LINKS trama_nft)
