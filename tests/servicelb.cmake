# SPDX-License-Identifier: GPL-2.0-or-later
trama_library(trama_service_lab SOURCES kernel/servicelb/lab.cc kernel/servicelb/traffic.cc
              LINKS trama_test_support trama_servicelb GTest::gmock GTest::gtest)
trama_test(servicelb_traffic_test LABEL kernel SOURCES kernel/servicelb/traffic_test.cc LINKS trama_servicelb trama_service_lab)
trama_test(servicelb_features_test LABEL kernel SOURCES kernel/servicelb/addresses_test.cc kernel/servicelb/policies_test.cc
           kernel/servicelb/affinity_test.cc kernel/servicelb/drawing_test.cc kernel/servicelb/leaving_test.cc
           kernel/servicelb/transitions_test.cc kernel/servicelb/faults_test.cc LINKS trama_servicelb trama_service_lab)
trama_test(servicelb_hot_service_test LABEL kernel TIMEOUT 300 SOURCES kernel/servicelb/hot_service_test.cc
           LINKS trama_servicelb trama_service_lab)
trama_library(trama_fake_nft SOURCES support/fake_nft.cc support/nft_machine.cc support/service_reference.cc LINKS trama_servicelb_plan)
trama_test(servicelb_plan_test LABEL unit SOURCES unit/servicelb/plan_test.cc LINKS trama_servicelb trama_fake_nft)
trama_test(servicelb_faults_test LABEL unit SOURCES unit/servicelb/faults_test.cc LINKS trama_servicelb trama_fake_nft)
trama_test(servicelb_parts_test LABEL unit SOURCES unit/servicelb/select_test.cc unit/servicelb/slots_test.cc
           unit/servicelb/draw_test.cc unit/servicelb/flows_test.cc unit/servicelb/ids_test.cc LINKS trama_servicelb_plan)
trama_test(servicelb_property_test LABEL unit SOURCES unit/servicelb/property_test.cc LINKS trama_servicelb trama_fake_nft)
trama_library(trama_running_reconciler SOURCES kernel/servicelb/running_reconciler.cc
              LINKS trama_servicelb trama_test_support GTest::gmock GTest::gtest)
trama_test(servicelb_heal_test LABEL kernel SOURCES kernel/servicelb/heal_test.cc LINKS trama_running_reconciler)
trama_test(servicelb_tamper_test LABEL kernel TIMEOUT 600 SOURCES kernel/servicelb/tamper_test.cc
           LINKS trama_running_reconciler trama_service_lab)
trama_program(bench_services SOURCES bench/services_bench.cc bench/services_rig.cc bench/services_peer.cc
  bench/services_packets.cc LINKS trama_servicelb trama_test_support)
trama_test(servicelb_contract_test LABEL contract SOURCES contract/servicelb/kernel_test.cc LINKS trama_servicelb trama_fake_nft)
