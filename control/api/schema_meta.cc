// SPDX-License-Identifier: GPL-2.0-or-later
// What every object has, and the options of requests.
#include "control/api/schema_table.h"

namespace trama::api {

using enum Type;

std::span<const Field> meta_schema() {
  static constexpr Field rows[] = {
      // ---- every object
      {"ObjectMeta", "name", 1, text,
       "Name of the object, unique among its kind in its namespace. It cannot be changed."},
      {"ObjectMeta", "generateName", 2, text, "Prefix from which the server makes a unique name when none is given."},
      {"ObjectMeta", "namespace", 3, text, "Namespace that the object lives in; empty for cluster-wide kinds."},
      {"ObjectMeta", "uid", 5, text, "Identity of this one object for all time. Set by the server."},
      {"ObjectMeta", "resourceVersion", 6, text,
       "Version of the store's content that this object was read from. An update that names it fails if the object has "
       "changed since."},
      {"ObjectMeta", "selfLink", 4, text, "No longer set."},
      {"ObjectMeta", "generation", 7, long_integer, "Counts the changes of the wanted state. Set by the server."},
      {"ObjectMeta", "creationTimestamp", 8, time, "When the object was created. Set by the server."},
      {"ObjectMeta", "deletionTimestamp", 9, time,
       "When the object is to be gone, once its deletion has been asked for. Set by the server."},
      {"ObjectMeta", "deletionGracePeriodSeconds", zero(10), long_integer,
       "Seconds that the object has to end itself. Set together with deletionTimestamp."},
      {"ObjectMeta", "labels", 11, map, "Names and values that selectors find the object by."},
      {"ObjectMeta", "annotations", 12, map,
       "Names and values that tools keep with the object; nothing selects by them."},
      {"ObjectMeta", "finalizers", 14, texts,
       "Who must still act before the object can leave; the object stays while the list is not empty.", "", "-"},
      {"ObjectMeta", "managedFields", 17, list, "Who set which fields, by manager.", "ManagedFieldsEntry"},
      {"ObjectMeta", "ownerReferences", 13, list,
       "Objects that this one depends on. It is collected when all of them are gone.", "OwnerReference", "uid"},
      {"OwnerReference", "apiVersion", 5, text, "Group and version of the owner.", "", "", true},
      {"OwnerReference", "kind", 1, text, "Kind of the owner.", "", "", true},
      {"OwnerReference", "name", 3, text, "Name of the owner.", "", "", true},
      {"OwnerReference", "uid", 4, text, "uid of the owner.", "", "", true},
      {"OwnerReference", "controller", zero(6), boolean, "True for the one owner that manages the object."},
      {"OwnerReference", "blockOwnerDeletion", zero(7), boolean,
       "True if an owner that is deleted in the foreground waits for this object."},
      {"ManagedFieldsEntry", "manager", 1, text, "Name of the program that set the fields."},
      {"ManagedFieldsEntry", "operation", 2, text, "Apply or Update."},
      {"ManagedFieldsEntry", "apiVersion", 3, text, "Version of the object that the fields are named in."},
      {"ManagedFieldsEntry", "time", 4, time, "When the manager last changed its fields."},
      {"ManagedFieldsEntry", "fieldsType", 6, text, "How fieldsV1 is written: FieldsV1."},
      {"ManagedFieldsEntry", "fieldsV1", 7, any, "The set of fields."},
      {"ManagedFieldsEntry", "subresource", 8, text,
       "Subresource that the fields were set through; empty for the object itself."},
      {"LabelSelector", "matchLabels", 1, map, "Labels that must be there with exactly these values."},
      {"LabelSelector", "matchExpressions", 2, list, "Conditions on labels; all of them must hold.",
       "LabelSelectorRequirement"},
      {"LabelSelectorRequirement", "key", 1, text, "Label that the condition is about.", "", "", true},
      {"LabelSelectorRequirement", "operator", 2, text, "How the label is compared with the values.", "", "", true, "",
       "In|NotIn|Exists|DoesNotExist"},
      {"LabelSelectorRequirement", "values", 3, texts, "Values for In and NotIn; empty for the other operators."},
      {"Condition", "type", 1, text, "What the condition is about.", "", "", true},
      {"Condition", "status", 2, text, "Whether it holds.", "", "", true, "", "True|False|Unknown"},
      {"Condition", "observedGeneration", 3, long_integer,
       "Generation of the object that the condition was seen with."},
      {"Condition", "lastTransitionTime", 4, time, "When the status last changed."},
      {"Condition", "reason", 5, text, "One word for why."},
      {"Condition", "message", 6, text, "A sentence for people."},
      // ---- bodies of requests that are no objects
      {"DeleteOptions", "gracePeriodSeconds", zero(1), long_integer,
       "Seconds until the object is taken away; 0 means at once."},
      {"DeleteOptions", "preconditions", 2, object, "What must still be true of the object.", "Preconditions"},
      {"DeleteOptions", "orphanDependents", zero(3), boolean, "Replaced by propagationPolicy Orphan."},
      {"DeleteOptions", "propagationPolicy", zero(4), text,
       "What becomes of objects that depend on this one: Orphan, Background or Foreground."},
      {"DeleteOptions", "dryRun", 5, texts, "All: everything is checked and nothing is deleted."},
      {"DeleteOptions", "ignoreStoreReadErrorWithClusterBreakingPotential", zero(6), boolean,
       "For objects that cannot be read any more; such objects do not exist here."},
      {"Preconditions", "uid", zero(1), text, "The object must have this uid."},
      {"Preconditions", "resourceVersion", zero(2), text, "The object must have this resourceVersion."},
  };
  return rows;
}

}  // namespace trama::api
