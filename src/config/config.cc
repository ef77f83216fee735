#include "config/config.h"

#include <algorithm>
#include <map>

#include "base/hash.h"
#include "base/str.h"
#include "config/listing_visitor.h"
#include "config/reading_visitor.h"

namespace ckv {
namespace {

std::vector<ListedKey> ListKeys(const ConfigVisit& visit, ListingVisitor::Mode mode) {
  ListingVisitor visitor(mode);
  visit(visitor);
  return visitor.keys();
}

// Writes listed keys as block-style YAML, every leaf on its line.
class BlockWriter {
 public:
  explicit BlockWriter(bool with_help) : with_help_(with_help) {}

  std::string Write(const std::vector<ListedKey>& keys) {
    for (size_t i = 0; i < keys.size(); ++i) {
      const bool empty = i + 1 < keys.size() && IsEnd(keys[i + 1].kind);
      WriteKey(keys[i], empty);
    }
    return out_.empty() ? "{}\n" : out_;
  }

 private:
  using Kind = ListedKey::Kind;

  static bool IsEnd(Kind kind) {
    return kind == Kind::kEndSection || kind == Kind::kEndList || kind == Kind::kEndItem;
  }

  void WriteKey(const ListedKey& key, bool empty) {
    switch (key.kind) {
      case Kind::kField:
        Line(key.key + ": " + key.text, key.help);
        return;
      case Kind::kSection:
        Line(key.key + (empty ? ": {}" : ":"), key.help);
        ++depth_;
        return;
      case Kind::kList:
        Line(key.key + (empty ? ": []" : ":"), key.help);
        ++depth_;
        return;
      case Kind::kItem:
        if (empty) {
          Line("- {}", "");
        } else {
          dash_ = true;
        }
        ++depth_;
        return;
      default:
        --depth_;
    }
  }

  void Line(const std::string& text, const std::string& help) {
    // The dash of an item takes the place of its first key's innermost indentation.
    const size_t indentation = 2 * static_cast<size_t>(depth_);
    out_ += dash_ ? std::string(indentation - 2, ' ') + "- " : std::string(indentation, ' ');
    dash_ = false;
    out_ += text;
    if (with_help_ && !help.empty()) {
      out_ += "  # " + help;
      std::replace(out_.end() - static_cast<std::ptrdiff_t>(help.size()), out_.end(), '\n', ' ');
    }
    out_ += '\n';
  }

  bool with_help_;
  int depth_ = 0;
  bool dash_ = false;
  std::string out_;
};

// Levenshtein's distance, with a swap of neighbours as one step.
size_t EditDistance(const std::string& a, const std::string& b) {
  std::vector<size_t> before_last(b.size() + 1);
  std::vector<size_t> last(b.size() + 1);
  std::vector<size_t> row(b.size() + 1);
  for (size_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (size_t i = 1; i <= a.size(); ++i) {
    before_last.swap(last);
    last.swap(row);
    row[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t change = last[j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1);
      row[j] = std::min({change, last[j] + 1, row[j - 1] + 1});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) {
        row[j] = std::min(row[j], before_last[j - 2] + 1);
      }
    }
  }
  return row[b.size()];
}

}  // namespace

void ReadConfigWith(const ConfigValue& tree, const ConfigVisit& visit, const std::string& prefix) {
  ReadingVisitor visitor(tree, prefix);
  visit(visitor);
  visitor.Finish();
}

std::string DumpYamlWith(const ConfigVisit& visit, bool with_help) {
  return BlockWriter(with_help).Write(ListKeys(visit, ListingVisitor::Mode::kValues));
}

FlatConfig FlattenConfigWith(const ConfigVisit& visit) {
  FlatConfig flat;
  for (const ListedKey& key : ListKeys(visit, ListingVisitor::Mode::kValues)) {
    if (key.kind == ListedKey::Kind::kField || key.kind == ListedKey::Kind::kList) {
      flat.emplace_back(key.name, key.text);
    }
  }
  return flat;
}

uint64_t ConfigHash(const FlatConfig& flat) {
  uint64_t hash = Fnv1a64("");
  for (const auto& entry : flat) hash = Fnv1a64(entry.first + "=" + entry.second + "\n", hash);
  return hash;
}

std::vector<ConfigDifference> DiffConfigs(const FlatConfig& left, const FlatConfig& right) {
  const std::map<std::string, std::string> in_left(left.begin(), left.end());
  const std::map<std::string, std::string> in_right(right.begin(), right.end());
  std::vector<ConfigDifference> differences;
  for (const auto& [key, text] : left) {
    const auto found = in_right.find(key);
    const std::string other = found == in_right.end() ? "" : found->second;
    if (text != other) differences.push_back({key, text, other});
  }
  for (const auto& [key, text] : right) {
    if (in_left.count(key) == 0) differences.push_back({key, "", text});
  }
  return differences;
}

std::vector<HelpRow> HelpTableWith(const ConfigVisit& visit) {
  std::vector<HelpRow> rows;
  for (const ListedKey& key : ListKeys(visit, ListingVisitor::Mode::kDescribe)) {
    // Only fields, sections and lists have a key of their own.
    if (!key.key.empty()) rows.push_back({key.name, key.type, key.text, key.help});
  }
  return rows;
}

std::string ClosestWord(const std::string& word, const std::vector<std::string>& candidates) {
  constexpr size_t kLongestWord = 64;  // what is longer is no misspelt key
  if (word.size() > kLongestWord) return "";
  std::string closest;
  size_t closest_distance = 0;
  for (const std::string& candidate : candidates) {
    const size_t distance = EditDistance(word, candidate);
    const size_t allowed = std::max<size_t>(1, std::max(word.size(), candidate.size()) / 3);
    if (distance > allowed || distance >= candidate.size()) continue;
    if (closest.empty() || distance < closest_distance) {
      closest = candidate;
      closest_distance = distance;
    }
  }
  return closest;
}

}  // namespace ckv
