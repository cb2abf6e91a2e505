// SPDX-License-Identifier: GPL-2.0-or-later
// The other groups: apps, discovery.k8s.io, coordination.k8s.io and so on.
#include "control/api/schema_table.h"

namespace trama::api {

using enum Type;

std::span<const Field> apps_schema() {
  static constexpr Field rows[] = {
      // ---- Deployment, ReplicaSet
      {"Deployment", "spec", 2, object, "What is to run, how often, and how changes get there.", "DeploymentSpec"},
      {"Deployment", "status", 3, object, "How far it is.", "DeploymentStatus"},
      {"DeploymentSpec", "replicas", zero(1), integer, "Number of pods. Default 1.", "", "", false, "1"},
      {"DeploymentSpec", "selector", 2, object, "Which pods belong to it; must match the template's labels.",
       "LabelSelector", "", true},
      {"DeploymentSpec", "template", 3, object, "What the pods are made from.", "PodTemplateSpec", "", true},
      {"DeploymentSpec", "strategy", 4, object, "How old pods are replaced by new ones.", "DeploymentStrategy", "",
       false, "{}"},
      {"DeploymentSpec", "minReadySeconds", 5, integer,
       "Seconds that a pod must be ready for before it counts as available."},
      {"DeploymentSpec", "revisionHistoryLimit", zero(6), integer,
       "Number of old ReplicaSets that are kept for going back. Default 10.", "", "", false, "10"},
      {"DeploymentSpec", "paused", 7, boolean, "True if changes of the template wait."},
      {"DeploymentSpec", "progressDeadlineSeconds", zero(9), integer,
       "Seconds without progress after which it counts as failed. Default 600.", "", "", false, "600"},
      {"DeploymentStrategy", "type", 1, text, "RollingUpdate or Recreate.", "", "", false, "\"RollingUpdate\"",
       "RollingUpdate|Recreate"},
      {"DeploymentStrategy", "rollingUpdate", 2, object, "How many pods may be missing or too many on the way.",
       "RollingUpdateDeployment"},
      {"RollingUpdateDeployment", "maxUnavailable", 1, number_or_text,
       "Number or share of pods that may be missing. Default 25%."},
      {"RollingUpdateDeployment", "maxSurge", 2, number_or_text,
       "Number or share of pods that may be too many. Default 25%."},
      {"DeploymentStatus", "observedGeneration", 1, long_integer, "Generation that the status is about."},
      {"DeploymentStatus", "replicas", 2, integer, "Pods that exist."},
      {"DeploymentStatus", "updatedReplicas", 3, integer, "Pods of the present template."},
      {"DeploymentStatus", "readyReplicas", 7, integer, "Pods that are ready."},
      {"DeploymentStatus", "availableReplicas", 4, integer, "Pods that have been ready for long enough."},
      {"DeploymentStatus", "unavailableReplicas", 5, integer, "Pods that are missing."},
      {"DeploymentStatus", "terminatingReplicas", zero(9), integer, "Pods that are ending."},
      {"DeploymentStatus", "conditions", 6, list, "What is true of the deployment: Available, Progressing and others.",
       "DeploymentCondition", "type"},
      {"DeploymentStatus", "collisionCount", zero(8), integer, "How often the name of a ReplicaSet was taken."},
      {"DeploymentCondition", "type", 1, text, "What the condition is about.", "", "", true},
      {"DeploymentCondition", "status", 2, text, "Whether it holds.", "", "", true, "", "True|False|Unknown"},
      {"DeploymentCondition", "lastUpdateTime", 6, time, "When the condition was last changed."},
      {"DeploymentCondition", "lastTransitionTime", 7, time, "When the status last changed."},
      {"DeploymentCondition", "reason", 4, text, "One word for why."},
      {"DeploymentCondition", "message", 5, text, "A sentence for people."},
      {"ReplicaSet", "spec", 2, object, "What is to run and how often.", "ReplicaSetSpec"},
      {"ReplicaSet", "status", 3, object, "How far it is.", "ReplicaSetStatus"},
      {"ReplicaSetSpec", "replicas", zero(1), integer, "Number of pods. Default 1.", "", "", false, "1"},
      {"ReplicaSetSpec", "minReadySeconds", 4, integer,
       "Seconds that a pod must be ready for before it counts as available."},
      {"ReplicaSetSpec", "selector", 2, object, "Which pods belong to it; must match the template's labels.",
       "LabelSelector", "", true},
      {"ReplicaSetSpec", "template", 3, object, "What the pods are made from.", "PodTemplateSpec"},
      {"ReplicaSetStatus", "replicas", zero(1), integer, "Pods that exist."},
      {"ReplicaSetStatus", "fullyLabeledReplicas", 2, integer, "Pods that have all labels of the template."},
      {"ReplicaSetStatus", "readyReplicas", 4, integer, "Pods that are ready."},
      {"ReplicaSetStatus", "availableReplicas", 5, integer, "Pods that have been ready for long enough."},
      {"ReplicaSetStatus", "terminatingReplicas", zero(7), integer, "Pods that are ending."},
      {"ReplicaSetStatus", "observedGeneration", 3, long_integer, "Generation that the status is about."},
      {"ReplicaSetStatus", "conditions", 6, list, "What is true of it.", "ReplicaSetCondition", "type"},
      {"ReplicaSetCondition", "type", 1, text, "What the condition is about.", "", "", true},
      {"ReplicaSetCondition", "status", 2, text, "Whether it holds.", "", "", true, "", "True|False|Unknown"},
      {"ReplicaSetCondition", "lastTransitionTime", 3, time, "When the status last changed."},
      {"ReplicaSetCondition", "reason", 4, text, "One word for why."},
      {"ReplicaSetCondition", "message", 5, text, "A sentence for people."},
  };
  return rows;
}

std::span<const Field> discovery_schema() {
  static constexpr Field rows[] = {
      // ---- EndpointSlice
      {"EndpointSlice", "addressType", 4, text, "Family of the addresses: IPv4, IPv6 or FQDN.", "", "", true, "",
       "IPv4|IPv6|FQDN"},
      {"EndpointSlice", "endpoints", 2, list, "The endpoints, up to 1000.", "Endpoint"},
      {"EndpointSlice", "ports", 3, list, "Ports of every endpoint.", "EndpointPort"},
      {"Endpoint", "addresses", 1, texts, "Addresses of the endpoint; the first one is used.", "", "", true},
      {"Endpoint", "conditions", 2, object, "Whether it can be used.", "EndpointConditions"},
      {"Endpoint", "hostname", zero(3), text, "Name of the endpoint in DNS."},
      {"Endpoint", "targetRef", 4, object, "The pod behind it.", "ObjectReference"},
      {"Endpoint", "deprecatedTopology", 5, map, "Replaced by nodeName and zone."},
      {"Endpoint", "nodeName", zero(6), text, "Node that it is on."},
      {"Endpoint", "zone", zero(7), text, "Zone that it is in."},
      {"Endpoint", "hints", 8, object, "Who should use it.", "EndpointHints"},
      {"EndpointConditions", "ready", zero(1), boolean, "Whether it takes new connections. Unset means yes."},
      {"EndpointConditions", "serving", zero(2), boolean, "Whether it still answers, even while it is ending."},
      {"EndpointConditions", "terminating", zero(3), boolean, "Whether it is ending."},
      {"EndpointHints", "forZones", 1, list, "Zones whose clients should use it.", "ForZone"},
      {"EndpointHints", "forNodes", 2, list, "Nodes whose clients should use it.", "ForNode"},
      {"ForZone", "name", 1, text, "Name of the zone."},
      {"ForNode", "name", 1, text, "Name of the node."},
      {"EndpointPort", "name", zero(1), text, "Name of the port, as in the service."},
      {"EndpointPort", "protocol", zero(2), text, "TCP, UDP or SCTP.", "", "", false, "\"TCP\"", "TCP|UDP|SCTP"},
      {"EndpointPort", "port", zero(3), integer, "Port number."},
      {"EndpointPort", "appProtocol", zero(4), text, "What is spoken on the port, as a hint."},
  };
  return rows;
}

std::span<const Field> coordination_schema() {
  static constexpr Field rows[] = {
      // ---- Lease
      {"Lease", "spec", 2, object, "Who holds the lease and until when.", "LeaseSpec"},
      {"LeaseSpec", "holderIdentity", zero(1), text, "Who holds it."},
      {"LeaseSpec", "leaseDurationSeconds", zero(2), integer, "Seconds that others wait after the last renewal."},
      {"LeaseSpec", "acquireTime", 3, micro_time, "When the holder took it."},
      {"LeaseSpec", "renewTime", 4, micro_time, "When the holder last renewed it."},
      {"LeaseSpec", "leaseTransitions", zero(5), integer, "How often the holder has changed."},
      {"LeaseSpec", "strategy", zero(6), text, "How the holder is chosen."},
      {"LeaseSpec", "preferredHolder", zero(7), text, "Who should take it next."},
  };
  return rows;
}

std::span<const Field> certificates_schema() {
  static constexpr Field rows[] = {
      // ---- CertificateSigningRequest
      {"CertificateSigningRequest", "spec", 2, object, "What is asked for. It cannot be changed.",
       "CertificateSigningRequestSpec"},
      {"CertificateSigningRequest", "status", 3, object, "What has become of it.", "CertificateSigningRequestStatus"},
      {"CertificateSigningRequestSpec", "request", 1, bytes, "The PKCS#10 request in PEM, in base64.", "", "", true},
      {"CertificateSigningRequestSpec", "signerName", 7, text, "Who is to sign it.", "", "", true},
      {"CertificateSigningRequestSpec", "expirationSeconds", zero(8), integer,
       "Seconds that the certificate should be good for."},
      {"CertificateSigningRequestSpec", "usages", 5, texts, "What the key is to be used for."},
      {"CertificateSigningRequestSpec", "username", 2, text, "Who asked. Set by the server."},
      {"CertificateSigningRequestSpec", "uid", 3, text, "uid of who asked. Set by the server."},
      {"CertificateSigningRequestSpec", "groups", 4, texts, "Groups of who asked. Set by the server."},
      {"CertificateSigningRequestSpec", "extra", 6, text_lists, "More about who asked. Set by the server."},
      {"CertificateSigningRequestStatus", "conditions", 1, list, "Approved, Denied or Failed.",
       "CertificateSigningRequestCondition", "type"},
      {"CertificateSigningRequestStatus", "certificate", 2, bytes, "The certificate with its chain in PEM, in base64."},
      {"CertificateSigningRequestCondition", "type", 1, text, "What the condition is about.", "", "", true},
      {"CertificateSigningRequestCondition", "status", 6, text, "Whether it holds.", "", "", true, "",
       "True|False|Unknown"},
      {"CertificateSigningRequestCondition", "reason", 2, text, "One word for why."},
      {"CertificateSigningRequestCondition", "message", 3, text, "A sentence for people."},
      {"CertificateSigningRequestCondition", "lastUpdateTime", 4, time, "When the condition was last changed."},
      {"CertificateSigningRequestCondition", "lastTransitionTime", 5, time, "When the status last changed."},
  };
  return rows;
}

std::span<const Field> events_schema() {
  static constexpr Field rows[] = {
      // ---- Event, as events.k8s.io has it
      {"events.Event", "eventTime", 2, micro_time, "When the event was first seen."},
      {"events.Event", "series", 3, object, "Repetitions of the event.", "events.EventSeries"},
      {"events.Event", "reportingController", 4, text, "Name of the controller that reports it."},
      {"events.Event", "reportingInstance", 5, text, "Which of its instances."},
      {"events.Event", "action", 6, text, "What was done or failed."},
      {"events.Event", "reason", 7, text, "One word for what happened."},
      {"events.Event", "regarding", 8, object, "What the event is about.", "ObjectReference"},
      {"events.Event", "related", 9, object, "A second object that the event is about.", "ObjectReference"},
      {"events.Event", "note", 10, text, "What happened, for people."},
      {"events.Event", "type", 11, text, "Normal or Warning."},
      {"events.Event", "deprecatedSource", 12, object, "As source of core Events.", "EventSource"},
      {"events.Event", "deprecatedFirstTimestamp", 13, time, "As firstTimestamp of core Events."},
      {"events.Event", "deprecatedLastTimestamp", 14, time, "As lastTimestamp of core Events."},
      {"events.Event", "deprecatedCount", 15, integer, "As count of core Events."},
      {"events.EventSeries", "count", zero(1), integer, "How often it has happened."},
      {"events.EventSeries", "lastObservedTime", 2, micro_time, "When it happened last."},
  };
  return rows;
}

std::span<const Field> autoscaling_schema() {
  static constexpr Field rows[] = {
      // ---- subresources that have kinds of their own
      {"Scale", "spec", 2, object, "The wanted number.", "ScaleSpec"},
      {"Scale", "status", 3, object, "The present number.", "ScaleStatus"},
      {"ScaleSpec", "replicas", zero(1), integer, "Number of pods wanted."},
      {"ScaleStatus", "replicas", zero(1), integer, "Number of pods that exist."},
      {"ScaleStatus", "selector", 2, text, "Which pods these are, as text."},
  };
  return rows;
}

std::span<const Field> policy_schema() {
  static constexpr Field rows[] = {
      {"Eviction", "deleteOptions", 2, object, "How the pod is deleted.", "DeleteOptions"},
  };
  return rows;
}

}  // namespace trama::api
