// SPDX-License-Identifier: GPL-2.0-or-later
#include "cli/verbs/store_files.h"

#include <cstdio>

#include "cli/exit.h"
#include "control/store/backup.h"

namespace trama::cli {

int controller_backup(const control::ControllerOptions& controller, const StoreFileOptions& options) {
  auto path = control::store_path_of(controller);
  if (!path) return fail(path.error());
  auto made = store::backup_store(*path, options.file, options.salvage);
  if (!made) {
    auto what = "back up " + *path + ": " + made.error().to_string();
    auto next = made.error().is(std::errc::file_exists)                 ? "give another name"
                : made.error().is(std::errc::no_such_file_or_directory) ? "name the controller's --data-dir"
                                                                        : "";
    return fail(exit_of(made.error()), what, next);
  }
  for (const auto& what : made->left_out) fmt::print(stderr, "trama: left out: {}\n", what);
  fmt::print("{}: {} objects, revision {}\n", options.file, made->objects, made->revision);
  return code(made->left_out.empty() ? Exit::ok : Exit::no);
}

int controller_restore(const control::ControllerOptions& controller, const StoreFileOptions& options) {
  auto path = control::store_path_of(controller);
  if (!path) return fail(path.error());
  auto done = store::restore_store(options.file, *path);
  if (!done) {
    auto what = "restore " + options.file + ": " + done.error().to_string();
    if (done.error().is(std::errc::device_or_resource_busy)) return fail(Exit::conflict, what, "stop the controller");
    return fail(exit_of(done.error()), what);
  }
  fmt::print("{}: {} objects, revisions go on at {}\n", *path, done->objects, done->revision);
  if (!done->replaced.empty()) fmt::print("the store that was there is now {}\n", done->replaced);
  return code(Exit::ok);
}

int controller_export(const control::ControllerOptions& controller, const StoreFileOptions& options) {
  auto made = control::export_store(controller, options.file);
  if (!made) {
    auto next = made.error().is(std::errc::file_exists) ? "give another name" : "";
    return fail(exit_of(made.error()), "export: " + made.error().to_string(), next);
  }
  fmt::print("{}: {} objects, revision {}, read again and compared\n", options.file, made->objects, made->revision);
  return code(Exit::ok);
}

int controller_import(const control::ControllerOptions& controller, const StoreFileOptions& options) {
  auto done = control::import_store(options.file, controller);
  if (!done) {
    auto what = "import " + options.file + ": " + done.error().to_string();
    if (done.error().is(std::errc::device_or_resource_busy)) return fail(Exit::conflict, what);
    return fail(exit_of(done.error()), what);
  }
  fmt::print("{} objects, read back and compared; revisions go on at {}\n", done->objects, done->revision);
  return code(Exit::ok);
}

}  // namespace trama::cli
