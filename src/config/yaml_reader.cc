#include "config/yaml_reader.h"

#include <algorithm>
#include <map>
#include <set>
#include <sstream>
#include <string_view>
#include <utility>
#include <vector>

#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/exceptions.h>
#include <yaml-cpp/mark.h>
#include <yaml-cpp/parser.h>

#include "base/error.h"
#include "base/file.h"
#include "config/yaml_writer.h"

namespace ckv {
namespace {

// The text that is read and how its places are called.
struct YamlSource {
  const std::string& text;
  const std::string& name;
  bool with_position;

  std::string Place(int line, int column) const {  // both from 0
    return with_position ? Str(name, ":", line + 1, ":", column + 1) : name;
  }
  std::string Place(const YAML::Mark& mark) const {
    return mark.is_null() ? name : Place(mark.line, mark.column);
  }
};

// Refuses text that YAML does not allow, and nesting far beyond the limit, in one pass.
//
// This knows no quotes or comments, so its bound on nesting is loose: YamlBuilder has the exact
// one.
class RawScan {
 public:
  explicit RawScan(const YamlSource& source) : source_(source) {}

  void Run() {
    const std::string& text = source_.text;
    if (text.size() > YamlLimits::kMaxBytes) {
      throw ConfigError(source_.name, Str("larger than ", YamlLimits::kMaxBytes, " bytes"));
    }
    const size_t invalid = FindInvalidUtf8(text);
    for (size_t i = 0; i < text.size(); ++i) {
      if (i == invalid) Fail("not UTF-8");
      Take(text[i]);
    }
  }

 private:
  static constexpr int kMaxOpen = 1000;

  void Take(char c) {
    if (c == '\n') {
      ++line_;
      column_ = 0;
      indicators_ = 0;
      in_head_ = true;
      return;
    }
    if ((static_cast<unsigned char>(c) < 0x20 && c != '\t' && c != '\r') || c == 0x7f) {
      Fail("a control character (write it as an escape in double quotes)");
    }
    if (c == '[' || c == '{') ++open_;
    if ((c == ']' || c == '}') && open_ > 0) --open_;
    if (c == '-' || c == '?' || c == ':') {
      if (in_head_) ++indicators_;
    } else if (c != ' ' && c != '\t') {
      in_head_ = false;
    }
    // "---" and rulers of dashes are no nesting: an indicator stands before a space.
    if (open_ > kMaxOpen || (indicators_ > kMaxOpen && c == ' ')) Fail("nested too deep");
    ++column_;
  }

  [[noreturn]] void Fail(const std::string& what) const {
    throw ConfigError(source_.Place(line_, column_), what);
  }

  const YamlSource& source_;
  int line_ = 0;
  int column_ = 0;
  int open_ = 0;
  int indicators_ = 0;  // '-', '?' and ':' before anything else in the line
  bool in_head_ = true;
};

// What a value weighs, for the limits on aliases.
struct ValueSize {
  size_t nodes = 0;
  size_t bytes = 0;
  int depth = 0;
};

ValueSize MeasureValue(const ConfigValue& value) {
  ValueSize size{1, value.text().size(), 0};
  const auto add = [&size](const ConfigValue& child, size_t key_bytes) {
    const ValueSize of_child = MeasureValue(child);
    size.nodes += of_child.nodes;
    size.bytes += of_child.bytes + key_bytes;
    size.depth = std::max(size.depth, of_child.depth + 1);
  };
  for (const ConfigValue& item : value.items()) add(item, 0);
  for (const ConfigValue::Entry& entry : value.entries()) add(entry.second, entry.first.size());
  return size;
}

// Builds the value from yaml-cpp's events.
class YamlBuilder : public YAML::EventHandler {
 public:
  explicit YamlBuilder(const YamlSource& source) : source_(source) {}

  ConfigValue Take() { return std::move(root_); }

  void OnDocumentStart(const YAML::Mark& mark) override {
    if (++num_documents_ == 1) return;
    // yaml-cpp begins a new document with any text that does not belong to the value before it.
    const bool marked = TextAt(mark, 3) == "---";
    Fail(mark, marked ? "a second document (only one is read)" : "unexpected text after the value");
  }
  void OnDocumentEnd() override {}

  void OnNull(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    if (ExpectsKey()) Fail(mark, "a key without a name");
    const bool written = IsNullWord(mark);
    ConfigValue value = written ? ConfigValue() : ConfigValue::NoValue();
    // For a missing value yaml-cpp gives the place of whatever comes next.
    if (!written && !frames_.empty() && frames_.back().value.kind() == ConfigValue::Kind::kMap) {
      value.set_origin(frames_.back().key_origin);
    } else {
      value.set_origin(source_.Place(mark));
    }
    AddNodes(mark, 1);
    Put(std::move(value), anchor);
  }

  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                const std::string& text) override {
    const bool quoted = CheckTag(mark, tag, /*allow_str=*/true);
    if (ExpectsKey()) {
      SetKey(mark, anchor, text, quoted);
      return;
    }
    AddNodes(mark, 1);
    ConfigValue value = ConfigValue::Scalar(text, quoted);
    value.set_origin(source_.Place(mark));
    Put(std::move(value), anchor);
  }

  void OnAlias(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    if (ExpectsKey()) Fail(mark, "an alias cannot be a key");
    if (++num_aliases_ > YamlLimits::kMaxAliases) {
      Fail(mark, Str("more than ", YamlLimits::kMaxAliases, " aliases"));
    }
    const auto found = anchors_.find(anchor);
    if (found == anchors_.end()) Fail(mark, "an alias to a value that contains it");
    const ValueSize size = MeasureValue(found->second);
    CheckDepth(mark, frames_.size() + static_cast<size_t>(size.depth));
    AddNodes(mark, size.nodes);
    alias_bytes_ += size.bytes;
    if (alias_bytes_ > YamlLimits::kMaxAliasBytes) {
      Fail(mark, Str("aliases stand for more than ", YamlLimits::kMaxAliasBytes, " bytes"));
    }
    Put(found->second, 0);
  }

  void OnSequenceStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                       YAML::EmitterStyle::value) override {
    Open(mark, tag, anchor, ConfigValue::List());
  }
  void OnSequenceEnd() override { Close(); }

  void OnMapStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                  YAML::EmitterStyle::value) override {
    Open(mark, tag, anchor, ConfigValue::Map());
  }
  void OnMapEnd() override { Close(); }

 private:
  // A list or map that is not complete.
  struct Frame {
    ConfigValue value;
    YAML::anchor_t anchor = 0;
    bool has_key = false;
    std::string key;
    std::string key_origin;
    std::set<std::string> keys;
  };

  [[noreturn]] void Fail(const YAML::Mark& mark, const std::string& what) const {
    throw ConfigError(source_.Place(mark), what);
  }

  bool ExpectsKey() const {
    return !frames_.empty() && frames_.back().value.kind() == ConfigValue::Kind::kMap &&
           !frames_.back().has_key;
  }

  std::string TextAt(const YAML::Mark& mark, size_t num_bytes) const {
    const size_t begin = mark.is_null() ? source_.text.size() : static_cast<size_t>(mark.pos);
    return source_.text.substr(std::min(begin, source_.text.size()), num_bytes);
  }

  // True if the text at `mark` is a null that somebody wrote, not what follows a missing value.
  bool IsNullWord(const YAML::Mark& mark) const {
    std::string word = TextAt(mark, 5);
    word.resize(std::min(word.find_first_of(" \t\r\n,]}"), word.size()));
    return word == "~" || word == "null" || word == "Null" || word == "NULL";
  }

  // Returns true if the tag makes the scalar a string.
  bool CheckTag(const YAML::Mark& mark, const std::string& tag, bool allow_str) const {
    if (tag.empty() || tag == "?") return false;
    if (tag == "!") return true;
    if (allow_str && tag == "tag:yaml.org,2002:str") return true;
    Fail(mark, Str("tag '", ShortText(tag), "' is not supported"));
  }

  void AddNodes(const YAML::Mark& mark, size_t count) {
    num_nodes_ += count;
    if (num_nodes_ > YamlLimits::kMaxNodes) {
      Fail(mark, Str("more than ", YamlLimits::kMaxNodes, " values"));
    }
  }

  void CheckDepth(const YAML::Mark& mark, size_t depth) const {
    if (depth > static_cast<size_t>(YamlLimits::kMaxDepth)) {
      Fail(mark, Str("nested deeper than ", YamlLimits::kMaxDepth, " levels"));
    }
  }

  void SetKey(const YAML::Mark& mark, YAML::anchor_t anchor, const std::string& key, bool quoted) {
    if (anchor != 0) Fail(mark, "a key cannot have an anchor");
    if (key == "<<" && !quoted) Fail(mark, "merge keys ('<<') are not supported");
    if (key.size() > YamlLimits::kMaxKeyBytes) {
      Fail(mark, Str("a key of more than ", YamlLimits::kMaxKeyBytes, " bytes"));
    }
    Frame& frame = frames_.back();
    if (!frame.keys.insert(key).second) {
      Fail(mark, Str("key '", ShortText(key), "' occurs twice"));
    }
    frame.key = key;
    frame.key_origin = source_.Place(mark);
    frame.has_key = true;
  }

  void Open(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
            ConfigValue value) {
    if (ExpectsKey()) {
      Fail(mark, "a key must be text, not a list or a map (is a bracket left open?)");
    }
    CheckTag(mark, tag, /*allow_str=*/false);
    CheckDepth(mark, frames_.size() + 1);
    AddNodes(mark, 1);
    value.set_origin(source_.Place(mark));
    Frame frame;
    frame.value = std::move(value);
    frame.anchor = anchor;
    frames_.push_back(std::move(frame));
  }

  void Close() {
    Frame frame = std::move(frames_.back());
    frames_.pop_back();
    Put(std::move(frame.value), frame.anchor);
  }

  // Puts a complete value where it belongs. An anchor is known from here on, so no value can
  // contain itself.
  void Put(ConfigValue value, YAML::anchor_t anchor) {
    if (anchor != 0) anchors_[anchor] = value;
    if (frames_.empty()) {
      root_ = std::move(value);
      return;
    }
    Frame& frame = frames_.back();
    if (frame.value.kind() == ConfigValue::Kind::kList) {
      frame.value.items().push_back(std::move(value));
      return;
    }
    value.set_key_origin(frame.key_origin);
    frame.value.entries().emplace_back(std::move(frame.key), std::move(value));
    frame.has_key = false;
  }

  const YamlSource& source_;
  ConfigValue root_;
  std::vector<Frame> frames_;
  std::map<YAML::anchor_t, ConfigValue> anchors_;
  int num_documents_ = 0;
  size_t num_nodes_ = 0;
  size_t num_aliases_ = 0;
  size_t alias_bytes_ = 0;
};

// A tab in the indentation is what most "illegal" YAML is about, and yaml-cpp does not say so.
std::string TabHint(const std::string& text, const YAML::Mark& mark) {
  std::istringstream lines(text);
  std::string line;
  for (int i = 0; i <= mark.line; ++i) std::getline(lines, line);
  const std::string indentation = line.substr(0, line.find_first_not_of(" \t"));
  return indentation.find('\t') == std::string::npos
             ? ""
             : " (the line is indented with a tab; YAML wants spaces)";
}

ConfigValue ReadSource(const YamlSource& source) {
  RawScan(source).Run();
  YamlBuilder builder(source);
  try {
    std::istringstream in(source.text);
    YAML::Parser parser(in);
    while (parser.HandleNextDocument(builder)) {
    }
  } catch (const YAML::Exception& error) {
    const std::string hint = error.mark.is_null() ? "" : TabHint(source.text, error.mark);
    throw ConfigError(source.Place(error.mark), Str("not valid YAML: ", error.msg, hint));
  }
  ConfigValue value = builder.Take();
  if (value.origin().empty()) value.set_origin(source.Place(0, 0));
  return value;
}

// yaml-cpp counts the byte order mark neither as text nor consistently.
std::string WithoutByteOrderMark(const std::string& text) {
  return text.compare(0, 3, "\xef\xbb\xbf") == 0 ? text.substr(3) : text;
}

}  // namespace

ConfigValue ReadYaml(const std::string& text, const std::string& path) {
  const std::string content = WithoutByteOrderMark(text);
  return ReadSource({content, path, /*with_position=*/true});
}

ConfigValue ReadYamlFile(const std::string& path) {
  if (FileExists(path) && !IsDirectory(path) && FileSize(path) > YamlLimits::kMaxBytes) {
    throw ConfigError(path, Str("larger than ", YamlLimits::kMaxBytes, " bytes"));
  }
  return ReadYaml(ReadFile(path), path);
}

ConfigValue ReadYamlText(const std::string& text, const std::string& origin) {
  return ReadSource({text, origin, /*with_position=*/false});
}

}  // namespace ckv
