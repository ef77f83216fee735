#include "sharing/plan.h"

#include <algorithm>

namespace ckv {

namespace {

std::vector<LayerGroup> FindGroups(const KvSharingSpec& spec, int forward_passes,
                                   int gradient_passes) {
  std::vector<LayerGroup> groups;
  const int num_layers = spec.num_layers();
  int start = 0;
  while (start < num_layers) {
    LayerGroup group;
    group.start = start;
    group.iterative = spec.looks_up(start);
    if (group.iterative) {
      group.forward_only_passes = forward_passes;
      group.gradient_passes = gradient_passes;
      // Layers on the way may look up further.
      int top = start;
      for (int i = start; i <= top; ++i) top = std::max(top, spec.higher_source(i));
      group.stop = top + 1;
    } else {
      group.stop = start + 1;
      while (group.stop < num_layers && !spec.looks_up(group.stop)) ++group.stop;
    }
    start = group.stop;
    groups.push_back(group);
  }
  return groups;
}

// Which slots of the board are read, after the point the walk has come to, before they are written.
class Liveness {
 public:
  explicit Liveness(int num_layers)
      : k_(static_cast<size_t>(num_layers)), v_(static_cast<size_t>(num_layers)) {}

  void Read(const KvSharingSpec& spec, int reader) {
    k_[static_cast<size_t>(spec.k_source(reader))] = true;
    v_[static_cast<size_t>(spec.v_source(reader))] = true;
  }

  // Returns whether the content written at this point will be read; before it, nobody waits.
  bool WriteK(int layer) { return Take(&k_, layer); }
  bool WriteV(int layer) { return Take(&v_, layer); }

 private:
  static bool Take(std::vector<bool>* live, int layer) {
    const bool was_live = (*live)[static_cast<size_t>(layer)];
    (*live)[static_cast<size_t>(layer)] = false;
    return was_live;
  }

  std::vector<bool> k_;
  std::vector<bool> v_;
};

// Leaves out of an iterative group's passes what nothing depends on. Walks backwards through
// passes and layers, as the elimination of dead code in a compiler does.
void DropDeadWork(const KvSharingSpec& spec, std::vector<PassStep>* passes) {
  Liveness live(spec.num_layers());
  for (auto step = passes->rbegin(); step != passes->rend(); ++step) {
    bool output_read = step->last;
    std::vector<LayerWork> kept;
    for (auto layer = step->layers.rbegin(); layer != step->layers.rend(); ++layer) {
      LayerWork work = *layer;
      work.body = work.body && output_read;
      work.attention = work.attention && work.body;
      if (work.attention) live.Read(spec, work.layer);
      const bool k_read = live.WriteK(work.layer);
      const bool v_read = live.WriteV(work.layer);
      if (!step->last) {
        work.compute_k = k_read;
        work.compute_v = v_read;
      }
      if (!work.body && !work.compute_k && !work.compute_v) continue;
      output_read = true;  // of the layer below
      kept.push_back(work);
    }
    std::reverse(kept.begin(), kept.end());
    step->layers = std::move(kept);
  }
}

// What the first pass reads of layers above, which have not run.
std::vector<LayerWork> FindGuesses(const KvSharingSpec& spec, const PassStep& first) {
  const auto layers = static_cast<size_t>(spec.num_layers());
  std::vector<bool> keys(layers);
  std::vector<bool> values(layers);
  for (const LayerWork& work : first.layers) {
    if (!work.attention || !work.body) continue;
    const int k = spec.k_source(work.layer);
    const int v = spec.v_source(work.layer);
    if (k > work.layer) keys[static_cast<size_t>(k)] = true;
    if (v > work.layer) values[static_cast<size_t>(v)] = true;
  }
  std::vector<LayerWork> guesses;
  for (size_t layer = 0; layer < layers; ++layer) {
    if (!keys[layer] && !values[layer]) continue;
    LayerWork work;
    work.layer = static_cast<int>(layer);
    work.compute_k = keys[layer];
    work.compute_v = values[layer];
    work.body = work.attention = false;
    guesses.push_back(work);
  }
  return guesses;
}

// Leaves out of a last pass what serves output that nobody wants. Above the topmost owner of KVs
// no position waits for another.
void DropUnwantedOutput(int top_owner, WantedOutput wanted, PassStep* step) {
  std::vector<LayerWork> kept;
  for (LayerWork work : step->layers) {
    if (work.layer >= top_owner && wanted == WantedOutput::kLastPosition) {
      work.last_position = true;
    }
    if (work.layer >= top_owner && wanted == WantedOutput::kNothing) {
      if (work.layer > top_owner) continue;
      work.body = work.attention = false;
    }
    kept.push_back(work);
  }
  step->layers = std::move(kept);
}

void CheckPasses(const char* name, int64_t passes, std::string_view origin) {
  if (passes >= 0 && passes <= IterationPlan::kMaxPasses) return;
  throw ConfigError(
      origin, Str("'", name, "' is ", passes, ", but must be in 0 to ", IterationPlan::kMaxPasses));
}

}  // namespace

IterationPlan::IterationPlan(const KvSharingSpec& spec, int64_t forward_passes,
                             int64_t backward_passes, std::string_view origin)
    : spec_(spec) {
  CheckPasses("forward_passes", forward_passes, origin);
  CheckPasses("backward_passes", backward_passes, origin);
  groups_ = FindGroups(spec_, static_cast<int>(forward_passes),
                       static_cast<int>(std::max<int64_t>(backward_passes, 1)));
}

int IterationPlan::num_steps() const {
  int steps = 0;
  for (const LayerGroup& group : groups_) steps += group.total();
  return steps;
}

int IterationPlan::max_passes() const {
  int passes = 1;
  for (const LayerGroup& group : groups_) passes = std::max(passes, group.total());
  return passes;
}

std::vector<PassStep> IterationPlan::Steps(const PlanOptions& options) const {
  std::vector<PassStep> steps;
  for (size_t g = 0; g < groups_.size(); ++g) {
    const LayerGroup& group = groups_[g];
    std::vector<PassStep> passes;
    for (int pass = 0; pass < group.total(); ++pass) {
      PassStep step;
      step.group = static_cast<int>(g);
      step.pass = pass;
      step.grad = pass >= group.forward_only_passes;
      step.first = pass == 0;
      step.last = pass == group.total() - 1;
      for (int i = group.start; i < group.stop; ++i) {
        LayerWork work;
        work.layer = i;
        work.compute_k = spec_.computes_k(i);
        work.compute_v = spec_.computes_v(i);
        const bool values_are_zeros = step.first && options.empty_past &&
                                      options.start == KvStart::kZeros && spec_.v_source(i) > i;
        work.attention = !(options.exact_savings && values_are_zeros);
        step.layers.push_back(work);
      }
      passes.push_back(std::move(step));
    }
    if (options.exact_savings) {
      DropUnwantedOutput(spec_.kv_layers().back(), options.wanted, &passes.back());
      if (group.iterative) DropDeadWork(spec_, &passes);
    }
    if (options.start == KvStart::kGuess) {
      passes.front().guesses = FindGuesses(spec_, passes.front());
    }
    for (PassStep& step : passes) steps.push_back(std::move(step));
  }
  return steps;
}

}  // namespace ckv
