#include "tasks/template.h"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "tests/temp_dir.h"

namespace ckv {
namespace {

const char* const kText = R"({"question": {"stem": " Why? ", "choices": [
    {"text": "one", "label": "A"}, {"text": "two", "label": "B"}]},
  "answerKey": "B", "n": 3, "yes": true, "list": ["a ", " b"], "s": "He saw _ there."})";

Json Render(const std::string& text) {
  return Template(text, "t.yaml:1:1").Value(ParseJson(kText, "doc"), "document 0");
}

TEST(Template, FillsFieldsAndFilters) {
  EXPECT_EQ(Render("Question:{{question.stem}}\nAnswer:"), "Question: Why? \nAnswer:");
  EXPECT_EQ(Render("{{ question.stem | strip | upper }}"), "WHY?");
  EXPECT_EQ(Render("{{s | before('_')}}|{{s | after('_') | strip}}"), "He saw |there.");
  EXPECT_EQ(Render("{{yes}} {{n}}"), "True 3");
  EXPECT_EQ(Render("{{s | last_word}}/{{s | but_last_word}}"), "there./He saw _");
  EXPECT_EQ(Render("a{{'}' | replace('}', '\\n')}}"), "a\n");
  EXPECT_EQ(Render(""), "");
}

TEST(Template, OnePlaceKeepsItsKind) {
  EXPECT_EQ(Render("{{question.choices.*.text}}"), Json({"one", "two"}));
  EXPECT_EQ(Render("{{answerKey | index(question.choices.*.label)}}"), 1);
  EXPECT_EQ(Render("{{n | add(-1)}}"), 2);
  EXPECT_EQ(Render("{{yes | int}}"), 1);
  EXPECT_EQ(Render("{{list | strip | prefix('x')}}"), Json({"xa", "xb"}));
  EXPECT_EQ(Render("{{question.choices.1.label}}"), "B");
  EXPECT_EQ(Render("{{list | item(1)}}"), " b");
}

TEST(Template, SaysWhatIsWrongWithIt) {
  const auto error = [](const std::string& text) {
    return ErrorOf([&] { Template(text, "t.yaml:1:1"); });
  };
  EXPECT_EQ(error("a {{b"), "2: t.yaml:1:1: '{{b' has no '}}'");
  EXPECT_EQ(error("{{q | strip\nA:"), "2: t.yaml:1:1: '{{q | strip\\nA:' has no '}}'");
  EXPECT_EQ(error("{{b | bold}}"), "2: t.yaml:1:1: in '{{b | bold}}': there is no filter 'bold'");
  EXPECT_EQ(error("{{b | strip(1)}}"),
            "2: t.yaml:1:1: in '{{b | strip(1)}}': the filter 'strip' takes 0 arguments, not 1");
  EXPECT_EQ(error("{{}}"), "2: t.yaml:1:1: in '{{}}': a name is missing");
  EXPECT_EQ(error("{{a b}}"), "2: t.yaml:1:1: in '{{a b}}': 'b' is not understood");
  EXPECT_EQ(error("{{'a}}"), "2: t.yaml:1:1: in '{{'a}}': a ' is missing");
}

TEST(Template, SaysWhatADocumentLacks) {
  const auto error = [](const std::string& text) { return ErrorOf([&] { Render(text); }); };
  EXPECT_EQ(error("{{stem}}"),
            "3: document 0: '{{stem}}' has no field 'stem' (there are: answerKey, list, n, "
            "question, s, yes)");
  EXPECT_EQ(error("x{{list}}"), "3: document 0: '{{list}}' is a list, but must be a text");
  EXPECT_EQ(error("{{s | before('#')}}"), "3: document 0: '{{s | before('#')}}' has no '#'");
  EXPECT_EQ(error("{{s | int}}"),
            "3: document 0: '{{s | int}}' is \"He saw _ there.\", no integer");
  EXPECT_EQ(error("{{n | index(list)}}"),
            "3: document 0: '{{n | index(list)}}' is 3, which is not among [\"a \",\" b\"]");
  EXPECT_EQ(error("{{list.7}}"), "3: document 0: '{{list.7}}' has 2 items, so none numbered 7");
}

}  // namespace
}  // namespace ckv
