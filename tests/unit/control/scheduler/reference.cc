// SPDX-License-Identifier: GPL-2.0-or-later
#include "tests/unit/control/scheduler/reference.h"

#include <algorithm>
#include <cmath>
#include <functional>

#include "control/api/quantity.h"

namespace trama::control::test {

namespace {

namespace json = api::json;
using api::array_at;
using api::int_at;
using api::object_at;
using api::text_at;
using Labels = std::map<std::string, std::string>;

constexpr const char* kMust = "requiredDuringSchedulingIgnoredDuringExecution";
constexpr const char* kMay = "preferredDuringSchedulingIgnoredDuringExecution";
constexpr const char* kHost = "kubernetes.io/hostname";

std::vector<std::string> strings(const json::object& o, const char* path) {
  std::vector<std::string> out;
  for (const auto& v : array_at(o, path)) out.emplace_back(v.get_string());
  return out;
}

bool contains(const std::vector<std::string>& list, const std::string& text) {
  return std::find(list.begin(), list.end(), text) != list.end();
}

bool expression_holds(const json::object& e, const Labels& labels) {
  auto op = text_at(e, "operator"), key = text_at(e, "key");
  bool has = labels.contains(key);
  auto values = strings(e, "values");
  if (op == "Exists") return has;
  if (op == "DoesNotExist") return !has;
  if (op == "In") return has && contains(values, labels.at(key));
  if (op == "NotIn") return !has || !contains(values, labels.at(key));
  return false;
}

bool selector_holds(const json::object& selector, const Labels& labels) {
  for (const auto& [k, v] : object_at(selector, "matchLabels")) {
    auto it = labels.find(k);
    if (it == labels.end() || it->second != std::string_view(v.get_string())) return false;
  }
  for (const auto& e : array_at(selector, "matchExpressions"))
    if (!expression_holds(e.get_object(), labels)) return false;
  return true;
}

bool keys_hold(const json::object& term, const Labels& owner, const Labels& other) {
  for (const auto& k : strings(term, "matchLabelKeys"))
    if (owner.contains(k) && (!other.contains(k) || other.at(k) != owner.at(k))) return false;
  for (const auto& k : strings(term, "mismatchLabelKeys"))
    if (owner.contains(k) && other.contains(k) && other.at(k) == owner.at(k)) return false;
  return true;
}

class Reference {
 public:
  Reference(const ReferenceWorld& world, const api::Object& pod, const Labels* replicas)
      : world_(world), pod_(pod), replicas_(replicas) {}

  ReferenceChoice choose() {
    ReferenceChoice out;
    std::vector<api::ObjectPtr> fit;
    for (const auto& n : world_.nodes) {
      auto why = against(*n);
      if (why.empty())
        fit.push_back(n);
      else
        out.against[n->key.name] = why;
    }
    score(fit, out);
    std::int64_t most = -1;
    for (const auto& [name, s] : out.scores) most = std::max(most, s);
    for (const auto& [name, s] : out.scores)
      if (s == most) out.best.insert(name);
    return out;
  }

 private:
  // Does `owner`'s term choose the pod `other`?
  bool term_chooses(const json::object& term, const api::Object& owner, const api::Object& other) const {
    const auto* selector = term.if_contains("labelSelector");
    if (selector == nullptr) return false;
    auto names = strings(term, "namespaces");
    const auto* by_label = term.if_contains("namespaceSelector");
    bool in = contains(names, other.key.ns);
    if (by_label != nullptr) {
      auto it = world_.namespaces.find(other.key.ns);
      in = in || selector_holds(by_label->get_object(), it == world_.namespaces.end() ? Labels() : it->second);
    } else if (names.empty()) {
      in = other.key.ns == owner.key.ns;
    }
    return in && selector_holds(selector->get_object(), other.labels) && keys_hold(term, owner.labels, other.labels);
  }

  bool constraint_counts(const json::object& c, const api::Object& other) const {
    const auto* selector = c.if_contains("labelSelector");
    return selector != nullptr && other.key.ns == pod_.key.ns && selector_holds(selector->get_object(), other.labels) &&
           keys_hold(c, pod_.labels, other.labels);
  }

  const api::Object* node(const std::string& name) const {
    for (const auto& n : world_.nodes)
      if (n->key.name == name) return n.get();
    return nullptr;
  }

  static std::string label(const api::Object& node, const std::string& key) {
    auto it = node.labels.find(key);
    return it == node.labels.end() ? "" : it->second;
  }
  static bool same_place(const api::Object& a, const api::Object& b, const std::string& key) {
    return a.labels.contains(key) && b.labels.contains(key) && label(a, key) == label(b, key);
  }

  bool tolerated(const json::object& taint) const {
    for (const auto& v : array_at(pod_.body, "spec.tolerations")) {
      const auto& t = v.get_object();
      auto effect = text_at(t, "effect"), key = text_at(t, "key"), op = text_at(t, "operator", "Equal");
      if (!effect.empty() && effect != text_at(taint, "effect")) continue;
      if (key.empty() && op == "Exists") return true;
      if (key != text_at(taint, "key") || key.empty()) continue;
      if (op == "Exists" || text_at(t, "value") == text_at(taint, "value")) return true;
    }
    return false;
  }
  std::vector<json::object> untolerated(const api::Object& n, bool hard) const {
    std::vector<json::object> out;
    for (const auto& v : array_at(n.body, "spec.taints")) {
      const auto& t = v.get_object();
      if ((text_at(t, "effect") != "PreferNoSchedule") == hard && !tolerated(t)) out.push_back(t);
    }
    return out;
  }

  static bool node_term_holds(const json::object& term, const api::Object& n) {
    const auto& list = array_at(term, "matchExpressions");
    if (list.empty()) return false;
    return std::all_of(list.begin(), list.end(),
                       [&](const json::value& e) { return expression_holds(e.get_object(), n.labels); });
  }
  bool affinity_allows(const api::Object& n) const {
    for (const auto& [k, v] : object_at(pod_.body, "spec.nodeSelector"))
      if (label(n, k) != std::string_view(v.get_string()) || !n.labels.contains(k)) return false;
    const auto* terms = api::at(pod_.body, std::string("spec.affinity.nodeAffinity.") + kMust + ".nodeSelectorTerms");
    if (terms == nullptr) return true;
    for (const auto& t : terms->get_array())
      if (node_term_holds(t.get_object(), n)) return true;
    return false;
  }

  static std::int64_t asked(const api::Object& pod, const char* what) {
    std::int64_t sum = 0;
    for (const auto& c : array_at(pod.body, "spec.containers")) {
      const auto& requests = object_at(c.get_object(), "resources.requests");
      if (const auto* v = requests.if_contains(what)) {
        auto milli = *api::parse_milli(std::string_view(v->get_string()));
        sum += std::string_view(what) == "cpu" ? milli : milli / 1000;
      }
    }
    return sum;
  }
  static std::int64_t asked_or_assumed(const api::Object& pod, const char* what) {
    auto n = asked(pod, what);
    if (n != 0) return n;
    return std::string_view(what) == "cpu" ? 100 : 200LL << 20;
  }
  static std::int64_t size(const api::Object& n, const char* what) {
    const auto* v = object_at(n.body, "status.allocatable").if_contains(what);
    if (v == nullptr) return 0;
    auto milli = *api::parse_milli(std::string_view(v->get_string()));
    return std::string_view(what) == "cpu" ? milli : milli / 1000;
  }
  template <class F>
  std::int64_t sum_on(const api::Object& n, F&& f) const {
    std::int64_t sum = 0;
    for (const auto& [p, where] : world_.placed)
      if (where == n.key.name) sum += f(*p);
    return sum;
  }

  // ---- filters

  std::vector<std::string> against(const api::Object& n) const {
    if (api::bool_at(n.body, "spec.unschedulable")) return {"node(s) were unschedulable"};
    if (auto taints = untolerated(n, true); !taints.empty())
      return {"node(s) had untolerated taint {" + text_at(taints[0], "key") + ": " + text_at(taints[0], "value") + "}"};
    if (!affinity_allows(n)) return {"node(s) didn't match Pod's node affinity/selector"};
    std::vector<std::string> out;
    if (sum_on(n, [](const api::Object&) { return 1; }) + 1 > size(n, "pods")) out.emplace_back("Too many pods");
    for (const char* what : {"cpu", "memory"}) {
      auto mine = asked(pod_, what);
      if (mine > 0 && sum_on(n, [&](const api::Object& p) { return asked(p, what); }) + mine > size(n, what))
        out.push_back(std::string("Insufficient ") + what);
    }
    if (!out.empty()) return out;
    if (auto s = spread_refusal(n); !s.empty()) return {s};
    if (auto s = neighbour_refusal(n); !s.empty()) return {s};
    return {};
  }

  std::vector<const json::object*> constraints(bool hard) const {
    std::vector<const json::object*> out;
    for (const auto& v : array_at(pod_.body, "spec.topologySpreadConstraints"))
      if ((text_at(v.get_object(), "whenUnsatisfiable") == "DoNotSchedule") == hard) out.push_back(&v.get_object());
    return out;
  }
  bool counts_for(const json::object& c, const api::Object& n, const std::vector<std::string>& keys) const {
    for (const auto& k : keys)
      if (!n.labels.contains(k)) return false;
    if (text_at(c, "nodeAffinityPolicy", "Honor") == "Honor" && !affinity_allows(n)) return false;
    return text_at(c, "nodeTaintsPolicy", "Ignore") != "Honor" || untolerated(n, true).empty();
  }
  // Pods by domain, over the nodes that count.
  std::map<std::string, std::int64_t> domains(const json::object& c, const std::vector<std::string>& keys,
                                              const std::function<bool(const api::Object&)>& match) const {
    std::map<std::string, std::int64_t> out;
    auto key = text_at(c, "topologyKey");
    for (const auto& n : world_.nodes) {
      if (!n->labels.contains(key) || !counts_for(c, *n, keys)) continue;
      out[label(*n, key)] += sum_on(*n, [&](const api::Object& p) {
        return text_at(p.body, "metadata.deletionTimestamp").empty() && match(p) ? 1 : 0;
      });
    }
    return out;
  }
  std::string spread_refusal(const api::Object& n) const {
    std::vector<std::string> keys;
    for (const auto* c : constraints(true)) keys.push_back(text_at(*c, "topologyKey"));
    for (const auto* c : constraints(true)) {
      auto key = text_at(*c, "topologyKey");
      if (!n.labels.contains(key))
        return "node(s) didn't match pod topology spread constraints (missing required label)";
      auto counts = domains(*c, keys, [&](const api::Object& p) { return constraint_counts(*c, p); });
      std::int64_t lowest = counts.empty() ? 0 : INT64_MAX;
      for (const auto& [d, count] : counts) lowest = std::min(lowest, count);
      if (static_cast<std::int64_t>(counts.size()) < int_at(*c, "minDomains", 1)) lowest = 0;
      auto self = constraint_counts(*c, pod_) ? 1 : 0;
      auto here = counts.find(label(n, key));
      if ((here == counts.end() ? 0 : here->second) + self - lowest > int_at(*c, "maxSkew"))
        return "node(s) didn't match pod topology spread constraints";
    }
    return "";
  }

  std::vector<const json::object*> required(const api::Object& of, const char* kind) const {
    std::vector<const json::object*> out;
    for (const auto& v : array_at(of.body, std::string("spec.affinity.") + kind + "." + kMust))
      out.push_back(&v.get_object());
    return out;
  }
  std::string neighbour_refusal(const api::Object& n) const {
    auto near = required(pod_, "podAffinity");
    auto matches_all = [&](const api::Object& p) {
      return std::all_of(near.begin(), near.end(), [&](const json::object* t) { return term_chooses(*t, pod_, p); });
    };
    if (!near.empty()) {
      bool labelled = true, there = true, anywhere = false;
      for (const auto* t : near) {
        auto key = text_at(*t, "topologyKey");
        labelled = labelled && n.labels.contains(key);
        bool found = false;
        for (const auto& [p, where] : world_.placed) {
          if (!matches_all(*p)) continue;
          const auto* at = node(where);
          anywhere = anywhere || at->labels.contains(key);
          found = found || same_place(n, *at, key);
        }
        there = there && found;
      }
      if (!labelled || (!there && (anywhere || !matches_all(pod_)))) return "node(s) didn't match pod affinity rules";
    }
    for (const auto* t : required(pod_, "podAntiAffinity"))
      for (const auto& [p, where] : world_.placed)
        if (term_chooses(*t, pod_, *p) && same_place(n, *node(where), text_at(*t, "topologyKey")))
          return "node(s) didn't match pod anti-affinity rules";
    for (const auto& [p, where] : world_.placed)
      for (const auto* t : required(*p, "podAntiAffinity"))
        if (term_chooses(*t, *p, pod_) && same_place(n, *node(where), text_at(*t, "topologyKey")))
          return "node(s) didn't satisfy existing pods anti-affinity rules";
    return "";
  }

  // ---- scores

  std::int64_t least(const api::Object& n) const {
    std::int64_t sum = 0;
    for (const char* what : {"cpu", "memory"}) {
      auto used =
          sum_on(n, [&](const api::Object& p) { return asked_or_assumed(p, what); }) + asked_or_assumed(pod_, what);
      sum += used > size(n, what) ? 0 : (size(n, what) - used) * 100 / size(n, what);
    }
    return sum / 2;
  }
  std::int64_t balance(const api::Object& n) const {
    auto share = [&](const char* what) {
      auto used = sum_on(n, [&](const api::Object& p) { return asked(p, what); }) + asked(pod_, what);
      return std::min(1.0, static_cast<double>(used) / static_cast<double>(size(n, what)));
    };
    return static_cast<std::int64_t>((1 - std::abs(share("cpu") - share("memory")) / 2) * 100.0);
  }
  std::int64_t neighbour_wishes(const api::Object& n) const {
    std::int64_t sum = 0;
    auto weigh = [&](const api::Object& from, const api::Object& other, const api::Object& at, const char* kind,
                     std::int64_t sign) {
      for (const auto& v : array_at(from.body, std::string("spec.affinity.") + kind + "." + kMay)) {
        const auto& term = object_at(v.get_object(), "podAffinityTerm");
        if (!term_chooses(term, from, other)) continue;
        if (same_place(n, at, text_at(term, "topologyKey"))) sum += sign * int_at(v.get_object(), "weight");
      }
    };
    for (const auto& [p, where] : world_.placed) {
      const auto& at = *node(where);
      weigh(pod_, *p, at, "podAffinity", 1);
      weigh(pod_, *p, at, "podAntiAffinity", -1);
      weigh(*p, pod_, at, "podAffinity", 1);
      weigh(*p, pod_, at, "podAntiAffinity", -1);
      for (const auto* t : required(*p, "podAffinity"))
        if (term_chooses(*t, *p, pod_) && same_place(n, at, text_at(*t, "topologyKey"))) ++sum;
    }
    return sum;
  }

  // A soft constraint and the pods that it counts.
  struct Soft {
    json::object constraint;
    std::function<bool(const api::Object&)> match;
  };
  std::vector<std::int64_t> spreading(const std::vector<api::ObjectPtr>& fit) const {
    std::vector<Soft> soft;
    std::vector<std::string> keys;
    if (!array_at(pod_.body, "spec.topologySpreadConstraints").empty()) {
      for (const auto* c : constraints(false)) {
        soft.push_back({*c, [this, c](const api::Object& p) { return constraint_counts(*c, p); }});
        keys.push_back(text_at(*c, "topologyKey"));
      }
    } else if (replicas_ != nullptr) {
      auto mine = [this](const api::Object& p) {
        return p.key.ns == pod_.key.ns && std::all_of(replicas_->begin(), replicas_->end(), [&](const auto& l) {
                 return p.labels.contains(l.first) && p.labels.at(l.first) == l.second;
               });
      };
      soft.push_back({json::object{{"topologyKey", kHost}, {"maxSkew", 3}}, mine});
      soft.push_back({json::object{{"topologyKey", "topology.kubernetes.io/zone"}, {"maxSkew", 5}}, mine});
    }
    std::vector<std::int64_t> out(fit.size(), 0);
    if (soft.empty()) return out;
    auto ignored = [&](const api::Object& n) {
      return std::any_of(keys.begin(), keys.end(), [&](const std::string& k) { return !n.labels.contains(k); });
    };
    std::int64_t low = INT64_MAX, high = 0;
    for (std::size_t i = 0; i < fit.size(); ++i) {
      if (ignored(*fit[i])) continue;
      double sum = 0;
      for (const auto& s : soft) {
        auto key = text_at(s.constraint, "topologyKey");
        if (!fit[i]->labels.contains(key)) continue;
        std::set<std::string> values;
        std::size_t nodes = 0;
        for (const auto& n : fit)
          if (!ignored(*n)) values.insert(label(*n, key)), ++nodes;
        auto counts = domains(s.constraint, keys, s.match);
        auto weight = std::log(static_cast<double>((key == kHost ? nodes : values.size()) + 2));
        sum += static_cast<double>(counts[label(*fit[i], key)]) * weight +
               static_cast<double>(int_at(s.constraint, "maxSkew") - 1);
      }
      out[i] = std::llround(sum);
      low = std::min(low, out[i]), high = std::max(high, out[i]);
    }
    for (std::size_t i = 0; i < fit.size(); ++i)
      out[i] = ignored(*fit[i]) ? 0 : high == 0 ? 100 : 100 * (high + low - out[i]) / high;
    return out;
  }

  void score(const std::vector<api::ObjectPtr>& fit, ReferenceChoice& out) const {
    if (fit.empty()) return;
    std::vector<std::int64_t> taints, wishes, neighbours;
    for (const auto& n : fit) {
      taints.push_back(static_cast<std::int64_t>(untolerated(*n, false).size()));
      std::int64_t sum = 0;
      for (const auto& v : array_at(pod_.body, std::string("spec.affinity.nodeAffinity.") + kMay))
        if (node_term_holds(object_at(v.get_object(), "preference"), *n)) sum += int_at(v.get_object(), "weight");
      wishes.push_back(sum);
      neighbours.push_back(neighbour_wishes(*n));
    }
    auto most = [](const std::vector<std::int64_t>& v) { return *std::max_element(v.begin(), v.end()); };
    auto least_of = [](const std::vector<std::int64_t>& v) { return *std::min_element(v.begin(), v.end()); };
    auto spread = spreading(fit);
    for (std::size_t i = 0; i < fit.size(); ++i) {
      auto s = least(*fit[i]) + balance(*fit[i]) + 2 * spread[i];
      s += 3 * (most(taints) == 0 ? 100 : 100 - 100 * taints[i] / most(taints));
      s += 2 * (most(wishes) == 0 ? 0 : 100 * wishes[i] / most(wishes));
      auto width = most(neighbours) - least_of(neighbours);
      if (width > 0)
        s += 2 * static_cast<std::int64_t>(
                     100.0 * (static_cast<double>(neighbours[i] - least_of(neighbours)) / static_cast<double>(width)));
      out.scores[fit[i]->key.name] = s;
    }
  }

  const ReferenceWorld& world_;
  const api::Object& pod_;
  const Labels* replicas_;
};

}  // namespace

ReferenceChoice reference_choice(const ReferenceWorld& world, const api::Object& pod,
                                 const std::map<std::string, std::string>* replicas) {
  return Reference(world, pod, replicas).choose();
}

}  // namespace trama::control::test
