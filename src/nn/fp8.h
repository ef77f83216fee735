// Products in 8-bit floating point (e4m3) with a scale for each row of both operands: twice the
// rate of bf16 on GPUs of compute capability 9.0, three bits of mantissa.
#pragma once

#include <vector>

#include <ATen/core/Tensor.h>

namespace ckv {

using at::Tensor;

struct Fp8Rows {
  Tensor values;  // [N, K] float8_e4m3fn
  Tensor scales;  // [N, 1] fp32: a row is values * scale
};

// True where ScaledProduct runs in 8 bits: x in bf16 on a capable GPU, and both sizes of the weight
// [M, K] multiples of 16. Elsewhere it is composed in fp32.
bool HasFp8Products(const Tensor& x, const Tensor& weight);

// x [N, K], each row divided by (largest / 448), which is 1 for a row of zeros. Without gradient.
Fp8Rows QuantizeRows(const Tensor& x);

// [N, M] in `dtype`: x [N, K] times the transpose of weight [M, K], sums in fp32. No gradient.
Tensor ScaledProduct(const Fp8Rows& x, const Fp8Rows& weight, at::ScalarType dtype);

}  // namespace ckv
