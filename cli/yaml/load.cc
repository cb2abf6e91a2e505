// SPDX-License-Identifier: GPL-2.0-or-later
#include "cli/yaml/load.h"

#include <memory>
#include <sstream>

#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/yaml.h>

#include "cli/yaml/scalar.h"

namespace trama::cli {

using base::Error;
using base::Result;

int FieldLines::line_of(std::string_view path) const {
  while (true) {
    if (auto it = lines_.find(path); it != lines_.end()) return it->second;
    if (path.empty()) return 1;
    auto cut = path.find_last_of(".[");
    path = cut == std::string_view::npos ? std::string_view() : path.substr(0, cut);
  }
}

Error YamlDocument::mistake(std::string_view path, std::string_view sentence) const {
  auto where = path.empty() ? std::string() : fmt::format("{}: ", path);
  return Error::text(fmt::format("{}:{}: {}{}", file, lines.line_of(path), where, sentence));
}

namespace {

// Thrown through yaml-cpp's parser, which knows no other way to stop; never leaves this file.
struct Refused {
  YAML::Mark mark;
  std::string path, why;
};

// What is being filled: the top value, a sequence, or a mapping (with a key that waits for its value).
struct Frame {
  json::value value;
  std::string path;
  YAML::anchor_t anchor = 0;
  bool has_key = false;
  std::string key;
  std::size_t cost = 1;  // values inside, itself included
};

class Builder final : public YAML::EventHandler {
 public:
  Builder(const YamlLimits& limits, std::string file, std::size_t& budget) : limits_(limits), budget_(budget) {
    document.file = std::move(file);
  }

  YamlDocument document;
  bool filled = false;

  void OnDocumentStart(const YAML::Mark& mark) override { document.lines.put("", mark.line + 1); }
  void OnDocumentEnd() override {}
  void OnNull(const YAML::Mark& mark, YAML::anchor_t anchor) override { leaf(mark, nullptr, anchor, true); }

  void OnAlias(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    auto it = anchors_.find(anchor);
    if (it == anchors_.end()) throw Refused{mark, path_here(), "this alias refers to something that contains it"};
    if (awaiting_key()) throw Refused{mark, path_here(), "a key must be plain text, not an alias"};
    spend(mark, it->second.cost);
    document.lines.put(path_here(), mark.line + 1);
    add(it->second.value, it->second.cost);
  }

  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                const std::string& text) override {
    if (awaiting_key()) {
      auto& top = stack_.back();
      if (top.value.get_object().contains(text))
        throw Refused{mark, child_path(top, text), "this field is given twice"};
      spend(mark, 1);
      top.has_key = true;
      top.key = text;
      document.lines.put(path_here(), mark.line + 1);
      return;
    }
    if (tag == "!" || tag == "tag:yaml.org,2002:str") return leaf(mark, json::value(json::string(text)), anchor, false);
    if (!tag.empty() && tag != "?")
      throw Refused{mark, path_here(), fmt::format("tags are not supported, got \"{}\"", tag)};
    auto value = plain_scalar(text);
    if (!value) throw Refused{mark, path_here(), value.error().to_string()};
    leaf(mark, std::move(*value), anchor, text.empty());
  }

  void OnSequenceStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                       YAML::EmitterStyle::value) override {
    open(mark, tag, json::value(json::array()), anchor);
  }
  void OnSequenceEnd() override { close(); }
  void OnMapStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                  YAML::EmitterStyle::value) override {
    open(mark, tag, json::value(json::object()), anchor);
  }
  void OnMapEnd() override { close(); }

 private:
  struct Anchored {
    json::value value;
    std::size_t cost = 1;
  };

  bool awaiting_key() const { return !stack_.empty() && stack_.back().value.is_object() && !stack_.back().has_key; }

  static std::string child_path(const Frame& f, std::string_view key) {
    return f.path.empty() ? std::string(key) : fmt::format("{}.{}", f.path, key);
  }
  // The path of the value that comes next.
  std::string path_here() const {
    if (stack_.empty()) return "";
    const auto& top = stack_.back();
    if (top.value.is_array()) return fmt::format("{}[{}]", top.path, top.value.get_array().size());
    return top.has_key ? child_path(top, top.key) : top.path;
  }

  void spend(const YAML::Mark& mark, std::size_t n) {
    if (n > budget_) throw Refused{mark, path_here(), "too many values (aliases count as often as they are used)"};
    budget_ -= n;
  }

  void leaf(const YAML::Mark& mark, json::value value, YAML::anchor_t anchor, bool empty) {
    if (awaiting_key()) throw Refused{mark, path_here(), "a field needs a name"};
    spend(mark, 1);
    if (!(stack_.empty() || stack_.back().has_key)) document.lines.put(path_here(), mark.line + 1);
    if (anchor) anchors_[anchor] = Anchored{value, 1};
    if (stack_.empty() && empty) return;  // an empty document
    add(std::move(value), 1);
  }

  void open(const YAML::Mark& mark, const std::string& tag, json::value container, YAML::anchor_t anchor) {
    if (awaiting_key()) throw Refused{mark, path_here(), "a key must be plain text"};
    if (!tag.empty() && tag != "?" && tag != "!")
      throw Refused{mark, path_here(), fmt::format("tags are not supported, got \"{}\"", tag)};
    if (stack_.size() >= limits_.depth)
      throw Refused{mark, path_here(), fmt::format("nested deeper than {} levels", limits_.depth)};
    spend(mark, 1);
    Frame frame;
    frame.path = path_here();
    if (!(stack_.empty() || stack_.back().has_key)) document.lines.put(frame.path, mark.line + 1);
    frame.value = std::move(container);
    frame.anchor = anchor;
    stack_.push_back(std::move(frame));
  }

  void close() {
    auto frame = std::move(stack_.back());
    stack_.pop_back();
    if (frame.anchor) anchors_[frame.anchor] = Anchored{frame.value, frame.cost};
    add(std::move(frame.value), frame.cost);
  }

  void add(json::value value, std::size_t cost) {
    if (stack_.empty()) {
      document.value = std::move(value);
      filled = true;
      return;
    }
    auto& top = stack_.back();
    top.cost += cost;
    if (top.value.is_array()) {
      top.value.get_array().push_back(std::move(value));
    } else {
      top.value.get_object().insert_or_assign(top.key, std::move(value));
      top.has_key = false;
    }
  }

  const YamlLimits& limits_;
  std::size_t& budget_;
  std::vector<Frame> stack_;
  std::map<YAML::anchor_t, Anchored> anchors_;
};

// yaml-cpp recurses about once per bracket or indentation level before our own depth check sees anything.
bool too_deep(std::string_view text, std::size_t limit) {
  std::size_t open = 0;
  for (char c : text) {
    if ((c == '[' || c == '{') && ++open > limit * 64) return true;
    if ((c == ']' || c == '}') && open > 0) --open;
  }
  return false;
}

}  // namespace

Result<std::vector<YamlDocument>> load_yaml(std::string_view text, const std::string& file, const YamlLimits& limits) {
  if (text.size() > limits.bytes) return Error::text(fmt::format("{}: larger than {} MiB", file, limits.bytes >> 20));
  if (auto zero = text.find('\0'); zero != std::string_view::npos)
    return Error::text(fmt::format("{}: not a text file (byte {} is zero)", file, zero));
  if (too_deep(text, limits.depth)) return Error::text(fmt::format("{}: nested too deeply", file));
  std::vector<YamlDocument> documents;
  std::size_t budget = limits.values;
  std::istringstream stream{std::string(text)};
  try {
    YAML::Parser parser(stream);
    for (;;) {
      Builder builder(limits, file, budget);
      if (!parser.HandleNextDocument(builder)) break;
      if (builder.filled) documents.push_back(std::move(builder.document));
    }
  } catch (const Refused& r) {
    return Error::text(fmt::format("{}:{}: {}{}", file, r.mark.line + 1, r.path.empty() ? "" : r.path + ": ", r.why));
  } catch (const YAML::Exception& e) {
    return Error::text(fmt::format("{}:{}: not YAML: {}", file, e.mark.line + 1, e.msg));
  }
  return documents;
}

}  // namespace trama::cli
