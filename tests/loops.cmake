# SPDX-License-Identifier: GPL-2.0-or-later
trama_test(control_plans_test LABEL unit
  SOURCES unit/control/service_allocation_test.cc unit/control/endpoint_slice_plan_test.cc unit/control/endpoints_plan_test.cc
          unit/control/endpoints_loop_test.cc unit/control/node_plans_test.cc
          unit/control/workloads_test.cc unit/control/daemon_set_plan_test.cc unit/control/daemon_set_history_test.cc unit/control/job_plan_test.cc
          unit/control/owned_pods_test.cc unit/control/pod_account_test.cc
          unit/control/csr_plan_test.cc
          unit/control/meta_test.cc unit/control/loop_test.cc unit/control/election_test.cc
  LINKS trama_scheduler trama_controllers)
trama_test(control_scheduler_test LABEL unit
  SOURCES unit/control/scheduler/choice_test.cc unit/control/scheduler/rules_test.cc unit/control/scheduler/waiting_test.cc
          unit/control/scheduler/property_test.cc unit/control/scheduler/reference.cc
  LINKS trama_scheduler)
trama_program(bench_scheduler SOURCES bench/scheduler_bench.cc LINKS trama_scheduler)
trama_fuzz(scheduling_fuzz SOURCES fuzz/scheduling_fuzz.cc LINKS trama_scheduler CORPUS scheduling)
trama_test(control_pki_test LABEL unit SOURCES unit/control/pki_test.cc unit/control/jwt_test.cc LINKS trama_client trama_pki)
trama_fuzz(jwt_fuzz SOURCES fuzz/jwt_fuzz.cc LINKS trama_pki CORPUS jwt)
trama_test(control_client_test LABEL unit SOURCES unit/control/client_test.cc unit/control/bad_servers_test.cc unit/control/tls_script.cc
  LINKS trama_client trama_pki)
trama_test(control_controller_test LABEL e2e
  SOURCES e2e/controller_test.cc e2e/controller_joining_test.cc e2e/controller_workloads_test.cc
          e2e/controller_streams_test.cc e2e/support/controller_in_thread.cc unit/control/tls_script.cc
  LINKS trama_controller trama_client trama_pki)
