#include "sweep/points.h"

#include <algorithm>
#include <cctype>
#include <cmath>
#include <map>
#include <set>

#include "base/error.h"
#include "base/hash.h"
#include "base/random.h"
#include "config/yaml_writer.h"
#include "sweep/expression.h"

namespace ckv {
namespace {

constexpr double kMostPoints = 1e6;
constexpr size_t kMostIdBytes = 80;

// One value of an axis.
struct AxisChoice {
  std::string label;
  std::vector<std::string> sets;
};

// The "--set" items that give a key a value. A map would merge with the one that was there.
void AddSet(const std::string& key, const ConfigValue& value, std::vector<std::string>* sets) {
  if (value.kind() == ConfigValue::Kind::kMap) sets->push_back(key + "=null");
  sets->push_back(Str(key, "=", FlowYaml(value)));
}

std::vector<std::string> SetsOf(const ConfigValue& map, const std::string& where) {
  std::vector<std::string> sets;
  if (map.is_null()) return sets;
  if (map.kind() != ConfigValue::Kind::kMap) ThrowWrongType(map, where, "a map of keys");
  for (const auto& [key, value] : map.entries()) AddSet(key, value, &sets);
  return sets;
}

std::string LabelOf(const ConfigValue& value) {
  return value.kind() == ConfigValue::Kind::kScalar ? value.text() : FlowYaml(value);
}

std::vector<AxisChoice> ChoicesOf(const SweepAxis& axis, const std::string& path) {
  std::vector<AxisChoice> choices;
  if (!axis.values.is_null()) {
    for (size_t i = 0; i < axis.values.items().size(); ++i) {
      const ConfigValue& value = axis.values.items()[i];
      choices.push_back({axis.labels.empty() ? LabelOf(value) : axis.labels[i], {}});
      AddSet(axis.key, value, &choices.back().sets);
    }
    return choices;
  }
  for (const ConfigValue& item : axis.points.items()) {
    if (item.kind() != ConfigValue::Kind::kMap) {
      ThrowWrongType(item, Str(axis.name, ".points"), "a map with label and set");
    }
    const ConfigValue* label = item.Find("label");
    const ConfigValue* set = item.Find("set");
    for (const auto& [key, value] : item.entries()) {
      if (key == "label" || key == "set") continue;
      throw ConfigError(value.key_origin().empty() ? value.origin() : value.key_origin(),
                        Str("unknown key '", key, "' of a point: it has 'label' and 'set'"));
    }
    if (set == nullptr) throw ConfigError(item.origin(), "a point must have a 'set'");
    choices.push_back({label == nullptr ? FlowYaml(*set) : AsString(*label, "label"),
                       SetsOf(*set, Str(path, ": set"))});
  }
  return choices;
}

std::string DrawValue(const SweepAxis& axis, Random& random) {
  const double at = random.Uniform();
  const double value =
      axis.log ? std::exp(std::log(*axis.low) + at * (std::log(*axis.high) - std::log(*axis.low)))
               : *axis.low + at * (*axis.high - *axis.low);
  if (axis.integer) return Str(static_cast<int64_t>(std::llround(value)));
  // Ten digits keep draws apart, and names shorter than all digits would.
  char text[40];
  std::snprintf(text, sizeof(text), "%.10g", value);
  return DoubleYaml(std::clamp(std::strtod(text, nullptr), *axis.low, *axis.high));
}

// Letters, digits and few signs: a folder's name.
std::string SlugOf(const std::string& text) {
  std::string slug;
  for (const char c : text) {
    const bool plain = std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '.' || c == '_';
    if (plain) {
      slug.push_back(c);
    } else if (!slug.empty() && slug.back() != '-') {
      slug.push_back('-');
    }
  }
  while (!slug.empty() && (slug.back() == '-' || slug.back() == '.')) slug.pop_back();
  slug.erase(0, slug.find_first_not_of("-."));
  if (slug.size() > kMostIdBytes) slug.resize(kMostIdBytes);
  return slug.empty() ? "point" : slug;
}

// Runs through all combinations of the axes' choices, the last axis fastest.
class Combinations {
 public:
  explicit Combinations(const std::vector<std::vector<AxisChoice>>& choices)
      : choices_(choices), at_(choices.size(), 0) {}

  const AxisChoice& Of(size_t axis) const { return choices_[axis][at_[axis]]; }

  bool Next() {
    for (size_t i = choices_.size(); i-- > 0;) {
      if (choices_[i].empty()) continue;  // random
      if (++at_[i] < choices_[i].size()) return true;
      at_[i] = 0;
    }
    return false;
  }

 private:
  const std::vector<std::vector<AxisChoice>>& choices_;
  std::vector<size_t> at_;
};

class SweepExpander {
 public:
  SweepExpander(const SweepConfig& config, const std::string& path, const DescribePoint& describe)
      : config_(config),
        path_(path),
        describe_(describe),
        fixed_(SetsOf(config.set, Str(path, ": set"))) {
    for (const std::string& text : config.constraints) {
      constraints_.emplace_back(text, Str(path, ": constraints"));
    }
    double count = static_cast<double>(config.samples) * static_cast<double>(config.seeds.size());
    bool random = false;
    for (const SweepAxis& axis : config.axes) {
      choices_.push_back(axis.random() ? std::vector<AxisChoice>() : ChoicesOf(axis, path));
      random = random || axis.random();
      count *= static_cast<double>(std::max<size_t>(1, choices_.back().size()));
    }
    if (config.samples > 1 && !random) {
      throw ConfigError(path, "'samples' needs an axis with 'low' and 'high'");
    }
    if (count > kMostPoints) {
      throw ConfigError(path, Str("the axes make ", count, " points, more than ", kMostPoints));
    }
  }

  SweepPoints Run() {
    Combinations combination(choices_);
    Random random(static_cast<uint64_t>(config_.random_seed));
    do {
      for (int64_t sample = 0; sample < config_.samples; ++sample) {
        SweepPoint point;
        point.sets = fixed_;
        for (size_t i = 0; i < config_.axes.size(); ++i) {
          const SweepAxis& axis = config_.axes[i];
          if (axis.random()) {
            const std::string value = DrawValue(axis, random);
            point.sets.push_back(Str(axis.key, "=", value));
            point.choices.emplace_back(axis.name, value);
          } else {
            const AxisChoice& choice = combination.Of(i);
            point.sets.insert(point.sets.end(), choice.sets.begin(), choice.sets.end());
            point.choices.emplace_back(axis.name, choice.label);
          }
        }
        for (const int64_t seed : config_.seeds) AddPoint(point, seed);
      }
    } while (combination.Next());
    return std::move(result_);
  }

 private:
  void AddPoint(SweepPoint point, int64_t seed) {
    for (const auto& [axis, choice] : point.choices) {
      point.label += (point.label.empty() ? "" : ", ") + choice;
    }
    if (point.label.empty()) point.label = config_.name;
    point.seed = seed;
    point.sets.push_back(Str("run.seed=", seed));
    try {
      point.facts = describe_(point.sets);
    } catch (const ConfigError& error) {
      throw ConfigError(Str(path_, ": point '", point.label, "'"), error.what());
    }
    std::map<std::string, std::string> keys(point.facts.config.begin(), point.facts.config.end());
    for (const Expression& constraint : constraints_) {
      const bool holds = constraint.Holds([&keys](const std::string& key) {
        const auto found = keys.find(key);
        return found == keys.end() ? std::nullopt : std::optional<std::string>(found->second);
      });
      if (!holds) {
        ++result_.num_left_out;
        return;
      }
    }
    point.hash = ConfigHash(point.facts.config);
    const auto [known, fresh] = hashes_.emplace(point.hash, result_.points.size());
    if (!fresh) {
      ++result_.num_equal;
      SweepPoint& same = result_.points[known->second];
      if (same.label != point.label) same.aliases.push_back(point.label);
      return;
    }
    if (!names_.emplace(point.label, seed).second) {
      throw ConfigError(path_, Str("two points that differ are called '", point.label,
                                   "': give them labels of their own"));
    }
    point.id = Str(SlugOf(point.label), "-s", seed, "-", HashHex(point.hash).substr(0, 8));
    result_.points.push_back(std::move(point));
  }

  const SweepConfig& config_;
  const std::string& path_;
  const DescribePoint& describe_;
  std::vector<std::string> fixed_;
  std::vector<Expression> constraints_;
  std::vector<std::vector<AxisChoice>> choices_;
  std::map<uint64_t, size_t> hashes_;  // to the first point with it
  std::set<std::pair<std::string, int64_t>> names_;
  SweepPoints result_;
};

}  // namespace

SweepPoints ExpandSweep(const SweepConfig& config, const std::string& path,
                        const DescribePoint& describe) {
  return SweepExpander(config, path, describe).Run();
}

}  // namespace ckv
