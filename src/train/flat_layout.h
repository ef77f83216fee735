// How parameters lie one behind another in flat buckets, of which each rank owns one part in N.
//
// A bucket's length is a multiple of the number of ranks, so that reduce-scatter and all-gather
// work on it as a whole; a part may begin and end in the midst of a parameter.
#pragma once

#include <cstdint>
#include <vector>

#include <ATen/core/Tensor.h>

namespace ckv {

using at::Tensor;

struct FlatPiece {
  size_t parameter = 0;  // index into the list of parameters
  int64_t begin = 0;     // first element within the bucket
  int64_t size = 0;      // elements
};

struct FlatBucket {
  std::vector<FlatPiece> pieces;  // ascending `begin`
  int64_t size = 0;               // elements, padding included

  int64_t part_size(int world) const { return size / world; }
};

// The elements of one parameter that a rank owns.
struct OwnedSlice {
  size_t parameter = 0;
  size_t bucket = 0;
  int64_t in_parameter = 0;  // first element, of the parameter read as a vector
  int64_t in_part = 0;       // first element, of the rank's part of the bucket
  int64_t size = 0;
};

// Fills buckets of about `bucket_bytes` from the last parameter to the first: gradients come in
// about that order. A bucket holds parameters of one unit only; `units` gives that of each
// parameter, and no bound of size holds with `by_unit` alone.
struct FlatLayoutOptions {
  int world = 1;
  int64_t bucket_elements = 0;
  bool by_unit = false;    // one bucket a unit
  std::vector<int> units;  // of each parameter; needed for by_unit
};
std::vector<FlatBucket> LayOut(const std::vector<int64_t>& sizes, const FlatLayoutOptions& options);

// What `rank` owns of them, bucket by bucket, ascending.
std::vector<OwnedSlice> SlicesOf(const std::vector<FlatBucket>& buckets, int rank, int world);

}  // namespace ckv
