# SPDX-License-Identifier: GPL-2.0-or-later
trama_test(agent_ipam_test LABEL unit SOURCES unit/agent/ipam_test.cc LINKS trama_agent_model)
