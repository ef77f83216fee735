// Pair terms alone: every form against loops in double precision, forward and backward. CUDA
// kernels are among them where there is a GPU.
#include <algorithm>
#include <ostream>

#include <gtest/gtest.h>

#include "model/probtrans_pairs.h"
#include "tests/gpu.h"
#include "tests/probtrans/random_encoder.h"

namespace ckv {
namespace {

struct PairCase {
  const char* name;
  int64_t words, rank;
  bool child_by_bin, child_by_channel, head_by_bin, head_by_channel;
  std::vector<int64_t> cuts;
};

void PrintTo(const PairCase& one, std::ostream* out) {
  *out << one.name << ", " << one.words << " words, rank " << one.rank;
}

constexpr int64_t kBatch = 2, kChannels = 3;

// Numbers that depend on the bin's place, so that a wrong bin is seen.
struct PairInputs {
  Tensor child, head, probs;            // leaves
  Tensor of_scores, of_child, of_head;  // gradients of what comes out
};

PairInputs InputsOf(const PairCase& one, int64_t bins) {
  const auto side = [&](bool by_bin, bool by_channel, uint64_t seed) {
    return RandomTensor(
        {kBatch, one.words, by_bin ? bins : 1, by_channel ? kChannels : 1, one.rank}, seed);
  };
  const std::vector<int64_t> pairs = {kBatch, kChannels, one.words, one.words};
  PairInputs inputs;
  inputs.child = side(one.child_by_bin, one.child_by_channel, 1);
  inputs.head = side(one.head_by_bin, one.head_by_channel, 2);
  inputs.probs = RandomTensor(pairs, 3);  // of any sign, diagonal included: it must not count
  inputs.of_scores = RandomTensor(pairs, 4);
  inputs.of_child = RandomTensor(inputs.child.sizes().vec(), 5);
  inputs.of_head = RandomTensor(inputs.head.sizes().vec(), 6);
  return inputs;
}

// Scores, sums, and the gradients of both.
std::vector<Tensor> PairOutcome(const PairCase& one, PairForm form, const at::Device& device,
                                at::ScalarType type) {
  const auto layout = MakePairLayout(DistanceBins::FromCuts(one.cuts), one.words, device);
  PairInputs inputs = InputsOf(one, layout->num_bins());
  std::vector<Tensor*> leaves = {&inputs.child, &inputs.head, &inputs.probs};
  for (Tensor* tensor : leaves) {
    *tensor = tensor->to(device, type).detach().set_requires_grad(true);
  }
  for (Tensor* tensor : {&inputs.of_scores, &inputs.of_child, &inputs.of_head}) {
    *tensor = tensor->to(device, type);
  }
  std::vector<Tensor> outcome;
  const auto keep = [&](const Tensor& tensor) {
    outcome.push_back(tensor.detach().to(at::kCPU, at::kDouble));
  };
  const auto keep_gradients = [&] {
    for (Tensor* leaf : leaves) {
      if (leaf->grad().defined()) keep(leaf->grad());
      leaf->mutable_grad() = Tensor();
    }
  };
  const Tensor scores = PairScores(inputs.child, inputs.head, layout, form);
  keep(scores);
  (scores * inputs.of_scores).sum().backward();
  keep_gradients();
  const auto [to_child, to_head] = PairSums(inputs.probs, inputs.child, inputs.head, layout, form);
  keep(to_child);
  keep(to_head);
  ((to_child * inputs.of_child).sum() + (to_head * inputs.of_head).sum()).backward();
  keep_gradients();
  return outcome;
}

void ExpectLikeLoops(const PairCase& one, PairForm form, const at::Device& device,
                     at::ScalarType type, double tolerance) {
  const std::vector<Tensor> want = PairOutcome(one, PairForm::kGather, at::kCPU, at::kDouble);
  const std::vector<Tensor> got = PairOutcome(one, form, device, type);
  ASSERT_EQ(want.size(), 8u);
  ASSERT_EQ(got.size(), want.size());
  for (size_t i = 0; i < want.size(); ++i) {
    ASSERT_EQ(got[i].sizes(), want[i].sizes()) << i;
    const double size = std::max(1.0, want[i].abs().max().item<double>());
    EXPECT_LT(MaxAbsDiff(got[i], want[i]), tolerance * size) << "outcome " << i;
  }
}

class PairFormsTest : public ::testing::TestWithParam<PairCase> {};

TEST_P(PairFormsTest, DenseProductsEqualLoops) {
  ExpectLikeLoops(GetParam(), PairForm::kDense, at::kCPU, at::kDouble, 1e-12);
}

TEST_P(PairFormsTest, BandsEqualLoops) {
  ExpectLikeLoops(GetParam(), PairForm::kBand, at::kCPU, at::kDouble, 1e-12);
}

// Sums of at most some hundred products in fp32.
TEST_P(PairFormsTest, KernelsOnAGpuEqualLoops) {
  CKV_NEEDS_GPU();
  ExpectLikeLoops(GetParam(), PairForm::kFused, at::kCUDA, at::kFloat, 2e-5);
}

INSTANTIATE_TEST_SUITE_P(Small, PairFormsTest,
                         ::testing::Values(PairCase{"uv", 5, 3, true, true, true, true, {2, 3}},
                                           PairCase{"full", 4, 9, false, false, true, true, {2}}));
INSTANTIATE_TEST_SUITE_P(
    Many, PairFormsTest,
    ::testing::Values(PairCase{"uv", 1, 8, true, true, true, true, {2, 3}},
                      PairCase{"full", 1, 8, false, false, true, true, {}},
                      PairCase{"uv", 2, 1, true, true, true, true, {2, 3}},
                      PairCase{"uv", 33, 8, true, true, true, true, {2, 3, 4}},
                      PairCase{"uv", 70, 33, true, true, true, true, {3, 9}},
                      PairCase{"full", 40, 32, false, false, true, true, {2, 3, 4}},
                      PairCase{"same head", 9, 7, true, true, false, false, {2, 5}},
                      PairCase{"bin and channel", 9, 7, true, false, false, true, {2, 5}},
                      PairCase{"one for all channels", 9, 7, true, false, true, true, {2, 5}},
                      PairCase{"one for all bins", 9, 7, false, true, true, true, {2, 5}}));

// What kernels look up is what the other forms do.
TEST(PairLayout, TablesOfOffsetsEqualTheTableOfPairs) {
  for (const DistanceBins& bins :
       {DistanceBins::FromCuts({2, 3, 4}), DistanceBins::FromCuts({3, 9}),
        DistanceBins::FromCuts({}), DistanceBins::Clipped(3), DistanceBins::None()}) {
    for (const int64_t n : {1, 2, 4, 20}) {
      const auto layout = MakePairLayout(bins, n, at::kCPU);
      const int* bin_of = layout->tables.bin_of.data_ptr<int>();
      const int* ranges = layout->tables.ranges.data_ptr<int>();
      ASSERT_EQ(layout->tables.bin_of.numel(), 2 * n - 1);
      ASSERT_EQ(layout->tables.ranges.numel(), 2 * layout->num_bins());
      for (int64_t i = 0; i < n; ++i) {
        for (int64_t j = 0; j < n; ++j) {
          const int bin = layout->table[static_cast<size_t>(i * n + j)];
          EXPECT_EQ(bin_of[j - i + n - 1], bin) << n << ": " << i << " " << j;
          for (int k = 0; k < layout->num_bins(); ++k) {
            const bool inside = j != i && ranges[2 * k] <= j - i && j - i <= ranges[2 * k + 1];
            EXPECT_EQ(inside, bin == k) << n << ": " << i << " " << j << " in " << k;
          }
        }
      }
    }
  }
}

TEST(PairForm, AutoTakesNoKernelsAndRefusalsAreInWords) {
  const Tensor side = at::zeros({1});
  EXPECT_EQ(ChoosePairForm("auto", 9, side), PairForm::kGather);
  try {
    ChoosePairForm("fused", 9, side);
    FAIL() << "fused on a CPU";
  } catch (const ConfigError& error) {
    EXPECT_NE(std::string(error.what()).find("'model.pairs' is fused, which needs a GPU"),
              std::string::npos)
        << error.what();
  }
}

TEST(PairForm, AutoTakesNoKernelsOnAGpu) {
  CKV_NEEDS_GPU();
  const Tensor side = at::zeros({1}, at::kCUDA);
  EXPECT_EQ(ChoosePairForm("auto", 9, side), PairForm::kDense);
  EXPECT_EQ(ChoosePairForm("auto", 90, side), PairForm::kBand);
  EXPECT_EQ(ChoosePairForm("fused", 9, side), PairForm::kFused);
}

}  // namespace
}  // namespace ckv
