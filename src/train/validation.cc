#include "train/validation.h"

#include <algorithm>
#include <cmath>

#include <torch/torch.h>

#include "base/target.h"
#include "nn/loss.h"

namespace ckv {

double ValidationResult::perplexity() const { return std::exp(loss); }

ValidationResult Validate(Decoder& decoder, const DecoderRun& run, DataSource& source,
                          const at::Device& device, CommGroup* group) {
  at::NoGradGuard no_grad;
  decoder->eval();
  Tensor log_prob = at::zeros({}, at::TensorOptions().dtype(at::kDouble).device(device));
  Tensor correct = at::zeros({}, at::TensorOptions().dtype(at::kLong).device(device));
  ValidationResult result;
  TokenBatch batch;
  while (source.Next(&batch)) {
    const auto move = [&](std::vector<int64_t>& numbers) {
      return at::from_blob(numbers.data(), {batch.rows, batch.cols}, at::kLong).to(device).clone();
    };
    DecoderInput input;
    input.tokens = move(batch.tokens);
    if (!batch.segments.empty()) input.segments = move(batch.segments);
    const Tensor targets = move(batch.targets).flatten();
    const Tensor hidden = decoder->Hidden(input, run).flatten(0, 1);
    const TokenScores scores = ScoreTokens(hidden, decoder->head_weight(), targets);
    log_prob += scores.log_prob.to(at::kDouble).sum();
    correct += scores.correct.sum();
    result.targets += static_cast<int64_t>(batch.targets.size()) -
                      std::count(batch.targets.begin(), batch.targets.end(), kIgnoreTarget);
  }
  if (group != nullptr) {
    const Tensor targets = at::full({}, result.targets, correct.options());
    group->Sum(log_prob, "the validation loss");
    group->Sum(correct, "the validation accuracy");
    group->Sum(targets, "the validation targets");
    result.targets = targets.item<int64_t>();
  }
  const auto count = static_cast<double>(std::max<int64_t>(result.targets, 1));
  result.loss = -log_prob.item<double>() / count;
  result.accuracy = static_cast<double>(correct.item<int64_t>()) / count;
  return result;
}

}  // namespace ckv
