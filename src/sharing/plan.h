// The order in which a decoder with shared keys and values runs its layers over a whole sequence.
//
// A layer that looks up (reads the KVs of a layer above it) cannot run in one go: those KVs are not
// there yet. Such a layer forms a group with all layers up to the highest one that is read from
// within, and the group runs several times: `forward_passes` times without gradient, then
// `backward_passes` times with. The layers between run once.
//
// The KVs live on a board with one slot a layer for keys and one for values:
//   * before anything runs, all slots are zeros; with KvStart::kGuess the slots that an iterative
//     group's first pass would read so get what their layers make of the group's input instead;
//   * every pass of a group starts from the same input x, the output of the group below; only the
//     last pass's output goes on;
//   * a layer that computes its keys or values puts them into its slot, before its own attention;
//   * attention reads whatever its source's slot holds then. So a source at or below the reader
//     gives KVs of the current pass, a source above gives those of the pass before (zeros in the
//     first). A slot that a pass does not write keeps its content.
//
// With exact savings, work that no result depends on is left out; outputs, final KVs and gradients
// stay the same:
//   * attention over values that are all zeros gives zeros and is not run;
//   * a pass that is not a group's last one computes only the KVs that will be read before they are
//     overwritten, and what these need: layers above the topmost such KVs do not run, and the layer
//     that owns them stops after its projections.
// Before a group's last pass all passes but the first do the same, and the last one reads what any
// of them leaves: passes may be left out when the KVs have converged.
//
// The last pass computes all KVs of the group, also those that only a cache would keep; who wants
// less than its output at all positions says so (WantedOutput). And the KVs
// of a group's lowest layer, which are the same in every pass, are computed in each pass that reads
// them: reusing them would save two small products and make every step depend on the one before.
//
// Source: the iterative training of LCKV (Wu and Tu 2024).
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "sharing/spec.h"

namespace ckv {

// Consecutive layers start .. stop-1 that run together.
struct LayerGroup {
  int start = 0;
  int stop = 0;
  bool iterative = false;
  int forward_only_passes = 0;
  int gradient_passes = 1;

  int size() const { return stop - start; }
  int total() const { return forward_only_passes + gradient_passes; }
};

// What one layer does in one pass. Its input norm is needed for whatever is true here.
struct LayerWork {
  int layer = 0;
  bool compute_k = false;
  bool compute_v = false;

  // False: the layer stops after norm and k/v projections; nobody reads its output.
  bool body = true;

  // False although body is true: the values that attention would mix are all zeros, so its output
  // before o_proj is exactly 0 (a bias of o_proj still counts). q_proj is not needed either.
  bool attention = true;

  // Only the last position's attention and feed-forward are needed; keys and values are computed
  // for all positions. Set only with WantedOutput::kLastPosition.
  bool last_position = false;
};

// One pass over one group.
struct PassStep {
  int group = 0;  // index into groups()
  int pass = 0;   // from 0
  bool grad = true;
  bool first = true;              // first pass of its group
  bool last = true;               // last pass of its group: its output goes on
  std::vector<LayerWork> layers;  // ascending; layers that are absent do not run
  // Of a first pass with KvStart::kGuess: keys and values that layers, ascending, make of the
  // group's input before the pass.
  std::vector<LayerWork> guesses;
};

// What an iterative group's first pass reads of the layers above.
enum class KvStart {
  kZeros,
  kGuess,  // the group's input through the norm and projections of the layer that is read
};

// What a caller wants beside the final KVs of all positions.
enum class WantedOutput {
  kAllPositions,
  kLastPosition,  // prefill before generation
  kNothing,       // a block of a prompt with more to come
};

struct PlanOptions {
  // False: every pass computes everything. For tests and for comparison.
  bool exact_savings = true;

  // No tokens are cached in front of this call: the zeros of a first pass are all there is to read.
  bool empty_past = true;

  KvStart start = KvStart::kZeros;

  // With less than all, what only the unwanted would need is left out, unless exact_savings is
  // false: above the topmost owner of KVs, nothing but the last position runs.
  WantedOutput wanted = WantedOutput::kAllPositions;
};

class IterationPlan {
 public:
  static constexpr int kMaxPasses = 4096;

  // `backward_passes` 0 acts as 1. Throws ConfigError(origin, ...) unless both are in
  // 0..kMaxPasses.
  IterationPlan(const KvSharingSpec& spec, int64_t forward_passes, int64_t backward_passes,
                std::string_view origin = {});

  const KvSharingSpec& spec() const { return spec_; }

  // From the bottom up; together they cover every layer once.
  const std::vector<LayerGroup>& groups() const { return groups_; }

  // The passes of all groups together.
  int num_steps() const;

  // The passes of an iterative group; 1 if there is none. As many tokens as that are exact, so that
  // shorter texts may as well go token by token.
  int max_passes() const;

  // The steps in running order.
  std::vector<PassStep> Steps(const PlanOptions& options = {}) const;

 private:
  KvSharingSpec spec_;
  std::vector<LayerGroup> groups_;
};

}  // namespace ckv
