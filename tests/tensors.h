// Tensors for tests.
#pragma once

#include <cstdint>
#include <vector>

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>

namespace ckv {

// Standard normal numbers from a seed.
inline at::Tensor RandomTensor(const std::vector<int64_t>& shape, uint64_t seed,
                               at::ScalarType dtype = at::kDouble) {
  return at::empty(shape, at::kDouble)
      .normal_(0.0, 1.0, at::make_generator<at::CPUGeneratorImpl>(seed))
      .to(dtype);
}

// Integers in [0, bound).
inline at::Tensor RandomIds(const std::vector<int64_t>& shape, int64_t bound, uint64_t seed) {
  return at::empty(shape, at::kLong)
      .random_(0, bound, at::make_generator<at::CPUGeneratorImpl>(seed));
}

inline double MaxAbsDiff(const at::Tensor& a, const at::Tensor& b) {
  if (a.numel() == 0 && b.numel() == 0) return 0.0;
  return (a.to(at::kDouble) - b.to(at::kDouble)).abs().max().item<double>();
}

}  // namespace ckv
