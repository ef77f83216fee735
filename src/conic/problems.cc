#include "conic/problems.h"

#include <algorithm>

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/json.h"
#include "conic/char_class.h"
#include "text/utf8.h"

namespace ckv::conic {
namespace {

// Fields of the release that hold text.
struct TextField {
  const char* name;
  std::string Problem::*place;
};
constexpr TextField kTextFields[] = {
    {"text", &Problem::text},
    {"fact_expressions", &Problem::facts},
    {"query_expressions", &Problem::queries},
    {"answer_expressions", &Problem::answers},
    {"process", &Problem::process},
};

const std::string& TextOf(const Json& row, const char* field, const std::string& path,
                          const std::string& where) {
  const auto found = row.find(field);
  if (found == row.end()) throw FormatError(path, where, Str("the field '", field, "' is missing"));
  if (!found->is_string()) {
    throw FormatError(path, where, Str("'", field, "' must be a string, not ", found->type_name()));
  }
  return found->get_ref<const std::string&>();
}

// A list of lists of [begin, end] in a string.
std::vector<std::vector<Span>> ReadSpans(const std::string& text, const char* field,
                                         const std::string& path, const std::string& where) {
  std::vector<std::vector<Span>> spans;
  if (Trim(text).empty()) return spans;
  const auto wrong = [&](const std::string& what) {
    return FormatError(path, where,
                       Str("'", field, "' must be a list of lists of [begin, end]: ", what));
  };
  Json list;
  try {
    list = ParseJson(text, field);
  } catch (const FormatError& error) {
    throw wrong(error.what());
  }
  if (!list.is_array()) throw wrong("no list");
  for (const Json& entry : list) {
    if (!entry.is_array()) throw wrong("an entry is no list");
    spans.emplace_back();
    const auto is_pair = [](const Json& pair) {
      return pair.is_array() && pair.size() == 2 && pair[0].is_number_integer() &&
             pair[1].is_number_integer();
    };
    const auto add = [&](const Json& pair) {
      if (!is_pair(pair)) throw wrong("a span is no pair of whole numbers");
      spans.back().emplace_back(pair[0].get<int64_t>(), pair[1].get<int64_t>());
    };
    // The release has some entries that are one bare span.
    if (is_pair(entry)) {
      add(entry);
    } else {
      for (const Json& pair : entry) add(pair);
    }
  }
  return spans;
}

bool IsSpacedSign(char32_t c) {
  constexpr std::u32string_view kSigns = U"()[]{}<>=+-*/^:;,.?&|\\!";
  return kSigns.find(c) != std::u32string_view::npos;
}

bool IsSpaceAt(std::string_view text, size_t* length) {
  const Utf8Step step = NextCodePoint(text);
  *length = step.length;
  return step.valid && IsSpace(step.code_point);
}

constexpr std::string_view kReasoningMark = "【解析】";
constexpr std::string_view kReasoningEnd = "<eoe>";
constexpr std::string_view kAnswerMark = "【答案】";
constexpr std::string_view kAnswerEnd = "<eoa>";

void RemoveAllOf(std::string* text, std::string_view part) {
  for (size_t at = text->find(part); at != std::string::npos; at = text->find(part, at)) {
    text->erase(at, part.size());
  }
}

}  // namespace

std::vector<Problem> ReadProblems(const std::string& path) {
  const Json rows = ReadJsonFile(path);
  if (!rows.is_array()) throw FormatError(path, "", "a JSON array of problems is expected");
  std::vector<Problem> problems;
  problems.reserve(rows.size());
  for (size_t i = 0; i < rows.size(); ++i) {
    const std::string where = Str("row ", i);
    if (!rows[i].is_object()) throw FormatError(path, where, "an object is expected");
    Problem problem;
    for (const TextField& field : kTextFields) {
      problem.*field.place = TextOf(rows[i], field.name, path, where);
    }
    problem.fact_spans =
        ReadSpans(TextOf(rows[i], "fact_spans", path, where), "fact_spans", path, where);
    problem.query_spans =
        ReadSpans(TextOf(rows[i], "query_spans", path, where), "query_spans", path, where);
    problems.push_back(std::move(problem));
  }
  return problems;
}

std::vector<std::string> Pieces(const std::string& text) {
  std::vector<std::string> pieces;
  size_t begin = 0;
  while (begin <= text.size()) {
    const size_t end = std::min(text.find(';', begin), text.size());
    pieces.push_back(text.substr(begin, end - begin));
    begin = end + 1;
  }
  return pieces;
}

std::string StatementString(const Problem& problem) {
  std::vector<std::string> declarations;
  std::vector<std::string> facts;
  for (const std::string& piece : Pieces(problem.facts)) {
    (piece.find(':') != std::string::npos ? declarations : facts).push_back(piece);
  }
  // UTF-8 sorts by bytes as by code points.
  std::sort(declarations.begin(), declarations.end());
  std::sort(facts.begin(), facts.end());
  declarations.insert(declarations.end(), facts.begin(), facts.end());
  for (const std::string& query : Pieces(problem.queries)) declarations.push_back(query + " = ?");
  std::string text;
  for (size_t i = 0; i < declarations.size(); ++i) text += (i > 0 ? ";" : "") + declarations[i];
  return text;
}

std::string Spaced(std::string_view text) {
  std::string spaced;
  spaced.reserve(text.size() * 2);
  bool pending = false;  // white space that is not written yet
  while (!text.empty()) {
    const Utf8Step step = NextCodePoint(text);
    const unsigned classes = step.valid ? ClassesOf(step.code_point) : 0;
    if ((classes & CharClass::kSpace) != 0) {
      pending = true;
    } else {
      const bool sign = step.valid && IsSpacedSign(step.code_point);
      if ((pending || sign) && (classes & CharClass::kDigit) == 0) spaced += ' ';
      spaced += text.substr(0, step.length);
      pending = sign;
    }
    text.remove_prefix(step.length);
  }
  if (pending) spaced += ' ';
  return spaced;
}

std::string Trim(std::string_view text) {
  size_t length = 0;
  while (!text.empty() && IsSpaceAt(text, &length)) text.remove_prefix(length);
  size_t kept = 0;
  for (size_t at = 0; at < text.size(); at += length) {
    if (!IsSpaceAt(text.substr(at), &length)) kept = at + length;
  }
  return std::string(text.substr(0, kept));
}

std::string WithoutSpace(std::string_view text) {
  std::string kept;
  size_t length = 0;
  for (; !text.empty(); text.remove_prefix(length)) {
    if (!IsSpaceAt(text, &length)) kept += text.substr(0, length);
  }
  return kept;
}

std::string ParsingPrompt(std::string_view text) {
  return "The translation of \"" + Spaced(text) + "\" is";
}

std::string AnswerPrompt(std::string_view text) {
  // As the benchmark has it: no blank before the text, one quotation mark behind it.
  return Str("The answer of", text, " \" is");
}

PromptAndTarget MakePrompt(const Problem& problem, Task task) {
  if (task == Task::kParsing) {
    return {ParsingPrompt(problem.text), Trim(Spaced(StatementString(problem))), true};
  }
  const std::string answer = Trim(problem.answers);
  if (task == Task::kAnswer) return {AnswerPrompt(problem.text), answer, !answer.empty()};
  const std::string process = Trim(problem.process);
  return {AnswerPrompt(problem.text),
          Str(kReasoningMark, process, kReasoningEnd, "\n", kAnswerMark, answer, kAnswerEnd),
          !process.empty() && !answer.empty()};
}

std::string ReasoningInstruction(std::string_view text) {
  return Str(
      "请解答下面的数学填空题\n"
      "请你一步步思考并将思考过程写在【解析】和<eoe>之间。请把你的答案写在【答案】和<eoa>之间。\n"
      "完整的题目回答格式如下：\n"
      "【解析】 ...<eoe>\n"
      "【答案】...<eoa>\n"
      "请你严格按照上述格式作答。\n"
      "题目如下:",
      text, "\n", kReasoningMark);
}

std::string ReadOutput(std::string_view generated, Task task) {
  std::string_view said = generated;
  if (task == Task::kReasoning) {
    const size_t mark = said.rfind(kAnswerMark);
    if (mark == std::string_view::npos) return "";
    said.remove_prefix(mark + kAnswerMark.size());
    said = said.substr(0, said.find(kAnswerEnd));
  } else if (task == Task::kParsing) {
    // What follows a second `" is` is a prompt of the model's own making.
    said = said.substr(0, said.find("\" is"));
  }
  std::string text = Trim(said);
  RemoveAllOf(&text, "</s>");
  return text;
}

}  // namespace ckv::conic
