#include "conic/align.h"

#include <algorithm>
#include <unordered_map>

#include "conic/name_search.h"
#include "conic/signature.h"

namespace ckv::conic {
namespace {

struct Candidate {
  TermId id = kNoTerm;
  Signature signature;
};

std::vector<Candidate> WithSignatures(const TermPool& pool, const std::vector<TermId>& statements) {
  std::vector<Candidate> result;
  result.reserve(statements.size());
  for (const TermId id : statements) {
    // One that is only a tuple never matches.
    if (pool[id].kind != TermKind::kTuple) result.push_back({id, SignatureOf(pool, id)});
  }
  return result;
}

// Gold statements of one signature that are left to be matched.
class Bucket {
 public:
  void Add(TermId id) {
    places_[id].push_back(ids_.size());
    ids_.push_back(id);
    taken_.push_back(false);
  }

  // Takes a statement that is the same; one written alike, if there is any.
  bool Take(TermId id, Comparer* comparer) {
    const auto alike = places_.find(id);
    if (alike != places_.end() && !alike->second.empty()) {
      while (!alike->second.empty() && taken_[alike->second.back()]) alike->second.pop_back();
      if (!alike->second.empty() && comparer->Same(id, id)) {
        taken_[alike->second.back()] = true;
        return true;
      }
    }
    while (first_ < ids_.size() && taken_[first_]) ++first_;
    for (size_t i = first_; i < ids_.size(); ++i) {
      if (taken_[i] || ids_[i] == id || !comparer->Same(id, ids_[i])) continue;
      taken_[i] = true;
      return true;
    }
    return false;
  }

 private:
  std::vector<TermId> ids_;
  std::vector<bool> taken_;
  size_t first_ = 0;  // all before are taken
  std::unordered_map<TermId, std::vector<size_t>> places_;
};

// Matches statements without names of a side, each predicted one with a gold one that is left.
int64_t MatchFixed(const std::vector<Candidate>& predicted, const std::vector<Candidate>& gold,
                   Comparer* comparer) {
  std::unordered_map<uint64_t, Bucket> left;
  for (const Candidate& statement : gold) {
    if (statement.signature.names.empty()) left[statement.signature.key].Add(statement.id);
  }
  // A statement that found nothing will find nothing when it comes again.
  std::unordered_map<TermId, bool> failed;
  int64_t matched = 0;
  for (const Candidate& statement : predicted) {
    if (!statement.signature.names.empty() || comparer->exhausted()) continue;
    const auto bucket = left.find(statement.signature.key);
    if (bucket == left.end()) continue;
    bool& hopeless = failed.emplace(statement.id, false).first->second;
    if (hopeless) continue;
    if (bucket->second.Take(statement.id, comparer)) {
      ++matched;
    } else {
      hopeless = true;
    }
  }
  return matched;
}

// Gives every name of a side the same image within its concept, or itself again.
void Collapse(const AlignmentSide& predicted, const AlignmentSide& gold, bool on, TermPool* pool,
              Comparer* comparer) {
  for (const AlignmentSide* side : {&predicted, &gold}) {
    for (const TermId name : side->names) {
      const LabelId concept_label = (*pool)[name].concept_label;
      comparer->SetImage(name, on ? pool->MakeSymbol(" any", concept_label) : name);
    }
  }
  comparer->SetOptimistic(on);
}

// Finds the pairs of statements that match under some alignment.
class PairFinder {
 public:
  PairFinder(TermPool* pool, Comparer* comparer, NameProblem* problem)
      : pool_(*pool), comparer_(*comparer), problem_(*problem) {}

  void Add(const std::vector<Candidate>& predicted, const std::vector<Candidate>& gold,
           bool queries) {
    std::unordered_map<uint64_t, std::vector<size_t>> buckets;
    for (size_t j = 0; j < gold.size(); ++j) {
      if (!gold[j].signature.names.empty()) buckets[gold[j].signature.key].push_back(j);
    }
    std::unordered_map<size_t, int> gold_index;
    for (const Candidate& statement : predicted) {
      if (statement.signature.names.empty()) continue;
      const auto bucket = buckets.find(statement.signature.key);
      if (bucket == buckets.end()) continue;
      int own_index = -1;
      for (const size_t j : bucket->second) {
        if (problem_.pairs.size() >= NameProblem::kMaxPairs || comparer_.exhausted()) {
          problem_.truncated = true;
          return;
        }
        if (!MaySame(statement.id, gold[j].id)) continue;
        if (own_index < 0) {
          own_index = static_cast<int>(problem_.predicted.size());
          problem_.predicted.push_back(
              {statement.id, queries,
               Indices(statement.signature.names, &problem_.predicted_names)});
        }
        const auto [entry, is_new] = gold_index.emplace(j, static_cast<int>(problem_.gold.size()));
        if (is_new) {
          problem_.gold.push_back(
              {gold[j].id, queries, Indices(gold[j].signature.names, &problem_.gold_names)});
        }
        AddPair(own_index, entry->second, statement, gold[j]);
      }
    }
  }

 private:
  std::vector<int> Indices(const std::vector<TermId>& names, std::vector<TermId>* all) {
    std::vector<int> indices;
    for (const TermId name : names) {
      const auto [entry, is_new] = index_of_.emplace(name, static_cast<int>(all->size()));
      if (is_new) all->push_back(name);
      indices.push_back(entry->second);
    }
    return indices;
  }

  // Whether the two match when names of equal concept are not told apart.
  bool MaySame(TermId predicted, TermId gold) {
    const uint64_t key = (uint64_t{predicted} << 32) | gold;
    const auto known = may_same_.find(key);
    if (known != may_same_.end()) return known->second;
    const bool same = comparer_.Same(predicted, gold);
    if (may_same_.size() < 4 * NameProblem::kMaxPairs) may_same_.emplace(key, same);
    return same;
  }

  // Tells, for every two names, whether the statements match when only these two are told apart.
  void AddPair(int predicted, int gold, const Candidate& p, const Candidate& g) {
    NamePair pair;
    pair.predicted = predicted;
    pair.gold = gold;
    pair.allowed = problem_.allowed.size();
    const std::vector<TermId>& left = p.signature.names;
    const std::vector<TermId>& right = g.signature.names;
    const bool probe = left.size() > 1 && left.size() <= kMaxProbed;
    for (const TermId a : left) {
      for (const TermId b : right) {
        const LabelId concept_label = pool_[a].concept_label;
        bool allowed = concept_label == pool_[b].concept_label;
        if (allowed && probe) {
          const TermId any = pool_.MakeSymbol(" any", concept_label);
          const TermId chosen = pool_.MakeSymbol(" chosen", concept_label);
          comparer_.SetImage(a, chosen);
          comparer_.SetImage(b, chosen);
          allowed = comparer_.Same(p.id, g.id);
          comparer_.SetImage(a, any);
          comparer_.SetImage(b, any);
        }
        problem_.allowed.push_back(allowed ? 1 : 0);
      }
    }
    problem_.pairs.push_back(pair);
  }

  static constexpr size_t kMaxProbed = 16;

  TermPool& pool_;
  Comparer& comparer_;
  NameProblem& problem_;
  std::unordered_map<TermId, int> index_of_;
  std::unordered_map<uint64_t, bool> may_same_;
};

}  // namespace

Alignment Align(const AlignmentSide& predicted, const AlignmentSide& gold, TermPool* pool,
                Comparer* comparer) {
  Alignment alignment;
  const std::vector<Candidate> facts = WithSignatures(*pool, predicted.facts);
  const std::vector<Candidate> queries = WithSignatures(*pool, predicted.queries);
  const std::vector<Candidate> gold_facts = WithSignatures(*pool, gold.facts);
  const std::vector<Candidate> gold_queries = WithSignatures(*pool, gold.queries);
  alignment.matched =
      MatchFixed(facts, gold_facts, comparer) + MatchFixed(queries, gold_queries, comparer);

  NameProblem problem;
  Collapse(predicted, gold, true, pool, comparer);
  PairFinder finder(pool, comparer, &problem);
  finder.Add(facts, gold_facts, false);
  finder.Add(queries, gold_queries, true);
  Collapse(predicted, gold, false, pool, comparer);
  if (!problem.pairs.empty()) {
    const NameSolution solution = SearchNames(problem, pool, comparer);
    alignment.matched += solution.matched;
    alignment.nodes = solution.nodes;
    alignment.truncated = solution.truncated;
    for (size_t i = 0; i < problem.predicted_names.size(); ++i) {
      if (solution.images[i] >= 0) {
        alignment.pairs.emplace_back(problem.predicted_names[i],
                                     problem.gold_names[static_cast<size_t>(solution.images[i])]);
      }
    }
  }
  alignment.truncated = alignment.truncated || problem.truncated || comparer->exhausted();
  return alignment;
}

}  // namespace ckv::conic
