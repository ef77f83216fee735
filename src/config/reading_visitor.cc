#include "config/reading_visitor.h"

#include <algorithm>
#include <utility>

#include "base/error.h"
#include "config/config.h"
#include "config/yaml_writer.h"

namespace ckv {
namespace {

std::string DottedName(const std::string& section, const std::string& key) {
  return section.empty() ? key : section + "." + key;
}

std::string JoinWords(const std::vector<std::string>& words) {
  std::string text;
  for (const std::string& word : words) text += (text.empty() ? "" : ", ") + word;
  return text;
}

// The file of a place such as "a.yaml:3:7".
std::string FileOf(const std::string& place) {
  std::string file = place;
  for (int part = 0; part < 2; ++part) {
    const size_t colon = file.rfind(':');
    if (colon == std::string::npos || colon + 1 == file.size() ||
        file.find_first_not_of("0123456789", colon + 1) != std::string::npos) {
      return place;
    }
    file.resize(colon);
  }
  return file;
}

// The YAML text of what a variable holds, for Require's message.
std::string TextOf(bool value) { return value ? "true" : "false"; }
std::string TextOf(int64_t value) { return Str(value); }
std::string TextOf(double value) { return Str(value); }
std::string TextOf(const std::string& value) { return "'" + ShortText(value) + "'"; }
template <typename Value>
std::string TextOf(const std::optional<Value>& value) {
  return value ? TextOf(*value) : "null";
}
template <typename Value>
std::string TextOf(const std::vector<Value>& value) {
  std::string text;
  for (const Value& item : value) text += (text.empty() ? "" : ", ") + TextOf(item);
  return ShortText("[" + text + "]");
}

}  // namespace

ReadingVisitor::ReadingVisitor(const ConfigValue& tree, const std::string& name) {
  if (!tree.is_null() && tree.kind() != ConfigValue::Kind::kMap) {
    ThrowWrongType(tree, name.empty() ? "config" : name, "a section (a map of keys)");
  }
  frames_.push_back({tree.is_null() ? nullptr : &tree, name, {}});
  file_ = FileOf(tree.origin());
  last_ = {name, tree.origin(), ""};
}

void ReadingVisitor::Finish() {
  CKV_CHECK(frames_.size() == 1, "a section was begun but not ended");
  CheckKeys(frames_.back());
}

std::string ReadingVisitor::PlaceOf(const ConfigValue* node) const {
  return node == nullptr ? file_ : node->origin();
}

// The node of `key` in the section being visited; nullptr if the tree lacks it.
const ConfigValue* ReadingVisitor::Enter(const char* key) {
  Frame& frame = frames_.back();
  const std::string name = DottedName(frame.name, key);
  CKV_CHECK(std::find(frame.known.begin(), frame.known.end(), key) == frame.known.end(),
            "the key '", name, "' is named twice");
  frame.known.emplace_back(key);
  const ConfigValue* node = frame.node == nullptr ? nullptr : frame.node->Find(key);
  last_ = {name, PlaceOf(node), ""};
  return node;
}

// As Enter; nullptr also for a null, which asks for the default.
const ConfigValue* ReadingVisitor::EnterNotNull(const char* key) {
  const ConfigValue* node = Enter(key);
  if (node == nullptr || !node->is_null() || node->has_no_value()) return node;
  last_.origin = file_;
  return nullptr;
}

template <typename Value, typename Convert>
void ReadingVisitor::ReadScalar(const char* key, Value& value, Convert convert) {
  if (const ConfigValue* node = EnterNotNull(key)) value = convert(*node, last_.name);
  last_.text = TextOf(value);
}

template <typename Value, typename Convert>
void ReadingVisitor::ReadOptional(const char* key, std::optional<Value>& value, Convert convert) {
  if (const ConfigValue* node = Enter(key)) {
    if (node->is_null() && !node->has_no_value()) {
      value.reset();
    } else {
      value = convert(*node, last_.name);
    }
  }
  last_.text = TextOf(value);
}

template <typename Value, typename Convert>
void ReadingVisitor::ReadList(const char* key, std::vector<Value>& value, const char* must,
                              Convert convert) {
  if (const ConfigValue* node = EnterNotNull(key)) {
    if (node->kind() != ConfigValue::Kind::kList) ThrowWrongType(*node, last_.name, must);
    value.clear();
    for (size_t i = 0; i < node->items().size(); ++i) {
      value.push_back(convert(node->items()[i], DottedName(last_.name, Str(i))));
    }
  }
  last_.text = TextOf(value);
}

void ReadingVisitor::Field(const char* key, bool& value, const char*) {
  ReadScalar(key, value, AsBool);
}
void ReadingVisitor::Field(const char* key, int64_t& value, const char*) {
  ReadScalar(key, value, AsInt);
}
void ReadingVisitor::Field(const char* key, double& value, const char*) {
  ReadScalar(key, value, AsDouble);
}
void ReadingVisitor::Field(const char* key, std::string& value, const char*) {
  ReadScalar(key, value, AsString);
}
void ReadingVisitor::Field(const char* key, std::optional<int64_t>& value, const char*) {
  ReadOptional(key, value, AsInt);
}
void ReadingVisitor::Field(const char* key, std::optional<double>& value, const char*) {
  ReadOptional(key, value, AsDouble);
}
void ReadingVisitor::Field(const char* key, std::vector<int64_t>& value, const char*) {
  ReadList(key, value, "a list of integers", AsInt);
}
void ReadingVisitor::Field(const char* key, std::vector<double>& value, const char*) {
  ReadList(key, value, "a list of numbers", AsDouble);
}
void ReadingVisitor::Field(const char* key, std::vector<std::string>& value, const char*) {
  ReadList(key, value, "a list of strings", AsString);
}

void ReadingVisitor::Field(const char* key, ConfigValue& value, const char*) {
  if (const ConfigValue* node = Enter(key)) {
    value = *node;
  } else if (value.origin().empty()) {
    value.set_origin(file_);
  }
  last_.text = ShortText(FlowYaml(value));
}

void ReadingVisitor::Choice(const char* key, std::string& value,
                            const std::vector<std::string>& choices, const char* help) {
  Field(key, value, help);
  if (std::find(choices.begin(), choices.end(), value) != choices.end()) return;
  const std::string closest = ClosestWord(value, choices);
  Require(false, Str("must be one of: ", JoinWords(choices),
                     closest.empty() ? "" : " (did you mean '" + closest + "'?)"));
}

void ReadingVisitor::Require(bool holds, const std::string& what) {
  if (holds) return;
  const std::string subject = last_.name.empty() ? "the config" : "'" + last_.name + "'";
  throw ConfigError(last_.origin, last_.text.empty()
                                      ? Str(subject, " ", what)
                                      : Str(subject, " is ", last_.text, ", but ", what));
}

bool ReadingVisitor::BeginSection(const char* key, const char*) {
  const ConfigValue* node = Enter(key);
  if (node != nullptr && node->is_null()) node = nullptr;
  if (node != nullptr && node->kind() != ConfigValue::Kind::kMap) {
    ThrowWrongType(*node, last_.name, "a section (a map of keys)");
  }
  frames_.push_back({node, last_.name, {}});
  return true;
}

void ReadingVisitor::EndSection() { PopFrame(); }

int64_t ReadingVisitor::BeginList(const char* key, int64_t size, const char*) {
  const ConfigValue* node = EnterNotNull(key);
  if (node != nullptr && node->kind() != ConfigValue::Kind::kList) {
    ThrowWrongType(*node, last_.name, "a list of sections");
  }
  frames_.push_back({node, last_.name, {}});
  return node == nullptr ? size : static_cast<int64_t>(node->items().size());
}

bool ReadingVisitor::ReplacesItems() const { return frames_.back().node != nullptr; }

void ReadingVisitor::BeginItem(int64_t index) {
  const Frame& list = frames_.back();
  const std::string name = DottedName(list.name, Str(index));
  const ConfigValue* node =
      list.node == nullptr ? nullptr : &list.node->items()[static_cast<size_t>(index)];
  if (node != nullptr && node->kind() != ConfigValue::Kind::kMap) {
    ThrowWrongType(*node, name, "a section (a map of keys)");
  }
  last_ = {name, PlaceOf(node), ""};
  frames_.push_back({node, name, {}});
}

void ReadingVisitor::EndItem() { PopFrame(); }

void ReadingVisitor::EndList() {
  const Frame& list = frames_.back();
  last_ = {list.name, PlaceOf(list.node), ""};
  frames_.pop_back();
}

void ReadingVisitor::PopFrame() {
  const Frame frame = std::move(frames_.back());
  frames_.pop_back();
  CheckKeys(frame);
  last_ = {frame.name, PlaceOf(frame.node), ""};
}

void ReadingVisitor::CheckKeys(const Frame& frame) const {
  if (frame.node == nullptr) return;
  for (const ConfigValue::Entry& entry : frame.node->entries()) {
    const auto& known = frame.known;
    if (std::find(known.begin(), known.end(), entry.first) != known.end()) continue;
    const std::string closest = ClosestWord(entry.first, known);
    std::string hint;
    if (!closest.empty()) {
      hint = Str("did you mean '", DottedName(frame.name, closest), "'?");
    } else if (frame.name.empty()) {
      hint = Str("known keys: ", JoinWords(known));
    } else {
      hint = Str("known keys of '", frame.name, "': ", JoinWords(known));
    }
    const ConfigValue& value = entry.second;
    throw ConfigError(value.key_origin().empty() ? value.origin() : value.key_origin(),
                      Str("unknown key '", ShortText(DottedName(frame.name, entry.first), 200),
                          "' (", hint, ")"));
  }
}

}  // namespace ckv
