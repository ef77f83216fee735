// The search behind Align: branch and bound over names.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "conic/compare.h"
#include "conic/term.h"

namespace ckv::conic {

struct NamedStatement {
  TermId id = kNoTerm;
  bool is_query = false;
  std::vector<int> names;  // indices into the problem's names
};

// A predicted and a gold statement that match under some alignment.
struct NamePair {
  int predicted = 0;
  int gold = 0;
  // Where in NameProblem::allowed the matrix of the two statements' names begins, [predicted,
  // gold].
  size_t allowed = 0;
};

struct NameProblem {
  static constexpr size_t kMaxPairs = 300'000;

  std::vector<TermId> predicted_names;
  std::vector<TermId> gold_names;
  std::vector<NamedStatement> predicted;
  std::vector<NamedStatement> gold;
  std::vector<NamePair> pairs;
  std::vector<uint8_t> allowed;
  bool truncated = false;  // pairs were left out
};

struct NameSolution {
  int64_t matched = 0;
  std::vector<int> images;  // of predicted names: index of a gold name, or -1
  int64_t nodes = 0;
  bool truncated = false;
};

NameSolution SearchNames(const NameProblem& problem, TermPool* pool, Comparer* comparer);

// For each gold name a number that is equal for names whose exchange changes no statement.
std::vector<int> InterchangeableGoldNames(const NameProblem& problem, TermPool* pool);

}  // namespace ckv::conic
