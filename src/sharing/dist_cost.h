// What training on several GPUs costs: bytes between them, memory on each, and time, by ZeRO stage.
//
// The formulae follow what train/data_parallel.h does. With P weights, N ranks, M micro-batches a
// step, w bytes a working weight and g bytes a gradient on the wire, collectives are given
//   stage 0: a sum of P g;
//   stage 1: a reduce-scatter of P g and an all-gather of P w;
//   stage 2: M reduce-scatters of P g and an all-gather of P w;
//   stage 3: M reduce-scatters of P g, and all-gathers of M (2 U - T) + R times w, where U are the
//            weights of layers, T those of the unit that stays from forward to backward and R the
//            others.
// Over the wire of one rank go (N - 1) / N of a reduce-scatter or all-gather and twice that of a
// sum (ring algorithms). A unit is an iterative group or a layer (stage 3 keeps it through all
// passes); the next unit comes while one computes.
//
// Source: Rajbhandari et al. 2020 (ZeRO), for the parts that each rank keeps.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "sharing/cost.h"

namespace ckv {

// The machines. Bandwidths are bytes a second into and out of one rank that collectives reach.
struct ClusterShape {
  int64_t gpus = 8;
  int64_t gpus_per_node = 8;
  double peak_flops = 989e12;
  double efficiency = 0.46;         // of the peak, of the FLOPs that run
  double memory_bytes = 80e9;       // of a GPU
  double node_bandwidth = 200e9;    // between GPUs of a node
  double network_bandwidth = 40e9;  // of each GPU to other nodes
};

// The training step.
struct DistStep {
  int64_t stage = 0;
  int64_t seq_len = 2048;
  int64_t batch = 1024;      // sequences a step, over all ranks
  int64_t micro_rows = 1;    // sequences a rank runs at once
  int64_t weight_bytes = 2;  // w; masters in fp32 beside unless it is 4
  int64_t wire_bytes = 4;    // g
  double bucket_bytes = 25e6;
  bool recompute = false;  // activations of one layer at a time are kept
};

struct DistCost {
  // Tensors given to collectives in a step.
  double summed_bytes = 0;
  double scattered_bytes = 0;
  double gathered_bytes = 0;
  double gathered_if_each_pass = 0;  // stage 3, were units gathered anew for each pass
  double wire_bytes = 0;             // into (and out of) one rank

  // Memory of one rank.
  double weight_memory = 0;
  double gradient_memory = 0;
  double optimizer_memory = 0;
  double activation_memory = 0;

  // Seconds of a step. Sums of gradients run beside the last micro-batch's backward step (from
  // stage 2 on that of each), stage 3's gathers of a unit beside the computing of the one before
  // it; other gathers are waited for.
  double compute_seconds = 0;
  double wire_seconds = 0;
  double exposed_seconds = 0;  // of these, not hidden

  int64_t micro_batches = 0;
  double tokens_per_second = 0;  // all ranks
  double efficiency = 0;         // of the peak, waiting included

  double memory() const {
    return weight_memory + gradient_memory + optimizer_memory + activation_memory;
  }
  double seconds() const { return compute_seconds + exposed_seconds; }
};

// Throws ConfigError(origin, ...) for a cluster or step out of range.
DistCost CountDistCost(const IterationPlan& plan, const ModelShape& shape,
                       const ClusterShape& cluster, const DistStep& step,
                       std::string_view origin = {});

// What stage 3 gathers at a time: an iterative group, or a layer.
struct GatherUnit {
  int64_t weights = 0;
  int64_t passes = 1;  // with gradient or without
  int64_t gradient_passes = 1;
};

struct UnitWeights {
  std::vector<GatherUnit> units;  // from the lowest up
  int64_t layers = 0;             // weights of all units
  int64_t largest = 0;
  int64_t neighbours = 0;  // the most of three units in a row: one that computes, one that comes,
                           // one whose gradients are not sent yet
  int64_t top = 0;
  int64_t rest = 0;            // embedding, last norm, head
  double passes_gathered = 0;  // sum over units of weights times (forward + backward passes)
};
UnitWeights CountUnits(const IterationPlan& plan, const ModelShape& shape);

}  // namespace ckv
