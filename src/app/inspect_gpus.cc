#include "app/inspect_gpus.h"

#include <cstdio>

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/str.h"

namespace ckv {
namespace {

std::string RightAligned(const std::string& text, size_t width) {
  return text.size() < width ? std::string(width - text.size(), ' ') + text : text;
}

std::string Number(double value, int digits) { return Fixed(value, digits); }

}  // namespace

OrderedJson GpusJson(const InspectedModel& model, const InspectedCluster& use) {
  const ModelShape& shape = model.shape;
  if (shape.hidden == 0 || shape.heads == 0 || shape.ffn == 0 || shape.vocab == 0) {
    throw ConfigError("--gpus",
                      "needs all sizes of the model: width, heads, feed-forward width and "
                      "vocabulary");
  }
  OrderedJson json;
  json["gpus"] = use.cluster.gpus;
  json["gpus_per_node"] = use.cluster.gpus_per_node;
  json["peak_flops"] = use.cluster.peak_flops;
  json["efficiency"] = use.cluster.efficiency;
  json["node_bandwidth"] = use.cluster.node_bandwidth;
  json["network_bandwidth"] = use.cluster.network_bandwidth;
  json["memory_bytes"] = use.cluster.memory_bytes;
  json["seq_len"] = use.step.seq_len;
  json["batch"] = use.step.batch;
  json["micro_rows"] = use.step.micro_rows;
  json["recompute"] = use.step.recompute;
  json["stages"] = OrderedJson::array();
  for (int64_t stage = 0; stage <= 3; ++stage) {
    DistStep step = use.step;
    step.stage = stage;
    const DistCost cost = CountDistCost(model.plan, shape, use.cluster, step, "--gpus");
    OrderedJson row;
    row["zero"] = stage;
    row["micro_batches"] = cost.micro_batches;
    row["summed_bytes"] = cost.summed_bytes;
    row["scattered_bytes"] = cost.scattered_bytes;
    row["gathered_bytes"] = cost.gathered_bytes;
    if (stage == 3) row["gathered_if_each_pass"] = cost.gathered_if_each_pass;
    row["wire_bytes"] = cost.wire_bytes;
    row["weight_memory"] = cost.weight_memory;
    row["gradient_memory"] = cost.gradient_memory;
    row["optimizer_memory"] = cost.optimizer_memory;
    row["activation_memory"] = cost.activation_memory;
    row["memory"] = cost.memory();
    row["fits"] = cost.memory() <= use.cluster.memory_bytes;
    row["compute_seconds"] = cost.compute_seconds;
    row["wire_seconds"] = cost.wire_seconds;
    row["exposed_seconds"] = cost.exposed_seconds;
    row["step_seconds"] = cost.seconds();
    row["tokens_per_second"] = cost.tokens_per_second;
    row["of_peak"] = cost.efficiency;
    json["stages"].push_back(row);
  }
  return json;
}

std::string GpusText(const OrderedJson& json) {
  std::string text =
      Str("\nTraining on ", json["gpus"].get<int64_t>(), " GPUs, ", json["batch"].get<int64_t>(),
          " sequences of ", json["seq_len"].get<int64_t>(), " a step, ",
          json["micro_rows"].get<int64_t>(), " at a time",
          json["recompute"].get<bool>() ? ", activations computed again" : "", " (estimate)\n");
  text +=
      "  ZeRO  weights  grads  optim   activ   GB/GPU  fits  wire GB  exposed s   step s  "
      "tokens/s  peak\n";
  const auto gb = [](const OrderedJson& bytes) { return Number(bytes.get<double>() / 1e9, 1); };
  for (const OrderedJson& row : json["stages"]) {
    text += Str(
        "  ", RightAligned(std::to_string(row["zero"].get<int64_t>()), 4),
        RightAligned(gb(row["weight_memory"]), 9), RightAligned(gb(row["gradient_memory"]), 7),
        RightAligned(gb(row["optimizer_memory"]), 7), RightAligned(gb(row["activation_memory"]), 8),
        RightAligned(gb(row["memory"]), 9), RightAligned(row["fits"].get<bool>() ? "yes" : "no", 6),
        RightAligned(gb(row["wire_bytes"]), 9),
        RightAligned(Number(row["exposed_seconds"].get<double>(), 2), 11),
        RightAligned(Number(row["step_seconds"].get<double>(), 2), 9),
        RightAligned(HumanCount(row["tokens_per_second"].get<double>()), 10),
        RightAligned(Number(100.0 * row["of_peak"].get<double>(), 1) + "%", 7), "\n");
  }
  return text;
}

}  // namespace ckv
