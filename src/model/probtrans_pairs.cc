#include "model/probtrans_pairs.h"

#include <algorithm>

#include <torch/torch.h>

#include "base/error.h"

namespace ckv {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;
using LayoutPtr = std::shared_ptr<const PairLayout>;

const PairKernel& KernelOf(int64_t form) {
  switch (static_cast<PairForm>(form)) {
    case PairForm::kDense:
      return kDensePairs;
    case PairForm::kBand:
      return kBandPairs;
    case PairForm::kGather:
      return kGatherPairs;
    case PairForm::kFused:
      return kFusedPairs;
  }
  throw InternalError("no such form of pair terms");
}

// What a node of the graph keeps beside its tensors.
struct LayoutHolder : torch::CustomClassHolder {
  explicit LayoutHolder(LayoutPtr held) : layout(std::move(held)) {}
  LayoutPtr layout;
};

void Keep(AutogradContext* ctx, const LayoutPtr& layout, int64_t form) {
  ctx->saved_data["layout"] = c10::IValue::make_capsule(c10::make_intrusive<LayoutHolder>(layout));
  ctx->saved_data["form"] = form;
}

const PairLayout& KeptLayout(AutogradContext* ctx) {
  const auto capsule = ctx->saved_data["layout"].toCapsule();
  return *static_cast<const LayoutHolder&>(*capsule).layout;
}

const PairKernel& KeptKernel(AutogradContext* ctx) {
  return KernelOf(ctx->saved_data["form"].toInt());
}

Tensor OrZeros(const Tensor& grad, const Tensor& like) {
  return grad.defined() ? grad : at::zeros_like(like);
}

class PairScoresNode : public torch::autograd::Function<PairScoresNode> {
 public:
  static Tensor forward(AutogradContext* ctx, const Tensor& child, const Tensor& head,
                        const LayoutPtr& layout, int64_t form) {
    ctx->save_for_backward({child, head});
    Keep(ctx, layout, form);
    return KernelOf(form).scores(child, head, *layout);
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    const variable_list saved = ctx->get_saved_variables();
    auto [child, head] = KeptKernel(ctx).sums(grads[0], saved[0], saved[1], KeptLayout(ctx));
    return {child, head, Tensor(), Tensor()};
  }
};

class PairSumsNode : public torch::autograd::Function<PairSumsNode> {
 public:
  static variable_list forward(AutogradContext* ctx, const Tensor& probs, const Tensor& child,
                               const Tensor& head, const LayoutPtr& layout, int64_t form) {
    ctx->save_for_backward({probs, child, head});
    Keep(ctx, layout, form);
    auto [to_child, to_head] = KernelOf(form).sums(probs, child, head, *layout);
    return {to_child, to_head};
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    const variable_list saved = ctx->get_saved_variables();
    const Tensor &probs = saved[0], &child = saved[1], &head = saved[2];
    const Tensor of_child = OrZeros(grads[0], child);
    const Tensor of_head = OrZeros(grads[1], head);
    const PairKernel& kernel = KeptKernel(ctx);
    const PairLayout& layout = KeptLayout(ctx);
    const Tensor grad_probs =
        kernel.scores(of_child, head, layout) + kernel.scores(child, of_head, layout);
    // The sums are linear in each side, and swap roles: the child's gradient comes through what
    // heads collected, and the other way round.
    auto [grad_child, grad_head] = kernel.sums(probs, of_child, of_head, layout);
    return {grad_probs, grad_child, grad_head, Tensor(), Tensor()};
  }
};

}  // namespace

namespace {

// Offsets from the child that bins hold, by bin and by offset.
PairTables TablesOf(const PairLayout& layout, const at::Device& device) {
  const int64_t n = layout.words, longest = n - 1;
  const Tensor ranges = at::zeros({layout.num_bins(), 2}, at::kInt);
  const Tensor bin_of = at::full({2 * n - 1}, -1, at::kInt);
  int* const range = ranges.data_ptr<int>();
  int* const bin_at = bin_of.data_ptr<int>() + longest;
  for (int64_t k = 0; k < layout.num_bins(); ++k) {
    const DistanceBins::Bin& bin = layout.bins[static_cast<size_t>(k)];
    CKV_CHECK(bin.sign != 0 || bin.near == 1, "a bin with a gap");
    const int64_t near = std::min(bin.near, n), far = std::min(bin.far, longest);
    const int64_t first = bin.sign > 0 ? near : -far, last = bin.sign < 0 ? -near : far;
    range[2 * k] = static_cast<int>(first);
    range[2 * k + 1] = static_cast<int>(last);
    for (int64_t offset = first; offset <= last; ++offset) {
      if (offset != 0) bin_at[offset] = static_cast<int>(k);
    }
  }
  return {bin_of.to(device), ranges.to(device)};
}

}  // namespace

std::shared_ptr<const PairLayout> MakePairLayout(const DistanceBins& bins, int64_t words,
                                                 const at::Device& device) {
  auto layout = std::make_shared<PairLayout>();
  layout->words = words;
  layout->ids = bins.Present(words);
  if (layout->ids.empty()) layout->ids.push_back(0);  // one word: no pair, but shapes need a bin
  std::vector<int32_t> place(static_cast<size_t>(bins.size()), -1);
  for (size_t at = 0; at < layout->ids.size(); ++at) {
    layout->bins.push_back(bins.bin(layout->ids[at]));
    place[static_cast<size_t>(layout->ids[at])] = static_cast<int32_t>(at);
  }
  layout->table.assign(static_cast<size_t>(words * words), -1);
  const Tensor mask = at::zeros({layout->num_bins(), 1, words, words}, at::kBool);
  bool* marks = mask.data_ptr<bool>();
  for (int64_t i = 0; i < words; ++i) {
    for (int64_t j = 0; j < words; ++j) {
      if (i == j) continue;
      const int32_t bin = place[static_cast<size_t>(bins.Find(j - i))];
      layout->table[static_cast<size_t>(i * words + j)] = bin;
      marks[(bin * words + i) * words + j] = true;
    }
  }
  layout->mask = mask.to(device);
  layout->tables = TablesOf(*layout, device);
  layout->id_tensor = at::tensor(layout->ids, at::kLong).to(device);
  return layout;
}

PairForm ChoosePairForm(const std::string& name, int64_t words, const Tensor& side) {
  // On a GPU: dense has the fewest launches, band the least work. Where they meet is an estimate
  // from operation counts, not a measurement.
  constexpr int64_t kLongestDense = 64;
  const auto refuse = [&](const char* needs) {
    throw ConfigError("", Str("'model.pairs' is ", name, ", which needs ", needs,
                              " (dense and band run everywhere)"));
  };
  if (name == "dense") return PairForm::kDense;
  if (name == "band") return PairForm::kBand;
  if (name == "gather") {
    if (!side.is_cpu()) refuse("a CPU");
    return PairForm::kGather;
  }
  if (name == "fused") {
    if (!HasPairKernels(side)) refuse("a GPU and fp32, tf32 or bf16");
    return PairForm::kFused;
  }
  CKV_CHECK(name == "auto", "pairs: ", name);
  if (side.is_cpu()) return PairForm::kGather;
  return words <= kLongestDense ? PairForm::kDense : PairForm::kBand;
}

Tensor PairScores(const Tensor& child, const Tensor& head, const LayoutPtr& layout, PairForm form) {
  return PairScoresNode::apply(child, head, layout, static_cast<int64_t>(form));
}

std::pair<Tensor, Tensor> PairSums(const Tensor& probs, const Tensor& child, const Tensor& head,
                                   const LayoutPtr& layout, PairForm form) {
  const variable_list both =
      PairSumsNode::apply(probs, child, head, layout, static_cast<int64_t>(form));
  return {both[0], both[1]};
}

}  // namespace ckv
