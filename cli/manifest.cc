// SPDX-License-Identifier: GPL-2.0-or-later
#include "cli/manifest.h"

#include <algorithm>
#include <filesystem>

#include <unistd.h>

#include "base/file.h"

namespace trama::cli {

using base::Error;
using base::Result;

Error Manifest::mistake(std::string_view field, std::string_view sentence) const {
  auto path = prefix.empty() || field.empty() ? prefix + std::string(field) : fmt::format("{}.{}", prefix, field);
  return source->mistake(path, sentence);
}

namespace {

constexpr std::size_t kLargestFile = 4u << 20;

Result<std::string> read_standard_input() {
  std::string text;
  char buffer[65536];
  for (;;) {
    auto n = ::read(STDIN_FILENO, buffer, sizeof buffer);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return Error::from_errno(errno, "read standard input");
    if (n == 0) return text;
    text.append(buffer, static_cast<std::size_t>(n));
    if (text.size() > kLargestFile) return Error::text("standard input: larger than 4 MiB");
  }
}

Result<std::vector<std::string>> files_of(const std::string& path) {
  std::error_code ec;
  if (path == "-" || !std::filesystem::is_directory(path, ec)) return std::vector<std::string>{path};
  std::vector<std::string> files;
  for (const auto& entry : std::filesystem::directory_iterator(path, ec)) {
    auto extension = entry.path().extension();
    if (extension == ".yaml" || extension == ".yml" || extension == ".json") files.push_back(entry.path().string());
  }
  if (ec) return Error(ec, path);
  if (files.empty())
    return Error::text(fmt::format("{}: holds no *.yaml, *.yml or *.json", path), std::errc::no_such_file_or_directory);
  std::sort(files.begin(), files.end());
  return files;
}

// A string field that must be there.
Result<std::string> required_text(const YamlDocument& d, const json::object& o, const std::string& path,
                                  const char* field, const char* example) {
  auto full = path.empty() ? std::string(field) : fmt::format("{}.{}", path, field);
  const auto* v = o.if_contains(field);
  if (!v || v->is_null()) return d.mistake(full, fmt::format("is missing (expected text, e.g. {})", example));
  if (!v->is_string() || v->get_string().empty())
    return d.mistake(full, fmt::format("expected text, e.g. {}, got {}", example, json::serialize(*v)));
  return std::string(v->get_string());
}

Result<Manifest> one(const std::shared_ptr<const YamlDocument>& source, const json::value& value,
                     const std::string& prefix) {
  const auto& d = *source;
  const auto* o = value.if_object();
  if (!o) return d.mistake(prefix, "expected an object with apiVersion, kind and metadata");
  auto api_version = required_text(d, *o, prefix, "apiVersion", "v1");
  if (!api_version) return std::move(api_version).error();
  auto kind_name = required_text(d, *o, prefix, "kind", "Pod");
  if (!kind_name) return std::move(kind_name).error();
  auto kind = find_kind(*api_version, *kind_name);
  if (!kind) return d.mistake(prefix.empty() ? "kind" : prefix + ".kind", kind.error().to_string());
  auto metadata_path = prefix.empty() ? std::string("metadata") : prefix + ".metadata";
  const auto* metadata = o->if_contains("metadata");
  if (!metadata || !metadata->is_object())
    return d.mistake(metadata ? metadata_path : prefix, "metadata: expected an object with at least a name");
  Manifest m;
  m.kind = *kind;
  m.source = source;
  m.prefix = prefix;
  m.object = *o;
  const auto* generated = metadata->get_object().if_contains("generateName");
  if (!generated || metadata->get_object().contains("name")) {
    auto name = required_text(d, metadata->get_object(), metadata_path, "name", "web");
    if (!name) return std::move(name).error();
    m.name = *name;
  }
  if (const auto* ns = metadata->get_object().if_contains("namespace"); ns && !ns->is_null()) {
    if (!ns->is_string()) return d.mistake(metadata_path + ".namespace", "expected text");
    m.ns = std::string(ns->get_string());
  }
  return m;
}

}  // namespace

Result<std::vector<YamlDocument>> read_documents(const std::vector<std::string>& paths) {
  std::vector<YamlDocument> all;
  for (const auto& path : paths) {
    auto files = files_of(path);
    if (!files) return std::move(files).error();
    for (const auto& file : *files) {
      auto text = file == "-" ? read_standard_input() : base::read_file(file, kLargestFile);
      if (!text) return Error::text(text.error().to_string(), std::errc::invalid_argument);
      auto documents = load_yaml(*text, file == "-" ? "standard input" : file);
      if (!documents) return std::move(documents).error();
      for (auto& d : *documents) all.push_back(std::move(d));
    }
  }
  return all;
}

Result<std::vector<Manifest>> to_manifests(std::shared_ptr<const YamlDocument> document) {
  std::vector<Manifest> out;
  const auto* o = document->value.if_object();
  const auto* kind = o ? o->if_contains("kind") : nullptr;
  if (kind && kind->is_string() && kind->get_string().ends_with("List")) {
    const auto* items = o->if_contains("items");
    if (!items || !items->is_array()) return document->mistake("items", "expected a list of objects");
    for (std::size_t i = 0; i < items->get_array().size(); ++i) {
      auto m = one(document, items->get_array()[i], fmt::format("items[{}]", i));
      if (!m) return std::move(m).error();
      out.push_back(std::move(*m));
    }
    return out;
  }
  auto m = one(document, document->value, "");
  if (!m) return std::move(m).error();
  out.push_back(std::move(*m));
  return out;
}

Result<std::vector<Manifest>> read_manifests(const std::vector<std::string>& files) {
  auto documents = read_documents(files);
  if (!documents) return std::move(documents).error();
  std::vector<Manifest> all;
  for (auto& d : *documents) {
    auto some = to_manifests(std::make_shared<const YamlDocument>(std::move(d)));
    if (!some) return std::move(some).error();
    for (auto& m : *some) all.push_back(std::move(m));
  }
  if (all.empty()) return Error::text("there is no object in what was given");
  return all;
}

}  // namespace trama::cli
