// Answers: any bytes are read and compared; every answer equals itself, and what is unreadable is
// wrong unless it is the same text. The input is a gold answer, a NUL byte, a prediction.

#include "conic/answers.h"
#include "tests/fuzz/fuzz_target.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size > 2000) return 0;
  const std::string text(reinterpret_cast<const char*>(data), size);
  const size_t middle = text.find('\0');
  const std::string gold = text.substr(0, middle);
  const std::string pred = middle == std::string::npos ? gold : text.substr(middle + 1);
  static const auto exact = ckv::conic::HasExactArithmetic() ? ckv::conic::MakeExactArithmetic()
                                                             : ckv::conic::MakePointArithmetic();
  const ckv::conic::AnswerVerdict verdict = ckv::conic::CheckAnswer(gold, pred, exact.get());
  ckv::FuzzCheck(!verdict.equal || (verdict.scored && verdict.readable), "an unreadable equal");
  ckv::FuzzCheck(verdict.readable == verdict.fault.empty(), "a fault without a reason");
  const ckv::conic::AnswerVerdict own = ckv::conic::CheckAnswer(gold, gold, exact.get());
  ckv::FuzzCheck(own.equal == own.scored, "an answer differs from itself");
  return 0;
}
