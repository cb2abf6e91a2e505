// SPDX-License-Identifier: GPL-2.0-or-later
#include "control/store/migration.h"

#include "base/digest.h"
#include "control/store/etcd_layout.h"
#include "control/store/store_file.h"

namespace trama::store {

using api::Key;
using api::ObjectPtr;
using async::awaitable;
using base::Error;
using base::Result;

namespace {

constexpr std::uint64_t kPage = 500;
constexpr std::size_t kBatch = 500, kBatchBytes = 512 << 10;  // etcd takes 1.5 MiB at once by default

// The content without its revision, which differs from store to store.
std::string content(const api::Object& o) { return encode_object(o.key, o.body, 0); }

struct Found {
  EtcdMeta meta;
  std::uint64_t revision = 0;  // etcd's own, of all that was read
  std::size_t keys = 0;
  std::map<Key, ObjectPtr> objects;
};

// Everything under the prefix, at one revision.
awaitable<Result<Found>> read_all(etcd::Gateway& gateway, EtcdLayout layout) {
  Found out;
  auto meta = co_await gateway.call_again("/v3/kv/range", etcd::range_json(layout.meta(), "", 0, 0, false));
  if (!meta.ok()) co_return meta.error();
  auto header = etcd::parse_range(meta.text);
  if (!header) co_return std::move(header).error();
  out.revision = header->revision;
  if (!header->items.empty()) {
    auto parsed = EtcdMeta::parse(header->items.front().value);
    if (!parsed) co_return std::move(parsed).error().in(layout.meta());
    out.meta = *parsed;
  }
  auto key = layout.all();
  const auto end = etcd::prefix_end(key);
  for (bool more = true; more;) {
    auto body = etcd::range_json(key, end, kPage, out.revision, false);
    auto reply = co_await gateway.call_again("/v3/kv/range", body);
    if (!reply.ok()) co_return reply.error();
    auto range = etcd::parse_range(reply.text);
    if (!range) co_return std::move(range).error();
    for (const auto& item : range->items) {
      ++out.keys;
      auto object = layout.parse_object_key(item.key);
      if (!object) continue;
      auto commit = (out.meta.base + item.mod_revision) * kRevisionsPerCommit;
      auto decoded = decode_object(*object, item.value, commit);
      if (!decoded) co_return std::move(decoded).error();
      out.objects[*object] = std::move(*decoded);
    }
    more = range->more && !range->items.empty();
    if (more) key = range->items.back().key + '\0';
  }
  co_return out;
}

// What of `wanted` is not in `got`, or the other way round; "" when they are the same.
std::string difference(const std::map<Key, ObjectPtr>& wanted, const std::map<Key, ObjectPtr>& got) {
  if (wanted.size() != got.size()) return fmt::format("{} objects instead of {}", got.size(), wanted.size());
  for (const auto& [key, object] : wanted) {
    auto it = got.find(key);
    if (it == got.end()) return key.to_string() + " is missing";
    if (content(*it->second) != content(*object)) return key.to_string() + " is not the same";
  }
  return "";
}

Result<Contents> verified(const std::string& file) {
  auto contents = read_store(file);
  if (!contents) return contents;
  if (!contents->damage.empty()) return damage_error(file, contents->damage);
  return contents;
}

awaitable<Result<>> send(etcd::Gateway& gateway, etcd::Txn txn) {
  // Twice does no harm: nobody else writes there.
  auto reply = co_await gateway.call_again("/v3/kv/txn", txn.to_json());
  if (!reply.ok()) co_return reply.error();
  auto answer = etcd::parse_txn(reply.text);
  if (!answer) co_return std::move(answer).error();
  if (!answer->succeeded) co_return Error::text("something is there", std::errc::device_or_resource_busy);
  co_return Result<>();
}

awaitable<Result<>> write_objects(etcd::Gateway& gateway, EtcdLayout layout, const Contents& contents) {
  etcd::Txn txn;
  for (const auto& [key, object] : contents.objects) {
    txn.put(layout.object(key), encode_object(key, object->body, txn.operations()));
    if (txn.operations() < kBatch && txn.bytes() < kBatchBytes) continue;
    auto full = std::exchange(txn, etcd::Txn());
    auto sent = co_await send(gateway, std::move(full));
    if (!sent) co_return sent;
  }
  if (txn.operations() == 0) co_return Result<>();
  co_return co_await send(gateway, std::move(txn));
}

}  // namespace

awaitable<Result<BackupReport>> export_etcd(EtcdOptions options, std::string file) {
  if (exists(file)) co_return Error::text(file + " exists already; nothing is overwritten", std::errc::file_exists);
  auto gateway = etcd::Gateway::make(co_await async::asio::this_coro::executor, options.gateway);
  if (!gateway) co_return std::move(gateway).error();
  auto found = co_await read_all(**gateway, EtcdLayout(options.prefix));
  if (!found) co_return std::move(found).error();
  if (found->meta.importing)
    co_return Error::text("an import into it was begun and not finished", std::errc::device_or_resource_busy);
  if (found->objects.empty())
    co_return Error::text(fmt::format("there is nothing under {} in etcd", options.prefix),
                          std::errc::no_such_file_or_directory);
  Contents contents;
  contents.objects = std::move(found->objects);
  contents.cluster_uid = found->meta.cluster_uid.empty() ? base::random_uuid() : found->meta.cluster_uid;
  BackupReport report;
  report.objects = contents.objects.size();
  report.revision = (found->meta.base + found->revision + 1) * kRevisionsPerCommit - 1;
  if (auto written = write_new_store(file, contents, report.revision); !written) co_return std::move(written).error();
  auto again = verified(file);
  if (!again) co_return std::move(again).error();
  if (auto wrong = difference(contents.objects, again->objects); !wrong.empty())
    co_return Error::text(fmt::format("{} was not written right: {}", file, wrong), std::errc::io_error);
  co_return report;
}

awaitable<Result<ImportReport>> import_etcd(std::string file, EtcdOptions options) {
  auto contents = verified(file);
  if (!contents) co_return std::move(contents).error();
  auto gateway = etcd::Gateway::make(co_await async::asio::this_coro::executor, options.gateway);
  if (!gateway) co_return std::move(gateway).error();
  EtcdLayout layout(options.prefix);
  etcd::Txn claim;
  claim.expect_older(layout.all(), etcd::prefix_end(layout.all()), 1);
  EtcdMeta meta;
  meta.importing = true;
  meta.cluster_uid = contents->cluster_uid;
  claim.put(layout.meta(), meta.to_text());
  auto claimed = co_await send(**gateway, std::move(claim));
  if (!claimed && claimed.error().is(std::errc::device_or_resource_busy))
    co_return Error::text(fmt::format("{} in etcd is not empty: an import goes where nothing is. Give another "
                                      "--etcd-prefix, or remove it (etcdctl del --prefix {})",
                                      options.prefix, layout.all()),
                          std::errc::device_or_resource_busy);
  if (!claimed) co_return std::move(claimed).error();
  if (auto written = co_await write_objects(**gateway, layout, *contents); !written)
    co_return std::move(written).error();
  auto found = co_await read_all(**gateway, layout);
  if (!found) co_return std::move(found).error();
  if (auto wrong = difference(contents->objects, found->objects); !wrong.empty())
    co_return Error::text("what was written is not what is there: " + wrong, std::errc::io_error);
  meta.importing = false;
  meta.base = (contents->revision() + kRestoreBump) / kRevisionsPerCommit + 1;
  etcd::Txn end;
  end.put(layout.meta(), meta.to_text());
  end.put(layout.head(), "import/0");
  if (auto done = co_await send(**gateway, std::move(end)); !done) co_return std::move(done).error();
  ImportReport report;
  report.objects = contents->objects.size();
  report.revision = (meta.base + found->revision + 1) * kRevisionsPerCommit;
  co_return report;
}

Result<ImportReport> import_sqlite(const std::string& file, const std::string& path) {
  if (exists(path)) {
    auto there = read_store(path);
    if (!there) return std::move(there).error();
    if (!there->objects.empty() || !there->damage.empty())
      return Error::text(fmt::format("{} is not empty: an import goes where nothing is. To replace what is there: "
                                     "`trama controller restore`",
                                     path),
                         std::errc::device_or_resource_busy);
  }
  auto restored = restore_store(file, path);
  if (!restored) return std::move(restored).error();
  auto contents = verified(file), now = verified(path);
  if (!contents) return std::move(contents).error();
  if (!now) return std::move(now).error();
  if (auto wrong = difference(contents->objects, now->objects); !wrong.empty())
    return Error::text("what was written is not what is there: " + wrong, std::errc::io_error);
  return ImportReport{restored->objects, restored->revision};
}

}  // namespace trama::store
