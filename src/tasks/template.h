// Texts with places for a document's fields: "Question: {{question}}\nAnswer:".
//
// A place holds a field, followed by any number of filters: {{support | lstrip}},
// {{answerKey | index(choices.label)}}. Fields are named by a path: "question.choices.0.text" goes
// into objects and lists, and "*" takes all items of a list ("question.choices.*.text" is the list
// of their texts). A number or a 'quoted text' may stand in a field's place. Filters' arguments are
// of the same kinds. Numbers and truth values become text as in Python ("True").
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/json.h"

namespace ckv {

class Template {
 public:
  // Throws ConfigError(origin, ...) for text that is no template and for unknown filters.
  Template(const std::string& text, const std::string& origin);
  ~Template();
  Template(Template&&) noexcept;
  Template& operator=(Template&&) noexcept;

  // The text for a document. Throws FormatError(where, ...) for a field that the document lacks
  // or that a filter cannot take, and for a place that is no text.
  std::string Render(const Json& document, const std::string& where) const;

  // The value for a document: a template that is one place and nothing else keeps its kind (a list
  // for choices, a number for an answer); any other is a text.
  Json Value(const Json& document, const std::string& where) const;

 private:
  struct Place;
  struct Part;
  std::vector<Part> parts_;
};

// The names of all filters with a line on each, for the documentation.
std::vector<std::pair<std::string, std::string>> TemplateFilters();

}  // namespace ckv
