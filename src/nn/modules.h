// The small building blocks of a Llama decoder. Registered names are Hugging Face's, so a module's
// path is its checkpoint key. Fresh parameters are uninitialised memory: InitializeWeights of the
// model family, or a checkpoint, fills them.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include <torch/nn/module.h>
#include <torch/nn/pimpl.h>

namespace ckv {

using at::Tensor;

// y = x W^T (+ b).  weight [out, in], bias [out]
class ProjectionImpl : public torch::nn::Module {
 public:
  ProjectionImpl(int64_t in, int64_t out, bool with_bias);
  Tensor forward(const Tensor& x);  // [..., in] -> [..., out]
  // y += forward(x), in place and without gradient. x [N, in], y [N, out]. Not with an adapter.
  void AddTo(const Tensor& x, Tensor& y) const;
  const Tensor& weight() const { return weight_; }
  const Tensor& bias() const { return bias_; }  // undefined without bias

  // From now on forward adds scale * dropout(x) A^T B^T (Hu et al. 2021). The children lora_A,
  // weight [rank, in], and lora_B, weight [out, rank], are uninitialised, on the device and in the
  // type of the weight. Whoever reads weight() gets it without them.
  void AddAdapter(int64_t rank, double scale, double dropout);

 private:
  Tensor weight_;
  Tensor bias_;
  std::shared_ptr<ProjectionImpl> lora_a_;  // nullptr: no adapter
  std::shared_ptr<ProjectionImpl> lora_b_;
  double lora_scale_ = 0.0;
  double lora_dropout_ = 0.0;
};
TORCH_MODULE(Projection);

// weight * x / sqrt(mean(x^2) + eps) (Zhang and Sennrich 2019); the mean in at least fp32.
class RmsNormImpl : public torch::nn::Module {
 public:
  RmsNormImpl(int64_t width, double epsilon);
  Tensor forward(const Tensor& x);  // [..., C] -> [..., C]
  const Tensor& weight() const { return weight_; }
  double epsilon() const { return epsilon_; }
  // The same without gradient, as nn/prefill_ops.h does it.
  Tensor Inference(const Tensor& x) const;

 private:
  Tensor weight_;
  double epsilon_;
};
TORCH_MODULE(RmsNorm);

// down(act(gate(x)) * up(x)) (Shazeer 2020); `activation` is silu, gelu or gelu_tanh.
class GatedMlpImpl : public torch::nn::Module {
 public:
  GatedMlpImpl(int64_t width, int64_t inner, const std::string& activation, bool with_bias);
  Tensor forward(const Tensor& x);  // [..., C] -> [..., C]
  // y += forward(x), in place and without gradient, as nn/prefill_ops.h does it. [N, C]
  void AddTo(const Tensor& x, Tensor& y) const;

  // gate and up, whose products share their input; and down.
  std::vector<Tensor> InputWeights() const { return {gate_->weight(), up_->weight()}; }
  const Tensor& output_weight() const { return down_->weight(); }

 private:
  std::string activation_;
  Projection gate_{nullptr};
  Projection up_{nullptr};
  Projection down_{nullptr};
};
TORCH_MODULE(GatedMlp);

}  // namespace ckv
