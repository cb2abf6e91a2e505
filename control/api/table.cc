// SPDX-License-Identifier: GPL-2.0-or-later
#include "control/api/table.h"

#include <algorithm>
#include <ctime>
#include <map>

#include <fmt/format.h>

#include "control/api/table_cells.h"

namespace trama::api {
namespace {

using namespace cells;

struct Column {
  std::string_view name, type = "string";
  int priority = 0;  // 0 = always, 1 = with -o wide
};
struct Printer {
  std::vector<Column> columns;
  Cells (*cells)(const Context&);
};

Cells plain(const Context& c) { return {c.object.key.name, age_of(c)}; }

const Printer& printer_of(const Kind& kind) {
  static const std::map<std::string_view, Printer> table = {
      {"pods",
       {{{"Name"},
         {"Ready"},
         {"Status"},
         {"Restarts"},
         {"Age"},
         {"IP", "string", 1},
         {"Node", "string", 1},
         {"Nominated Node", "string", 1},
         {"Readiness Gates", "string", 1}},
        pod}},
      {"services",
       {{{"Name"}, {"Type"}, {"Cluster-IP"}, {"External-IP"}, {"Port(s)"}, {"Age"}, {"Selector", "string", 1}},
        service}},
      {"nodes",
       {{{"Name"},
         {"Status"},
         {"Roles"},
         {"Age"},
         {"Version"},
         {"Internal-IP", "string", 1},
         {"External-IP", "string", 1},
         {"OS-Image", "string", 1},
         {"Kernel-Version", "string", 1},
         {"Container-Runtime", "string", 1}},
        node}},
      {"deployments",
       {{{"Name"},
         {"Ready"},
         {"Up-to-date", "integer"},
         {"Available", "integer"},
         {"Age"},
         {"Containers", "string", 1},
         {"Images", "string", 1},
         {"Selector", "string", 1}},
        deployment}},
      {"replicasets",
       {{{"Name"},
         {"Desired", "integer"},
         {"Current", "integer"},
         {"Ready", "integer"},
         {"Age"},
         {"Containers", "string", 1},
         {"Images", "string", 1},
         {"Selector", "string", 1}},
        replicaset}},
      {"daemonsets",
       {{{"Name"},
         {"Desired", "integer"},
         {"Current", "integer"},
         {"Ready", "integer"},
         {"Up-to-date", "integer"},
         {"Available", "integer"},
         {"Node Selector"},
         {"Age"},
         {"Containers", "string", 1},
         {"Images", "string", 1},
         {"Selector", "string", 1}},
        daemonset}},
      {"jobs",
       {{{"Name"},
         {"Status"},
         {"Completions"},
         {"Duration"},
         {"Age"},
         {"Containers", "string", 1},
         {"Images", "string", 1},
         {"Selector", "string", 1}},
        job}},
      {"networkpolicies",
       {{{"Name"}, {"Pod-Selector"}, {"Age"}},
        [](const Context& c) -> Cells {
          return {c.object.key.name, label_selector_text(object_at(c.body, "spec.podSelector")), age_of(c)};
        }}},
      {"endpointslices", {{{"Name"}, {"AddressType"}, {"Ports"}, {"Endpoints"}, {"Age"}}, slice}},
      {"endpoints", {{{"Name"}, {"Endpoints"}, {"Age"}}, endpoints}},
      {"controllerrevisions", {{{"Name"}, {"Controller"}, {"Revision", "integer"}, {"Age"}}, controller_revision}},
      {"namespaces",
       {{{"Name"}, {"Status"}, {"Age"}},
        [](const Context& c) -> Cells {
          return {c.object.key.name, text_at(c.body, "status.phase"), age_of(c)};
        }}},
      {"leases",
       {{{"Name"}, {"Holder"}, {"Age"}},
        [](const Context& c) -> Cells {
          return {c.object.key.name, text_at(c.body, "spec.holderIdentity"), age_of(c)};
        }}},
      {"events",
       {{{"Last Seen"},
         {"Type"},
         {"Reason"},
         {"Object"},
         {"Subobject", "string", 1},
         {"Source", "string", 1},
         {"Message"},
         {"First Seen", "string", 1},
         {"Count", "string", 1},
         {"Name", "string", 1}},
        event}},
      {"configmaps",
       {{{"Name"}, {"Data"}, {"Age"}},
        [](const Context& c) -> Cells {
          return {c.object.key.name,
                  std::to_string(object_at(c.body, "data").size() + object_at(c.body, "binaryData").size()), age_of(c)};
        }}},
      {"secrets",
       {{{"Name"}, {"Type"}, {"Data"}, {"Age"}},
        [](const Context& c) -> Cells {
          return {c.object.key.name, text_at(c.body, "type"), std::to_string(object_at(c.body, "data").size()),
                  age_of(c)};
        }}},
      {"serviceaccounts",
       {{{"Name"}, {"Secrets"}, {"Age"}},
        [](const Context& c) -> Cells {
          return {c.object.key.name, std::to_string(array_at(c.body, "secrets").size()), age_of(c)};
        }}},
      {"certificatesigningrequests",
       {{{"Name"}, {"Age"}, {"SignerName"}, {"Requestor"}, {"RequestedDuration"}, {"Condition"}}, csr}},
  };
  static const Printer fallback{{{"Name"}, {"Age"}}, plain};
  auto it = table.find(kind.served_as.empty() ? kind.resource : kind.served_as);
  return it == table.end() ? fallback : it->second;
}

}  // namespace

std::int64_t parse_time(std::string_view text) {
  std::tm t{};
  std::string z(text);
  if (!strptime(z.c_str(), "%Y-%m-%dT%H:%M:%S", &t)) return 0;
  return static_cast<std::int64_t>(timegm(&t));
}

json::object make_table(const Kind& kind, const std::vector<ObjectPtr>& objects, RowObject include,
                        std::chrono::system_clock::time_point now) {
  const auto& printer = printer_of(kind);
  json::object out;
  out["kind"] = "Table";
  out["apiVersion"] = "meta.k8s.io/v1";
  out["metadata"] = json::object();
  json::array columns;
  for (const auto& c : printer.columns) {
    json::object column;
    column["name"] = std::string(c.name);
    column["type"] = std::string(c.type);
    column["format"] = c.name == "Name" ? "name" : "";
    column["description"] = "";
    column["priority"] = c.priority;
    columns.push_back(std::move(column));
  }
  out["columnDefinitions"] = std::move(columns);
  json::array rows;
  for (const auto& object : objects) {
    json::object row;
    Context context{*object, object->body,
                    std::chrono::duration_cast<std::chrono::seconds>(now.time_since_epoch()).count()};
    row["cells"] = printer.cells(context);
    if (include == RowObject::object) {
      row["object"] = object->body;
    } else if (include == RowObject::metadata) {
      json::object partial;
      partial["kind"] = "PartialObjectMetadata";
      partial["apiVersion"] = "meta.k8s.io/v1";
      partial["metadata"] = object_at(object->body, "metadata");
      row["object"] = std::move(partial);
    }
    rows.push_back(std::move(row));
  }
  out["rows"] = std::move(rows);
  return out;
}

}  // namespace trama::api
