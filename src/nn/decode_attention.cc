#include "nn/decode_attention.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include <ATen/ATen.h>

#include "base/error.h"
#include "nn/kernel_call.h"

namespace ckv {
namespace {

constexpr int64_t kSplitUnit = 16;

bool HasAttentionKernel(const Tensor& tensor, int64_t head_dim) {
#ifdef CKV_HAVE_CUDA
  return HasKernels(tensor) && kernels::HasDecodeAttention(head_dim);
#else
  static_cast<void>(tensor);
  static_cast<void>(head_dim);
  return false;
#endif
}

void CheckAttentionArgs(const DecodeAttentionArgs& args) {
  const Tensor& q = args.q;
  CKV_CHECK(q.dim() == 3 && q.is_contiguous(), "queries ", q.sizes());
  for (const Tensor* store : {&args.keys, &args.values}) {
    CKV_CHECK(store->dim() == 4 && store->is_contiguous() && store->size(0) >= q.size(0) &&
                  store->size(3) == q.size(2) && q.size(1) % store->size(1) == 0 &&
                  store->scalar_type() == q.scalar_type(),
              "store ", store->sizes(), " for queries ", q.sizes());
  }
  CKV_CHECK(args.keys.size(1) == args.values.size(1), "keys ", args.keys.sizes(), ", values ",
            args.values.sizes());
  for (const Tensor* ints : {&args.lengths, &args.starts}) {
    CKV_CHECK(!ints->defined() || (ints->scalar_type() == at::kInt && ints->is_contiguous() &&
                                   ints->size(0) >= q.size(0)),
              "lengths or starts ", ints->sizes());
  }
}

// What `positions` [B, n] of a store hold, [B, G, n, D].
Tensor Gather(const Tensor& store, const Tensor& positions) {
  const Tensor slots = positions.remainder(store.size(2));
  const Tensor rows = at::arange(positions.size(0), slots.options()).unsqueeze(1);
  return store.transpose(1, 2).index({rows, slots}).transpose(1, 2);
}

}  // namespace

DecodeAttentionScratch::DecodeAttentionScratch(int64_t batch, int64_t heads, int64_t head_dim,
                                               int64_t max_keys, int64_t split_keys,
                                               const at::TensorOptions& options)
    : split_keys_(split_keys), max_splits_((max_keys + split_keys - 1) / split_keys) {
  CKV_CHECK(max_keys > 0 && split_keys > 0 && split_keys % kSplitUnit == 0 &&
                max_splits_ <= kernels::kMostSplits,
            max_keys, " keys in splits of ", split_keys);
  if (!HasAttentionKernel(at::empty({0}, options), head_dim)) return;
  partial = at::empty({batch, heads, max_splits_, head_dim}, options.dtype(at::kFloat));
  stats = at::empty({batch, heads, max_splits_, 2}, options.dtype(at::kFloat));
  tickets = at::zeros({batch, heads}, options.dtype(at::kInt));
}

int64_t BestSplit(int64_t batch, int64_t kv_heads, int64_t max_keys) {
  constexpr int64_t kBlocks = 256;
  constexpr int64_t kLeast = 128;
  constexpr int64_t kMost = 4096;
  const int64_t split =
      std::clamp((max_keys * batch * kv_heads + kBlocks - 1) / kBlocks, kLeast, kMost);
  const int64_t forced = (max_keys + kernels::kMostSplits - 1) / kernels::kMostSplits;
  return (std::max(split, forced) + kSplitUnit - 1) / kSplitUnit * kSplitUnit;
}

Tensor ComposedDecodeAttention(const DecodeAttentionArgs& args) {
  CheckAttentionArgs(args);
  const int64_t batch = args.q.size(0);
  const auto maths = args.q.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
  const Tensor own = args.lengths.narrow(0, 0, batch).to(at::kLong).unsqueeze(1);  // [B, 1]
  int64_t most = std::min(args.keys.size(2), args.values.size(2));
  if (args.window > 0) most = std::min(most, args.window);
  Tensor begin =
      args.starts.defined() ? args.starts.narrow(0, 0, batch).to(at::kLong).unsqueeze(1) : own * 0;
  if (args.window > 0) begin = at::maximum(begin, own - (args.window - 1));
  const Tensor positions = begin + at::arange(most, own.options());  // [B, n]
  const Tensor hidden = args.strict ? positions.ge(own) : positions.gt(own);

  const int64_t groups = args.keys.size(1);
  const Tensor q = args.q.to(maths).view({batch, groups, -1, args.q.size(2)});  // [B, G, H/G, D]
  // Without a window a store that never wraps holds position t in slot t.
  const bool in_order = args.window == 0 && !args.starts.defined() && args.keys.size(2) == most &&
                        args.values.size(2) == most;
  const Tensor keys =
      (in_order ? args.keys.narrow(0, 0, batch) : Gather(args.keys, positions)).to(maths);
  // Hidden slots may hold anything, and 0 times that is not always 0.
  const Tensor values =
      (in_order ? args.values.narrow(0, 0, batch) : Gather(args.values, positions))
          .to(maths)
          .masked_fill(hidden.view({batch, 1, most, 1}), 0.0);
  const Tensor scores =
      at::matmul(q, keys.transpose(2, 3)) / std::sqrt(static_cast<double>(args.q.size(2)));
  const Tensor mask = hidden.view({batch, 1, 1, most});
  const Tensor weights =
      at::softmax(scores.masked_fill(mask, -std::numeric_limits<double>::infinity()), -1)
          .masked_fill(mask, 0.0);
  return at::matmul(weights, values).view(args.q.sizes()).to(args.q.scalar_type());
}

void DecodeAttention(const DecodeAttentionArgs& args, const DecodeAttentionScratch& scratch,
                     Tensor& out) {
  CheckAttentionArgs(args);
  const Tensor& q = args.q;
  CKV_CHECK(out.sizes() == q.sizes() && out.is_contiguous(), "output ", out.sizes());
  if (!HasAttentionKernel(q, q.size(2))) {
    out.copy_(ComposedDecodeAttention(args));
    return;
  }
#ifdef CKV_HAVE_CUDA
  CKV_CHECK(scratch.tickets.size(0) >= q.size(0) && scratch.tickets.size(1) == q.size(1),
            "scratch of ", scratch.tickets.sizes(), " for queries ", q.sizes());
  kernels::AttentionParams params = {};
  params.type = HalfTypeOf(q);
  params.q = q.data_ptr();
  params.keys = args.keys.data_ptr();
  params.values = args.values.data_ptr();
  params.lengths = args.lengths.data_ptr<int32_t>();
  params.starts = args.starts.defined() ? args.starts.data_ptr<int32_t>() : nullptr;
  params.out = out.data_ptr();
  params.partial = scratch.partial.data_ptr<float>();
  params.stats = scratch.stats.data_ptr<float>();
  params.tickets = scratch.tickets.data_ptr<int32_t>();
  params.batch = static_cast<int>(q.size(0));
  params.heads = static_cast<int>(q.size(1));
  params.kv_heads = static_cast<int>(args.keys.size(1));
  params.head_dim = static_cast<int>(q.size(2));
  params.key_slots = static_cast<int>(args.keys.size(2));
  params.value_slots = static_cast<int>(args.values.size(2));
  params.window = static_cast<int>(args.window);
  params.strict = args.strict ? 1 : 0;
  params.split_keys = static_cast<int>(scratch.split_keys());
  int64_t most = std::min(args.keys.size(2), args.values.size(2));
  if (args.window > 0) most = std::min(most, args.window);
  params.max_splits = static_cast<int>((most + scratch.split_keys() - 1) / scratch.split_keys());
  CKV_CHECK(params.max_splits <= scratch.max_splits(), most, " keys in ", scratch.max_splits(),
            " splits of ", scratch.split_keys());
  params.scale = static_cast<float>(1.0 / std::sqrt(static_cast<double>(q.size(2))));
  kernels::DecodeAttention(params, CurrentStream());
#else
  static_cast<void>(scratch);
#endif
}

}  // namespace ckv
