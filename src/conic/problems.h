// Conic10K's problems, and the strings that models get and give for them.
//
// Source: the Conic10K release; docs/conic10k.md describes fields, spacing and prompts.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace ckv::conic {

// Where in the text a piece stands: code points, [begin, end).
using Span = std::pair<int64_t, int64_t>;

struct Problem {
  std::string text;
  std::string facts;    // declarations and facts, ";" between them
  std::string queries;  // ";" between them, without "= ?"
  std::string answers;  // one a query, ";" or line ends between them; may be empty
  std::vector<std::vector<Span>> fact_spans;  // of each piece of `facts`
  std::vector<std::vector<Span>> query_spans;
  std::string process;  // the worked solution; may be empty
};

// Reads a JSON array of objects. Throws IoError, or FormatError that names row and field.
std::vector<Problem> ReadProblems(const std::string& path);

// Pieces between ";".
std::vector<std::string> Pieces(const std::string& text);

// The annotation as one string: sorted declarations, sorted facts, then queries with " = ?".
std::string StatementString(const Problem& problem);

// Blanks around brackets, operators and punctuation; none in front of digits.
std::string Spaced(std::string_view text);

// Without white space at the ends.
std::string Trim(std::string_view text);

// Without any white space.
std::string WithoutSpace(std::string_view text);

enum class Task {
  kParsing,    // text to statements, spaced
  kAnswer,     // text to answers
  kReasoning,  // text to a worked solution and answers
};

// What a model of the task reads and is to write. `has_target` is false for rows that the task
// leaves out: mathQA without answer, reasoning without solution.
struct PromptAndTarget {
  std::string prompt;
  std::string target;
  bool has_target = true;
};
PromptAndTarget MakePrompt(const Problem& problem, Task task);
std::string ParsingPrompt(std::string_view text);
std::string AnswerPrompt(std::string_view text);

// The instruction with which models that were never trained on the task are asked to reason.
std::string ReasoningInstruction(std::string_view text);

// What a generated text, without its prompt, says: statements or answers. Empty if it says nothing.
std::string ReadOutput(std::string_view generated, Task task);

}  // namespace ckv::conic
