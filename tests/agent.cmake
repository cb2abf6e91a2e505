# SPDX-License-Identifier: GPL-2.0-or-later
trama_test(agent_model_test LABEL unit
  SOURCES unit/agent/cluster_view_test.cc unit/agent/ipam_test.cc unit/agent/probe_test.cc unit/agent/sandboxes_test.cc unit/agent/services_test.cc unit/agent/status_test.cc unit/agent/topology_test.cc
  LINKS trama_agent_model)
