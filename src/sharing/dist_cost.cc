#include "sharing/dist_cost.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"

namespace ckv {
namespace {

double Real(int64_t value) { return static_cast<double>(value); }

// Weights of one layer.
int64_t LayerWeights(const KvSharingSpec& spec, const ModelShape& shape, int layer) {
  const int64_t c = shape.hidden;
  const int64_t attention_bias = shape.attention_bias ? 1 : 0;
  const int64_t mlp_bias = shape.mlp_bias ? 1 : 0;
  const int64_t store = (c + attention_bias) * shape.kv_width();
  int64_t weights = (c + attention_bias) * shape.query_width() +
                    (shape.query_width() + attention_bias) * c + 2 * c;
  weights += 3 * c * shape.ffn + mlp_bias * (2 * shape.ffn + c);
  weights += (spec.computes_k(layer) ? store : 0) + (spec.computes_v(layer) ? store : 0);
  return weights;
}

// Numbers that autograd keeps of a layer for a token: input and output of norms and products.
double LayerActivations(const ModelShape& shape, const LayerWork& work) {
  double numbers = 2.0 * Real(shape.hidden);
  if (work.compute_k) numbers += 2.0 * Real(shape.kv_width());
  if (work.compute_v) numbers += Real(shape.kv_width());
  if (!work.body) return numbers;
  if (work.attention) numbers += 3.0 * Real(shape.query_width());
  return numbers + 2.0 * Real(shape.hidden) + 4.0 * Real(shape.ffn);
}

double ActivationBytes(const IterationPlan& plan, const ModelShape& shape, const DistStep& step) {
  double numbers = 0.0;
  double largest = 0.0;
  for (const PassStep& pass : plan.Steps({})) {
    for (const LayerWork& work : pass.layers) {
      if (!pass.grad) continue;
      const double one = LayerActivations(shape, work);
      largest = std::max(largest, one);
      // Recomputing keeps each layer's input, and the keys and values that others read.
      numbers += step.recompute ? Real(shape.hidden + 2 * shape.kv_width()) : one;
    }
  }
  if (step.recompute) numbers += largest;
  const double tokens = Real(step.micro_rows * step.seq_len);
  const double each = Real(step.weight_bytes);
  // Logits come in chunks; their gradient with respect to the head stays, in fp32.
  return tokens * numbers * each + Real(shape.vocab * shape.hidden) * 4.0;
}

// Seconds of a micro-batch in which stage 3 waits for units. Each comes while the one before it
// computes; the first of the forward step has none before it, the topmost stays. Work is divided by
// weights and passes, a backward pass counting twice.
double WaitForUnits(const UnitWeights& units, double compute_seconds, double seconds_of_weight) {
  double work = 3.0 * Real(units.rest);
  for (const GatherUnit& unit : units.units) {
    work += Real(unit.weights) * Real(unit.passes + 2 * unit.gradient_passes);
  }
  const double scale = compute_seconds / work;
  double waiting = 0.0;
  for (size_t i = 0; i < units.units.size(); ++i) {
    const double gather = Real(units.units[i].weights) * seconds_of_weight;
    double below = 0.0;  // computed while this one comes, forward
    if (i > 0) below = scale * Real(units.units[i - 1].weights * units.units[i - 1].passes);
    waiting += std::max(gather - below, 0.0);
    if (i + 1 == units.units.size()) break;
    const GatherUnit& next = units.units[i + 1];
    const double above = scale * Real(2 * next.weights * next.gradient_passes);
    waiting += std::max(gather - above, 0.0);
  }
  return waiting;
}

void CheckCluster(const ClusterShape& cluster, const DistStep& step, std::string_view origin) {
  const auto need = [&](bool good, const char* what) {
    if (!good) throw ConfigError(origin, what);
  };
  need(cluster.gpus >= 1 && cluster.gpus <= 1 << 20, "the number of GPUs must be from 1 to 2^20");
  need(cluster.gpus_per_node >= 1, "a node must have at least one GPU");
  need(cluster.efficiency > 0.0 && cluster.efficiency <= 1.0,
       "the efficiency must be above 0 and at most 1");
  need(cluster.peak_flops > 0.0 && cluster.memory_bytes > 0.0 && cluster.node_bandwidth > 0.0 &&
           cluster.network_bandwidth > 0.0,
       "peak, memory and bandwidths must be above 0");
  need(step.stage >= 0 && step.stage <= 3, "the ZeRO stage must be from 0 to 3");
  need(step.seq_len >= 1 && step.micro_rows >= 1 && step.batch >= 1,
       "sequences, rows and batch must be at least 1");
  need(step.seq_len <= int64_t{1} << 30 && step.batch <= int64_t{1} << 30,
       "sequences and their tokens must be at most 2^30");
}

}  // namespace

UnitWeights CountUnits(const IterationPlan& plan, const ModelShape& shape) {
  UnitWeights units;
  const auto add = [&](int64_t weights, int64_t passes, int64_t with_gradient) {
    units.units.push_back({weights, passes, with_gradient});
    units.layers += weights;
    units.largest = std::max(units.largest, weights);
    units.top = weights;
    units.passes_gathered += Real(weights) * Real(passes + with_gradient);
  };
  for (const LayerGroup& group : plan.groups()) {
    int64_t of_group = 0;
    for (int layer = group.start; layer < group.stop; ++layer) {
      const int64_t weights = LayerWeights(plan.spec(), shape, layer);
      of_group += weights;
      if (!group.iterative) add(weights, 1, 1);
    }
    if (group.iterative) add(of_group, group.total(), group.gradient_passes);
  }
  for (size_t i = 0; i < units.units.size(); ++i) {
    int64_t three = 0;
    for (size_t k = i; k < std::min(i + 3, units.units.size()); ++k) {
      three += units.units[k].weights;
    }
    units.neighbours = std::max(units.neighbours, three);
  }
  units.rest = CountParams(plan.spec(), shape).total() - units.layers;
  return units;
}

DistCost CountDistCost(const IterationPlan& plan, const ModelShape& shape,
                       const ClusterShape& cluster, const DistStep& step, std::string_view origin) {
  CheckShape(shape, origin);
  CheckCluster(cluster, step, origin);
  const UnitWeights units = CountUnits(plan, shape);
  const double weights = Real(units.layers + units.rest);
  const double n = Real(cluster.gpus);
  const double w = Real(step.weight_bytes);
  const double g = Real(step.wire_bytes);
  const int64_t rows = (step.batch + cluster.gpus - 1) / cluster.gpus;
  DistCost cost;
  cost.micro_batches = (rows + step.micro_rows - 1) / step.micro_rows;
  const double m = Real(cost.micro_batches);

  if (step.stage == 0) cost.summed_bytes = weights * g;
  if (step.stage >= 1) cost.scattered_bytes = weights * g * (step.stage >= 2 ? m : 1.0);
  if (step.stage == 1 || step.stage == 2) cost.gathered_bytes = weights * w;
  if (step.stage == 3) {
    cost.gathered_bytes = w * (m * Real(2 * units.layers - units.top) + Real(units.rest));
    cost.gathered_if_each_pass = w * (m * units.passes_gathered + Real(units.rest));
  }
  const double share = (n - 1.0) / n;
  cost.wire_bytes = share * (2.0 * cost.summed_bytes + cost.scattered_bytes + cost.gathered_bytes);

  // fp32 sums of gradients; masters beside weights of low precision; two moments.
  const double masters = step.weight_bytes == 4 ? 0.0 : 4.0;
  const double part = step.stage >= 1 ? weights / n : weights;
  cost.optimizer_memory = part * (masters + 8.0);
  cost.weight_memory = weights * w;
  cost.gradient_memory = weights * 4.0;
  if (step.stage == 1) cost.gradient_memory += part * 4.0;
  if (step.stage == 2) {
    cost.gradient_memory = part * 4.0 + 3.0 * std::min(step.bucket_bytes, weights * 4.0);
  }
  if (step.stage == 3) {
    cost.weight_memory = w * (weights / n + Real(units.rest + units.neighbours));
    cost.gradient_memory = part * 4.0 + 4.0 * Real(3 * units.largest);
  }
  cost.activation_memory = ActivationBytes(plan, shape, step);

  const double flops = CountTrainFlops(plan, shape, step.seq_len).passes;
  const double rank_tokens = Real(cost.micro_batches * step.micro_rows * step.seq_len);
  cost.compute_seconds = flops * rank_tokens / (cluster.peak_flops * cluster.efficiency);
  const bool one_node = cluster.gpus <= cluster.gpus_per_node;
  const double bandwidth = one_node ? cluster.node_bandwidth : cluster.network_bandwidth;
  cost.wire_seconds = cost.wire_bytes / bandwidth;
  const double gradients = share * (2.0 * cost.summed_bytes + cost.scattered_bytes) / bandwidth;
  // Two thirds of the work are backward; before stage 2 only the last micro-batch sends.
  const double backward = cost.compute_seconds * 2.0 / 3.0 / (step.stage >= 2 ? 1.0 : m);
  cost.exposed_seconds = std::max(gradients - backward, 0.0);
  if (step.stage == 3) {
    const double seconds_of_weight = share * w / bandwidth;
    cost.exposed_seconds += m * WaitForUnits(units, cost.compute_seconds / m, seconds_of_weight) +
                            Real(units.rest) * seconds_of_weight;
    // Both kinds share the wire.
    cost.exposed_seconds = std::max(cost.exposed_seconds, cost.wire_seconds - cost.compute_seconds);
  } else {
    cost.exposed_seconds += share * cost.gathered_bytes / bandwidth;
  }
  cost.tokens_per_second = Real(step.batch * step.seq_len) / cost.seconds();
  cost.efficiency = cluster.efficiency * cost.compute_seconds / cost.seconds();
  return cost;
}

}  // namespace ckv
