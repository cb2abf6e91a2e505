# SPDX-License-Identifier: GPL-2.0-or-later
# Services as Kubernetes' own end-to-end tests expect them, on real binaries; one cluster of three nodes for each file.
# (agent.cmake, which comes first, makes trama_e2e_support.)
if(TARGET trama_controller AND TARGET trama_e2e_support)
  foreach(what basics kinds affinity policies terminating lifecycle conntrack topology balancing)
    trama_test(services_${what}_e2e_test LABEL e2e SOURCES e2e/services_${what}_test.cc LINKS trama_e2e_support)
    add_dependencies(services_${what}_e2e_test trama)
  endforeach()
endif()
