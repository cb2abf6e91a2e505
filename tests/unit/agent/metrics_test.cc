// SPDX-License-Identifier: GPL-2.0-or-later
#include <gtest/gtest.h>

#include "agent/service_metrics.h"
#include "tests/unit/agent/metrics_check.h"

namespace trama::agent {
namespace {

using std::chrono::milliseconds;

TEST(MetricsCheck, CanFail) {
  EXPECT_EQ(check_metrics("# HELP a b\n# TYPE a gauge\na 1\na{b=\"c\"} 2.5\n"), "");
  for (const char* bad :
       {"", "a 1\n", "# HELP a b\n# TYPE a gauge\na 1", "# HELP a b\n# TYPE a gauge\na x\n",
        "# HELP a b\n# TYPE a gauge\na 1\na 2\n", "# HELP a b\n# TYPE a gauge\nb 1\n",
        "# HELP a b\n# TYPE a nonsense\n", "# HELP a b\n# TYPE a gauge\na{b=c} 1\n",
        "# HELP a b\n# TYPE a counter\na -1\n", "# HELP a b\n# TYPE a gauge\na 1\n# HELP a b\n# TYPE a gauge\n",
        "# HELP h b\n# TYPE h histogram\nh_bucket{le=\"1\"} 2\nh_bucket{le=\"+Inf\"} 1\nh_sum 1\nh_count 1\n",
        "# HELP h b\n# TYPE h histogram\nh_bucket{le=\"1\"} 1\nh_sum 1\nh_count 1\n",
        "# HELP h b\n# TYPE h histogram\nh_bucket{le=\"+Inf\"} 1\nh_sum 1\nh_count 2\n"})
    EXPECT_NE(check_metrics(bad), "") << bad;
}

TEST(Histogram, BucketsAreCumulativeAndBoundsInclusive) {
  Histogram h({0.1, 1});
  for (double v : {0.05, 0.1, 0.5, 7.0}) h.observe(v);
  MetricsText m;
  m.histogram("h", "Help.", h);
  EXPECT_EQ(
      std::move(m).text(),
      "# HELP h Help.\n# TYPE h histogram\nh_bucket{le=\"0.1\"} 2\nh_bucket{le=\"1\"} 3\nh_bucket{le=\"+Inf\"} 4\n"
      "h_sum 7.65\nh_count 4\n");
}

class ServiceMetricsTest : public ::testing::Test {
 protected:
  ServiceMetrics::Now now() const { return {std::chrono::steady_clock::time_point() + time, start + time}; }
  void told(std::uint64_t generation, bool service, bool endpoints,
            std::optional<base::Timestamp> triggered = std::nullopt) {
    ToldChange change;
    change.generation = generation;
    change.service = service;
    change.endpoints = endpoints;
    change.triggered = triggered;
    metrics.told(change, now());
  }
  void passed(std::uint64_t generation, bool failed = false, bool healed = false) {
    ServicePass pass;
    pass.generation = generation;
    pass.operations = 4;
    pass.failed = failed;
    pass.healed = healed;
    pass.took = milliseconds(125);
    pass.elements = 40 + generation;
    metrics.passed(pass, now());
  }
  std::string value(const std::string& series) const {
    auto text = metrics.text(totals);
    EXPECT_EQ(check_metrics(text), "");
    return metric_value(text, series);
  }
  const base::Timestamp start = base::parse_timestamp("2026-01-02T03:04:05Z").value_or(base::Timestamp());
  milliseconds time{1000};
  ServiceMetrics::Totals totals;
  ServiceMetrics metrics{now()};
};

TEST_F(ServiceMetricsTest, FromToldToProgrammed) {
  EXPECT_EQ(value("kubeproxy_sync_proxy_rules_last_timestamp_seconds"), "0");
  time = milliseconds(2000);
  told(1, true, false);
  told(2, true, true);
  EXPECT_EQ(value("kubeproxy_sync_proxy_rules_service_changes_pending"), "2");
  EXPECT_EQ(value("kubeproxy_sync_proxy_rules_endpoint_changes_pending"), "1");
  EXPECT_EQ(metrics.oldest_pending(), now().steady);
  time = milliseconds(2125);
  told(3, false, true);
  passed(2);
  EXPECT_EQ(metrics.oldest_pending(), now().steady);
  EXPECT_EQ(value("kubeproxy_sync_proxy_rules_service_changes_pending"), "0");
  EXPECT_EQ(value("kubeproxy_sync_proxy_rules_endpoint_changes_pending"), "1");
  EXPECT_EQ(value("kubeproxy_sync_proxy_rules_service_changes_total"), "2");
  EXPECT_EQ(value("kubeproxy_sync_proxy_rules_endpoint_changes_total"), "2");
  EXPECT_EQ(value("trama_service_change_latency_seconds_count"), "2");
  EXPECT_EQ(value("trama_service_change_latency_seconds_sum"), "0.25");
  EXPECT_EQ(value("kubeproxy_sync_proxy_rules_duration_seconds_sum"), "0.125") << "one pass, however many changes";
  EXPECT_LT(metrics.updated(), start + time) << "the third change is still missing";
  time = milliseconds(2250);
  passed(3);
  EXPECT_FALSE(metrics.oldest_pending());
  EXPECT_EQ(metrics.updated(), start + time);
  EXPECT_EQ(value("trama_service_sync_duration_seconds_sum"), "0.25");
  EXPECT_EQ(value("trama_service_elements_written_total"), "8");
  EXPECT_EQ(value("trama_service_elements"), "43");
}

TEST_F(ServiceMetricsTest, CountedConnectionsHaveTheirLabels) {
  std::vector<CountedEndpoint> counted{{"default", "web", "http", "tcp", "10.244.1.2:8080", "default/web-1", 17}};
  auto text = metrics.text(totals, counted);
  EXPECT_EQ(check_metrics(text), "");
  EXPECT_EQ(metric_value(text,
                         "trama_service_connections_total{namespace=\"default\",service=\"web\",port=\"http\","
                         "protocol=\"tcp\",endpoint=\"10.244.1.2:8080\",pod=\"default/web-1\"}"),
            "17");
}

TEST_F(ServiceMetricsTest, ProgrammingLatencyCountsFromTheTriggerUnlessItIsOlderThanWe) {
  told(1, false, true, start);
  told(2, false, true, start + milliseconds(1500));
  time = milliseconds(2000);
  passed(2);
  EXPECT_EQ(value("kubeproxy_network_programming_duration_seconds_count"), "1");
  EXPECT_EQ(value("kubeproxy_network_programming_duration_seconds_sum"), "0.5");
  EXPECT_EQ(value("kubeproxy_network_programming_duration_seconds_bucket{le=\"0.25\"}"), "0");
  EXPECT_EQ(value("kubeproxy_network_programming_duration_seconds_bucket{le=\"0.5\"}"), "1");
}

TEST_F(ServiceMetricsTest, FailuresRetriesHealsAndAnswers) {
  told(1, true, false);
  passed(0, true);
  EXPECT_TRUE(metrics.oldest_pending());
  passed(1);
  passed(1, false, true);
  metrics.answered(false, 200);
  metrics.answered(false, 503);
  metrics.answered(true, 200);
  totals.no_local.external = 2;
  EXPECT_EQ(value("trama_service_failures_total"), "1");
  EXPECT_EQ(value("kubeproxy_sync_proxy_rules_nftables_sync_failures_total"), "1");
  EXPECT_EQ(value("trama_service_retries_total"), "1");
  EXPECT_EQ(value("trama_service_heals_total"), "1");
  EXPECT_EQ(value("kubeproxy_proxy_healthz_total{code=\"200\"}"), "1");
  EXPECT_EQ(value("kubeproxy_proxy_healthz_total{code=\"503\"}"), "1");
  EXPECT_EQ(value("kubeproxy_proxy_livez_total{code=\"200\"}"), "1");
  EXPECT_EQ(value("kubeproxy_sync_proxy_rules_no_local_endpoints_total{traffic_policy=\"external\"}"), "2");
}

}  // namespace
}  // namespace trama::agent
