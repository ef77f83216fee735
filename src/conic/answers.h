// Whether a predicted mathQA answer equals the gold one.
//
// The rule is sound: it may miss an equal answer, it does not accept an unequal one. It knows
// numbers with radicals, points, sets, "pm", intervals and unions, equations up to a factor, and
// conditions. docs/conic10k.md has it in full.
#pragma once

#include <string>
#include <string_view>

#include "conic/arithmetic.h"

namespace ckv::conic {

struct AnswerVerdict {
  bool scored = false;  // false if the gold answer is empty
  bool equal = false;
  bool readable = false;  // every part of the prediction, or the text is that of the gold answer
  std::string fault;      // why not: "part 2, column 5: ..."
};

AnswerVerdict CheckAnswer(std::string_view gold, std::string_view predicted,
                          Arithmetic* arithmetic);

}  // namespace ckv::conic
