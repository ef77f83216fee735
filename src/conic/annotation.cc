#include "conic/annotation.h"

#include <algorithm>
#include <unordered_map>

#include "base/str.h"
#include "conic/char_class.h"
#include "conic/operators.h"
#include "text/utf8.h"

namespace ckv::conic {
namespace {

// Bytes of white space at the front, and at the end, of a text.
size_t SpaceInFront(std::string_view text) {
  size_t at = 0;
  while (at < text.size()) {
    const Utf8Step step = NextCodePoint(text.substr(at));
    if (!step.valid || !IsSpace(step.code_point)) break;
    at += step.length;
  }
  return at;
}

size_t SpaceBehind(std::string_view text) {
  size_t end = text.size();
  while (end > 0) {
    size_t begin = end - 1;
    while (begin > 0 && end - begin < 4 &&
           (static_cast<unsigned char>(text[begin]) & 0xC0) == 0x80) {
      --begin;
    }
    const Utf8Step step = NextCodePoint(text.substr(begin, end - begin));
    if (!step.valid || step.length != end - begin || !IsSpace(step.code_point)) break;
    end = begin;
  }
  return text.size() - end;
}

std::string_view Trimmed(std::string_view text) {
  text.remove_prefix(SpaceInFront(text));
  text.remove_suffix(SpaceBehind(text));
  return text;
}

bool IsEscaped(std::string_view text) {
  for (size_t at = text.find("[["); at != std::string_view::npos; at = text.find("[[", at + 1)) {
    size_t end = at + 2;
    while (end < text.size() && text[end] >= '0' && text[end] <= '9') ++end;
    if (end > at + 2 && text.substr(end, 2) == "]]") return true;
  }
  return false;
}

// Takes every "=", blanks, "?" out of a query.
void RemoveQuestions(Line* line) {
  std::string kept;
  const std::string_view text = line->text;
  size_t at = 0;
  while (at < text.size()) {
    if (text[at] == '=') {
      const size_t mark = at + 1 + SpaceInFront(text.substr(at + 1));
      if (mark < text.size() && text[mark] == '?') {
        line->removed.push_back(static_cast<uint32_t>(kept.size()));
        line->removed.push_back(static_cast<uint32_t>(mark + 1 - at));
        at = mark + 1;
        continue;
      }
    }
    kept += text[at++];
  }
  line->text = std::move(kept);
}

size_t ColumnOf(const Line& line, size_t offset) {
  size_t column = line.column + offset;
  for (size_t i = 0; i + 1 < line.removed.size(); i += 2) {
    if (line.removed[i] < offset) column += line.removed[i + 1];
  }
  return column;
}

bool IsWordText(std::string_view text) {
  while (!text.empty()) {
    const Utf8Step step = NextCodePoint(text);
    if (!step.valid || !IsWord(step.code_point)) return false;
    text.remove_prefix(step.length);
  }
  return true;
}

// Reads "A, B : Point" into its words; an empty text, or what is wrong and where.
std::string ReadDeclarationLine(const RewrittenLine& line, std::vector<std::string>* names,
                                std::string* concept_name, size_t* at) {
  const std::string_view text = line.text;
  const size_t colon = text.find(':');
  if (colon == std::string_view::npos) return "':' is expected between names and concept";
  size_t begin = 0;
  while (begin <= colon) {
    const size_t comma = std::min(text.find(',', begin), colon);
    const std::string_view name = Trimmed(text.substr(begin, comma - begin));
    *at = line.OffsetOf(begin + SpaceInFront(text.substr(begin, comma - begin)));
    if (name.empty()) return "a name is expected";
    if (!IsWordText(name)) return "a name of letters, digits and _ is expected";
    names->emplace_back(name);
    begin = comma + 1;
  }
  const std::string_view rest = Trimmed(text.substr(colon + 1));
  *at = line.OffsetOf(colon + 1);
  if (rest.empty()) return "a concept is expected behind ':'";
  if (!IsWordText(rest)) return "a concept of letters, digits and _ is expected behind ':'";
  *concept_name = rest;
  return "";
}

}  // namespace

std::string LineFault::ToString() const {
  return Str("line ", line, ", column ", column, ": ", what);
}

std::vector<Line> SplitLines(std::string_view text) {
  std::vector<Line> lines;
  size_t begin = 0;
  size_t number = 1;
  size_t line_begin = 0;
  while (begin <= text.size()) {
    const size_t end = std::min(text.find_first_of(";\n", begin), text.size());
    const std::string_view raw = text.substr(begin, end - begin);
    const std::string_view kept = Trimmed(raw);
    if (!kept.empty() && !IsEscaped(kept)) {
      Line line;
      line.text = kept;
      line.number = number;
      line.column = begin - line_begin + SpaceInFront(raw) + 1;
      if (kept.find(':') != std::string_view::npos) {
        line.kind = Line::Kind::kDeclaration;
      } else if (kept.find('?') != std::string_view::npos) {
        line.kind = Line::Kind::kQuery;
        RemoveQuestions(&line);
      }
      lines.push_back(std::move(line));
    }
    if (end < text.size() && text[end] == '\n') {
      ++number;
      line_begin = end + 1;
    }
    begin = end + 1;
  }
  return lines;
}

std::vector<Declaration> ReadDeclarations(const std::vector<Line>& lines,
                                          std::vector<LineFault>* faults) {
  std::vector<Declaration> declarations;
  std::unordered_map<std::string, size_t> places;
  for (const Line& line : lines) {
    if (line.kind != Line::Kind::kDeclaration) continue;
    std::vector<std::string> names;
    std::string concept_name;
    size_t at = 0;
    const std::string wrong = ReadDeclarationLine(Rewrite(line.text), &names, &concept_name, &at);
    if (!wrong.empty()) {
      faults->push_back({line.number, line.column + at, wrong});
      continue;
    }
    for (const std::string& name : names) {
      const auto [place, is_new] = places.emplace(name, declarations.size());
      if (is_new) {
        declarations.push_back({name, concept_name});
      } else {
        declarations[place->second].concept_name = concept_name;
      }
    }
  }
  return declarations;
}

Statements ReadStatements(const std::vector<Line>& lines, const Scope& scope, Mode mode,
                          TermPool* pool, std::vector<LineFault>* faults) {
  Statements statements;
  for (const Line& line : lines) {
    if (line.kind == Line::Kind::kDeclaration) continue;
    ReadFault fault;
    const std::optional<TermId> term = ReadStatement(line.text, scope, mode, pool, &fault);
    if (!term.has_value()) {
      faults->push_back({line.number, ColumnOf(line, fault.offset), std::move(fault.what)});
    } else {
      (line.kind == Line::Kind::kFact ? statements.facts : statements.queries).push_back(*term);
    }
  }
  return statements;
}

std::vector<std::string> Doubts(const TermPool& pool, TermId statement) {
  std::vector<std::string> doubts;
  std::vector<TermId> stack{statement};
  while (!stack.empty()) {
    const TermId id = stack.back();
    stack.pop_back();
    const Term& term = pool[id];
    for (uint32_t i = 0; i < term.num_arguments; ++i) stack.push_back(pool.Argument(id, i));
    if (term.kind != TermKind::kCall) continue;
    const std::string& name = pool.Text(term.label);
    if (name == "set" || name == "Eq" || name.compare(0, 9, "Interval_") == 0) continue;
    const Operator* known = FindOperator(name);
    const int count = static_cast<int>(std::min<uint32_t>(term.num_arguments, 1000));
    if (known == nullptr) {
      doubts.push_back(Str("unknown operator '", name, "'"));
    } else if (count < known->min_arguments || count > known->max_arguments) {
      doubts.push_back(
          Str("'", name, "' with ", count, " arguments (the data have ", known->min_arguments,
              known->max_arguments > known->min_arguments ? Str(" to ", known->max_arguments)
                                                          : std::string(),
              ")"));
    }
  }
  return doubts;
}

}  // namespace ckv::conic
