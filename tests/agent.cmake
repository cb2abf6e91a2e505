# SPDX-License-Identifier: GPL-2.0-or-later
trama_test(agent_model_test LABEL unit
  SOURCES unit/agent/cluster_view_test.cc unit/agent/ipam_test.cc unit/agent/local_endpoints_test.cc unit/agent/metrics_test.cc unit/agent/neighbour_table_test.cc
  unit/agent/obstacles_test.cc unit/agent/peers_test.cc unit/agent/probe_test.cc unit/agent/sandboxes_test.cc unit/agent/services_test.cc unit/agent/sources_test.cc unit/agent/status_test.cc unit/agent/topology_test.cc
  LINKS trama_agent_model)
trama_test(agent_feed_test LABEL unit SOURCES unit/agent/feed_test.cc unit/agent/settings_test.cc LINKS trama_agent)
trama_test(agent_sources_test LABEL contract SOURCES contract/agent/pod_sources_test.cc e2e/support/controller_in_thread.cc
  LINKS trama_agent trama_controller trama_client trama_pki)
trama_test(agent_dns_test LABEL unit SOURCES unit/agent/dns_cache_test.cc unit/agent/dns_message_test.cc unit/agent/dns_zone_test.cc LINKS trama_agent_dns)
trama_test(agent_http_test LABEL unit SOURCES unit/agent/http_test.cc unit/agent/service_page_test.cc LINKS trama_agent_pages)
trama_library(trama_forge SOURCES support/forge.cc LINKS OpenSSL::SSL OpenSSL::Crypto)
trama_library(trama_e2e_support SOURCES e2e/support/cluster.cc e2e/support/service_world.cc
  LINKS trama_test_support trama_api Boost::json GTest::gtest)
if(TARGET trama_controller)
  trama_test(agent_e2e_test LABEL e2e SOURCES e2e/agent_test.cc LINKS trama_e2e_support)
  trama_test(agent_nodes_e2e_test LABEL e2e SOURCES e2e/agent_nodes_test.cc LINKS trama_e2e_support)
  trama_test(agent_network_e2e_test LABEL e2e SOURCES e2e/agent_network_test.cc LINKS trama_e2e_support trama_server yaml-cpp)
  add_dependencies(agent_network_e2e_test trama)
  trama_test(agent_volumes_e2e_test LABEL e2e SOURCES e2e/agent_volumes_test.cc LINKS trama_e2e_support trama_pki)
  add_dependencies(agent_volumes_e2e_test trama)
  foreach(what ca churn dns failover identity overlay services workloads)
    trama_test(agent_${what}_e2e_test LABEL e2e TIMEOUT 900 SOURCES e2e/agent_${what}_test.cc LINKS trama_e2e_support)
    add_dependencies(agent_${what}_e2e_test trama)
  endforeach()
  trama_test(other_clients_e2e_test LABEL e2e SOURCES e2e/other_clients_test.cc LINKS trama_e2e_support)
  add_dependencies(other_clients_e2e_test trama)
  trama_test(agent_peers_e2e_test LABEL e2e SOURCES e2e/agent_peers_test.cc LINKS trama_e2e_support)
  add_dependencies(agent_peers_e2e_test trama)
  trama_test(tls_e2e_test LABEL e2e SOURCES e2e/tls_test.cc LINKS trama_e2e_support trama_forge)
  add_dependencies(tls_e2e_test trama)
  add_dependencies(agent_e2e_test trama)
  add_dependencies(agent_nodes_e2e_test trama)
endif()
trama_fuzz(agent_view_fuzz SOURCES fuzz/agent_view_fuzz.cc LINKS trama_agent_model CORPUS agent_view)
trama_fuzz(agent_pod_fuzz SOURCES fuzz/agent_pod_fuzz.cc LINKS trama_agent_model CORPUS agent_pod)
trama_fuzz(agent_dns_fuzz SOURCES fuzz/agent_dns_fuzz.cc LINKS trama_agent_zone CORPUS agent_dns)
trama_fuzz(agent_routes_fuzz SOURCES fuzz/agent_routes_fuzz.cc LINKS trama_agent_pages CORPUS agent_routes)
trama_test(agent_ports_test LABEL kernel SOURCES kernel/agent/health_ports_test.cc kernel/agent/localhost_ports_test.cc
  kernel/agent/conntrack_sysctls_test.cc
  LINKS trama_agent_ports)
trama_test(agent_dns_kernel_test LABEL kernel SOURCES kernel/agent/dns_server_test.cc LINKS trama_agent_dns)
