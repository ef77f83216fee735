#include "conic/name_search.h"

#include <algorithm>
#include <unordered_map>
#include <utility>

#include "conic/align.h"

namespace ckv::conic {
namespace {

constexpr int kUnset = -1;
constexpr int kUnused = -2;

class NameSearch {
 public:
  NameSearch(const NameProblem& problem, TermPool* pool, Comparer* comparer)
      : problem_(problem), pool_(*pool), comparer_(*comparer) {
    const size_t num_pairs = problem.pairs.size();
    alive_.assign(num_pairs, true);
    pairs_of_predicted_.resize(problem.predicted.size());
    pairs_of_gold_.resize(problem.gold.size());
    live_predicted_.assign(problem.predicted.size(), 0);
    live_gold_.assign(problem.gold.size(), 0);
    for (size_t p = 0; p < num_pairs; ++p) {
      pairs_of_predicted_[Pred(p)].push_back(static_cast<int>(p));
      pairs_of_gold_[Gold(p)].push_back(static_cast<int>(p));
      ++live_predicted_[Pred(p)];
      ++live_gold_[Gold(p)];
    }
    ListStatements(problem.predicted, problem.predicted_names.size(), &with_predicted_);
    ListStatements(problem.gold, problem.gold_names.size(), &with_gold_);
    images_.assign(problem.predicted_names.size(), kUnset);
    owners_.assign(problem.gold_names.size(), kUnset);
    support_.assign(problem.gold_names.size(), 0);
    unset_.reserve(problem.predicted.size());
    for (const NamedStatement& statement : problem.predicted) {
      unset_.push_back(static_cast<int>(statement.names.size()));
    }
    const size_t table = problem.predicted_names.size() * problem.gold_names.size();
    weighs_names_ = table <= kMaxTable;
    if (weighs_names_) {
      left_gain_.assign(table, 0.0);
      right_gain_.assign(table, 0.0);
      seen_by_.assign(table, kUnset);
    }
    MakeGroups();
    best_.images.assign(images_.size(), -1);
    best_.matched = -1;
  }

  NameSolution Run() {
    Visit();
    for (int& image : best_.images) image = std::max(image, -1);
    best_.matched = std::max<int64_t>(best_.matched, 0);
    best_.nodes = nodes_;
    best_.truncated = stopped_;
    return best_;
  }

 private:
  size_t Pred(size_t pair) const { return static_cast<size_t>(problem_.pairs[pair].predicted); }
  size_t Gold(size_t pair) const { return static_cast<size_t>(problem_.pairs[pair].gold); }

  static void ListStatements(const std::vector<NamedStatement>& statements, size_t num_names,
                             std::vector<std::vector<int>>* lists) {
    lists->resize(num_names);
    for (size_t i = 0; i < statements.size(); ++i) {
      for (const int name : statements[i].names) {
        (*lists)[static_cast<size_t>(name)].push_back(static_cast<int>(i));
      }
    }
  }

  // Statements that are linked by pairs are one group: of a group no more can match than the
  // smaller side has.
  void MakeGroups() {
    const size_t num_predicted = problem_.predicted.size();
    std::vector<int> parent(num_predicted + problem_.gold.size());
    for (size_t i = 0; i < parent.size(); ++i) parent[i] = static_cast<int>(i);
    const auto root = [&](size_t i) {
      while (parent[i] != static_cast<int>(i)) {
        parent[i] = parent[static_cast<size_t>(parent[i])];
        i = static_cast<size_t>(parent[i]);
      }
      return static_cast<int>(i);
    };
    for (size_t p = 0; p < problem_.pairs.size(); ++p) {
      parent[static_cast<size_t>(root(num_predicted + Gold(p)))] = root(Pred(p));
    }
    group_of_predicted_.resize(num_predicted);
    group_of_gold_.resize(problem_.gold.size());
    group_predicted_.assign(parent.size(), 0);
    group_gold_.assign(parent.size(), 0);
    for (size_t i = 0; i < num_predicted; ++i) {
      group_of_predicted_[i] = root(i);
      ++group_predicted_[static_cast<size_t>(root(i))];
    }
    for (size_t j = 0; j < problem_.gold.size(); ++j) {
      group_of_gold_[j] = root(num_predicted + j);
      ++group_gold_[static_cast<size_t>(group_of_gold_[j])];
    }
    bound_ = 0;
    for (size_t g = 0; g < parent.size(); ++g) {
      bound_ += std::min(group_predicted_[g], group_gold_[g]);
    }
  }

  // Changes the number of live statements of a group on one side.
  void ChangeGroup(std::vector<int>* side, int group, int by) {
    const auto g = static_cast<size_t>(group);
    bound_ -= std::min(group_predicted_[g], group_gold_[g]);
    (*side)[g] += by;
    bound_ += std::min(group_predicted_[g], group_gold_[g]);
  }

  void Kill(int pair) {
    const auto p = static_cast<size_t>(pair);
    alive_[p] = false;
    killed_.push_back(pair);
    if (--live_predicted_[Pred(p)] == 0) {
      ChangeGroup(&group_predicted_, group_of_predicted_[Pred(p)], -1);
    }
    if (--live_gold_[Gold(p)] == 0) ChangeGroup(&group_gold_, group_of_gold_[Gold(p)], -1);
  }

  void Revive(int pair) {
    const auto p = static_cast<size_t>(pair);
    alive_[p] = true;
    if (live_predicted_[Pred(p)]++ == 0) {
      ChangeGroup(&group_predicted_, group_of_predicted_[Pred(p)], 1);
    }
    if (live_gold_[Gold(p)]++ == 0) ChangeGroup(&group_gold_, group_of_gold_[Gold(p)], 1);
  }

  // Whether the names may be matched within the pair: both in it, in fitting places.
  bool Allows(size_t pair, int name, int gold_name) const {
    const std::vector<int>& left = problem_.predicted[Pred(pair)].names;
    const std::vector<int>& right = problem_.gold[Gold(pair)].names;
    const auto a = std::find(left.begin(), left.end(), name);
    const auto b = std::find(right.begin(), right.end(), gold_name);
    if (a == left.end() || b == right.end()) return false;
    const size_t place = static_cast<size_t>(a - left.begin()) * right.size() +
                         static_cast<size_t>(b - right.begin());
    return problem_.allowed[problem_.pairs[pair].allowed + place] != 0;
  }

  // Matches `name` with `gold_name` (or with none) and removes the pairs that this contradicts.
  void Assign(int name, int gold_name) {
    const auto n = static_cast<size_t>(name);
    images_[n] = gold_name;
    if (gold_name >= 0) {
      owners_[static_cast<size_t>(gold_name)] = name;
      comparer_.SetImage(problem_.predicted_names[n],
                         problem_.gold_names[static_cast<size_t>(gold_name)]);
      for (const int j : with_gold_[static_cast<size_t>(gold_name)]) {
        for (const int pair : pairs_of_gold_[static_cast<size_t>(j)]) {
          ++steps_;
          if (alive_[static_cast<size_t>(pair)] &&
              !Allows(static_cast<size_t>(pair), name, gold_name)) {
            Kill(pair);
          }
        }
      }
    }
    for (const int i : with_predicted_[n]) {
      const auto statement = static_cast<size_t>(i);
      const bool complete = --unset_[statement] == 0;
      if (live_predicted_[statement] == 0) continue;
      for (const int pair : pairs_of_predicted_[statement]) {
        ++steps_;
        const auto p = static_cast<size_t>(pair);
        if (!alive_[p]) continue;
        if (gold_name < 0 || !Allows(p, name, gold_name) || (complete && !Matches(p))) Kill(pair);
      }
    }
  }

  void Undo(int name, size_t num_killed) {
    const auto n = static_cast<size_t>(name);
    while (killed_.size() > num_killed) {
      Revive(killed_.back());
      killed_.pop_back();
    }
    for (const int i : with_predicted_[n]) ++unset_[static_cast<size_t>(i)];
    if (images_[n] >= 0) {
      owners_[static_cast<size_t>(images_[n])] = kUnset;
      comparer_.SetImage(problem_.predicted_names[n], problem_.predicted_names[n]);
    }
    images_[n] = kUnset;
  }

  // The comparison itself, when all names of the predicted statement are matched.
  bool Matches(size_t pair) {
    uint64_t key = pair;
    for (const int name : problem_.predicted[Pred(pair)].names) {
      key = (key ^ static_cast<uint64_t>(images_[static_cast<size_t>(name)] + 1)) *
            0x9fb21c651e98df25ull;
      key ^= key >> 29;
    }
    const auto known = verdicts_.find(key);
    if (known != verdicts_.end()) return known->second;
    const bool same =
        comparer_.Same(problem_.predicted[Pred(pair)].id, problem_.gold[Gold(pair)].id);
    if (verdicts_.size() < kMaxVerdicts) verdicts_.emplace(key, same);
    return same;
  }

  // The unset name to branch on: of the live statement that lacks fewest names. -1 if all live
  // statements are decided.
  int ChooseName() {
    int best_statement = -1;
    int best_unset = 0;
    for (size_t i = 0; i < unset_.size(); ++i) {
      ++steps_;
      if (live_predicted_[i] == 0 || unset_[i] == 0) continue;
      if (best_statement < 0 || unset_[i] < best_unset ||
          (unset_[i] == best_unset &&
           live_predicted_[i] < live_predicted_[static_cast<size_t>(best_statement)])) {
        best_statement = static_cast<int>(i);
        best_unset = unset_[i];
      }
    }
    if (best_statement < 0) return -1;
    int chosen = -1;
    for (const int name : problem_.predicted[static_cast<size_t>(best_statement)].names) {
      const auto n = static_cast<size_t>(name);
      if (images_[n] != kUnset) continue;
      if (chosen < 0 ||
          with_predicted_[n].size() > with_predicted_[static_cast<size_t>(chosen)].size()) {
        chosen = name;
      }
    }
    return chosen;
  }

  // Gold names that `name` may be matched with, most promising first.
  std::vector<std::pair<int, int>> Choices(int name) {
    std::vector<std::pair<int, int>> choices;
    for (const int i : with_predicted_[static_cast<size_t>(name)]) {
      for (const int pair : pairs_of_predicted_[static_cast<size_t>(i)]) {
        const auto p = static_cast<size_t>(pair);
        ++steps_;
        if (!alive_[p]) continue;
        for (const int gold_name : problem_.gold[Gold(p)].names) {
          const auto g = static_cast<size_t>(gold_name);
          if (owners_[g] != kUnset || !Allows(p, name, gold_name)) continue;
          if (support_[g]++ == 0) choices.emplace_back(0, gold_name);
        }
      }
    }
    const LabelId own = pool_[problem_.predicted_names[static_cast<size_t>(name)]].label;
    for (auto& [weight, gold_name] : choices) {
      const auto g = static_cast<size_t>(gold_name);
      const bool same_name = pool_[problem_.gold_names[g]].label == own;
      weight = -(2 * support_[g] + (same_name ? 1 : 0));
      support_[g] = 0;
    }
    std::sort(choices.begin(), choices.end());
    return choices;
  }

  // Statements matched under the images: each predicted one with the first gold one that is left.
  int64_t CountMatched() {
    std::vector<bool> taken(problem_.gold.size(), false);
    int64_t matched = 0;
    for (size_t i = 0; i < problem_.predicted.size(); ++i) {
      if (live_predicted_[i] == 0) continue;
      for (const int pair : pairs_of_predicted_[i]) {
        const auto p = static_cast<size_t>(pair);
        if (!alive_[p] || taken[Gold(p)]) continue;
        taken[Gold(p)] = true;
        ++matched;
        break;
      }
    }
    return matched;
  }

  // How much statements add to the pairs of names (a, b) that they would match, each 1 spread over
  // its names: of one side's live statements, `statements` with `pairs_of`.
  void AddGains(const std::vector<NamedStatement>& statements,
                const std::vector<std::vector<int>>& pairs_of, std::vector<double>* gains) {
    std::fill(gains->begin(), gains->end(), 0.0);
    std::fill(seen_by_.begin(), seen_by_.end(), kUnset);
    const size_t width = problem_.gold_names.size();
    for (size_t s = 0; s < statements.size(); ++s) {
      const double share = 1.0 / static_cast<double>(statements[s].names.size());
      for (const int pair : pairs_of[s]) {
        const auto p = static_cast<size_t>(pair);
        ++steps_;
        if (!alive_[p]) continue;
        const std::vector<int>& left = problem_.predicted[Pred(p)].names;
        const std::vector<int>& right = problem_.gold[Gold(p)].names;
        size_t cell = problem_.pairs[p].allowed;
        for (const int a : left) {
          for (const int b : right) {
            if (problem_.allowed[cell++] == 0) continue;
            const int image = images_[static_cast<size_t>(a)];
            if (image == kUnset ? owners_[static_cast<size_t>(b)] != kUnset : image != b) continue;
            const size_t place = static_cast<size_t>(a) * width + static_cast<size_t>(b);
            if (seen_by_[place] == static_cast<int>(s)) continue;
            seen_by_[place] = static_cast<int>(s);
            (*gains)[place] += share;
          }
        }
        steps_ += static_cast<int64_t>(left.size() * right.size()) / 2;
      }
    }
  }

  // No alignment matches more statements than the sum over predicted names of the most that any
  // gold name left to them lets them take part in, nor than the sum over gold names.
  bool NamesAllowMore() {
    if (!weighs_names_ || nodes_ < kNodesBeforeWeighing) return true;
    AddGains(problem_.predicted, pairs_of_predicted_, &left_gain_);
    AddGains(problem_.gold, pairs_of_gold_, &right_gain_);
    const size_t width = problem_.gold_names.size();
    std::vector<double> best_of_gold(width, 0.0);
    double by_predicted = 0.0;
    for (size_t a = 0; a < problem_.predicted_names.size(); ++a) {
      double most = 0.0;
      for (size_t b = 0; b < width; ++b) {
        const double gain = std::min(left_gain_[a * width + b], right_gain_[a * width + b]);
        most = std::max(most, gain);
        best_of_gold[b] = std::max(best_of_gold[b], gain);
      }
      by_predicted += most;
    }
    double by_gold = 0.0;
    for (const double most : best_of_gold) by_gold += most;
    return std::min(by_predicted, by_gold) >= static_cast<double>(best_.matched + 1) - 1e-6;
  }

  bool Stopped() {
    stopped_ = stopped_ || nodes_ > Alignment::kMaxNodes || steps_ > Alignment::kMaxSteps ||
               comparer_.exhausted();
    return stopped_;
  }

  void Visit() {
    ++nodes_;
    if (bound_ <= best_.matched || Stopped()) {
      // A search that was stopped still counts what it has.
      if (!stopped_ || best_.matched >= 0) return;
    }
    if (!stopped_ && !NamesAllowMore()) return;
    const int name = stopped_ ? -1 : ChooseName();
    if (name < 0) {
      const int64_t matched = CountMatched();
      if (matched > best_.matched) {
        best_.matched = matched;
        best_.images = images_;
      }
      return;
    }
    if (nodes_ > kNodesBeforeSymmetry && classes_.empty()) {
      classes_ = InterchangeableGoldNames(problem_, &pool_);
    }
    std::vector<int> tried;
    for (const auto& [weight, gold_name] : Choices(name)) {
      if (!classes_.empty()) {
        const int its_class = classes_[static_cast<size_t>(gold_name)];
        if (std::find(tried.begin(), tried.end(), its_class) != tried.end()) continue;
        tried.push_back(its_class);
      }
      Branch(name, gold_name);
      if (stopped_ || bound_ <= best_.matched) return;
    }
    Branch(name, kUnused);
  }

  void Branch(int name, int gold_name) {
    const size_t num_killed = killed_.size();
    Assign(name, gold_name);
    Visit();
    Undo(name, num_killed);
  }

  static constexpr size_t kMaxVerdicts = 1'000'000;
  static constexpr int64_t kNodesBeforeSymmetry = 500;
  static constexpr int64_t kNodesBeforeWeighing = 40;
  static constexpr size_t kMaxTable = 64 * 64;

  const NameProblem& problem_;
  TermPool& pool_;
  Comparer& comparer_;
  std::vector<bool> alive_;                           // pairs
  std::vector<std::vector<int>> pairs_of_predicted_;  // by statement
  std::vector<std::vector<int>> pairs_of_gold_;
  std::vector<int> live_predicted_;  // live pairs of a statement
  std::vector<int> live_gold_;
  std::vector<std::vector<int>> with_predicted_;  // statements with a name
  std::vector<std::vector<int>> with_gold_;
  std::vector<int> images_;  // of predicted names
  std::vector<int> owners_;  // of gold names
  std::vector<int> support_;
  std::vector<int> unset_;  // names without image, by predicted statement
  std::vector<int> group_of_predicted_;
  std::vector<int> group_of_gold_;
  std::vector<int> group_predicted_;  // live statements, by group
  std::vector<int> group_gold_;
  int64_t bound_ = 0;
  std::vector<int> killed_;
  std::vector<int> classes_;
  bool weighs_names_ = false;
  std::vector<double> left_gain_;  // of pairs of names, [predicted, gold]
  std::vector<double> right_gain_;
  std::vector<int> seen_by_;
  std::unordered_map<uint64_t, bool> verdicts_;
  NameSolution best_;
  int64_t nodes_ = 0;
  int64_t steps_ = 0;
  bool stopped_ = false;
};

}  // namespace

NameSolution SearchNames(const NameProblem& problem, TermPool* pool, Comparer* comparer) {
  return NameSearch(problem, pool, comparer).Run();
}

}  // namespace ckv::conic
