// SPDX-License-Identifier: GPL-2.0-or-later
// Questions about who one is and what one may do: objects that are answered and not stored.
#include "control/api/schema_table.h"

namespace trama::api {

using enum Type;

std::span<const Field> authorization_schema() {
  static constexpr Field rows[] = {
      {"SelfSubjectAccessReview", "spec", 2, object, "What is asked about.", "SelfSubjectAccessReviewSpec"},
      {"SelfSubjectAccessReview", "status", 3, object, "The answer.", "SubjectAccessReviewStatus"},
      {"SelfSubjectAccessReviewSpec", "resourceAttributes", 1, object, "A verb on objects.", "ResourceAttributes"},
      {"SelfSubjectAccessReviewSpec", "nonResourceAttributes", 2, object, "A verb on a path that is no object.",
       "NonResourceAttributes"},
      {"ResourceAttributes", "namespace", 1, text, "Namespace of the objects; empty = all, or none."},
      {"ResourceAttributes", "verb", 2, text, "get, list, watch, create, update, patch, delete, or * for all."},
      {"ResourceAttributes", "group", 3, text, "API group of the objects; * = all."},
      {"ResourceAttributes", "version", 4, text, "API version of the objects. It makes no difference here."},
      {"ResourceAttributes", "resource", 5, text, "Plural name of the objects; * = all."},
      {"ResourceAttributes", "subresource", 6, text, "Subresource of the objects."},
      {"ResourceAttributes", "name", 7, text, "Name of one object; empty = all."},
      {"ResourceAttributes", "fieldSelector", 8, object, "Field selector of a list or watch.",
       "FieldSelectorAttributes"},
      {"ResourceAttributes", "labelSelector", 9, object, "Label selector of a list or watch.",
       "LabelSelectorAttributes"},
      {"FieldSelectorAttributes", "rawSelector", 1, text, "The selector as a query has it."},
      {"FieldSelectorAttributes", "requirements", 2, list, "The selector's parts.", "FieldSelectorRequirement"},
      {"FieldSelectorRequirement", "key", 1, text, "The field.", "", "", true},
      {"FieldSelectorRequirement", "operator", 2, text, "In, NotIn, Exists or DoesNotExist.", "", "", true},
      {"FieldSelectorRequirement", "values", 3, texts, "Values to compare with."},
      {"LabelSelectorAttributes", "rawSelector", 1, text, "The selector as a query has it."},
      {"LabelSelectorAttributes", "requirements", 2, list, "The selector's parts.", "LabelSelectorRequirement"},
      {"NonResourceAttributes", "path", 1, text, "The path."},
      {"NonResourceAttributes", "verb", 2, text, "get, post and the like."},
      {"SubjectAccessReviewStatus", "allowed", 1, boolean, "True if it is allowed.", "", "", true},
      {"SubjectAccessReviewStatus", "denied", 4, boolean, "True if it is forbidden whatever else is allowed."},
      {"SubjectAccessReviewStatus", "reason", 2, text, "Why."},
      {"SubjectAccessReviewStatus", "evaluationError", 3, text, "What went wrong in finding out."},

      {"SelfSubjectRulesReview", "spec", 2, object, "What is asked about.", "SelfSubjectRulesReviewSpec"},
      {"SelfSubjectRulesReview", "status", 3, object, "The answer.", "SubjectRulesReviewStatus"},
      {"SelfSubjectRulesReviewSpec", "namespace", 1, text, "Namespace that the question is about."},
      {"SubjectRulesReviewStatus", "resourceRules", 1, list, "What may be done with objects.", "ResourceRule"},
      {"SubjectRulesReviewStatus", "nonResourceRules", 2, list, "What may be done with paths that are no objects.",
       "NonResourceRule"},
      {"SubjectRulesReviewStatus", "incomplete", 3, boolean, "True if there may be more, or less.", "", "", true},
      {"SubjectRulesReviewStatus", "evaluationError", 4, text, "Why it is incomplete."},
      {"ResourceRule", "verbs", 1, texts, "What may be done; * = everything."},
      {"ResourceRule", "apiGroups", 2, texts, "With objects of these groups."},
      {"ResourceRule", "resources", 3, texts, "With these objects."},
      {"ResourceRule", "resourceNames", 4, texts, "With these alone; empty = all."},
      {"NonResourceRule", "verbs", 1, texts, "What may be done."},
      {"NonResourceRule", "nonResourceURLs", 2, texts, "With these paths; a * at the end stands for what follows."},
  };
  return rows;
}

std::span<const Field> authentication_schema() {
  static constexpr Field rows[] = {
      {"SelfSubjectReview", "status", 2, object, "Who asks.", "SelfSubjectReviewStatus"},
      {"SelfSubjectReviewStatus", "userInfo", 1, object, "Who asks.", "UserInfo"},
      {"UserInfo", "username", 1, text, "Name."},
      {"UserInfo", "uid", 2, text, "uid."},
      {"UserInfo", "groups", 3, texts, "Groups."},
      {"UserInfo", "extra", 4, text_lists, "More."},

      {"TokenRequest", "spec", 2, object, "What is asked for.", "TokenRequestSpec"},
      {"TokenRequest", "status", 3, object, "The token.", "TokenRequestStatus"},
      {"TokenRequestSpec", "audiences", 1, texts, "Who the token is for; the API server when empty."},
      {"TokenRequestSpec", "expirationSeconds", 4, long_integer, "Seconds that the token is good for. Default 3600."},
      {"TokenRequestSpec", "boundObjectRef", 3, object, "The token ends with this object.", "BoundObjectReference"},
      {"BoundObjectReference", "kind", 1, text, "Pod."},
      {"BoundObjectReference", "apiVersion", 2, text, "v1."},
      {"BoundObjectReference", "name", 3, text, "Name of the object."},
      {"BoundObjectReference", "uid", 4, text, "Its uid; a token for an object of another one is refused."},
      {"TokenRequestStatus", "token", 1, text, "The token.", "", "", true},
      {"TokenRequestStatus", "expirationTimestamp", 2, time, "When it ends.", "", "", true},

      {"TokenReview", "spec", 2, object, "What is asked about.", "TokenReviewSpec"},
      {"TokenReview", "status", 3, object, "The answer.", "TokenReviewStatus"},
      {"TokenReviewSpec", "token", 1, text, "The token."},
      {"TokenReviewSpec", "audiences", 2, texts, "Who the asker is; the API server when empty."},
      {"TokenReviewStatus", "authenticated", 1, boolean, "True if it is good for one of the audiences."},
      {"TokenReviewStatus", "user", 2, object, "Who it speaks for.", "UserInfo"},
      {"TokenReviewStatus", "audiences", 4, texts, "For which of them it is good."},
      {"TokenReviewStatus", "error", 3, text, "Why it is not."},
  };
  return rows;
}

}  // namespace trama::api
