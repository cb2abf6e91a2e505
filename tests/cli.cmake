# SPDX-License-Identifier: GPL-2.0-or-later
# Tests of the command line and the lab builder.
trama_test(cli_unit_test LABEL unit SOURCES unit/cli/yaml_test.cc unit/cli/words_test.cc unit/cli/lab_test.cc
  unit/cli/echo_test.cc unit/cli/debug_test.cc LINKS trama_cli_verbs trama_cli_lab_model trama_cli_echo)
trama_test(cli_echo_test LABEL kernel SOURCES kernel/cli_echo_test.cc LINKS trama_cli_echo Threads::Threads)
trama_test(cli_program_test LABEL e2e SOURCES e2e/program_test.cc LINKS trama_base)
add_dependencies(cli_program_test trama)
if(TARGET trama_cli_lab AND EXISTS ${CMAKE_CURRENT_SOURCE_DIR}/kernel/cli_lab_network_test.cc)
  trama_test(cli_ready_test LABEL unit SOURCES unit/cli/ready_test.cc LINKS trama_cli_lab)
  trama_test(cli_lab_network_test LABEL kernel SOURCES kernel/cli_lab_network_test.cc LINKS trama_cli_lab)
endif()
trama_fuzz(cli_yaml_fuzz SOURCES fuzz/cli_yaml_fuzz.cc LINKS trama_cli_lab_model CORPUS cli_yaml)
trama_fuzz(cli_http_fuzz SOURCES fuzz/cli_http_fuzz.cc LINKS trama_cli_echo CORPUS cli_http)
if(TARGET trama_controller AND TARGET trama_agent AND TARGET trama_cli_lab)
  trama_test(cli_lab_test LABEL e2e TIMEOUT 600 SOURCES e2e/cli_lab_test.cc LINKS trama_base)
  add_dependencies(cli_lab_test trama)
  # Labs take over cgroups and /run/netns, and their times mean something: one at a time.
  set_tests_properties(cli_lab_test PROPERTIES RUN_SERIAL TRUE)
endif()
