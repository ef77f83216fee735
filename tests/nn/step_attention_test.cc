#include "nn/step_attention.h"

#include <gtest/gtest.h>
#include <torch/torch.h>

#include "nn/attention.h"
#include "tests/gpu.h"
#include "tests/temp_dir.h"
#include "tests/tensors.h"

namespace ckv {
namespace {

constexpr int64_t kSlots = 9;

SlotSpan SpanOf(const std::vector<SlotSpan::Range>& rows, bool known) {
  std::vector<int64_t> begin;
  std::vector<int64_t> end;
  std::vector<int64_t> skip;
  int64_t most = 0;
  for (const SlotSpan::Range& row : rows) {
    begin.push_back(row.begin);
    end.push_back(row.end);
    skip.push_back(row.skip);
    most = std::max(most, row.end);
  }
  return SlotSpan(at::tensor(begin, at::kLong), at::tensor(end, at::kLong),
                  at::tensor(skip, at::kLong), most,
                  known ? std::optional(rows.front()) : std::nullopt);
}

// Attention of one row over the slots it sees, written out.
at::Tensor OneRow(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                  const SlotSpan::Range& range) {
  std::vector<int64_t> seen;
  for (int64_t slot = range.begin; slot < range.end; ++slot) {
    if (slot != range.skip) seen.push_back(slot);
  }
  if (seen.empty()) return at::zeros_like(q);
  const at::Tensor index = at::tensor(seen, at::kLong);
  const int64_t repeat = q.size(0) / k.size(0);
  const at::Tensor keys = k.index_select(1, index).repeat_interleave(repeat, 0);
  const at::Tensor values = v.index_select(1, index).repeat_interleave(repeat, 0);
  const at::Tensor scores =
      at::matmul(q, keys.transpose(1, 2)) / std::sqrt(static_cast<double>(q.size(2)));
  return at::matmul(at::softmax(scores, -1), values);
}

class StepAttentionTest : public ::testing::TestWithParam<std::string> {};

TEST_P(StepAttentionTest, EqualsAttentionOverTheSlotsThatAreSeen) {
  const StepAttentionFn step = FindStepAttention(GetParam());
  const at::Tensor q = RandomTensor({3, 4, 1, 8}, 1);
  const at::Tensor k = RandomTensor({3, 2, kSlots, 8}, 2);
  const at::Tensor v = RandomTensor({3, 2, kSlots, 8}, 3);
  // All, all but the last, one left out in a ring, a window, nothing, and only the one left out.
  const std::vector<SlotSpan::Range> ranges = {{0, kSlots, -1}, {0, 5, 4},  {0, kSlots, 3},
                                               {2, 6, 5},       {0, 0, -1}, {0, 1, 0}};
  for (const SlotSpan::Range& range : ranges) {
    for (const bool known : {true, false}) {
      const at::Tensor got = step(q, k, v, SpanOf({range, range, range}, known));
      for (int64_t row = 0; row < 3; ++row) {
        EXPECT_LT(MaxAbsDiff(got[row], OneRow(q[row], k[row], v[row], range)), 1e-14);
      }
    }
  }
  const std::vector<SlotSpan::Range> uneven = {{0, 0, -1}, {1, 7, 6}, {0, 4, 2}};
  const at::Tensor got = step(q, k, v, SpanOf(uneven, false));
  for (int64_t row = 0; row < 3; ++row) {
    const SlotSpan::Range& range = uneven[static_cast<size_t>(row)];
    EXPECT_LT(MaxAbsDiff(got[row], OneRow(q[row], k[row], v[row], range)), 1e-14);
  }
}

TEST_P(StepAttentionTest, GivesExactZerosToBlindRowsOnAGpu) {
  CKV_NEEDS_GPU();
  const StepAttentionFn step = FindStepAttention(GetParam());
  const std::vector<SlotSpan::Range> ranges = {{0, 0, -1}, {1, 7, 6}, {0, 1, 0}};
  const SlotSpan host = SpanOf(ranges, false);
  const SlotSpan span(host.begin().cuda(), host.end().cuda(), host.skip().cuda(), host.most_end(),
                      std::nullopt);
  for (const auto& [dtype, tolerance] : std::vector<std::pair<at::ScalarType, double>>{
           {at::kFloat, 1e-6}, {at::kHalf, 3e-3}, {at::kBFloat16, 2e-2}}) {
    const at::Tensor q = RandomTensor({3, 4, 1, 8}, 1).to(at::kCUDA, dtype);
    const at::Tensor k = RandomTensor({3, 2, kSlots, 8}, 2).to(at::kCUDA, dtype);
    const at::Tensor v = RandomTensor({3, 2, kSlots, 8}, 3).to(at::kCUDA, dtype);
    const auto plain = [](const at::Tensor& tensor) { return tensor.cpu().to(at::kDouble); };
    const at::Tensor got = plain(step(q, k, v, span));
    for (int64_t row = 0; row < 3; ++row) {
      const SlotSpan::Range& range = ranges[static_cast<size_t>(row)];
      const at::Tensor want = OneRow(plain(q[row]), plain(k[row]), plain(v[row]), range);
      EXPECT_LE(MaxAbsDiff(got[row], want), range.visible() == 0 ? 0.0 : tolerance)
          << at::toString(dtype) << ", row " << row;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Kernels, StepAttentionTest, ::testing::ValuesIn(AttentionNames()));

TEST(StepAttention, RefusesUnknownKernels) {
  EXPECT_EQ(ErrorOf([] { FindStepAttention("flash"); }), "2: attention kernel 'flash' has no step");
}

// Keys in any order with their positions give what keys in order give.
TEST(Visibility, PositionsStandInForIndices) {
  const at::Tensor q = RandomTensor({1, 2, 3, 8}, 1);
  const at::Tensor k = RandomTensor({1, 2, 7, 8}, 2);
  const at::Tensor v = RandomTensor({1, 2, 7, 8}, 3);
  const at::Tensor order = at::tensor({3, 1, 0, 2, 6, 4, 5}, at::kLong);
  const at::Tensor spare = RandomTensor({1, 2, 1, 8}, 4);  // a slot that holds nothing
  for (const std::string& name : AttentionNames()) {
    for (const bool strict : {false, true}) {
      for (const std::optional<int64_t> window :
           {std::optional<int64_t>(), std::optional<int64_t>(3)}) {
        AttentionScope in_order;
        in_order.num_queries = 3;
        in_order.past = 4;
        AttentionScope shuffled = in_order;
        shuffled.past = 5;
        shuffled.query_positions = at::tensor({4, 5, 6}, at::kLong).unsqueeze(0);
        shuffled.key_positions = at::cat({order, at::tensor({-1}, at::kLong)}).unsqueeze(0);
        const AttentionFn attention = FindAttention(name);
        const at::Tensor want = attention(q, k, v, Visibility(in_order, strict, window), 0.0);
        const at::Tensor keys = at::cat({k.index_select(2, order), spare}, 2);
        const at::Tensor values = at::cat({v.index_select(2, order), spare}, 2);
        const at::Tensor got =
            attention(q, keys, values, Visibility(shuffled, strict, window), 0.0);
        EXPECT_LT(MaxAbsDiff(got, want), 1e-14) << name;

        // One query of it alone, in both ways to say where things are.
        for (const AttentionScope& scope : {in_order, shuffled}) {
          const bool indices = !scope.key_positions.defined();
          const AttentionScope one = OneQueryScope(scope, at::tensor({1}, at::kLong));
          const at::Tensor alone =
              attention(q.narrow(2, 1, 1), indices ? k : keys, indices ? v : values,
                        Visibility(one, strict, window), 0.0);
          EXPECT_LT(MaxAbsDiff(alone, want.narrow(2, 1, 1)), 1e-14) << name;
        }
        const Visibility last(OneQueryScope(in_order, {}), strict, window);
        EXPECT_LT(MaxAbsDiff(attention(q.narrow(2, 2, 1), k, v, last, 0.0), want.narrow(2, 2, 1)),
                  1e-14);
      }
    }
  }
}

}  // namespace
}  // namespace ckv
