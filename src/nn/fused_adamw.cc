#include "nn/fused_adamw.h"

#include <cstring>

#include <ATen/ATen.h>

#include "base/error.h"
#include "nn/kernel_call.h"

#ifdef CKV_HAVE_CUDA
#include "nn/cuda/fused_kernels.h"
#endif

namespace ckv {

// What the kernels look up; on the device.
struct FusedAdamW::Tables {
  Tensor tensors;  // bytes of kernels::AdamWTensor
  Tensor chunk_tensor;
  Tensor chunk_index;
  Tensor chunk_squares;
};

FusedAdamW::~FusedAdamW() = default;
FusedAdamW::FusedAdamW(FusedAdamW&&) noexcept = default;
FusedAdamW& FusedAdamW::operator=(FusedAdamW&&) noexcept = default;

bool FusedAdamW::Works(const Tensor& working) { return HasKernels(working); }

#ifdef CKV_HAVE_CUDA

namespace {

// Bytes of host numbers, copied without waiting; the pinned memory lives as long as the copy needs.
template <typename T>
Tensor ToDeviceBytes(const std::vector<T>& numbers, const at::Device& device) {
  const auto bytes = static_cast<int64_t>(numbers.size() * sizeof(T));
  Tensor host = at::empty({bytes}, at::TensorOptions().dtype(at::kByte).pinned_memory(true));
  std::memcpy(host.data_ptr(), numbers.data(), static_cast<size_t>(bytes));
  return host.to(device, /*non_blocking=*/true);
}

}  // namespace

FusedAdamW::FusedAdamW(std::vector<Parameter> parameters) : parameters_(std::move(parameters)) {
  CKV_CHECK(!parameters_.empty(), "nothing to train");
  const at::Device device = parameters_.front().working.device();
  std::vector<kernels::AdamWTensor> tensors;
  std::vector<int32_t> chunk_tensor;
  std::vector<int32_t> chunk_index;
  for (const Parameter& parameter : parameters_) {
    for (const Tensor* state :
         {&parameter.master, &parameter.first_moment, &parameter.second_moment}) {
      CKV_CHECK(state->scalar_type() == at::kFloat && state->is_contiguous() &&
                    state->numel() == parameter.working.numel() && state->device() == device,
                "optimizer state of ", parameter.working.sizes());
    }
    CKV_CHECK(parameter.working.is_contiguous(), "weights must be contiguous");
    kernels::AdamWTensor row = {};
    row.master = parameter.master.data_ptr<float>();
    row.first = parameter.first_moment.data_ptr<float>();
    row.second = parameter.second_moment.data_ptr<float>();
    row.working = parameter.working.data_ptr();
    row.size = parameter.working.numel();
    row.decay = static_cast<float>(parameter.decay);
    const int64_t chunks = (row.size + kernels::kAdamWChunk - 1) / kernels::kAdamWChunk;
    for (int64_t chunk = 0; chunk < chunks; ++chunk) {
      chunk_tensor.push_back(static_cast<int32_t>(tensors.size()));
      chunk_index.push_back(static_cast<int32_t>(chunk));
    }
    tensors.push_back(row);
  }
  tables_ = std::make_unique<Tables>();
  tables_->tensors = ToDeviceBytes(tensors, device);
  tables_->chunk_tensor = ToDeviceBytes(chunk_tensor, device);
  tables_->chunk_index = ToDeviceBytes(chunk_index, device);
  tables_->chunk_squares = at::empty({static_cast<int64_t>(chunk_tensor.size())},
                                     at::TensorOptions().dtype(at::kFloat).device(device));
}

FusedAdamW::Result FusedAdamW::Step(const std::vector<Tensor>& grads, const Rates& rates,
                                    Tensor& updates, const Tensor& loss,
                                    const std::function<Tensor(const Tensor&)>& combine_norm) {
  CKV_CHECK(grads.size() == parameters_.size(), grads.size(), " gradients for ", parameters_.size(),
            " parameters");
  const Tensor& like = parameters_.front().working;
  bool in_fp32 = false;
  std::vector<Tensor> kept;
  std::vector<const void*> pointers;
  for (size_t i = 0; i < grads.size(); ++i) {
    if (!grads[i].defined()) {
      pointers.push_back(nullptr);
      continue;
    }
    CKV_CHECK(grads[i].numel() == parameters_[i].working.numel(), "gradient ", grads[i].sizes(),
              " of weights ", parameters_[i].working.sizes());
    in_fp32 = grads[i].scalar_type() == at::kFloat;
    CKV_CHECK(in_fp32 || grads[i].scalar_type() == like.scalar_type(), "gradients in ",
              grads[i].scalar_type());
    kept.push_back(grads[i].contiguous());
    pointers.push_back(kept.back().data_ptr());
  }
  const Tensor grad_table = ToDeviceBytes(pointers, like.device());
  const Tensor wide_loss = loss.to(like.device(), at::kDouble);
  static_assert(sizeof(kernels::AdamWState) == 5 * sizeof(float));
  const Tensor state = at::empty({5}, tables_->chunk_squares.options());

  kernels::AdamWParams params = {};
  params.type = HalfTypeOf(like);
  params.tensors = static_cast<const kernels::AdamWTensor*>(tables_->tensors.data_ptr());
  params.grads = static_cast<const void* const*>(grad_table.data_ptr());
  params.chunk_tensor = static_cast<const int32_t*>(tables_->chunk_tensor.data_ptr());
  params.chunk_index = static_cast<const int32_t*>(tables_->chunk_index.data_ptr());
  params.num_chunks = static_cast<int>(tables_->chunk_squares.numel());
  params.grads_in_fp32 = in_fp32;
  params.chunk_squares = tables_->chunk_squares.data_ptr<float>();
  params.loss = wide_loss.data_ptr<double>();
  params.updates = updates.data_ptr<float>();
  params.state = reinterpret_cast<kernels::AdamWState*>(state.data_ptr<float>());
  params.clip_norm = static_cast<float>(rates.clip_norm);
  params.lr = static_cast<float>(rates.lr);
  params.beta1 = static_cast<float>(rates.beta1);
  params.beta2 = static_cast<float>(rates.beta2);
  params.eps = static_cast<float>(rates.eps);
  kernels::AdamWSquares(params, CurrentStream());
  Tensor square;
  if (combine_norm) {
    const Tensor norm = combine_norm(tables_->chunk_squares.to(at::kDouble).sum().sqrt());
    square = norm.to(at::kDouble).square().to(at::kFloat);
  }
  params.squares = square.defined() ? square.data_ptr<float>() : params.chunk_squares;
  params.num_squares = square.defined() ? 1 : params.num_chunks;
  kernels::AdamWPrepare(params, CurrentStream());
  kernels::AdamWUpdate(params, CurrentStream());
  return {state.select(0, 0), state.select(0, 2)};
}

#else

FusedAdamW::FusedAdamW(std::vector<Parameter> parameters) : parameters_(std::move(parameters)) {
  CKV_CHECK(false, "a build without CUDA has no fused AdamW");
}

FusedAdamW::Result FusedAdamW::Step(const std::vector<Tensor>&, const Rates&, Tensor&,
                                    const Tensor&, const std::function<Tensor(const Tensor&)>&) {
  CKV_CHECK(false, "a build without CUDA has no fused AdamW");
  return {};
}

#endif

}  // namespace ckv
