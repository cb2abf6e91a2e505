# SPDX-License-Identifier: GPL-2.0-or-later
trama_library(trama_service_lab SOURCES kernel/servicelb/lab.cc LINKS trama_test_support trama_servicelb_plan)
trama_test(servicelb_traffic_test LABEL kernel SOURCES kernel/servicelb/traffic_test.cc LINKS trama_servicelb trama_service_lab)
