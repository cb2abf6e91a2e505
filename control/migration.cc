// SPDX-License-Identifier: GPL-2.0-or-later
// `trama controller export` and `import` as calls.
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>

#include "control/controller.h"

namespace trama::control {

using base::Result;
namespace asio = async::asio;

namespace {

template <class T>
Result<T> run(async::awaitable<Result<T>> task) {
  asio::io_context io(1);
  Result<T> outcome;
  asio::co_spawn(io, std::move(task), [&outcome](std::exception_ptr e, Result<T> result) {
    if (e) std::rethrow_exception(e);
    outcome = std::move(result);
  });
  io.run();
  return outcome;
}

}  // namespace

Result<store::BackupReport> export_store(const ControllerOptions& options, const std::string& file) {
  if (is_etcd(options)) {
    auto etcd = etcd_options(options);
    if (!etcd) return std::move(etcd).error();
    return run(store::export_etcd(*etcd, file));
  }
  auto path = store_path_of(options);
  if (!path) return std::move(path).error();
  return store::backup_store(*path, file, false);
}

Result<store::ImportReport> import_store(const std::string& file, const ControllerOptions& options) {
  if (is_etcd(options)) {
    auto etcd = etcd_options(options);
    if (!etcd) return std::move(etcd).error();
    return run(store::import_etcd(file, *etcd));
  }
  auto path = store_path_of(options);
  if (!path) return std::move(path).error();
  return store::import_sqlite(file, *path);
}

}  // namespace trama::control
