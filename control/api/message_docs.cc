// SPDX-License-Identifier: GPL-2.0-or-later
#include <array>
#include <utility>

#include "control/api/openapi.h"

namespace trama::api {

std::string_view message_doc(std::string_view message) {
  using Doc = std::pair<std::string_view, std::string_view>;
  static constexpr auto docs = std::to_array<Doc>({
      {"Namespace", "A namespace is a room for names: objects in it are found and deleted together."},
      {"Node", "A node is a machine, or a network namespace of one, whose agent runs pods."},
      {"Pod", "A pod is a group of containers that share a network namespace and an address on one node."},
      {"Service", "A service is one address and port in front of the pods that its selector chooses."},
      {"Event", "An event says what happened to an object. It is kept for a while and then forgotten."},
      {"events.Event", "An event says what happened to an object. It is kept for a while and then forgotten."},
      {"ConfigMap", "A ConfigMap keeps configuration that is not secret."},
      {"Secret", "A Secret keeps what only some may read. It is not encrypted in the store."},
      {"ServiceAccount", "A ServiceAccount is an identity for processes in pods."},
      {"Deployment", "A Deployment keeps a number of equal pods running and replaces them step by step on a change."},
      {"ReplicaSet", "A ReplicaSet keeps a number of equal pods running. Deployments make them; people rarely do."},
      {"ControllerRevision", "A ControllerRevision remembers one state of a DaemonSet's template, to go back to."},
      {"DaemonSet", "A DaemonSet keeps one pod running on every node that it is for."},
      {"Job", "A Job runs pods until enough of them have succeeded."},
      {"NetworkPolicy", "A NetworkPolicy says what pods may send and get. It is stored; no node acts on it yet."},
      {"Endpoints", "The addresses behind a service of the same name. EndpointSlices say the same without a limit."},
      {"EndpointSubset", "Addresses that share the same ports."},
      {"EndpointSlice", "An EndpointSlice holds endpoints of a service, of one address family."},
      {"Lease", "A Lease says who holds something and for how long: a leader its office, a node its life."},
      {"CertificateSigningRequest", "A CertificateSigningRequest asks the cluster's authority for a certificate."},
      {"Scale", "The number of pods of a workload, as a subresource of it."},
      {"Binding", "A Binding gives a pod its node."},
      {"Eviction", "An Eviction deletes a pod if nothing speaks against it."},
      {"DeleteOptions", "How an object is to be deleted."},
      {"SelfSubjectAccessReview", "Asks whether the asker may do one thing."},
      {"SelfSubjectRulesReview", "Asks what the asker may do in a namespace."},
      {"SelfSubjectReview", "Asks who the asker is to the server."},
      {"ObjectMeta", "Name, identity and labels: what every object has."},
      {"OwnerReference", "Names an object that another one belongs to."},
      {"ManagedFieldsEntry", "The fields that one manager has set."},
      {"LabelSelector", "Chooses objects by their labels. All of its conditions must hold; an empty one chooses all."},
      {"ObjectReference", "Names an object."},
      {"LocalObjectReference", "Names an object in the same namespace."},
      {"Condition", "One aspect of the state of an object."},
      {"NodeSpec", "What the node is to be."},
      {"NodeStatus", "What the node's agent reports."},
      {"PodSpec", "What is to run in a pod, and how."},
      {"PodStatus", "What the node reports of a pod."},
      {"PodTemplateSpec", "What pods are made from."},
      {"Container", "One process, with the processes it starts, in the namespaces of its pod."},
      {"EphemeralContainer", "A container that is added to a running pod to look into it. It is never restarted."},
      {"EnvVar", "A variable in the environment of a container."},
      {"Probe", "A check that the node makes on a container again and again."},
      {"ResourceRequirements", "Resources that are set aside, and the most that may be used."},
      {"Toleration", "Lets a pod stay on a node with a matching taint."},
      {"Taint", "Keeps pods away from a node that do not tolerate it."},
      {"Affinity", "Rules for which node a pod is placed on."},
      {"TopologySpreadConstraint", "How evenly pods are spread over the values of a label of nodes."},
      {"Volume", "Files that containers of a pod can mount. Exactly one source is given."},
      {"VolumeMount", "Where a container sees a volume."},
      {"SecurityContext", "Rights and user of a container. What is set here wins over the pod's."},
      {"PodSecurityContext", "Rights and users of all containers of a pod."},
      {"ServiceSpec", "How a service is reached and what is behind it."},
      {"ServicePort", "One port of a service."},
      {"Endpoint", "One place that answers for a service, usually a pod."},
      {"EndpointConditions", "Whether an endpoint can be used."},
      {"DeploymentSpec", "What a Deployment keeps running."},
      {"DeploymentStrategy", "How old pods are replaced by new ones."},
      {"TokenRequest", "A token for a ServiceAccount, which is made and not stored."},
      {"TokenReview", "Asks whom a token speaks for."},
      {"LeaseSpec", "Who holds a lease."},
  });
  for (const auto& [name, doc] : docs)
    if (name == message) return doc;
  return "";
}

}  // namespace trama::api
