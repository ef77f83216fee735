#include "nn/joined.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

namespace ckv {

Tensor JoinedView(const std::vector<Tensor>& parts) {
  if (parts.empty()) return {};
  int64_t offset = parts[0].storage_offset();
  int64_t rows = 0;
  for (const Tensor& part : parts) {
    const bool next = part.is_contiguous() && part.is_alias_of(parts[0]) &&
                      part.storage_offset() == offset &&
                      part.scalar_type() == parts[0].scalar_type();
    if (!next) return {};
    offset += part.numel();
    rows += part.size(0);
  }
  std::vector<int64_t> sizes = parts[0].sizes().vec();
  sizes[0] = rows;
  return parts[0].detach().as_strided(sizes, parts[0].strides());
}

Tensor JoinInPlace(const std::vector<Tensor>& parts) {
  if (parts.empty()) return {};
  const Tensor already = JoinedView(parts);
  if (already.defined()) return already;
  at::NoGradGuard no_grad;
  std::vector<Tensor> tensors;
  for (const Tensor& part : parts) tensors.push_back(part.detach());
  const Tensor joined = at::cat(tensors, 0);
  int64_t row = 0;
  for (const Tensor& part : parts) {
    part.set_data(joined.narrow(0, row, part.size(0)));
    row += part.size(0);
  }
  return joined;
}

}  // namespace ckv
