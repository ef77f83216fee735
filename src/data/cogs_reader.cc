// COGS (Kim and Linzen 2020): sentences with logical forms, recast as five labels a word.
//
// Source: the conversion described with the Probabilistic Transformer's COGS experiment.
#include <algorithm>
#include <set>

#include "base/error.h"
#include "data/sentences.h"

namespace ckv {
namespace {

enum CogsHead { kParent, kRole, kCategory, kNounType, kVerbName, kNumHeads };

// "burn . theme ( x _ 6 , x _ 4 )" -> {"burn", "theme"}, {6, 4}
struct Clause {
  std::vector<std::string> name;
  std::vector<int64_t> words;  // indices; a proper noun is looked up

  bool IsRole(const char* role) const { return name.size() == 2 && name[1] == role; }
};

class CogsConverter {
 public:
  CogsConverter(const std::string& sentence, const std::string& form, const std::string& path,
                const std::string& where)
      : form_(form), path_(path), where_(where) {
    result_.words = SplitAt(sentence, ' ');
    result_.labels.assign(kNumHeads, std::vector<std::string>(result_.words.size()));
    for (std::string& parent : result_.labels[kParent]) parent = "-1";
  }

  Sentence Convert() {
    for (const std::string& word : result_.words) {
      // Words are counted by their blanks.
      if (word.empty()) Fail("has an empty sentence, or blanks that do not stand between words");
    }
    static const std::set<std::string> kNoNames = {"A", "An", "The", "TV"};
    for (size_t i = 0; i < result_.words.size(); ++i) {
      const std::string& word = result_.words[i];
      const bool capital = !word.empty() && word[0] >= 'A' && word[0] <= 'Z';
      if (capital && kNoNames.count(word) == 0) result_.labels[kCategory][i] = "PNOUN";
    }
    const std::vector<std::string> tokens = SplitAt(form_, ' ');
    const auto lambdas = std::count(tokens.begin(), tokens.end(), "LAMBDA");
    if (result_.words.size() == 1 && (lambdas > 0 || tokens.size() == 1)) {
      Primitive(lambdas);
    } else {
      Clauses(ParseClauses(tokens));
    }
    return std::move(result_);
  }

 private:
  [[noreturn]] void Fail(const std::string& what) const { throw FormatError(path_, where_, what); }

  std::string& Label(int64_t word, CogsHead head) {
    return result_.labels[head][static_cast<size_t>(word)];
  }

  // A word by itself, given as a function.
  void Primitive(int64_t lambdas) {
    Label(0, kCategory) = lambdas == 0 ? "PNOUN" : lambdas == 1 ? "CNOUN" : "VERB";
    if (lambdas >= 2) Label(0, kVerbName) = result_.words[0];
  }

  int64_t WordOf(const std::vector<std::string>& argument) const {
    const auto& words = result_.words;
    if (argument.size() == 3 && argument[0] == "x" && argument[1] == "_" && !argument[2].empty() &&
        argument[2].size() < 6 &&
        argument[2].find_first_not_of("0123456789") == std::string::npos) {
      const int64_t index = std::stoll(argument[2]);
      if (index < static_cast<int64_t>(words.size())) return index;
    } else if (argument.size() == 1) {
      const auto found = std::find(words.begin(), words.end(), argument[0]);
      if (found != words.end()) return found - words.begin();
    }
    std::string text;
    for (const std::string& part : argument) text += (text.empty() ? "" : " ") + part;
    Fail(Str("the argument '", text, "' is no word of the sentence"));
  }

  std::vector<Clause> ParseClauses(const std::vector<std::string>& tokens) const {
    std::vector<Clause> clauses;
    size_t at = 0;
    while (at < tokens.size()) {
      Clause clause;
      for (; at < tokens.size() && tokens[at] != "("; ++at) {
        if (tokens[at] == "*") {
          clause.name.push_back("*");
        } else if (tokens[at] != ".") {
          clause.name.push_back(tokens[at]);
        }
      }
      std::vector<std::string> argument;
      bool closed = false;
      for (++at; at < tokens.size() && !closed; ++at) {
        closed = tokens[at] == ")";
        if (!closed && tokens[at] != ",") {
          argument.push_back(tokens[at]);
        } else {
          clause.words.push_back(WordOf(argument));
          argument.clear();
        }
      }
      if (!closed || clause.name.empty()) Fail("the logical form has a clause without ( and )");
      clauses.push_back(std::move(clause));
      if (at < tokens.size() && tokens[at] != "AND" && tokens[at] != ";") {
        Fail(Str("'", tokens[at], "' stands between clauses where AND or ; must"));
      }
      ++at;
    }
    return clauses;
  }

  // Subjects that x _ i controls: the agent of x _ j is that of x _ i, so that it keeps one parent.
  std::set<size_t> ImpliedClauses(const std::vector<Clause>& clauses) {
    std::set<size_t> implied;
    for (const Clause& control : clauses) {
      if (!control.IsRole("xcomp") || control.words.size() != 2) continue;
      const int64_t upper = control.words[0], lower = control.words[1];
      Label(lower, kVerbName) = result_.words[static_cast<size_t>(lower)];
      for (size_t k = 0; k < clauses.size(); ++k) {
        const Clause& agent = clauses[k];
        if (!agent.IsRole("agent") || agent.words.size() != 2 || agent.words[0] != lower) continue;
        const bool same = std::any_of(clauses.begin(), clauses.end(), [&](const Clause& other) {
          return other.IsRole("agent") && other.words.size() == 2 && other.words[0] == upper &&
                 other.words[1] == agent.words[1];
        });
        if (same) implied.insert(k);
      }
    }
    return implied;
  }

  void Clauses(const std::vector<Clause>& clauses) {
    const std::set<size_t> implied = ImpliedClauses(clauses);
    for (size_t k = 0; k < clauses.size(); ++k) {
      if (implied.count(k) == 0) Apply(clauses[k]);
    }
  }

  void Apply(const Clause& clause) {
    const bool definite = clause.name[0] == "*";
    const size_t parts = clause.name.size();
    if (parts == (definite ? 2U : 1U) && clause.words.size() == 1) {
      Label(clause.words[0], kCategory) = "CNOUN";
      Label(clause.words[0], kNounType) = definite ? "DEF" : "INDEF";
      return;
    }
    if (clause.words.size() != 2 || definite || parts < 2 || parts > 3) {
      Fail("the logical form has a clause of an unknown kind");
    }
    const int64_t first = clause.words[0], second = clause.words[1];
    if (parts == 2) {
      Label(second, kRole) = clause.name[1];
      Label(second, kParent) = std::to_string(first);
      Label(first, kVerbName) = clause.name[0];
      Label(first, kCategory) = "VERB";
      return;
    }
    // noun . nmod . prep: the preposition stands between the two nouns.
    int64_t preposition = -1;
    for (int64_t i = first + 1; i < second; ++i) {
      if (result_.words[static_cast<size_t>(i)] == clause.name[2]) preposition = i;
    }
    if (clause.name[1] != "nmod" || preposition < 0) {
      Fail(Str("'", clause.name[2], "' does not stand between the nouns it joins"));
    }
    Label(second, kRole) = "PP_NOUN";
    Label(second, kParent) = std::to_string(preposition);
    Label(preposition, kRole) = "PREP";
    Label(preposition, kParent) = std::to_string(first);
  }

  std::string form_, path_, where_;
  Sentence result_;
};

}  // namespace

Sentence CogsSentence(const std::string& sentence, const std::string& logical_form,
                      const std::string& path, const std::string& where) {
  return CogsConverter(sentence, logical_form, path, where).Convert();
}

void MakeParentsRelative(const std::string& no_parent, Sentence* sentence) {
  std::vector<std::string>& parents = sentence->labels[kParent];
  for (size_t i = 0; i < parents.size(); ++i) {
    if (parents[i] == "-1") {
      parents[i] = no_parent == "own" ? "none" : "-1";
    } else {
      parents[i] = std::to_string(std::stoll(parents[i]) - static_cast<int64_t>(i));
    }
  }
}

void ReadCogs(const std::string& path, const EmitSentence& emit) {
  ForEachLine(path, [&](std::string_view line, int64_t number) {
    if (line.empty()) return;
    const std::vector<std::string> fields = SplitAt(line, '\t');
    const std::string where = Str("line ", number);
    if (fields.size() != 2 && fields.size() != 3) {
      throw FormatError(path, where,
                        Str("has ", fields.size(), fields.size() == 1 ? " column" : " columns",
                            " between tabs, but COGS has sentence, logical form and, if known, "
                            "kind"));
    }
    Sentence sentence = CogsSentence(fields[0], fields[1], path, where);
    if (fields.size() == 3) sentence.kind = fields[2];
    emit(std::move(sentence));
  });
}

}  // namespace ckv
