// Annotations: any bytes are read and scored; counts keep their order, and a side against itself
// loses only statements that never match. The input is a gold annotation, a NUL byte, a prediction.

#include "conic/score.h"
#include "tests/fuzz/fuzz_target.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using ckv::conic::Mode;
  const std::string text(reinterpret_cast<const char*>(data), size);
  const size_t middle = text.find('\0');
  const std::string gold = text.substr(0, middle);
  const std::string pred = middle == std::string::npos ? gold : text.substr(middle + 1);
  for (const Mode mode : {Mode::kCompat, Mode::kStrict}) {
    const ckv::conic::QuestionScore score = ckv::conic::ScoreQuestion(gold, pred, mode);
    ckv::FuzzCheck(score.common <= score.num_gold && score.common <= score.num_predicted,
                   "more in common than there is");
    ckv::FuzzCheck(score.matched_names <= score.common, "names beyond the common count");
    ckv::FuzzCheck(score.ratios.f1 >= 0.0 && score.ratios.f1 <= 1.0, "f1 out of range");
    for (const ckv::conic::LineFault& fault : score.predicted_faults) {
      ckv::FuzzCheck(fault.line >= 1 && fault.column >= 1 && !fault.what.empty(), "empty fault");
    }
  }
  const ckv::conic::QuestionScore turned = ckv::conic::ScoreQuestion(pred, gold, Mode::kCompat);
  const ckv::conic::QuestionScore score = ckv::conic::ScoreQuestion(gold, pred, Mode::kCompat);
  ckv::FuzzCheck(turned.num_gold == score.num_predicted, "sides count differently");
  return 0;
}
