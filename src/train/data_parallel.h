// Training on several ranks: each runs its rows of a batch, gradients are summed while the backward
// step still runs, and, by stages, each rank keeps only a part of optimizer state (1), gradients
// (2) and weights (3) (Rajbhandari et al. 2020, ZeRO).
//
// Gradients are taken over when autograd has added up all uses of a parameter in a backward step,
// so a parameter may be used in any number of passes, with gradient or without. Buckets are sent in
// one fixed order on all ranks; what a step leaves without gradient counts as zeros.
//
// Stage 3 gathers the weights of a unit (an iterative group of layers, or a single layer) before
// its first pass and keeps them through all m + b passes, and again from the first to the last of
// its backward steps: 2 gathers a micro-batch however many passes there are. While a unit computes
// the next one is on its way. What belongs to no layer (embedding, last norm, head) is kept from
// the first to the last.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <ATen/core/Tensor.h>

#include "dist/group.h"
#include "model/layer_hooks.h"
#include "train/flat_layout.h"

namespace ckv {

class DataParallel : public LayerHooks {
 public:
  using Named = std::vector<std::pair<std::string, Tensor>>;

  struct Options {
    DistConfig config;
    // Which layers stay gathered together; only stage 3 asks.
    std::vector<int> unit_of_layer;
    // What parameters become on the group's device.
    at::ScalarType type = at::kFloat;
    // Gives a parameter its value, equal on all ranks; called once for each, in order, right before
    // it is shared out, so that no rank ever holds all of them. Empty: they have theirs.
    std::function<void(size_t parameter)> fill;
  };

  // `parameters`, on any device, are moved to the group's one by one. They outlive this.
  DataParallel(CommGroup& group, Named parameters, const Options& options);
  ~DataParallel() override;
  DataParallel(const DataParallel&) = delete;
  DataParallel& operator=(const DataParallel&) = delete;

  CommGroup& group() { return group_; }
  int64_t stage() const { return stage_; }

  // What this rank's optimizer updates: the parameters, or its slices of them as vectors.
  const Named& owned() const { return owned_; }
  // What owned() were before they were rounded to a narrower type, parallel to them, for the
  // optimizer's masters; nothing if they were not. Given up by the call.
  std::vector<Tensor> TakeExact();
  // Whether weight decay counts for them.
  std::vector<bool> decays() const;

  // What ranks tell each other at the beginning of each step.
  struct Report {
    int64_t targets = 0;     // of the rank's rows; summed: of the step
    int signal = 0;          // pending
    int64_t saves_done = 0;  // checkpoints of which the rank has written its part; summed
  };
  // Begins a step; gives the targets of all ranks, a scalar in fp64 on the device.
  Tensor BeginStep(int64_t step, const Report& mine);
  // The sums over ranks; `signal` is the largest. On a GPU those of the step before, equal on all
  // ranks, so that nothing waits for the device.
  const Report& agreed() const { return agreed_; }

  // Around each micro-batch of a step. After the last one owned() have their gradients.
  void BeginMicroBatch(bool last);
  void BeginBackward();
  void EndMicroBatch();

  // The sum of a scalar over ranks.
  Tensor SumScalar(const Tensor& mine);
  // The norm over all ranks of vectors of which this rank's slices have norm `mine`.
  Tensor CombineNorm(const Tensor& mine);

  // Gives all ranks the working weights that owned() hold, after those were changed.
  void SpreadWeights();
  // Stage 3: drops what is gathered, after validation.
  void ReleaseAll();

  // Calls `receive` for every parameter in order with its whole tensor of the kind that `slices`
  // (parallel to owned()) holds, on the ranks that `wanted` names for it; others get nothing.
  // Collective.
  void ForWhole(const std::vector<Tensor>& slices, const std::function<bool(size_t)>& wanted,
                const std::function<void(size_t, const Tensor&)>& receive);
  // The part of a parameter's whole tensor that owned()[i] is, in its shape.
  Tensor SliceOfWhole(size_t i, const Tensor& whole) const;
  size_t ParameterOf(size_t i) const;
  const Named& parameters() const { return parameters_; }
  const std::vector<int64_t>& shape(size_t parameter) const { return shapes_[parameter]; }

  // LayerHooks, for stage 3.
  void BeforeLayer(int layer) override;
  void AfterLayer(int layer, const Tensor& output) override;

  // Most bytes of gathered weights at a time, and how often a unit was gathered.
  int64_t gathered_bytes_peak() const { return gathered_peak_; }
  int64_t num_gathers() const { return num_gathers_; }

 private:
  struct Bucket;
  class GradHook;

  void MakeBuckets(const Options& options);
  void TakeWeights(size_t parameter, const std::vector<size_t>& slices);
  Tensor NewSums(const Bucket& bucket) const;
  void TakeGradient(size_t parameter);
  void SendReady();
  void Send(Bucket& bucket);
  void Receive(Bucket& bucket);
  void StartGather(size_t bucket);
  void GatherUnit(size_t bucket);  // and waits until it is there
  void ReleaseUnit(size_t bucket);

  CommGroup& group_;
  const int64_t stage_;
  const at::ScalarType type_;
  at::ScalarType sum_type_ = at::kFloat;
  const bool reduce_bf16_;
  Named parameters_;
  std::vector<std::vector<int64_t>> shapes_;
  std::vector<std::unique_ptr<Bucket>> buckets_;
  std::vector<std::pair<size_t, size_t>> places_;  // of each parameter: bucket, piece
  std::vector<OwnedSlice> slices_;                 // stage >= 1, parallel to owned_
  Named owned_;
  std::vector<Tensor> views_;  // of each parameter into its bucket; until it is taken
  std::vector<Tensor> exact_;  // parallel to owned_, or none

  bool sends_ = false;  // in this micro-batch
  bool last_ = false;
  bool backward_ = false;
  size_t next_send_ = 0;
  Report agreed_;
  Tensor report_;  // of the step before, on its way to the host (GPU)

  std::vector<size_t> bucket_of_layer_;  // stage 3
  size_t root_bucket_ = 0;
  size_t current_ = 0;
  int64_t gathered_bytes_ = 0;
  int64_t gathered_peak_ = 0;
  int64_t num_gathers_ = 0;
};

// The unit of each layer for stage 3: iterative groups stay together, other layers are alone.
// `groups` as (first layer, one past the last, iterative).
struct LayerSpan {
  int start = 0;
  int stop = 0;
  bool iterative = false;
};
std::vector<int> UnitsOfLayers(const std::vector<LayerSpan>& groups);

// The layer that a parameter's name belongs to ("model.layers.7.mlp..." -> 7); -1: none.
int LayerOfParameter(const std::string& name);

}  // namespace ckv
