#include <algorithm>
#include <utility>

#include "conic/name_search.h"
#include "conic/operators.h"

namespace ckv::conic {
namespace {

// The term with two symbols exchanged and arguments of order-free nodes sorted.
TermId Exchanged(TermId id, TermId a, TermId b, TermPool* pool) {
  if (id == a) return b;
  if (id == b) return a;
  const Term term = (*pool)[id];
  if (term.num_arguments == 0) return id;
  std::vector<TermId> arguments = pool->Arguments(id);
  for (TermId& argument : arguments) argument = Exchanged(argument, a, b, pool);
  if (term.kind == TermKind::kSum || term.kind == TermKind::kProduct ||
      (term.kind == TermKind::kCall && IsOrderFree(pool->Text(term.label)))) {
    std::sort(arguments.begin(), arguments.end());
  }
  return pool->Make(term.kind, term.label, arguments);
}

}  // namespace

std::vector<int> InterchangeableGoldNames(const NameProblem& problem, TermPool* pool) {
  constexpr size_t kMaxNames = 64;
  const size_t n = problem.gold_names.size();
  std::vector<int> classes(n);
  for (size_t i = 0; i < n; ++i) classes[i] = static_cast<int>(i);
  if (n > kMaxNames) return classes;
  const auto statements_with = [&](size_t a, size_t b, bool exchange) {
    std::vector<std::pair<bool, TermId>> ids;
    const TermId first = problem.gold_names[a];
    for (const NamedStatement& statement : problem.gold) {
      const auto holds = [&](size_t name) {
        return std::find(statement.names.begin(), statement.names.end(), static_cast<int>(name)) !=
               statement.names.end();
      };
      if (!holds(a) && !holds(b)) continue;
      ids.emplace_back(
          statement.is_query,
          Exchanged(statement.id, first, exchange ? problem.gold_names[b] : first, pool));
    }
    std::sort(ids.begin(), ids.end());
    return ids;
  };
  for (size_t b = 1; b < n; ++b) {
    for (size_t a = 0; a < b; ++a) {
      if (classes[a] != static_cast<int>(a)) continue;
      if ((*pool)[problem.gold_names[a]].concept_label !=
          (*pool)[problem.gold_names[b]].concept_label) {
        continue;
      }
      if (statements_with(a, b, false) == statements_with(a, b, true)) {
        classes[b] = static_cast<int>(a);
        break;
      }
    }
  }
  return classes;
}

}  // namespace ckv::conic
