#include "nn/rope.h"

#include <algorithm>
#include <cmath>

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include "base/error.h"

namespace ckv {
namespace {

constexpr double kPi = 3.14159265358979323846;

// Plain inverse frequencies theta^(-2i/D).
Tensor PlainFrequencies(double theta, int64_t head_dim, at::ScalarType dtype) {
  const Tensor exponent =
      at::arange(0, head_dim, 2, at::TensorOptions().dtype(dtype)) / static_cast<double>(head_dim);
  return at::reciprocal(at::pow(theta, exponent));
}

Tensor Llama3Frequencies(const RopeConfig& config, const Tensor& plain) {
  const auto old = static_cast<double>(config.original_max_position);
  const Tensor wavelength = 2.0 * kPi / plain;
  const Tensor smooth = (old / wavelength - config.low_freq_factor) /
                        (config.high_freq_factor - config.low_freq_factor);
  const Tensor between = (1.0 - smooth) * plain / config.factor + smooth * plain;
  const Tensor low = wavelength > old / config.low_freq_factor;
  const Tensor high = wavelength < old / config.high_freq_factor;
  return at::where(low, plain / config.factor, at::where(high, plain, between));
}

// The dimension whose wavelength turns `rotations` times within the original context.
double YarnDimension(const RopeConfig& config, int64_t head_dim, double rotations) {
  const auto old = static_cast<double>(config.original_max_position);
  return static_cast<double>(head_dim) * std::log(old / (rotations * 2.0 * kPi)) /
         (2.0 * std::log(config.theta));
}

Tensor YarnFrequencies(const RopeConfig& config, int64_t head_dim, const Tensor& plain) {
  const double low = std::max(std::floor(YarnDimension(config, head_dim, config.beta_fast)), 0.0);
  double high = std::min(std::ceil(YarnDimension(config, head_dim, config.beta_slow)),
                         static_cast<double>(head_dim - 1));
  if (high == low) high += 0.001;
  const Tensor index = at::arange(head_dim / 2, plain.options());
  const Tensor ramp = ((index - low) / (high - low)).clamp(0.0, 1.0);
  return plain / config.factor * ramp + plain * (1.0 - ramp);
}

}  // namespace

void RopeConfig::Visit(ConfigVisitor& v) {
  v.Field("theta", theta, "base of the rotation frequencies");
  v.Require(theta > 1.0, "must be > 1");
  v.Choice("scaling", scaling, {"none", "linear", "dynamic", "llama3", "yarn"},
           "how frequencies are stretched for longer contexts");
  v.Field("factor", factor, "stretch of the context, for every scaling but none");
  v.Require(factor >= 1.0, "must be >= 1");
  v.Require(scaling != "none" || factor == 1.0, "stretches nothing without a 'scaling'");
  v.Field("low_freq_factor", low_freq_factor, "llama3: wavelengths above old/low are stretched");
  v.Require(low_freq_factor > 0.0, "must be > 0");
  v.Field("high_freq_factor", high_freq_factor, "llama3: wavelengths below old/high are kept");
  v.Require(high_freq_factor > low_freq_factor, "must be > low_freq_factor");
  v.Field("original_max_position", original_max_position,
          "context length of the unscaled model, for dynamic, llama3 and yarn");
  v.Require(original_max_position > 0, "must be > 0");
  v.Field("beta_fast", beta_fast, "yarn: rotations above which frequencies are kept");
  v.Field("beta_slow", beta_slow, "yarn: rotations below which frequencies are stretched");
  v.Require(beta_slow > 0.0 && beta_fast > beta_slow, "must be > 0 and below beta_fast");
  v.Field("attention_factor", attention_factor,
          "yarn: scale of cosines and sines; 0 = 0.1 ln(factor) + 1");
  v.Require(attention_factor >= 0.0, "must be >= 0");
}

Rope::Rope(const RopeConfig& config, int64_t head_dim) : config_(config), head_dim_(head_dim) {}

Tensor Rope::InverseFrequencies(int64_t length, at::ScalarType dtype) const {
  double theta = config_.theta;
  if (config_.scaling == "dynamic" && length > config_.original_max_position) {
    const double stretch = config_.factor * static_cast<double>(length) /
                               static_cast<double>(config_.original_max_position) -
                           (config_.factor - 1.0);
    theta *= std::pow(stretch, static_cast<double>(head_dim_) /
                                   static_cast<double>(std::max<int64_t>(head_dim_ - 2, 1)));
  }
  const Tensor plain = PlainFrequencies(theta, head_dim_, dtype);
  if (config_.scaling == "linear") return plain / config_.factor;
  if (config_.scaling == "llama3") return Llama3Frequencies(config_, plain);
  if (config_.scaling == "yarn") return YarnFrequencies(config_, head_dim_, plain);
  return plain;
}

RopeTable Rope::Unscaled(const Tensor& positions, int64_t length, at::ScalarType dtype) const {
  const auto maths = dtype == at::kDouble ? at::kDouble : at::kFloat;
  const Tensor frequencies = InverseFrequencies(length, maths).to(positions.device(), at::kDouble);
  Tensor angles = positions.to(at::kDouble).unsqueeze(-1) * frequencies;
  if (positions.dim() == 2) angles = angles.unsqueeze(1);  // [B, 1, T, D / 2]
  return {at::cos(angles).to(maths), at::sin(angles).to(maths)};
}

RopeTable Rope::Turn(const Tensor& distances, at::ScalarType dtype) const {
  CKV_CHECK(config_.scaling != "dynamic", "dynamic rotations do not add up");
  at::NoGradGuard no_grad;
  return Unscaled(distances, 0, dtype);
}

RopeTable Rope::Table(const Tensor& positions, int64_t length, at::ScalarType dtype) const {
  at::NoGradGuard no_grad;
  RopeTable table = Unscaled(positions, length, dtype);
  if (config_.scaling == "yarn") {
    const double scale = config_.attention_factor > 0.0 ? config_.attention_factor
                                                        : 0.1 * std::log(config_.factor) + 1.0;
    table.cos.mul_(scale);
    table.sin.mul_(scale);
  }
  return table;
}

Tensor ApplyRope(const Tensor& x, const RopeTable& table) {
  const int64_t half = x.size(-1) / 2;
  const Tensor wide = x.to(table.cos.scalar_type());
  const Tensor first = wide.narrow(-1, 0, half);
  const Tensor second = wide.narrow(-1, half, half);
  return at::cat({first * table.cos - second * table.sin, second * table.cos + first * table.sin},
                 -1)
      .to(x.scalar_type());
}

}  // namespace ckv
