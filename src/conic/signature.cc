#include "conic/signature.h"

#include <algorithm>

namespace ckv::conic {
namespace {

uint64_t Stir(uint64_t hash, uint64_t value) {
  hash = (hash ^ value) * 0x9fb21c651e98df25ull;
  return hash ^ (hash >> 28);
}

void SortAndUnite(std::vector<TermId>* ids) {
  std::sort(ids->begin(), ids->end());
  ids->erase(std::unique(ids->begin(), ids->end()), ids->end());
}

}  // namespace

Signature SignatureOf(const TermPool& pool, TermId statement) {
  Signature signature;
  std::vector<TermId> shared;
  std::vector<TermId> stack{statement};
  uint64_t operators = 0;
  while (!stack.empty()) {
    const TermId id = stack.back();
    stack.pop_back();
    const Term& term = pool[id];
    if (term.kind == TermKind::kSymbol) {
      (term.side == Side::kShared ? shared : signature.names).push_back(id);
    } else if (term.kind == TermKind::kCall) {
      operators += Stir(0x1234567u, term.label);  // a sum: the order does not matter
    }
    for (uint32_t i = 0; i < term.num_arguments; ++i) stack.push_back(pool.Argument(id, i));
  }
  SortAndUnite(&shared);
  SortAndUnite(&signature.names);
  std::vector<LabelId> concepts;
  for (const TermId name : signature.names) concepts.push_back(pool[name].concept_label);
  std::sort(concepts.begin(), concepts.end());
  uint64_t key = Stir(operators, shared.size());
  for (const TermId id : shared) key = Stir(key, id);
  for (const LabelId label : concepts) key = Stir(key, label + 0x100000000ull);
  signature.key = key;
  return signature;
}

}  // namespace ckv::conic
