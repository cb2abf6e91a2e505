// SPDX-License-Identifier: GPL-2.0-or-later
// The table. Field names, numbers, types, list keys and defaults are those of the Kubernetes API (v1.33).
#include "control/api/schema_table.h"

namespace trama::api {

const std::vector<SchemaPart>& schema_parts() {
  static const std::vector<SchemaPart> parts = {
      {"io.k8s.apimachinery.pkg.apis.meta.v1", meta_schema()},
      {"io.k8s.api.core.v1", core_schema()},
      {"io.k8s.api.core.v1", pod_schema()},
      {"io.k8s.api.core.v1", container_schema()},
      {"io.k8s.api.core.v1", pod_status_schema()},
      {"io.k8s.api.core.v1", volume_schema()},
      {"io.k8s.api.apps.v1", apps_schema()},
      {"io.k8s.api.apps.v1", daemon_set_schema()},
      {"io.k8s.api.batch.v1", batch_schema()},
      {"io.k8s.api.networking.v1", networking_schema()},
      {"io.k8s.api.discovery.v1", discovery_schema()},
      {"io.k8s.api.coordination.v1", coordination_schema()},
      {"io.k8s.api.certificates.v1", certificates_schema()},
      {"io.k8s.api.events.v1", events_schema()},
      {"io.k8s.api.autoscaling.v1", autoscaling_schema()},
      {"io.k8s.api.policy.v1", policy_schema()},
      {"io.k8s.api.authorization.v1", authorization_schema()},
      {"io.k8s.api.authentication.v1", authentication_schema()},
  };
  return parts;
}

}  // namespace trama::api
