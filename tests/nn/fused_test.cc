// Fused operations of training against plain compositions in fp64, forward and backward.
#include <algorithm>
#include <functional>
#include <limits>

#include <gtest/gtest.h>
#include <torch/torch.h>

#include "base/error.h"
#include "nn/fused_linear.h"
#include "nn/fused_norm.h"
#include "nn/joined.h"
#include "nn/loss.h"
#include "tests/gpu.h"
#include "tests/tensors.h"

namespace ckv {
namespace {

struct FusedPlace {
  at::DeviceType device;
  at::ScalarType dtype;
  double tolerance;  // relative to the largest number of a tensor
};

std::ostream& operator<<(std::ostream& out, const FusedPlace& place) {
  return out << place.device << " " << place.dtype;
}

using Tensors = std::vector<Tensor>;
using Operation = std::function<Tensors(const Tensors& inputs)>;

class FusedTest : public ::testing::TestWithParam<FusedPlace> {
 protected:
  void SetUp() override {
    if (GetParam().device == at::kCUDA) CKV_NEEDS_GPU();
  }

  at::TensorOptions Options() const {
    return at::TensorOptions().device(GetParam().device).dtype(GetParam().dtype);
  }
  Tensor Random(const std::vector<int64_t>& shape, uint64_t seed, double scale = 1.0) const {
    return (RandomTensor(shape, seed) * scale).to(Options());
  }
  RopeTable Table(const Tensor& positions, int64_t head_dim, at::ScalarType dtype) const {
    return Rope(RopeConfig{}, head_dim).Table(positions, 64, dtype);
  }

  // Runs `operation` here and `plain` in fp64 on the CPU on the same numbers, and compares results
  // and, for random gradients of the results, gradients. `skip_grad`: results that get none.
  void Compare(const Tensors& inputs, const Operation& operation, const Operation& plain,
               const std::vector<size_t>& skip_grad = {}, double room = 1.0) const {
    Tensors given;
    Tensors wide;
    for (const Tensor& input : inputs) {
      // Not a clone, which may lose the layout.
      given.push_back(input.detach().requires_grad_(true));
      wide.push_back(input.detach().to(at::kCPU, at::kDouble).clone().requires_grad_(true));
    }
    const Tensors results = operation(given);
    const Tensors wanted = plain(wide);
    ASSERT_EQ(results.size(), wanted.size());
    Tensors roots;
    Tensors root_grads;
    Tensors wide_roots;
    Tensors wide_root_grads;
    for (size_t i = 0; i < results.size(); ++i) {
      EXPECT_LT(Error(results[i], wanted[i]), GetParam().tolerance * room) << "result " << i;
      if (std::count(skip_grad.begin(), skip_grad.end(), i) > 0) continue;
      const Tensor grad = Random(wanted[i].sizes().vec(), 100 + i);
      roots.push_back(results[i]);
      root_grads.push_back(grad);
      wide_roots.push_back(wanted[i]);
      wide_root_grads.push_back(grad.to(at::kCPU, at::kDouble));
    }
    const Tensors grads = torch::autograd::grad(roots, given, root_grads);
    const Tensors wide_grads = torch::autograd::grad(wide_roots, wide, wide_root_grads);
    for (size_t i = 0; i < grads.size(); ++i) {
      EXPECT_LT(Error(grads[i], wide_grads[i]), GetParam().tolerance * 4.0 * room)
          << "gradient of input " << i;
    }
    // Without gradient the same.
    at::NoGradGuard no_grad;
    const Tensors again = operation(given);
    for (size_t i = 0; i < again.size(); ++i) {
      EXPECT_TRUE(at::equal(again[i], results[i])) << "without gradient, result " << i;
    }
  }

  // The largest error, relative to the largest number.
  static double Error(const Tensor& got, const Tensor& want) {
    if (got.sizes() != want.sizes()) return std::numeric_limits<double>::infinity();
    return MaxAbsDiff(got.detach().cpu(), want.detach()) /
           std::max(want.abs().max().item<double>(), 1.0);
  }
};

Tensor PlainNorm(const Tensor& x, const Tensor& weight, double epsilon) {
  return x * at::rsqrt(x.square().mean(-1, true) + epsilon) * weight;
}

constexpr int64_t kNormWidths[] = {8, 96, 768, 1000, 2048, 33, 5632};

TEST_P(FusedTest, NormOfOneTensor) {
  for (const int64_t width : kNormWidths) {
    Compare(
        {Random({3, 5, width}, 1), Random({width}, 2)},
        [](const Tensors& in) -> Tensors { return {AddRmsNorm(in[0], {}, in[1], 1e-5).normed}; },
        [](const Tensors& in) -> Tensors { return {PlainNorm(in[0], in[1], 1e-5)}; });
  }
}

TEST_P(FusedTest, NormOfASum) {
  for (const int64_t width : kNormWidths) {
    for (const std::vector<size_t>& skip :
         {std::vector<size_t>{}, std::vector<size_t>{0}, std::vector<size_t>{1}}) {
      // Where only the sum gets a gradient, the weight has none.
      if (skip == std::vector<size_t>{1}) continue;
      Compare(
          {Random({700, width}, 1), Random({700, width}, 2), Random({width}, 3)},
          [](const Tensors& in) -> Tensors {
            const NormedSum result = AddRmsNorm(in[0], in[1], in[2], 1e-5);
            return {result.sum, result.normed};
          },
          [](const Tensors& in) -> Tensors {
            const Tensor sum = in[0] + in[1];
            return {sum, PlainNorm(sum, in[2], 1e-5)};
          },
          skip, /*room=*/2.0);
    }
  }
}

TEST_P(FusedTest, NormTakesViews) {
  const Tensor x = Random({4, 6, 2 * 64}, 1).narrow(2, 64, 64).transpose(0, 1);
  Compare(
      {x, Random({64}, 2)},
      [](const Tensors& in) -> Tensors { return {AddRmsNorm(in[0], {}, in[1], 1e-5).normed}; },
      [](const Tensors& in) -> Tensors { return {PlainNorm(in[0], in[1], 1e-5)}; });
}

TEST_P(FusedTest, SumWithoutNormPassesItsGradientOn) {
  const Tensor x = Random({3, 64}, 1).requires_grad_(true);
  const Tensor delta = Random({3, 64}, 2).requires_grad_(true);
  const Tensor weight = Random({64}, 3).requires_grad_(true);
  const Tensor grad = Random({3, 64}, 4);
  const NormedSum result = AddRmsNorm(x, delta, weight, 1e-5);
  const Tensors grads = torch::autograd::grad({result.sum}, {x, delta, weight}, {grad}, false,
                                              false, /*allow_unused=*/true);
  EXPECT_TRUE(at::equal(grads[0], grad));
  EXPECT_TRUE(at::equal(grads[1], grad));
  EXPECT_FALSE(grads[2].defined());
}

TEST_P(FusedTest, GatedUnitMultipliesUpByTheActivatedGate) {
  for (const std::string activation : {"silu", "gelu", "gelu_tanh"}) {
    for (const int64_t width : {1, 8, 33, 352}) {
      Compare(
          {Random({7, 3, 2 * width}, 1, 2.0)},
          [&](const Tensors& in) -> Tensors { return {GatedUnit(in[0], activation)}; },
          [&](const Tensors& in) -> Tensors {
            const Tensor gate = in[0].narrow(-1, 0, width);
            const Tensor active = activation == "silu"
                                      ? at::silu(gate)
                                      : at::gelu(gate, activation == "gelu" ? "none" : "tanh");
            return {active * in[0].narrow(-1, width, width)};
          });
    }
  }
}

TEST_P(FusedTest, PackedLinearIsTheProductsSideBySide) {
  for (const bool packed : {false, true}) {
    Compare(
        {Random({2, 9, 48}, 1), Random({16, 48}, 2, 0.2), Random({40, 48}, 3, 0.2)},
        [&](const Tensors& in) -> Tensors {
          const Tensors weights = {in[1], in[2]};
          if (packed) JoinInPlace(weights);
          EXPECT_EQ(JoinedView(weights).defined(), packed);
          return {PackedLinear(in[0], weights)};
        },
        [](const Tensors& in) -> Tensors {
          return {at::cat({at::linear(in[0], in[1]), at::linear(in[0], in[2])}, -1)};
        });
  }
}

TEST_P(FusedTest, ProjectHeadsRotatesQueriesAndKeys) {
  const at::ScalarType maths = GetParam().dtype == at::kDouble ? at::kDouble : at::kFloat;
  for (const int64_t head_dim : {2, 16, 20, 64, 80}) {
    for (const bool rows_differ : {false, true}) {
      const auto longs = at::TensorOptions().dtype(at::kLong);
      const Tensor positions =
          rows_differ ? at::arange(22, longs).view({2, 11}) * 2 : at::arange(3, 14, longs);
      const auto heads = [&](const Tensor& x, const Tensor& weight) {
        return at::linear(x, weight).view({2, 11, -1, head_dim}).transpose(1, 2);
      };
      // All three, and without one result's gradient.
      for (const std::vector<size_t>& skip : {std::vector<size_t>{}, std::vector<size_t>{1}}) {
        if (!skip.empty() && head_dim != 64) continue;
        Compare(
            {Random({2, 11, 24}, 1), Random({6 * head_dim, 24}, 2, 0.2),
             Random({2 * head_dim, 24}, 3, 0.2), Random({2 * head_dim, 24}, 4, 0.2)},
            [&](const Tensors& in) -> Tensors {
              const RopeTable table = Table(positions.to(GetParam().device), head_dim, maths);
              Tensors results = ProjectHeads(in[0], {{in[1], true}, {in[2], true}, {in[3], false}},
                                             head_dim, table);
              if (!skip.empty()) results[1] = results[1] + 0.0 * in[2].sum();
              return results;
            },
            [&](const Tensors& in) -> Tensors {
              const RopeTable table = Table(positions, head_dim, at::kDouble);
              return {ApplyRope(heads(in[0], in[1]), table), ApplyRope(heads(in[0], in[2]), table),
                      heads(in[0], in[3])};
            });
      }
    }
  }
}

TEST_P(FusedTest, ProjectHeadsTakesGradientsOfAnyLayout) {
  const at::ScalarType maths = GetParam().dtype == at::kDouble ? at::kDouble : at::kFloat;
  const Tensor positions =
      at::arange(11, at::TensorOptions().dtype(at::kLong).device(GetParam().device));
  const RopeTable table = Table(positions, 16, maths);
  const Tensor x = Random({2, 11, 24}, 1).requires_grad_(true);
  const Tensor weight = Random({32, 24}, 2, 0.2).requires_grad_(true);
  const Tensor out = ProjectHeads(x, {{weight, true}}, 16, table)[0];
  const Tensor grad = Random({2, 2, 11, 16}, 3);
  const Tensors plain = torch::autograd::grad({out}, {x, weight}, {grad}, true);
  const Tensor wide = at::zeros({2, 11, 2, 17}, Options());
  const Tensor odd = wide.narrow(3, 1, 16).transpose(1, 2);  // no row starts at an even place
  odd.copy_(grad);
  const Tensor turned = grad.transpose(2, 3).contiguous().transpose(2, 3);  // D is not dense
  for (const Tensor& other : {odd, turned}) {
    const Tensors grads = torch::autograd::grad({out}, {x, weight}, {other}, true);
    EXPECT_TRUE(at::equal(grads[0], plain[0]));
    EXPECT_TRUE(at::equal(grads[1], plain[1]));
  }
}

TEST_P(FusedTest, ProjectHeadsLeavesOutFirstTokens) {
  const at::ScalarType maths = GetParam().dtype == at::kDouble ? at::kDouble : at::kFloat;
  const Tensor positions = at::arange(11, at::TensorOptions().dtype(at::kLong));
  for (const int64_t head_dim : {16, 20}) {
    Compare(
        {Random({2, 11, 24}, 1), Random({2 * head_dim, 24}, 2, 0.2),
         Random({head_dim, 24}, 3, 0.2)},
        [&](const Tensors& in) -> Tensors {
          const RopeTable table = Table(positions.to(GetParam().device), head_dim, maths);
          return ProjectHeads(in[0], {{in[1], true, 1}, {in[2], false, 3}}, head_dim, table);
        },
        [&](const Tensors& in) -> Tensors {
          const RopeTable table = Table(positions, head_dim, at::kDouble);
          const auto heads = [&](const Tensor& weight) {
            return at::linear(in[0], weight).view({2, 11, -1, head_dim}).transpose(1, 2);
          };
          return {ApplyRope(heads(in[1]), table).narrow(2, 1, 10), heads(in[2]).narrow(2, 3, 8)};
        });
  }
}

TEST_P(FusedTest, LossAndItsGradient) {
  for (const int64_t vocab : {31, 96, 4000}) {
    for (const double smoothing : {0.0, 0.1}) {
      for (const int64_t chunk : {0, 7}) {
        LossOptions options;
        options.label_smoothing = smoothing;
        options.z_loss = 1e-3;
        options.chunk_tokens = chunk;
        Tensor targets = RandomIds({20}, vocab, 5);
        targets[3] = kIgnoreTarget;
        Compare(
            {Random({20, 48}, 1), Random({vocab, 48}, 2, 0.3)},
            [&](const Tensors& in) -> Tensors {
              return {LinearCrossEntropy(in[0], in[1], targets.to(GetParam().device), options)
                          .to(GetParam().dtype)};
            },
            [&](const Tensors& in) -> Tensors {
              const Tensor logits = at::linear(in[0], in[1]);
              const Tensor log_probs = at::log_softmax(logits, -1);
              const Tensor real = targets.ne(kIgnoreTarget).to(at::kDouble);
              const Tensor picked =
                  log_probs.gather(1, targets.clamp_min(0).unsqueeze(1)).squeeze(1);
              const Tensor loss = (smoothing - 1.0) * picked - smoothing * log_probs.mean(-1) +
                                  1e-3 * at::logsumexp(logits, {1}).square();
              return {(loss * real).sum()};
            },
            {}, /*room=*/4.0);
      }
    }
  }
}

const FusedPlace kFusedCpu[] = {{at::kCPU, at::kDouble, 1e-12}, {at::kCPU, at::kFloat, 2e-6}};
// Half a unit in the last place of bf16 is 2^-9, of fp16 2^-12.
const FusedPlace kFusedGpu[] = {{at::kCUDA, at::kBFloat16, 8e-3}, {at::kCUDA, at::kHalf, 1e-3}};

INSTANTIATE_TEST_SUITE_P(Cpu, FusedTest, ::testing::ValuesIn(kFusedCpu));
INSTANTIATE_TEST_SUITE_P(Gpu, FusedTest, ::testing::ValuesIn(kFusedGpu));

TEST(Fused, JoiningKeepsValuesAndLeaves) {
  const Tensor a = RandomTensor({3, 4}, 1).requires_grad_(true);
  const Tensor b = RandomTensor({2, 4}, 2).requires_grad_(true);
  const Tensor a_before = a.detach().clone();
  const Tensor b_before = b.detach().clone();
  JoinInPlace({a, b});
  EXPECT_TRUE(JoinedView({a, b}).defined());
  EXPECT_FALSE(JoinedView({b, a}).defined());
  EXPECT_TRUE(at::equal(a, a_before));
  EXPECT_TRUE(at::equal(b, b_before));
  EXPECT_TRUE(a.is_leaf() && a.requires_grad());
}

TEST(Fused, RefusesShapesThatDoNotFit) {
  EXPECT_THROW(AddRmsNorm(at::zeros({2, 4}), {}, at::zeros({3}), 1e-5), InternalError);
  EXPECT_THROW(PackedLinear(at::zeros({2, 4}), {at::zeros({3, 5})}), InternalError);
  EXPECT_THROW(GatedUnit(at::zeros({2, 3}), "silu"), InternalError);
}

}  // namespace
}  // namespace ckv
