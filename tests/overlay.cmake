# SPDX-License-Identifier: GPL-2.0-or-later
trama_test(overlay_unit_test LABEL unit SOURCES unit/overlay/model_test.cc unit/overlay/plan_test.cc
  unit/overlay/plan_wireguard_test.cc unit/overlay/port_owner_test.cc LINKS trama_overlay_fake)
trama_test(overlay_contract_test LABEL contract SOURCES contract/overlay/kernel_contract_test.cc
  LINKS trama_overlay_fake)
trama_library(trama_overlay_lab SOURCES kernel/overlay/lab.cc LINKS trama_overlay trama_test_support GTest::gtest)
trama_test(overlay_kernel_test LABEL kernel SOURCES kernel/overlay/traffic_test.cc kernel/overlay/guards_test.cc
  kernel/overlay/node_test.cc LINKS trama_overlay_lab)
trama_test(overlay_heal_test LABEL kernel SOURCES kernel/overlay/heal_test.cc LINKS trama_overlay_running)
trama_fuzz(overlay_fuzz SOURCES fuzz/overlay_fuzz.cc LINKS trama_overlay CORPUS overlay)
trama_test(overlay_peers_test LABEL unit SOURCES unit/overlay/liveness_test.cc unit/overlay/mtu_search_test.cc unit/overlay/peers_wire_test.cc
  unit/overlay/peers_session_test.cc unit/overlay/whereabouts_test.cc unit/overlay/ways_test.cc unit/overlay/tunnel_test.cc unit/overlay/relay_test.cc unit/overlay/relaying_test.cc
  unit/overlay/wireguard_test.cc
  LINKS trama_peers trama_tunnel)
trama_fuzz(tunnel_fuzz SOURCES fuzz/tunnel_fuzz.cc LINKS trama_tunnel CORPUS tunnel)
trama_fuzz(peers_fuzz SOURCES fuzz/peers_fuzz.cc LINKS trama_peers CORPUS peers)
trama_library(trama_overlay_meshes SOURCES kernel/overlay/running_mesh.cc
  LINKS trama_overlay_lab trama_mesh trama_tunnel trama_pki)
trama_test(overlay_mesh_test LABEL kernel TIMEOUT 3600 SOURCES kernel/overlay/mesh_test.cc kernel/overlay/soak_test.cc LINKS trama_overlay_meshes)
# Running nodes with everything between them: reconciler, mesh and tunnel.
trama_library(trama_overlay_running SOURCES kernel/overlay/running_node.cc kernel/overlay/whole_node.cc
  LINKS trama_overlay_meshes trama_overlay_reconciler trama_agent_model)
trama_test(overlay_tunnel_test LABEL kernel SOURCES kernel/overlay/tunnel_test.cc kernel/overlay/relay_test.cc
  kernel/overlay/capture.cc kernel/overlay/mtu_test.cc LINKS trama_overlay_running)
trama_test(overlay_underlay_test LABEL kernel SOURCES kernel/overlay/nat_test.cc kernel/overlay/direct_test.cc
  kernel/overlay/uplinks_test.cc
  kernel/overlay/capture.cc LINKS trama_overlay_running)
trama_program(bench_overlay SOURCES bench/overlay_bench.cc bench/overlay_throughput.cc
  LINKS trama_overlay_running)
