# SPDX-License-Identifier: GPL-2.0-or-later
# Tests of the process half of netns.
trama_program(trama_pod_entry SOURCES support/pod_entry_main.cc LINKS trama_netns_process)

trama_test(netns_process_test LABEL kernel LINKS trama_netns_process SOURCES kernel/process_test.cc
  kernel/process_limits_test.cc kernel/process_root_test.cc kernel/process_exec_test.cc kernel/process_volumes_test.cc)
add_dependencies(netns_process_test trama_pod_entry)
set_property(TEST netns_process_test APPEND PROPERTY ENVIRONMENT "TRAMA_POD_ENTRY=$<TARGET_FILE:trama_pod_entry>")

trama_test(netns_process_unit_test LABEL unit LINKS trama_netns_process SOURCES unit/netns/cgroup_model_test.cc
  unit/netns/log_file_test.cc unit/netns/pod_spec_test.cc unit/netns/volume_files_test.cc)

foreach(parser spec status log)
  trama_fuzz(netns_pod_${parser}_fuzz SOURCES fuzz/netns_pod_${parser}_fuzz.cc LINKS trama_netns_process
    CORPUS netns_pod_${parser})
endforeach()
