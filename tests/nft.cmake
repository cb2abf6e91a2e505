# SPDX-License-Identifier: GPL-2.0-or-later
trama_test(nft_kernel_test LABEL kernel SOURCES kernel/nft/ruleset_test.cc LINKS trama_nft)
trama_test(nft_contract_test LABEL contract SOURCES contract/nft/base_chains_test.cc LINKS trama_nft)
trama_test(nft_batch_test LABEL unit SOURCES unit/nft/batch_test.cc LINKS trama_nft)
trama_fuzz(nft_fuzz SOURCES fuzz/nft_fuzz.cc LINKS trama_servicelb_plan CORPUS nft)
