#include "model/packed_rows.h"

#include <algorithm>

#include <ATen/ATen.h>

#include "base/error.h"

namespace ckv {

PackedRows::PackedRows(const Tensor& key_mask, int64_t rows, int64_t columns) : columns_(columns) {
  counts_.assign(static_cast<size_t>(rows), columns);
  if (!key_mask.defined()) return;
  const Tensor counts = key_mask.sum(1, /*keepdim=*/false, at::kLong);
  const Tensor host = counts.cpu();
  counts_.assign(host.data_ptr<int64_t>(), host.data_ptr<int64_t>() + rows);
  columns_ = *std::max_element(counts_.begin(), counts_.end());
  CKV_CHECK(columns_ > 0, "all tokens are padding");
  moves_ = *std::min_element(counts_.begin(), counts_.end()) < columns;
  if (!moves_) return;
  uneven_ = *std::min_element(counts_.begin(), counts_.end()) < columns_;
  if (uneven_) last_columns_ = (counts - 1).clamp_min(0);
  const Tensor padding = key_mask.logical_not().to(at::kInt);
  sources_ = padding.argsort(/*stable=*/true, 1, /*descending=*/false).narrow(1, 0, columns_);
  targets_ = (key_mask.to(at::kLong).cumsum(1) - 1).clamp(0, columns_ - 1);
}

Tensor PackedRows::Pack(const Tensor& x) const { return moves_ ? x.gather(1, sources_) : x; }

Tensor PackedRows::Unpack(const Tensor& hidden) const {
  if (!moves_) return hidden;
  const Tensor index = targets_.unsqueeze(2).expand({-1, -1, hidden.size(2)});
  return hidden.gather(1, index);
}

}  // namespace ckv
