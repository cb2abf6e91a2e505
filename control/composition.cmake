# SPDX-License-Identifier: GPL-2.0-or-later
trama_library(trama_controller SOURCES controller.cc account_tokens.cc ca_rotation.cc leadership.cc loop_set.cc migration.cc sockets.cc health_port.cc agent_proxy.cc
  LINKS trama_server trama_scheduler trama_controllers trama_store trama_client trama_pki)
