// SPDX-License-Identifier: GPL-2.0-or-later
// Answers of etcd's gateway: the first byte says which; what parses keeps to what the store relies on.
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "control/etcd/wire.h"
#include "control/store/etcd_layout.h"

namespace {

using namespace trama;

void look_at(const etcd::KeyValue& item) {
  static const store::EtcdLayout layout("/trama");
  auto key = layout.parse_object_key(item.key);
  if (!key) return;
  // A key has one spelling: what is read under it is found by it.
  if (layout.object(*key) != item.key || key->resource.empty() || key->name.empty()) std::abort();
  auto object = store::decode_object(*key, item.value, 4096);
  if (object && ((*object)->revision < 4096 || (*object)->revision >= 8192)) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  std::string_view text(reinterpret_cast<const char*>(data) + 1, size - 1);
  switch (data[0]) {
    case 'r':
      if (auto range = etcd::parse_range(text))
        for (const auto& item : range->items) look_at(item);
      break;
    case 't':
      if (auto txn = etcd::parse_txn(text))
        for (const auto& item : txn->read) look_at(item);
      break;
    case 'w':
      if (auto watch = etcd::parse_watch(text))
        for (const auto& e : watch->events) look_at(e.item);
      break;
    case 'f':
      if (etcd::parse_failure(400, text).code == etcd::Code::ok) std::abort();  // a failure never reads as success
      break;
    case 'm': (void)store::EtcdMeta::parse(text); break;
    case 'k': look_at({std::string(text), R"({"metadata":{"name":"a","resourceVersion":"7"}})", 1}); break;
    default: (void)etcd::parse_revision(text);
  }
  return 0;
}
