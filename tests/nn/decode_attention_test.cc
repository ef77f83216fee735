#include "nn/decode_attention.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include <gtest/gtest.h>
#include <torch/torch.h>

#include "base/error.h"
#include "tests/gpu.h"
#include "tests/tensors.h"

namespace ckv {
namespace {

struct DecodeCase {
  int64_t batch = 3;
  int64_t heads = 4;
  int64_t kv_heads = 2;
  int64_t head_dim = 16;
  int64_t key_slots = 40;
  int64_t value_slots = 40;
  int64_t window = 0;
  bool strict = false;
  bool padded = false;
  std::vector<int64_t> lengths;  // repeated over the rows
};

Tensor Lengths(const DecodeCase& c) {
  Tensor lengths = at::empty({c.batch}, at::kInt);
  for (int64_t row = 0; row < c.batch; ++row) {
    lengths[row] = c.lengths[static_cast<size_t>(row) % c.lengths.size()];
  }
  return lengths;
}

// Standard normal input; slots that nobody may read hold what must not matter.
DecodeAttentionArgs MakeArgs(const DecodeCase& c, at::ScalarType dtype) {
  DecodeAttentionArgs args;
  args.q = RandomTensor({c.batch, c.heads, c.head_dim}, 1, dtype);
  args.keys = RandomTensor({c.batch, c.kv_heads, c.key_slots, c.head_dim}, 2, dtype);
  args.values = RandomTensor({c.batch, c.kv_heads, c.value_slots, c.head_dim}, 3, dtype);
  args.lengths = Lengths(c);
  if (c.padded) args.starts = at::div(args.lengths, 3, "floor").to(at::kInt);
  args.window = c.window;
  args.strict = c.strict;
  for (int64_t row = 0; row < c.batch; ++row) {
    const int64_t used = args.lengths[row].item<int64_t>() + (c.strict ? 0 : 1);
    for (Tensor* store : {&args.keys, &args.values}) {
      const int64_t slots = store->size(2);
      if (used < slots) {
        store->select(0, row)
            .narrow(1, used, slots - used)
            .fill_(std::numeric_limits<double>::quiet_NaN());
      }
    }
  }
  return args;
}

// The definition, a number at a time.
Tensor AttentionByDefinition(const DecodeAttentionArgs& args) {
  Tensor out = at::zeros_like(args.q);
  const int64_t per_group = args.q.size(1) / args.keys.size(1);
  for (int64_t row = 0; row < args.q.size(0); ++row) {
    const int64_t own = args.lengths[row].item<int64_t>();
    int64_t begin = args.starts.defined() ? args.starts[row].item<int64_t>() : 0;
    if (args.window > 0) begin = std::max(begin, own - args.window + 1);
    const int64_t end = args.strict ? own : own + 1;
    for (int64_t head = 0; head < args.q.size(1) && begin < end; ++head) {
      const int64_t group = head / per_group;
      std::vector<Tensor> scores, values;
      for (int64_t t = begin; t < end; ++t) {
        const Tensor key = args.keys[row][group][t % args.keys.size(2)];
        scores.push_back(args.q[row][head].dot(key) / std::sqrt(double(args.q.size(2))));
        values.push_back(args.values[row][group][t % args.values.size(2)]);
      }
      out[row][head] = at::matmul(at::stack(scores).softmax(0), at::stack(values));
    }
  }
  return out;
}

class ComposedDecodeAttentionTest : public ::testing::TestWithParam<DecodeCase> {};

TEST_P(ComposedDecodeAttentionTest, FollowsTheDefinition) {
  const DecodeAttentionArgs args = MakeArgs(GetParam(), at::kDouble);
  const Tensor got = ComposedDecodeAttention(args);
  EXPECT_LT(MaxAbsDiff(got, AttentionByDefinition(args)), 1e-12);  // fp64
}

TEST_P(ComposedDecodeAttentionTest, IsWhatOtherDevicesAndTypesRun) {
  const DecodeAttentionArgs args = MakeArgs(GetParam(), at::kFloat);
  const DecodeAttentionScratch scratch(GetParam().batch, GetParam().heads, GetParam().head_dim, 40,
                                       16, args.q.options());
  EXPECT_FALSE(scratch.partial.defined());
  Tensor out = at::empty_like(args.q);
  DecodeAttention(args, scratch, out);
  EXPECT_TRUE(at::equal(out, ComposedDecodeAttention(args)));
}

DecodeCase MakeCase(std::vector<int64_t> lengths, int64_t window, bool strict, bool padded = false,
                    int64_t key_slots = 40, int64_t value_slots = 40) {
  DecodeCase c;
  c.lengths = std::move(lengths);
  c.window = window;
  c.strict = strict;
  c.padded = padded;
  c.key_slots = key_slots;
  c.value_slots = value_slots;
  return c;
}

INSTANTIATE_TEST_SUITE_P(
    Cases, ComposedDecodeAttentionTest,
    ::testing::Values(MakeCase({0, 7, 39}, 0, false), MakeCase({0, 1, 38}, 0, true),
                      MakeCase({0, 7, 39}, 5, false), MakeCase({0, 7, 39}, 5, true),
                      MakeCase({0, 4, 30}, 0, false, true), MakeCase({3, 12, 30}, 6, true, true),
                      MakeCase({0, 7, 100}, 8, false, false, 8, 8),
                      MakeCase({0, 8, 100}, 8, true, false, 8, 8),
                      MakeCase({0, 7, 39}, 8, false, false, 8, 40), MakeCase({0, 3, 9}, 1, false),
                      MakeCase({0, 3, 9}, 1, true)));

TEST(DecodeAttention, RefusesStoresThatDoNotFit) {
  DecodeAttentionArgs args = MakeArgs(MakeCase({3}, 0, false), at::kFloat);
  args.keys = args.keys.narrow(0, 0, 2).contiguous();  // fewer rows than queries
  EXPECT_THROW(ComposedDecodeAttention(args), InternalError);
}

// --- On a GPU: the kernel.

DecodeAttentionArgs OnGpu(DecodeAttentionArgs args, at::ScalarType dtype) {
  const at::TensorOptions options = at::TensorOptions().device(at::kCUDA).dtype(dtype);
  args.q = args.q.to(options);
  args.keys = args.keys.to(options);
  args.values = args.values.to(options);
  args.lengths = args.lengths.to(at::kCUDA);
  if (args.starts.defined()) args.starts = args.starts.to(at::kCUDA);
  return args;
}

// Runs the kernel with output and scratch full of what must not be left.
Tensor RunKernel(const DecodeAttentionArgs& args, int64_t split) {
  DecodeAttentionScratch scratch(args.q.size(0), args.q.size(1), args.q.size(2),
                                 std::max(args.keys.size(2), args.values.size(2)), split,
                                 args.q.options());
  EXPECT_TRUE(scratch.partial.defined());
  scratch.partial.fill_(std::numeric_limits<double>::quiet_NaN());
  scratch.stats.fill_(std::numeric_limits<double>::quiet_NaN());
  Tensor out = at::full_like(args.q, std::numeric_limits<double>::quiet_NaN());
  DecodeAttention(args, scratch, out);
  EXPECT_EQ(scratch.tickets.abs().sum().item<int64_t>(), 0);
  return out;
}

double RelativeErrorTo(const Tensor& got, const Tensor& want) {
  const double size = want.norm().item<double>();
  const double error = (got.to(at::kDouble) - want).norm().item<double>();
  return size > 0.0 ? error / size : error;
}

// The maths in the input's own type throughout, as eager code runs it.
Tensor PlainMaths(const DecodeAttentionArgs& args) {
  DecodeAttentionArgs wide = args;
  wide.q = args.q.to(at::kDouble);
  wide.keys = args.keys.to(at::kDouble);
  wide.values = at::ones_like(wide.keys);
  const int64_t batch = args.q.size(0);
  const int64_t groups = args.keys.size(1);
  const auto type = args.q.scalar_type();
  const Tensor q = args.q.view({batch, groups, -1, args.q.size(2)});
  const Tensor scores = at::matmul(q, args.keys.nan_to_num(0.0).transpose(2, 3)) /
                        std::sqrt(static_cast<double>(args.q.size(2)));
  const Tensor t = at::arange(args.keys.size(2), args.lengths.options().dtype(at::kLong));
  const Tensor own = args.lengths.to(at::kLong).view({batch, 1});
  Tensor visible = args.strict ? t < own : t <= own;
  if (args.window > 0) visible = visible & (t > own - args.window);
  if (args.starts.defined()) visible = visible & (t >= args.starts.view({batch, 1}));
  const Tensor mask = visible.logical_not().view({batch, 1, 1, -1});
  const Tensor weights =
      scores.masked_fill(mask, -std::numeric_limits<double>::infinity()).softmax(-1);
  return at::matmul(weights.to(type).masked_fill(mask, 0.0), args.values.nan_to_num(0.0))
      .view(args.q.sizes());
}

void ExpectKernelIsExact(const DecodeCase& c, at::ScalarType dtype, int64_t split) {
  const DecodeAttentionArgs args = OnGpu(MakeArgs(c, at::kDouble), dtype);
  DecodeAttentionArgs wide = args;
  wide.q = args.q.to(at::kDouble);
  wide.keys = args.keys.to(at::kDouble);
  wide.values = args.values.to(at::kDouble);
  const Tensor want = ComposedDecodeAttention(wide);
  const Tensor got = RunKernel(args, split);
  const double error = RelativeErrorTo(got, want);
  // Rings have no plain form; the rounding of the output alone is then the measure.
  const bool ring = c.key_slots != c.value_slots || c.window == c.key_slots;
  const double measure = RelativeErrorTo(ring ? want.to(dtype) : PlainMaths(args), want);
  EXPECT_LE(error, (ring ? 4.0 : 2.0) * measure + 1e-12)
      << c.batch << " rows, " << c.heads << "/" << c.kv_heads << " heads of " << c.head_dim
      << ", slots " << c.key_slots << ", window " << c.window << ", strict " << c.strict << ", "
      << dtype << ", split " << split;
}

class DecodeAttentionKernelTest : public ::testing::TestWithParam<int64_t> {};

// Up to twice the error of plain maths in the same type, for every way to share heads.
TEST_P(DecodeAttentionKernelTest, IsAsExactAsPlainMaths) {
  CKV_NEEDS_GPU();
  for (const auto dtype : {at::kBFloat16, at::kHalf}) {
    for (const auto& [heads, kv_heads] : std::vector<std::pair<int64_t, int64_t>>{
             {1, 1}, {4, 4}, {6, 2}, {8, 1}, {12, 1}, {32, 4}, {32, 2}, {32, 1}}) {
      for (const int64_t slots : {1, 17, 300, 1100}) {
        DecodeCase c =
            MakeCase({0, slots / 2, slots - 1, slots / 3}, 0, false, false, slots, slots);
        c.head_dim = GetParam();
        c.heads = heads;
        c.kv_heads = kv_heads;
        c.batch = 4;
        ExpectKernelIsExact(c, dtype, 256);
      }
    }
  }
}

TEST_P(DecodeAttentionKernelTest, SeesWhatItShouldSee) {
  CKV_NEEDS_GPU();
  const std::vector<int64_t> lengths = {0, 1, 5, 15, 16, 31, 33, 63, 64, 127, 200, 254};
  std::vector<DecodeCase> cases;
  for (const bool strict : {false, true}) {
    for (const int64_t window : {0, 1, 7, 64}) {
      for (const bool padded : {false, true}) {
        cases.push_back(MakeCase(lengths, window, strict, padded, 255, 255));
      }
    }
    cases.push_back(MakeCase({0, 7, 47, 48, 49, 95, 96, 200, 1000}, 48, strict, false, 48, 48));
    cases.push_back(MakeCase({0, 7, 47, 48, 49, 95, 96, 200, 254}, 48, strict, false, 48, 255));
    cases.push_back(MakeCase({0, 7, 47, 48, 49, 95, 96, 200, 254}, 48, strict, false, 255, 48));
  }
  for (DecodeCase& c : cases) {
    c.batch = static_cast<int64_t>(c.lengths.size());
    c.head_dim = GetParam();
    c.heads = 8;
    for (const int64_t split : {64, 512}) ExpectKernelIsExact(c, at::kBFloat16, split);
  }
}

INSTANTIATE_TEST_SUITE_P(HeadWidths, DecodeAttentionKernelTest,
                         ::testing::Values<int64_t>(32, 64, 80, 96, 128, 256));

TEST(DecodeAttentionKernel, TakesLongRowsAndLargeBatches) {
  CKV_NEEDS_GPU();
  for (const auto& [batch, slots] :
       std::vector<std::pair<int64_t, int64_t>>{{1, 9000}, {2, 4097}, {17, 2112}, {300, 257}}) {
    DecodeCase c = MakeCase({slots - 1, slots / 2, 3, slots - 9}, 0, false, false, slots, slots);
    c.batch = batch;
    c.heads = 16;
    c.kv_heads = 2;
    c.head_dim = 64;
    for (const int64_t split : {256, 512}) ExpectKernelIsExact(c, at::kBFloat16, split);
  }
}

TEST(DecodeAttentionKernel, GivesARowTheSameWhateverItsNeighbours) {
  CKV_NEEDS_GPU();
  DecodeCase c = MakeCase({700, 3, 1023, 511, 512, 90}, 0, false, false, 1024, 1024);
  c.batch = 6;
  c.heads = 8;
  c.head_dim = 64;
  const DecodeAttentionArgs all = OnGpu(MakeArgs(c, at::kDouble), at::kBFloat16);
  const Tensor together = RunKernel(all, 256);
  for (int64_t row = 0; row < c.batch; ++row) {
    DecodeAttentionArgs alone = all;
    alone.q = all.q.narrow(0, row, 1).contiguous();
    alone.keys = all.keys.narrow(0, row, 1).contiguous();
    alone.values = all.values.narrow(0, row, 1).contiguous();
    alone.lengths = all.lengths.narrow(0, row, 1).contiguous();
    EXPECT_TRUE(at::equal(RunKernel(alone, 256)[0], together[row])) << row;
  }
}

}  // namespace
}  // namespace ckv
