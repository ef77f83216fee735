#include "tasks/task.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>
#include <utility>

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/hash.h"
#include "config/config.h"
#include "tasks/answers.h"
#include "tasks/filters.h"
#include "tasks/python_text.h"

namespace ckv {
namespace {

// A list of templates, or one that gives a list.
struct ListTemplate {
  std::vector<Template> items;
  bool whole = false;

  std::vector<std::string> Texts(const Json& document, const std::string& where,
                                 const char* what) const {
    std::vector<std::string> texts;
    if (!whole) {
      for (const Template& item : items) texts.push_back(item.Render(document, where));
      return texts;
    }
    const Json value = items.front().Value(document, where);
    if (!value.is_array()) throw FormatError(where, "", Str("its ", what, " are no list"));
    for (const Json& item : value) {
      if (!item.is_string() && !item.is_number() && !item.is_boolean()) {
        throw FormatError(where, "", Str("one of its ", what, " is no text"));
      }
      texts.push_back(TextOfValue(item));
    }
    return texts;
  }
};

ListTemplate ReadListTemplate(const ConfigValue& value, const std::string& origin,
                              const std::string& name) {
  ListTemplate list;
  if (value.is_null()) return list;
  if (value.kind() == ConfigValue::Kind::kList) {
    for (const ConfigValue& item : value.items()) {
      list.items.emplace_back(AsString(item, name), item.origin());
    }
    return list;
  }
  list.whole = true;
  list.items.emplace_back(AsString(value, name), value.origin().empty() ? origin : value.origin());
  return list;
}

bool IsDigits(const std::string& text) {
  return !text.empty() && text.size() < 10 &&
         std::all_of(text.begin(), text.end(), [](char c) { return c >= '0' && c <= '9'; });
}

// The position of the largest value, the first of equal ones.
size_t LargestAt(const std::vector<double>& values) {
  return static_cast<size_t>(std::max_element(values.begin(), values.end()) - values.begin());
}

}  // namespace

struct Task::Form {
  std::vector<std::string> needs;
  std::vector<std::pair<std::string, Template>> derive;
  Template context;
  ListTemplate contexts;
  ListTemplate choices;
  ListTemplate target;
  Template continuation;
  Template counted;
  bool counts_other = false;
};

// What a document says, as texts.
struct Task::Item {
  std::string context;
  std::vector<std::string> contexts;
  std::vector<std::string> choices;  // of kind multiple_choice; the contexts if those differ
  std::vector<size_t> gold;          // right choices
  std::vector<std::string> targets;  // of the other kinds
  std::string continuation;          // behind contexts
  std::string counted;
};

Task::Task(TaskConfig config, const std::vector<std::string>& folders, const std::string& origin)
    : config_(std::move(config)) {
  for (const DocumentForm& form : config_.forms) {
    const auto fail = [&origin](const std::string& what) { throw ConfigError(origin, what); };
    const bool multiple = config_.kind == "multiple_choice";
    if (multiple && form.choices.is_null() == form.contexts.is_null()) {
      fail("a form of kind multiple_choice must have either 'choices' or 'contexts'");
    }
    if (!multiple && (!form.choices.is_null() || !form.contexts.is_null())) {
      fail(Str("a form of kind ", config_.kind, " has neither 'choices' nor 'contexts'"));
    }
    if (form.target.is_null()) fail("a form must have a 'target'");
    Form made = {form.needs,
                 {},
                 Template(form.context, origin),
                 ReadListTemplate(form.contexts, origin, "contexts"),
                 ReadListTemplate(form.choices, origin, "choices"),
                 ReadListTemplate(form.target, origin, "target"),
                 Template(form.continuation, origin),
                 Template(form.counted, origin),
                 !form.counted.empty()};
    if (!form.derive.is_null() && form.derive.kind() != ConfigValue::Kind::kMap) {
      ThrowWrongType(form.derive, "derive", "a map of templates");
    }
    for (const auto& [name, value] : form.derive.entries()) {
      made.derive.emplace_back(name, Template(AsString(value, name), value.origin()));
    }
    forms_.push_back(std::move(made));
  }
  documents_ = ReadDocuments(config_.data, folders, config_.format, config_.labels);
  if (config_.few_shot.count == 0) return;
  const FewShotConfig& few_shot = config_.few_shot;
  own_examples_ = few_shot.data.empty();
  examples_ = own_examples_
                  ? documents_
                  : ReadDocuments(few_shot.data, folders, config_.format, few_shot.labels);
  const int64_t usable = static_cast<int64_t>(examples_.items.size()) - (own_examples_ ? 1 : 0);
  if (usable < few_shot.count) {
    throw ConfigError(origin, Str("'few_shot.count' is ", few_shot.count, ", but ",
                                  examples_.files.front(), " has only ", usable, " examples"));
  }
}

Task::~Task() = default;
Task::Task(Task&&) noexcept = default;

uint64_t Task::Fingerprint() const {
  TaskConfig config = config_;
  config.about.clear();
  config.few_shot.data.clear();  // what they hold counts
  config.data.clear();
  config.metrics.clear();  // made from the same answers
  uint64_t hash = Fnv1a64(DumpYaml(config), documents_.fingerprint);
  if (config_.few_shot.count > 0) hash = Fnv1a64(HashHex(examples_.fingerprint), hash);
  return hash;
}

std::string Task::Where(int64_t index) const {
  return Str("task ", config_.name, ": ", documents_.files.front(), ": document ", index);
}

Task::Item Task::Fill(const Json& document, const std::string& where) const {
  const Form* form = nullptr;
  for (const Form& candidate : forms_) {
    const bool fits = std::all_of(candidate.needs.begin(), candidate.needs.end(),
                                  [&](const std::string& name) { return document.contains(name); });
    if (fits && form == nullptr) form = &candidate;
  }
  if (form == nullptr) {
    std::string names;
    for (const auto& item : document.items()) names += (names.empty() ? "" : ", ") + item.key();
    throw FormatError(where, "", Str("fits none of the task's forms; its fields are: ", names));
  }
  Json fields = document;
  for (const auto& [name, text] : form->derive) fields[name] = text.Value(fields, where);

  Item item;
  item.context = form->context.Render(fields, where);
  item.contexts = form->contexts.Texts(fields, where, "contexts");
  item.choices = form->choices.Texts(fields, where, "choices");
  item.continuation = form->continuation.Render(fields, where);
  if (!item.contexts.empty()) item.choices = item.contexts;
  const bool one =
      form->target.whole && !form->target.items.front().Value(fields, where).is_array();
  const std::vector<std::string> targets =
      one ? std::vector<std::string>{form->target.items.front().Render(fields, where)}
          : form->target.Texts(fields, where, "targets");
  if (targets.empty()) throw FormatError(where, "", "has no target");
  if (config_.kind != "multiple_choice") {
    item.targets = targets;
    item.counted = form->counts_other ? form->counted.Render(fields, where) : targets.front();
    return item;
  }
  if (item.choices.empty()) throw FormatError(where, "", "has no choices");
  for (const std::string& target : targets) {
    const auto named = std::find(item.choices.begin(), item.choices.end(), target);
    const size_t at =
        IsDigits(target) ? std::stoul(target) : static_cast<size_t>(named - item.choices.begin());
    if (at >= item.choices.size()) {
      throw FormatError(
          where, "",
          Str("its right choice is '", target, "', but it has ", item.choices.size(), " choices"));
    }
    item.gold.push_back(at);
  }
  return item;
}

Task::Item Task::ItemOf(int64_t index) const { return Fill(document(index), Where(index)); }

std::string Task::ExampleText(const Item& item) const {
  const size_t gold = item.gold.empty() ? 0 : item.gold.front();
  std::string context = item.context;
  std::string answer;
  if (!item.contexts.empty()) {
    context = item.contexts[gold];
    answer = item.continuation;
  } else {
    answer = item.choices.empty() ? item.targets.front() : item.choices[gold];
  }
  if (answer.empty()) return context;
  return context + config_.delimiter + answer + config_.few_shot.delimiter;
}

// Description and examples. A document is no example for itself.
std::string Task::ContextBefore(int64_t index) const {
  std::string text = config_.description;
  int64_t taken = 0;
  for (size_t i = 0; taken < config_.few_shot.count && i < examples_.items.size(); ++i) {
    if (own_examples_ && examples_.items[i] == document(index)) continue;
    text += ExampleText(Fill(examples_.items[i], Str("task ", config_.name, ": ",
                                                     examples_.files.front(), ": document ", i)));
    ++taken;
  }
  if (taken < config_.few_shot.count) {
    throw FormatError(Where(index), "", "is there so often that too few other examples are left");
  }
  return text;
}

std::vector<TaskRequest> Task::Requests(int64_t index) const {
  const Item item = ItemOf(index);
  std::vector<TaskRequest> requests;
  if (config_.kind == "rolling") {
    return {{TaskRequest::Kind::kRolling, "", item.targets.front()}};
  }
  const std::string before = ContextBefore(index);
  if (config_.kind == "generate") {
    return {{TaskRequest::Kind::kGenerate, before + item.context, ""}};
  }
  if (config_.kind == "log_likelihood") {
    return {{TaskRequest::Kind::kLogLikelihood, before + item.context, item.targets.front()}};
  }
  for (const std::string& context : item.contexts) {
    requests.push_back({TaskRequest::Kind::kLogLikelihood, before + context,
                        config_.delimiter + item.continuation});
  }
  if (!requests.empty()) return requests;
  for (const std::string& choice : item.choices) {
    requests.push_back(
        {TaskRequest::Kind::kLogLikelihood, before + item.context, config_.delimiter + choice});
  }
  return requests;
}

DocumentScores Task::Score(int64_t index, const std::vector<TaskResponse>& answers) const {
  const Item item = ItemOf(index);
  DocumentScores scores;
  const auto is_right = [&](size_t choice) {
    return std::find(item.gold.begin(), item.gold.end(), choice) != item.gold.end() ? 1.0 : 0.0;
  };
  // The choice with the largest log-likelihood a unit of length.
  const auto best_by = [&](auto length_of) {
    std::vector<double> values;
    for (size_t i = 0; i < answers.size(); ++i) {
      values.push_back(answers[i].log_prob / length_of(item.choices[i]));
    }
    return LargestAt(values);
  };
  const auto bytes = [](const std::string& text) { return static_cast<double>(text.size()); };
  for (const std::string& name : config_.metrics) {
    DocumentScore score;
    if (config_.kind == "multiple_choice") {
      if (name == "acc") {
        score.value = is_right(best_by([](const std::string&) { return 1.0; }));
      } else if (name == "acc_norm" || name == "acc_bytes") {
        score.value = is_right(best_by(bytes));
      } else if (name == "acc_chars") {
        score.value = is_right(best_by(
            [](const std::string& text) { return static_cast<double>(NumCodePoints(text)); }));
      } else {
        score.value = std::any_of(item.gold.begin(), item.gold.end(),
                                  [&](size_t choice) { return answers[choice].greedy; })
                          ? 1.0
                          : 0.0;
      }
    } else if (config_.kind == "log_likelihood") {
      score.value = name == "acc" ? (answers[0].greedy ? 1.0 : 0.0) : answers[0].log_prob;
    } else if (config_.kind == "rolling") {
      score.value = answers[0].log_prob;
      score.weight = name == "word_perplexity" ? static_cast<double>(NumSplitWords(item.counted))
                                               : bytes(item.counted);
    } else {
      score.value = AnyMatches(answers[0].text, item.targets, config_.generation.normalize);
    }
    scores[name] = score;
  }
  return scores;
}

std::string Task::TargetOf(int64_t index) const {
  const Item item = ItemOf(index);
  return item.gold.empty() ? item.targets.front() : Str(item.gold.front());
}

}  // namespace ckv
