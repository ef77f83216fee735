// Rows of different length as columns without gaps: padding on the left or between tokens is taken
// out, so that each row's real tokens start at column 0. What stands behind them is arbitrary and,
// since no token sees later ones, needs no mask.
#pragma once

#include <cstdint>
#include <vector>

#include <ATen/core/Tensor.h>

namespace ckv {

using at::Tensor;

class PackedRows {
 public:
  // key_mask [B, T] bool, true = real token; undefined = all are. Copies it to the host. Requires a
  // real token in some row.
  PackedRows(const Tensor& key_mask, int64_t rows, int64_t columns);

  // Some row has fewer tokens than there are columns.
  bool uneven() const { return uneven_; }
  int64_t columns() const { return columns_; }                    // T': tokens of the longest row
  const std::vector<int64_t>& counts() const { return counts_; }  // tokens of each row
  // [B] int64, the column of each row's last token (0 for a row without tokens); undefined if not
  // uneven.
  const Tensor& last_columns() const { return last_columns_; }

  Tensor Pack(const Tensor& x) const;         // [B, T] -> [B, T']
  Tensor Unpack(const Tensor& hidden) const;  // [B, T', C] -> [B, T, C]; padding gets anything

 private:
  bool moves_ = false;  // columns are not where they were
  bool uneven_ = false;
  int64_t columns_;
  std::vector<int64_t> counts_;
  Tensor last_columns_;
  Tensor sources_;  // [B, T'] the column that each packed one comes from
  Tensor targets_;  // [B, T] the packed column that each one goes to
};

}  // namespace ckv
