// Matrices that lie next to each other in memory, so that projections of one input are one product.
#pragma once

#include <vector>

#include <ATen/core/Tensor.h>

namespace ckv {

using at::Tensor;

// The tensors one below the other, [sum of n, ...], as a view of the memory that they are in;
// undefined if they are not contiguous neighbours of one storage in this order.
Tensor JoinedView(const std::vector<Tensor>& parts);

// The same after making them so: moves the parts, which other tensors may share, to memory of their
// own, unless they are there already. Returns undefined for no parts. Without gradient.
Tensor JoinInPlace(const std::vector<Tensor>& parts);

}  // namespace ckv
