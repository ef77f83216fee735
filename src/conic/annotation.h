// Annotations: lists of declarations, facts and queries.
//
// Reading never fails: a line that cannot be read is left out and told in `faults`.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "conic/parser.h"
#include "conic/term.h"

namespace ckv::conic {

// One statement of a text, before reading.
struct Line {
  enum class Kind : uint8_t { kDeclaration, kFact, kQuery };
  Kind kind = Kind::kFact;
  std::string text;   // for a query without "= ?"
  size_t number = 1;  // line of the text, from 1 (";" does not begin a new one)
  size_t column = 1;  // of its first byte
  std::vector<uint32_t>
      removed;  // offsets at which a query's "= ?" were, and their lengths, in pairs
};

struct Declaration {
  std::string name;
  std::string concept_name;
};

// What cannot be read, where it is and what would be right.
struct LineFault {
  size_t line = 1;
  size_t column = 1;  // in bytes, from 1
  std::string what;

  std::string ToString() const;  // "line 1, column 7: ..."
};

// The lines of a text, without empty ones and those that hold [[digits]].
std::vector<Line> SplitLines(std::string_view text);

// Names and concepts of all declaration lines: a name declared again keeps its place and gets the
// new concept.
std::vector<Declaration> ReadDeclarations(const std::vector<Line>& lines,
                                          std::vector<LineFault>* faults);

struct Statements {
  std::vector<TermId> facts;
  std::vector<TermId> queries;
};

// Reads facts and queries.
Statements ReadStatements(const std::vector<Line>& lines, const Scope& scope, Mode mode,
                          TermPool* pool, std::vector<LineFault>* faults);

// Things that no score counts but that are worth a word: operators that the language does not have,
// and calls with a number of arguments that the data do not show.
std::vector<std::string> Doubts(const TermPool& pool, TermId statement);

}  // namespace ckv::conic
