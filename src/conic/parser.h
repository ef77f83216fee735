// Reads statements into terms, without evaluating them.
//
// The tree keeps what is written (1 + 1 stays a sum of two numbers), except that a sign in front of
// a term is carried out and that directly nested sums, and products, are one. Nesting is bounded,
// so that any text can be read. docs/conic10k.md has the grammar.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>

#include "conic/lexer.h"
#include "conic/term.h"

namespace ckv::conic {

// How annotations are read and compared.
enum class Mode {
  kCompat,  // as the benchmark's authors do
  kStrict,  // with their scorer's known faults repaired
};

// The declared names in force and the symbols they stand for.
using Scope = std::unordered_map<std::string, TermId>;

struct ReadLimits {
  static constexpr int kMaxBrackets = 200;  // nested
  static constexpr int kMaxDepth = 500;     // of a tree, and of nested powers
};

// Reads one statement (for a query: without its "= ?"). Returns nothing and the fault if it cannot
// be read.
std::optional<TermId> ReadStatement(std::string_view line, const Scope& scope, Mode mode,
                                    TermPool* pool, ReadFault* fault);

}  // namespace ckv::conic
