// Activation checkpointing: keep a segment's inputs, drop what it computes, and compute it again in
// the backward step (Chen et al. 2016).
//
// Everything differentiable that a segment reads is an explicit input and everything later code
// reads is an explicit output, parameters, keys and values included. So no gradient depends on what
// a segment does behind the scenes, which is how shared keys and values lose theirs elsewhere.
#pragma once

#include <functional>
#include <vector>

#include <ATen/core/Tensor.h>

namespace ckv {

using at::Tensor;

// A pure function of its tensors: run twice on equal inputs it gives equal outputs.
using SegmentFn = std::function<std::vector<Tensor>(const std::vector<Tensor>& inputs)>;

// segment(inputs), with the segment run again in the backward step. `parameters` are the leaf
// tensors that the segment uses beside its inputs. With `random` the state of the device's random
// generator is put back for the second run (dropout). Undefined tensors are not allowed. One
// backward only.
std::vector<Tensor> RunCheckpointed(SegmentFn segment, const std::vector<Tensor>& inputs,
                                    const std::vector<Tensor>& parameters, bool random);

}  // namespace ckv
