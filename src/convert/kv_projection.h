// One layer's projection to keys or values, and the ways to make one out of those of several
// layers by their weights alone.
//
// Let W_i [G D, C] with bias b_i [G D] be the projections of the layers i = 1 .. n that will read
// what one owner computes. Queries and output projections stay as they are, so head g of every
// reader goes on to be served by head g of the owner: heads are never exchanged.
//
// average   W = 1/n sum_i W_i: the best fit in the Frobenius norm, sum_i |W_i - W|^2, when nothing
//           may be turned. What readers write in different directions cancels out.
//
// svd       The best fit up to a turn of each reader's heads:
//
//               min over W, Q_i of  sum_i |Q_i W_i - W|^2,
//
//           head by head; a bias counts as one more column. Scores and outputs of a layer stay the
//           same if its keys and its queries (values and output projection) are turned alike, so
//           this measures what the readers' heads have in common, whatever basis each of them
//           uses. For values Q_i is any orthogonal matrix. Keys are rotated by position after the
//           projection: only turns that commute with that rotation leave scores as they are, which
//           are turns within the planes (p, p + D/2), one angle a plane.
//
//           Plane p of a head is one complex row z_i = W_i[p] + i W_i[p + D/2]; the best angles
//           are found from the leading singular vector of the stacked rows, then by alternating
//           between angles and mean, each of which is solved exactly. Values alternate likewise
//           between Procrustes turns and mean, from the rank-D truncated SVD of the stacked heads;
//           both start again from a few readers, and a head goes on from the best.
//
//           The fit determines W up to one turn P common to all readers. As queries and output
//           projections are not changed, the basis matters: taken is the P for which P W is
//           closest to the readers' own weights, sum_i |W_i - P W|^2. So one reader gives back its
//           own weights, equal readers theirs, and readers that differ by turns only give weights
//           of full size where the average would shrink.
//
// Sources: Wu and Tu 2024 (average); Schoenemann 1966 (Procrustes); Gower 1975 (generalised).
#pragma once

#include <cstdint>
#include <vector>

#include <ATen/core/Tensor.h>

#include "convert/tensor_list.h"

namespace ckv {

using at::Tensor;

struct KvProjection {
  Tensor weight;  // [G D, C]
  Tensor bias;    // [G D]; undefined without bias
};

// The mean, in fp32 (fp64 for doubles). Requires at least one reader, all of one shape.
KvProjection AverageProjection(const std::vector<KvProjection>& readers);

// The best fit up to turns, in fp64. `head_dim`: D, even.
KvProjection AlignedProjection(const std::vector<KvProjection>& readers, KvKind kind,
                               int64_t head_dim);

// sum_i min over Q_i of |Q_i W_i - W|^2 over all heads: what AlignedProjection makes small.
double AlignedDistance(const std::vector<KvProjection>& readers, const KvProjection& shared,
                       KvKind kind, int64_t head_dim);

}  // namespace ckv
