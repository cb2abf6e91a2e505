// SPDX-License-Identifier: GPL-2.0-or-later
#include "control/api/validate_rules.h"

namespace trama::api {

std::string shown(const json::value& v) { return json::serialize(v).substr(0, 200); }
std::string in_quotes(std::string_view v) { return fmt::format("\"{}\"", v.substr(0, 200)); }

void invalid(Causes& out, const std::string& field, const std::string& value, std::string_view why) {
  out.push_back({"FieldValueInvalid", fmt::format("Invalid value: {}: {}", value, why), field});
}
void required(Causes& out, const std::string& field, std::string_view why) {
  out.push_back({"FieldValueRequired", why.empty() ? "Required value" : fmt::format("Required value: {}", why), field});
}
void duplicate(Causes& out, const std::string& field, const std::string& value) {
  out.push_back({"FieldValueDuplicate", "Duplicate value: " + value, field});
}
void forbidden(Causes& out, const std::string& field, std::string_view why) {
  out.push_back({"FieldValueForbidden", fmt::format("Forbidden: {}", why), field});
}

void not_supported(Causes& out, const std::string& field, std::string_view value, std::string_view supported) {
  out.push_back({"FieldValueNotSupported",
                 fmt::format("Unsupported value: \"{}\": supported values: {}", value.substr(0, 200), supported),
                 field});
}
void not_negative(Causes& out, const json::object& body, const std::string& path) {
  if (auto n = int_at(body, path, 0); n < 0)
    invalid(out, path, std::to_string(n), "must be greater than or equal to 0");
}

void labels(Causes& out, const json::object& body, const std::string& path) {
  for (const auto& [key, value] : object_at(body, path)) {
    std::string_view name(key);
    if (!is_label_key(name))
      invalid(out, path, in_quotes(name),
              "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an "
              "alphanumeric character");
    if (value.is_string() && !is_label_value(std::string_view(value.get_string())))
      invalid(out, path, shown(value),
              "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must "
              "start and end with an alphanumeric character, at most 63 characters");
  }
}

void selector(Causes& out, const json::object& body, const std::string& path) {
  labels(out, body, path + ".matchLabels");
  const auto& list = array_at(body, path + ".matchExpressions");
  for (std::size_t i = 0; i < list.size(); ++i) {
    if (!list[i].is_object()) continue;
    const auto& e = list[i].get_object();
    auto op = text_at(e, "operator");
    auto here = fmt::format("{}.matchExpressions[{}]", path, i);
    bool values = !array_at(e, "values").empty();
    if ((op == "In" || op == "NotIn") && !values)
      required(out, here + ".values", "must be specified when `operator` is 'In' or 'NotIn'");
    if ((op == "Exists" || op == "DoesNotExist") && values)
      forbidden(out, here + ".values", "may not be specified when `operator` is 'Exists' or 'DoesNotExist'");
  }
}

void selector(Causes& out, const json::object& in, const char* name, const std::string& path) {
  Causes found;
  selector(found, in, name);
  for (auto& c : found) out.push_back({c.reason, c.message, path + "." + c.field});
}

void port_number(Causes& out, const json::object& at_object, const char* name, const std::string& path, bool zero_ok) {
  auto* v = at_object.if_contains(name);
  if (!v || !v->is_int64()) return;
  auto port = v->get_int64();
  if (zero_ok && port == 0) return;
  if (port < 1 || port > 65535) invalid(out, path + "." + name, shown(*v), "must be between 1 and 65535, inclusive");
}

void target_port(Causes& out, const json::value* v, const std::string& path) {
  if (!v) return;
  if (v->is_int64() && (v->get_int64() < 1 || v->get_int64() > 65535))
    invalid(out, path, shown(*v), "must be between 1 and 65535, inclusive");
  if (v->is_string() && !is_port_name(std::string_view(v->get_string())))
    invalid(out, path, shown(*v),
            "must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-), at least one letter, at most 15 "
            "characters");
}

}  // namespace trama::api
