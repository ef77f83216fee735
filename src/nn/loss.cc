#include "nn/loss.h"

#include <algorithm>

#include <torch/torch.h>

#include "base/error.h"
#include "nn/kernel_call.h"

#ifdef CKV_HAVE_CUDA
#include "nn/cuda/fused_kernels.h"
#endif

namespace ckv {
namespace {

at::ScalarType LossType(const Tensor& x) {
  return x.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
}

// Keeps a chunk's logits near 1 GiB in fp32 (2 GiB in 16 bits, where they become their gradient in
// place) on an accelerator, and within the cache's reach on a CPU.
int64_t ChunkTokens(const Tensor& hidden, int64_t vocab, int64_t asked) {
  if (asked > 0) return asked;
  const int64_t budget = HasKernels(hidden) ? int64_t{1} << 30
                         : hidden.is_cuda() ? int64_t{1} << 28
                                            : int64_t{1} << 22;
  return std::max<int64_t>(budget / vocab, 16);
}

// log softmax of a chunk's logits in the loss type, [n, V].
Tensor LogProbabilities(const Tensor& hidden, const Tensor& weight) {
  const Tensor logits = at::linear(hidden, weight);
  return at::log_softmax(logits, -1, LossType(hidden));
}

struct ChunkLoss {
  Tensor sum;          // scalar
  Tensor grad_logits;  // [n, V]; undefined unless asked for
};

#ifdef CKV_HAVE_CUDA
// Logits and their gradient share their memory, in 16 bits; the maths is in fp32.
ChunkLoss KernelLossOfChunk(const Tensor& hidden, const Tensor& weight, const Tensor& targets,
                            const LossOptions& options, bool with_grad) {
  Tensor logits = at::mm(hidden, weight.t());
  const Tensor losses = at::empty({hidden.size(0)}, hidden.options().dtype(at::kFloat));
  const Tensor rows = targets.contiguous();
  kernels::SoftmaxLossParams params = {};
  params.type = HalfTypeOf(logits);
  params.logits = logits.data_ptr();
  params.targets = rows.data_ptr<int64_t>();
  params.losses = losses.data_ptr<float>();
  params.rows = logits.size(0);
  params.vocab = static_cast<int>(logits.size(1));
  params.label_smoothing = static_cast<float>(options.label_smoothing);
  params.z_loss = static_cast<float>(options.z_loss);
  params.with_grad = with_grad;
  kernels::SoftmaxLoss(params, CurrentStream());
  ChunkLoss result;
  result.sum = losses.sum();
  if (with_grad) result.grad_logits = logits;
  return result;
}
#endif

ChunkLoss LossOfChunk(const Tensor& hidden, const Tensor& weight, const Tensor& targets,
                      const LossOptions& options, bool with_grad) {
#ifdef CKV_HAVE_CUDA
  if (HasKernels(hidden)) return KernelLossOfChunk(hidden, weight, targets, options, with_grad);
#endif
  const auto vocab = static_cast<double>(weight.size(0));
  const double smooth = options.label_smoothing;
  const Tensor logits = at::linear(hidden, weight);
  Tensor log_probs = at::log_softmax(logits, -1, LossType(hidden));
  const Tensor real = targets.ne(kIgnoreTarget);
  const Tensor index = targets.clamp_min(0).unsqueeze(1);
  const Tensor real_column = real.to(log_probs.scalar_type()).unsqueeze(1);
  const Tensor target_log_prob = log_probs.gather(1, index);  // [n, 1]

  Tensor loss = target_log_prob * (smooth - 1.0);
  if (smooth > 0.0) loss = loss - log_probs.mean(-1, true) * smooth;
  Tensor log_z;  // [n, 1]
  if (options.z_loss > 0.0) {
    log_z = logits.gather(1, index).to(log_probs.scalar_type()) - target_log_prob;
    loss = loss + log_z.square() * options.z_loss;
  }
  ChunkLoss result;
  result.sum = (loss * real_column).sum();
  if (!with_grad) return result;

  // d loss / d logits = softmax (1 + 2 z log Z) - (1 - s) onehot - s / V
  Tensor grad = log_probs.exp_();
  if (log_z.defined()) grad.mul_(log_z * (2.0 * options.z_loss) + 1.0);
  if (smooth > 0.0) grad.sub_(smooth / vocab);
  grad.scatter_add_(1, index, at::full_like(target_log_prob, smooth - 1.0));
  result.grad_logits = grad.mul_(real_column);
  return result;
}

Tensor SumWithoutGrad(const Tensor& hidden, const Tensor& weight, const Tensor& targets,
                      const LossOptions& options) {
  const int64_t chunk = ChunkTokens(hidden, weight.size(0), options.chunk_tokens);
  Tensor total = at::zeros({}, hidden.options().dtype(LossType(hidden)));
  for (int64_t begin = 0; begin < hidden.size(0); begin += chunk) {
    const int64_t length = std::min(chunk, hidden.size(0) - begin);
    total.add_(LossOfChunk(hidden.narrow(0, begin, length), weight,
                           targets.narrow(0, begin, length), options, /*with_grad=*/false)
                   .sum);
  }
  return total;
}

// x * factor, multiplied in the factor's type: 1 / tokens in bf16 would be off by up to 0.4%.
Tensor Scale(const Tensor& x, const Tensor& factor) {
  return (x.to(factor.scalar_type()) * factor).to(x.scalar_type());
}

class LinearCrossEntropyFunction : public torch::autograd::Function<LinearCrossEntropyFunction> {
 public:
  static Tensor forward(torch::autograd::AutogradContext* context, const Tensor& hidden,
                        const Tensor& weight, const Tensor& targets, const LossOptions& options) {
    const int64_t chunk = ChunkTokens(hidden, weight.size(0), options.chunk_tokens);
    Tensor total = at::zeros({}, hidden.options().dtype(LossType(hidden)));
    Tensor grad_hidden = at::empty_like(hidden);
    // Sums over chunks stay in the loss type: low precision would lose small contributions.
    const bool trains_weight = weight.requires_grad();
    const bool whole = chunk >= hidden.size(0) && HasKernels(hidden);
    Tensor grad_weight;
    if (trains_weight && !whole) grad_weight = at::zeros_like(weight, LossType(hidden));
    for (int64_t begin = 0; begin < hidden.size(0); begin += chunk) {
      const int64_t length = std::min(chunk, hidden.size(0) - begin);
      const Tensor part = hidden.narrow(0, begin, length);
      ChunkLoss loss = LossOfChunk(part, weight, targets.narrow(0, begin, length), options,
                                   /*with_grad=*/true);
      total.add_(loss.sum);
      const Tensor grad = loss.grad_logits.to(hidden.scalar_type());
      loss.grad_logits.reset();
      Tensor hidden_slot = grad_hidden.narrow(0, begin, length);
      at::mm_out(hidden_slot, grad, weight);
      if (!trains_weight) continue;
      if (whole) {
        grad_weight = at::mm(grad.t(), part);
      } else if (grad.scalar_type() == grad_weight.scalar_type()) {
        grad_weight.addmm_(grad.t(), part);
      } else {
        grad_weight.add_(at::mm(grad.t(), part));
      }
    }
    if (trains_weight) grad_weight = grad_weight.to(weight.scalar_type());
    context->save_for_backward({grad_hidden, grad_weight});
    return total;
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 torch::autograd::variable_list grad_output) {
    const auto saved = context->get_saved_variables();
    const Tensor grad_weight = saved[1].defined() ? Scale(saved[1], grad_output[0]) : Tensor();
    return {Scale(saved[0], grad_output[0]), grad_weight, Tensor(), Tensor()};
  }
};

}  // namespace

Tensor LinearCrossEntropy(const Tensor& hidden, const Tensor& weight, const Tensor& targets,
                          const LossOptions& options) {
  CKV_CHECK(hidden.dim() == 2 && targets.dim() == 1 && hidden.size(0) == targets.size(0), "hidden ",
            hidden.sizes(), ", targets ", targets.sizes());
  const bool with_grad =
      at::GradMode::is_enabled() && (hidden.requires_grad() || weight.requires_grad());
  if (!with_grad) return SumWithoutGrad(hidden, weight, targets, options);
  return LinearCrossEntropyFunction::apply(hidden, weight, targets, options);
}

TokenScores ScoreTokens(const Tensor& hidden, const Tensor& weight, const Tensor& targets,
                        int64_t chunk_tokens) {
  at::NoGradGuard no_grad;
  const int64_t chunk = ChunkTokens(hidden, weight.size(0), chunk_tokens);
  std::vector<Tensor> log_prob;
  std::vector<Tensor> correct;
  for (int64_t begin = 0; begin < hidden.size(0); begin += chunk) {
    const int64_t length = std::min(chunk, hidden.size(0) - begin);
    const Tensor target = targets.narrow(0, begin, length);
    const Tensor log_probs = LogProbabilities(hidden.narrow(0, begin, length), weight);
    const Tensor picked = log_probs.gather(1, target.clamp_min(0).unsqueeze(1)).squeeze(1);
    log_prob.push_back(picked.masked_fill(target.eq(kIgnoreTarget), 0.0));
    correct.push_back(log_probs.argmax(-1).eq(target));
  }
  return {at::cat(log_prob), at::cat(correct)};
}

}  // namespace ckv
