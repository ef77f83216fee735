// Reads answers: numbers, points, intervals, sets, equations with conditions.
//
// The grammar differs from that of statements: one "=" a relation, chains of comparisons, and "&"
// below them. What comes out is a term of these calls besides operators: Eq, And, Negation, set,
// Union, Interval_..., list (a bare "a, b"). docs/conic10k.md has the grammar.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "conic/lexer.h"
#include "conic/term.h"

namespace ckv::conic {

// Full-width signs as ASCII, "**" as "^", without white space at the ends.
std::string NormalizeAnswer(std::string_view text);

// Splits at ";" and line ends outside brackets.
std::vector<std::string> AnswerParts(std::string_view text);

// Reads one part. Returns nothing and the fault if it cannot be read.
std::optional<TermId> ReadAnswer(std::string_view part, TermPool* pool, ReadFault* fault);

}  // namespace ckv::conic
