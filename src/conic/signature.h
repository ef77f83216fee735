// What statements that match have in common, cheap to compare.
#pragma once

#include <cstdint>
#include <vector>

#include "conic/term.h"

namespace ckv::conic {

struct Signature {
  // Of the symbols that both sides share, how many names of a side each concept has, and the
  // operators with how often they occur. Equal for statements that match under any alignment.
  uint64_t key = 0;
  std::vector<TermId> names;  // symbols of a side, each once, sorted
};

Signature SignatureOf(const TermPool& pool, TermId statement);

}  // namespace ckv::conic
