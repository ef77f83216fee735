#include "nn/decode_ops.h"

#include <limits>

#include <gtest/gtest.h>
#include <torch/torch.h>

#include "base/error.h"
#include "nn/decode_linear.h"
#include "nn/rope.h"
#include "tests/gpu.h"
#include "tests/tensors.h"

namespace ckv {
namespace {

// Where and in what numbers the operations run.
struct Place {
  at::DeviceType device;
  at::ScalarType dtype;
  double tolerance;  // relative, of numbers around 1
};

std::ostream& operator<<(std::ostream& out, const Place& place) {
  return out << place.device << " " << place.dtype;
}

class DecodeOpsTest : public ::testing::TestWithParam<Place> {
 protected:
  void SetUp() override {
    if (GetParam().device == at::kCUDA) CKV_NEEDS_GPU();
  }

  at::TensorOptions Options() const {
    return at::TensorOptions().device(GetParam().device).dtype(GetParam().dtype);
  }
  at::TensorOptions Ints() const { return Options().dtype(at::kInt); }
  Tensor Random(const std::vector<int64_t>& shape, uint64_t seed, double scale = 1.0) const {
    return (RandomTensor(shape, seed) * scale).to(Options());
  }
  Tensor Garbage(const std::vector<int64_t>& shape) const {
    return at::full(shape, std::numeric_limits<double>::quiet_NaN(), Options());
  }
  // The largest error against fp64 numbers, relative to 1 and the number.
  static double Error(const Tensor& got, const Tensor& want) {
    const Tensor expected = want.to(at::kDouble).cpu();
    return ((got.to(at::kDouble).cpu() - expected).abs() / expected.abs().clamp_min(1.0))
        .max()
        .item<double>();
  }

  // A target for heads of width D over positions 0 .. 63.
  RotateTarget Target(int64_t batch, int64_t heads, int64_t kv_heads, int64_t head_dim,
                      bool with_keys, bool with_values) const {
    RotateTarget target;
    const Rope rope(RopeConfig{}, head_dim);
    const RopeTable table =
        rope.Table(at::arange(64, Options().dtype(at::kLong)), 64, GetParam().dtype);
    target.cos = table.cos;
    target.sin = table.sin;
    target.lengths = (at::arange(batch, Ints()) * 5 % 60).contiguous();
    target.kv_heads = kv_heads;
    target.q = Garbage({batch, heads, head_dim});
    if (with_keys) target.keys = at::zeros({batch + 1, kv_heads, 64, head_dim}, Options());
    if (with_values) target.values = at::zeros({batch + 1, kv_heads, 7, head_dim}, Options());
    return target;
  }

  // What `packed` [B, heads, D] in fp64 must have become.
  void ExpectRotated(const Tensor& packed, const RotateTarget& target, double tolerance) const {
    const int64_t batch = packed.size(0);
    const int64_t heads = target.q.size(1);
    for (int64_t row = 0; row < batch; ++row) {
      const int64_t position = target.lengths[row].item<int64_t>();
      const Rope rope(RopeConfig{}, packed.size(2));
      const RopeTable table = rope.Table(at::full({1}, position, at::kLong), 64, at::kDouble);
      const auto rotated = [&](int64_t first, int64_t count) {
        return ApplyRope(packed[row].narrow(0, first, count).unsqueeze(0).unsqueeze(2), table)
            .view({count, -1});
      };
      EXPECT_LT(Error(target.q[row], rotated(0, heads)), tolerance);
      int64_t next = heads;
      if (target.keys.defined()) {
        EXPECT_LT(Error(target.keys[row].select(1, position), rotated(next, target.kv_heads)),
                  tolerance);
        next += target.kv_heads;
      }
      if (target.values.defined()) {
        EXPECT_LT(Error(target.values[row].select(1, position % 7),
                        packed[row].narrow(0, next, target.kv_heads)),
                  tolerance);
      }
    }
    // One slot a row and head is written, and nothing of the rows behind the batch.
    for (const Tensor* store : {&target.keys, &target.values}) {
      if (!store->defined()) continue;
      const Tensor written = store->abs().sum(-1).ne(0).sum(-1);  // [rows, G]
      EXPECT_TRUE(written.narrow(0, 0, batch).eq(1).all().item<bool>());
      EXPECT_TRUE(written.narrow(0, batch, 1).eq(0).all().item<bool>());
    }
  }
};

TEST_P(DecodeOpsTest, NormDividesByTheRootMeanSquare) {
  for (const int64_t width : {2, 64, 2048, 5000}) {
    const Tensor x = Random({3, width}, 1);
    const Tensor weight = Random({width}, 2);
    Tensor out = Garbage({3, width});
    RmsNormInto(x, weight, 1e-5, out);
    const Tensor wide = x.to(at::kDouble);
    const Tensor want = wide / (wide.square().mean(1, true) + 1e-5).sqrt() * weight.to(at::kDouble);
    EXPECT_LT(Error(out, want), GetParam().tolerance) << width;
  }
}

TEST_P(DecodeOpsTest, GateMultipliesUpByTheActivatedGate) {
  const Tensor packed = Random({5, 2 * 352}, 1, 2.0);
  const Tensor gate = packed.narrow(1, 0, 352).to(at::kDouble);
  const Tensor up = packed.narrow(1, 352, 352).to(at::kDouble);
  Tensor out = Garbage({5, 352});
  GateInto(packed, "silu", out);
  EXPECT_LT(Error(out, at::silu(gate) * up), GetParam().tolerance);
  GateInto(packed, "gelu", out);
  EXPECT_LT(Error(out, at::gelu(gate, "none") * up), GetParam().tolerance);
  GateInto(packed, "gelu_tanh", out);
  EXPECT_LT(Error(out, at::gelu(gate, "tanh") * up), GetParam().tolerance);
}

TEST_P(DecodeOpsTest, RotateAndStoreWritesWhatTheLayerOwns) {
  for (const int64_t head_dim : {32, 64, 80, 256}) {
    for (const bool with_keys : {false, true}) {
      for (const bool with_values : {false, true}) {
        RotateTarget target = Target(9, 6, 2, head_dim, with_keys, with_values);
        const Tensor packed = Random({9, target.packed_heads() * head_dim}, 4);
        RotateAndStore(packed, target);
        ExpectRotated(packed.to(at::kDouble).cpu().view({9, -1, head_dim}), target,
                      GetParam().tolerance);
      }
    }
  }
}

TEST_P(DecodeOpsTest, GreedyChoiceIsTheFirstOfTheLikeliest) {
  Tensor logits = Random({4, 32003}, 1);
  logits[0][17] = 9.0;
  logits[0][31000] = 9.0;
  logits[1][32002] = 9.0;
  logits[2].fill_(-std::numeric_limits<double>::infinity());
  logits[2][5] = -3.0;
  Tensor ids = at::empty({4}, Options().dtype(at::kLong));
  const auto wide = GetParam().dtype == at::kDouble ? at::kDouble : at::kFloat;
  Tensor log_probs = at::empty({4}, Options().dtype(wide));
  GreedyChoiceInto(logits, ids, log_probs);
  EXPECT_EQ(ids[0].item<int64_t>(), 17);
  EXPECT_EQ(ids[1].item<int64_t>(), 32002);
  EXPECT_EQ(ids[2].item<int64_t>(), 5);
  EXPECT_TRUE(at::equal(ids[3], logits[3].argmax()));
  const Tensor want = logits.to(at::kDouble).log_softmax(1).gather(1, ids.unsqueeze(1)).squeeze(1);
  EXPECT_LT(MaxAbsDiff(log_probs.cpu(), want.cpu()), 1e-4);  // fp32 sums of 32003 terms
}

TEST_P(DecodeOpsTest, GreedyChoiceShowsWhatIsNoNumber) {
  for (const int64_t vocab : {31, 5000}) {
    Tensor logits = Random({2, vocab}, 1);
    logits[1][7] = std::numeric_limits<double>::quiet_NaN();
    Tensor ids = at::empty({2}, Options().dtype(at::kLong));
    const auto wide = GetParam().dtype == at::kDouble ? at::kDouble : at::kFloat;
    Tensor log_probs = at::empty({2}, Options().dtype(wide));
    GreedyChoiceInto(logits, ids, log_probs);
    EXPECT_FALSE(log_probs[0].isnan().item<bool>());
    EXPECT_TRUE(log_probs[1].isnan().item<bool>());
  }
}

// --- Products, around the batch sizes and widths at which their kernel changes.

constexpr int64_t kBatches[] = {1, 2, 5, 8, 9, 20, 40, 64, 65};

// The error of a sum of K products in the dtype's rounding, with some room.
class DecodeLinearTest : public DecodeOpsTest {
 protected:
  DecodeLinear Linear(int64_t outputs, int64_t inputs, bool norm, bool bias) const {
    DecodeLinear linear;
    linear.weight = Random({outputs, inputs}, 5, 1.0 / std::sqrt(static_cast<double>(inputs)));
    if (norm) linear.norm_weight = Random({inputs}, 6);
    if (bias) linear.bias = Random({outputs}, 7);
    linear.epsilon = 1e-5;
    return linear;
  }
  // Of the same numbers in fp64; the normed input is rounded as the operation rounds it.
  Tensor Product(const Tensor& x, const DecodeLinear& linear) const {
    Tensor input = x;
    if (linear.norm_weight.defined()) {
      input = at::empty_like(x);
      RmsNormInto(x, linear.norm_weight, linear.epsilon, input);
    }
    Tensor y = at::matmul(input.to(at::kDouble), linear.weight.to(at::kDouble).t());
    if (linear.bias.defined()) y = y + linear.bias.to(at::kDouble);
    return y;
  }
  double Tolerance() const { return 4.0 * GetParam().tolerance; }
  DecodeLinearScratch Scratch(int64_t width, int64_t outputs) const {
    return DecodeLinearScratch(80, width, outputs, Options());
  }
};

TEST_P(DecodeLinearTest, ProjectIsTheProduct) {
  for (const int64_t batch : kBatches) {
    for (const auto& [outputs, inputs] : std::vector<std::pair<int64_t, int64_t>>{
             {16, 32}, {31, 24}, {31, 64}, {1000, 96}, {200, 128}, {4500, 2048}, {2048, 5632}}) {
      if (GetParam().device == at::kCPU && outputs * inputs > 200000) continue;  // slow there
      for (const bool norm : {false, true}) {
        const DecodeLinear linear = Linear(outputs, inputs, norm, /*bias=*/norm);
        const Tensor x = Random({batch, inputs}, 8);
        DecodeLinearScratch scratch = Scratch(inputs, outputs);
        Tensor out = Garbage({batch, outputs});
        Project(x, linear, scratch, out);
        EXPECT_LT(Error(out, Product(x, linear)), Tolerance())
            << batch << " x " << outputs << " x " << inputs;
      }
    }
  }
}

TEST_P(DecodeLinearTest, ProjectAddAddsToTheStream) {
  for (const int64_t batch : kBatches) {
    for (const bool bias : {false, true}) {
      for (const int64_t inputs : {352, 384}) {
        const DecodeLinear linear = Linear(192, inputs, false, bias);
        const Tensor x = Random({batch, inputs}, 8);
        Tensor stream = Random({batch, 192}, 9);
        const Tensor want = stream.to(at::kDouble) + Product(x, linear);
        ProjectAdd(x, linear, stream);
        EXPECT_LT(Error(stream, want), Tolerance()) << batch;
      }
    }
  }
}

TEST_P(DecodeLinearTest, ProjectGateIsGateOfTheProduct) {
  for (const int64_t batch : kBatches) {
    for (const bool bias : {false, true}) {
      for (const int64_t inputs : {96, 192}) {
        const DecodeLinear linear = Linear(2 * 344, inputs, true, bias);
        const Tensor x = Random({batch, inputs}, 8);
        DecodeLinearScratch scratch = Scratch(inputs, 2 * 344);
        Tensor out = Garbage({batch, 344});
        ProjectGate(x, linear, "silu", scratch, out);
        const Tensor y = Product(x, linear);
        EXPECT_LT(Error(out, at::silu(y.narrow(1, 0, 344)) * y.narrow(1, 344, 344)), Tolerance())
            << batch;
      }
    }
  }
}

TEST_P(DecodeLinearTest, ProjectRotateStoresTheRotatedProduct) {
  for (const int64_t batch : {1, 3, 8, 9, 33, 70}) {
    for (const int64_t head_dim : {32, 64, 80, 256}) {
      for (const bool with_keys : {false, true}) {
        for (const bool with_values : {false, true}) {
          const int64_t inputs = with_keys == with_values ? 192 : 96;
          RotateTarget target = Target(batch, 6, 2, head_dim, with_keys, with_values);
          const DecodeLinear linear =
              Linear(target.packed_heads() * head_dim, inputs, true, with_keys);
          const Tensor x = Random({batch, inputs}, 8);
          DecodeLinearScratch scratch = Scratch(inputs, target.packed_heads() * head_dim);
          ProjectRotate(x, linear, scratch, target);
          ExpectRotated(Product(x, linear).cpu().view({batch, -1, head_dim}), target, Tolerance());
        }
      }
    }
  }
}

// Each kernel with each epilogue, small enough for a sanitizer.
TEST_P(DecodeLinearTest, EveryEpilogueOnce) {
  for (const int64_t batch : {2, 9, 40}) {
    const Tensor x = Random({batch, 128}, 8);
    DecodeLinearScratch scratch = Scratch(128, 256);
    const DecodeLinear stored = Linear(136, 128, true, true);
    Tensor out = Garbage({batch, 136});
    Project(x, stored, scratch, out);
    EXPECT_LT(Error(out, Product(x, stored)), Tolerance()) << batch;

    const DecodeLinear added = Linear(128, 128, false, false);
    Tensor stream = Random({batch, 128}, 9);
    const Tensor sum = stream.to(at::kDouble) + Product(x, added);
    ProjectAdd(x, added, stream);
    EXPECT_LT(Error(stream, sum), Tolerance()) << batch;

    const DecodeLinear gated = Linear(2 * 72, 128, true, false);
    Tensor inner = Garbage({batch, 72});
    ProjectGate(x, gated, "silu", scratch, inner);
    const Tensor y = Product(x, gated);
    EXPECT_LT(Error(inner, at::silu(y.narrow(1, 0, 72)) * y.narrow(1, 72, 72)), Tolerance())
        << batch;

    RotateTarget target = Target(batch, 4, 1, 32, true, true);
    const DecodeLinear rotated = Linear(target.packed_heads() * 32, 128, true, false);
    ProjectRotate(x, rotated, scratch, target);
    ExpectRotated(Product(x, rotated).cpu().view({batch, -1, 32}), target, Tolerance());
  }
}

TEST_P(DecodeLinearTest, ARowOfASmallBatchIsTheRowAlone) {
  const DecodeLinear linear = Linear(2048, 1024, true, false);
  DecodeLinearScratch scratch = Scratch(1024, 2048);
  const Tensor x = Random({8, 1024}, 8);
  Tensor together = Garbage({8, 2048});
  Project(x, linear, scratch, together);
  for (int64_t row = 0; row < 8; ++row) {
    Tensor alone = Garbage({1, 2048});
    Project(x.narrow(0, row, 1).contiguous(), linear, scratch, alone);
    // LibTorch's product on the CPU depends on the batch in its last bits.
    const double tolerance = GetParam().device == at::kCUDA ? 0.0 : GetParam().tolerance;
    EXPECT_LE(Error(alone[0], together[row]), tolerance);
  }
}

const Place kCpuPlaces[] = {{at::kCPU, at::kDouble, 1e-12}, {at::kCPU, at::kFloat, 1e-5}};
// Half a unit in the last place of bf16 is 2^-9, of fp16 2^-12.
const Place kGpuPlaces[] = {{at::kCUDA, at::kBFloat16, 6e-3}, {at::kCUDA, at::kHalf, 1e-3}};

INSTANTIATE_TEST_SUITE_P(Cpu, DecodeOpsTest, ::testing::ValuesIn(kCpuPlaces));
INSTANTIATE_TEST_SUITE_P(Gpu, DecodeOpsTest, ::testing::ValuesIn(kGpuPlaces));
INSTANTIATE_TEST_SUITE_P(Cpu, DecodeLinearTest, ::testing::ValuesIn(kCpuPlaces));
INSTANTIATE_TEST_SUITE_P(Gpu, DecodeLinearTest, ::testing::ValuesIn(kGpuPlaces));

TEST(DecodeOps, RefuseShapesThatDoNotFit) {
  Tensor out = at::zeros({2, 3});
  EXPECT_THROW(RmsNormInto(at::zeros({2, 4}), at::zeros({4}), 1e-5, out), InternalError);
  EXPECT_THROW(GateInto(at::zeros({2, 4}), "silu", out), InternalError);
  DecodeLinear linear;
  linear.weight = at::zeros({3, 5});
  DecodeLinearScratch scratch(2, 4, 3, at::kFloat);
  EXPECT_THROW(Project(at::zeros({2, 4}), linear, scratch, out), InternalError);
}

}  // namespace
}  // namespace ckv
