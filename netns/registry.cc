// SPDX-License-Identifier: GPL-2.0-or-later
#include "netns/registry.h"

#include <filesystem>

#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <boost/json/serialize.hpp>
#include <boost/json/string.hpp>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "netns/json_fields.h"

namespace trama::netns {

using base::Error;
using base::Result;

std::string to_json(const Record& r) {
  boost::json::array addresses;
  for (const auto& ip : r.addresses) addresses.emplace_back(boost::json::string(ip.to_string()));
  boost::json::object o;
  o["uid"] = r.uid;
  o["namespace"] = r.ns;
  o["name"] = r.name;
  o["netns"] = r.netns_name;
  o["netnsInode"] = r.netns.inode;
  o["addresses"] = std::move(addresses);
  o["mtu"] = r.mtu;
  o["connectionLimit"] = r.connection_limit;
  return boost::json::serialize(o) + "\n";
}

Result<Record> parse_record(std::string_view json) {
  auto object = parse_json_object(json, "sandbox record");
  if (!object) return std::move(object).error();
  Record r;
  std::vector<std::string> addresses;
  JsonFields f(*object, "sandbox record");
  f.read("uid", r.uid);
  f.read("namespace", r.ns);
  f.read("name", r.name);
  f.read("netns", r.netns_name);
  f.read("netnsInode", r.netns.inode);
  f.read("addresses", addresses);
  f.read("mtu", r.mtu);
  f.read("connectionLimit", r.connection_limit);
  if (auto ok = f.result(); !ok) return std::move(ok).error();
  for (const auto& text : addresses) {
    auto ip = Ip::parse(text);
    if (!ip) return std::move(ip).error().in("sandbox record");
    r.addresses.push_back(*ip);
  }
  // Its names become paths that are removed: the same rules as for a sandbox to be made.
  Sandbox s;
  s.uid = r.uid, s.ns = r.ns, s.name = r.name;
  s.network.netns_name = r.netns_name, s.network.addresses = r.addresses, s.network.mtu = r.mtu;
  if (auto ok = validate(s); !ok) return std::move(ok).error().in("sandbox record");
  return r;
}

Result<Registry> Registry::open(const std::string& run_dir) {
  Registry registry(run_dir + "/sandboxes");
  if (auto r = base::make_directories(registry.directory_, 0750); !r) return std::move(r).error();
  std::error_code ec;
  for (const auto& entry : std::filesystem::directory_iterator(registry.directory_, ec)) {
    if (entry.path().extension() != ".json") continue;
    auto text = base::read_file(entry.path());
    auto record = text ? parse_record(*text) : Result<Record>(text.error());
    if (record && entry.path().stem() != record->uid) record = Error::text("it is named after another sandbox");
    if (!record) {
      base::logger("netns")->error("{}: {}; set aside", entry.path().string(), record.error().to_string());
      (void)::rename(entry.path().c_str(), (entry.path().string() + ".bad").c_str());
      continue;
    }
    registry.records_.emplace(record->uid, *record);
  }
  if (ec) return Error(ec, "list " + registry.directory_);
  return registry;
}

const Record* Registry::find(const Uid& uid) const {
  auto it = records_.find(uid);
  return it == records_.end() ? nullptr : &it->second;
}

Result<> Registry::put(const Record& record) {
  auto it = records_.find(record.uid);
  if (it != records_.end() && it->second == record) return {};
  auto written = base::write_file_replace(path(record.uid), to_json(record), 0640);
  if (!written && written.error().is(std::errc::no_such_file_or_directory)) {  // somebody emptied /run
    if (auto r = base::make_directories(directory_, 0750); !r) return r;
    written = base::write_file_replace(path(record.uid), to_json(record), 0640);
  }
  if (!written) return written;
  records_.insert_or_assign(record.uid, record);
  return {};
}

Result<> Registry::remove(const Uid& uid) {
  if (::unlink(path(uid).c_str()) < 0 && errno != ENOENT) return Error::from_errno(errno, "remove " + path(uid));
  records_.erase(uid);
  return {};
}

}  // namespace trama::netns
