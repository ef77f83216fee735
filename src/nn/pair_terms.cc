#include "nn/pair_terms.h"

#include <ATen/ATen.h>

#include "base/error.h"
#include "nn/cuda/pair_kernels.h"
#include "nn/kernel_call.h"

namespace ckv {

#ifdef CKV_HAVE_CUDA
namespace {

// `side` must be contiguous.
kernels::PairSideView ViewOfSide(const Tensor& side) {
  return {side.data_ptr<float>(), side.stride(0), side.stride(1),
          side.size(2) == 1 ? 0 : side.stride(2), side.size(3) == 1 ? 0 : side.stride(3)};
}

}  // namespace
#endif

bool HasPairKernels(const Tensor& side) {
#ifdef CKV_HAVE_CUDA
  return side.is_cuda() && side.scalar_type() == at::kFloat;
#else
  static_cast<void>(side);
  return false;
#endif
}

Tensor PairScoresOnGpu(const Tensor& child_side, const Tensor& head_side, const PairTables& tables,
                       int64_t channels) {
  CKV_CHECK(HasPairKernels(child_side) && HasPairKernels(head_side), "pairs in ",
            child_side.toString());
#ifdef CKV_HAVE_CUDA
  const Tensor child = child_side.contiguous(), head = head_side.contiguous();
  const int64_t batch = child.size(0), words = child.size(1);
  CKV_CHECK(tables.bin_of.numel() == 2 * words - 1, "bins of ", words, " words");
  Tensor out = at::empty({batch, channels, words, words}, child.options());
  kernels::PairScoresParams params = {};
  params.child = ViewOfSide(child);
  params.head = ViewOfSide(head);
  params.bin_of = tables.bin_of.data_ptr<int>();
  params.out = out.data_ptr<float>();
  params.batch = static_cast<int>(batch);
  params.words = static_cast<int>(words);
  params.channels = static_cast<int>(channels);
  params.rank = static_cast<int>(child.size(4));
  kernels::PairScores(params, CurrentStream());
  return out;
#else
  static_cast<void>(channels);
  static_cast<void>(tables);
  return {};
#endif
}

Tensor PairSumsOnGpu(const Tensor& head_probs, const Tensor& from_side, const PairTables& tables,
                     bool own_is_child, int64_t bins, int64_t channels) {
  CKV_CHECK(HasPairKernels(head_probs) && HasPairKernels(from_side), "pairs in ",
            from_side.toString());
#ifdef CKV_HAVE_CUDA
  const Tensor probs = head_probs.contiguous(), from = from_side.contiguous();
  const int64_t batch = from.size(0), words = from.size(1), rank = from.size(4);
  Tensor out = at::empty({batch, words, bins, channels, rank}, from.options());
  kernels::PairSumsParams params = {};
  params.probs = probs.data_ptr<float>();
  params.from = ViewOfSide(from);
  params.ranges = tables.ranges.data_ptr<int>();
  params.out = out.data_ptr<float>();
  params.batch = static_cast<int>(batch);
  params.words = static_cast<int>(words);
  params.bins = static_cast<int>(tables.ranges.size(0));
  params.channels = static_cast<int>(probs.size(1));
  params.rank = static_cast<int>(rank);
  params.out_bins = static_cast<int>(bins);
  params.out_channels = static_cast<int>(channels);
  params.own_is_child = own_is_child ? 1 : 0;
  kernels::PairSums(params, CurrentStream());
  return out;
#else
  static_cast<void>(tables);
  static_cast<void>(own_is_child);
  static_cast<void>(bins);
  static_cast<void>(channels);
  return {};
#endif
}

}  // namespace ckv
