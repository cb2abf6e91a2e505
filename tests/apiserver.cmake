# SPDX-License-Identifier: GPL-2.0-or-later
# Tests of the API's objects, the store and the API server.
set(api_tests service_options patch schema protobuf openapi managed_fields selector quantity lifecycle validate validate_scheduling workload_kinds table types)
list(TRANSFORM api_tests PREPEND unit/control/api/ OUTPUT_VARIABLE api_sources)
list(TRANSFORM api_sources APPEND _test.cc)
trama_test(control_api_test LABEL unit SOURCES ${api_sources} LINKS trama_api)
trama_library(trama_store_rig SOURCES contract/store/store_rig.cc contract/store/log_model.cc contract/store/memory_disk.cc
  support/etcd_cluster.cc support/cable.cc LINKS trama_store trama_test_support SQLite::SQLite3)
trama_test(control_store_test LABEL contract SOURCES contract/store/store_test.cc contract/store/etcd_store_test.cc contract/store/backup_test.cc
  LINKS trama_store_rig)
trama_program(trama_store_writer SOURCES support/store_writer_main.cc LINKS trama_store)
trama_test(control_store_crash_test LABEL contract SOURCES contract/store/store_crash_test.cc LINKS trama_store_rig)
add_dependencies(control_store_crash_test trama_store_writer)
set_property(TEST control_store_crash_test APPEND PROPERTY ENVIRONMENT
  "TRAMA_STORE_WRITER=$<TARGET_FILE:trama_store_writer>")
trama_test(control_store_damage_test LABEL contract SOURCES contract/store/power_cut_test.cc contract/store/damage_test.cc
  LINKS trama_store_rig)
trama_test(control_store_history_test LABEL contract SOURCES contract/store/watch_guarantees_test.cc
  contract/store/watch_history.cc contract/store/linearizability_test.cc contract/store/linearizable.cc
  LINKS trama_server trama_store_rig)
trama_test(control_store_disk_test LABEL kernel SOURCES kernel/store_disk_full_test.cc LINKS trama_store_rig)
trama_test(control_etcd_wire_test LABEL unit SOURCES unit/control/etcd/wire_test.cc LINKS trama_store)
trama_test(control_etcd_test LABEL contract SOURCES contract/store/etcd_control_test.cc LINKS trama_controllers trama_store_rig)
trama_fuzz(etcd_wire_fuzz SOURCES fuzz/etcd_wire_fuzz.cc LINKS trama_store CORPUS etcd_wire)
trama_fuzz(api_selector_fuzz SOURCES fuzz/api_selector_fuzz.cc LINKS trama_api CORPUS api_selector)
trama_fuzz(service_options_fuzz SOURCES fuzz/service_options_fuzz.cc LINKS trama_api CORPUS service_options)
trama_fuzz(api_patch_fuzz SOURCES fuzz/api_patch_fuzz.cc LINKS trama_api CORPUS api_patch)
trama_fuzz(api_protobuf_fuzz SOURCES fuzz/api_protobuf_fuzz.cc LINKS trama_api CORPUS api_protobuf)
trama_fuzz(api_route_fuzz SOURCES fuzz/api_route_fuzz.cc LINKS trama_server CORPUS api_route)
trama_test(control_server_test LABEL unit SOURCES unit/control/server/route_test.cc unit/control/server/authorize_test.cc unit/control/server/throttle_test.cc
  unit/control/server/handlers_test.cc unit/control/server/handlers_protobuf_test.cc
  unit/control/server/handlers_apply_test.cc LINKS trama_server trama_store_rig)
trama_test(control_limits_test LABEL contract SOURCES contract/server/limits_test.cc contract/server/https_rig.cc
  LINKS trama_server trama_pki trama_test_support)
trama_test(control_roles_test LABEL unit SOURCES unit/control/server/roles_test.cc LINKS trama_server trama_store_rig)
trama_test(control_backup_test LABEL e2e SOURCES e2e/controller_backup_test.cc LINKS trama_store_rig)
add_dependencies(control_backup_test trama)
trama_test(control_kubectl_test LABEL e2e SOURCES e2e/kubectl_objects_test.cc e2e/kubectl_workloads_test.cc
  e2e/kubectl_apply_test.cc e2e/kubectl_network_test.cc e2e/kubectl_access_test.cc e2e/support/kubectl.cc LINKS trama_controller)
# What Debian's kubectl cannot do, with a newer one where scripts/install-packages has it.
add_test(NAME control_new_kubectl_test COMMAND control_kubectl_test
  "--gtest_filter=Kubectl.CreatesWithoutFiles:Kubectl.RefusalsReadAsUpstreams:Kubectl.UnknownFieldsAreRefusedByTheServer:Kubectl.RolesAndWhatTheyMay:Kubectl.TokensOfAccounts:Kubectl.ServerSideApply:Kubectl.ApplyIsIdempotentAndValidates")
set_tests_properties(control_new_kubectl_test PROPERTIES LABELS e2e TIMEOUT 300 ENVIRONMENT
  "TRAMA_SOURCE_DIR=${CMAKE_SOURCE_DIR};TRAMA_BINARY=$<$<TARGET_EXISTS:trama>:$<TARGET_FILE:trama>>;TRAMA_KUBECTL_NAME=kubectl-1.33")
if(TARGET trama)
  trama_test(control_etcd_e2e_test LABEL e2e TIMEOUT 1800 SOURCES e2e/controllers_on_etcd_test.cc
    e2e/support/several_controllers.cc LINKS trama_client trama_store_rig)
  add_dependencies(control_etcd_e2e_test trama)
endif()
add_dependencies(control_kubectl_test trama)
