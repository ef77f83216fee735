#include "model/probtrans_config.h"

#include <algorithm>

#include "base/error.h"

namespace ckv {

void GlobalsConfig::Visit(ConfigVisitor& v) {
  v.Field("count", count, "global features; 0 = none");
  v.Require(count >= 0, "must be >= 0");
  v.Choice("mode", mode, {"shared", "split"},
           "shared: one choice among words and globals; split: a choice of its own");
  v.Field("channels", channels, "split: choices a word makes among the globals; 0 = channels");
  v.Require(channels >= 0 && (channels == 0 || mode == "split"),
            "must be >= 0, and 0 in shared mode");
  v.Field("rank", rank, "rank of the globals' scores; 0 = not factored");
  v.Require(rank >= 0, "must be >= 0");
}

void ProbTransConfig::Visit(ConfigVisitor& v) {
  v.Field("labels", labels, "labels of a word, which is the width of embedding and output");
  v.Require(labels >= 1, "must be >= 1");
  v.Field("channels", channels, "dependency structures inferred in parallel");
  v.Require(channels >= 1, "must be >= 1");
  v.Field("iterations", iterations, "mean-field steps");
  v.Require(iterations >= 1, "must be >= 1");
  v.Choice("factor", factor, {"full", "uv", "uvw"}, "form of the ternary scores");
  v.Field("rank", rank, "rank of uv and uvw");
  v.Require(factor == "full" ? rank == 0 : rank >= 1, "must be >= 1 for uv and uvw, 0 for full");
  v.Choice("distances", distances, {"cuts", "none", "mixture"},
           "scores by direction and distance: bins, one for all pairs, or learned mixtures");
  v.Field("distance_cuts", distance_cuts,
          "cuts: where a new bin begins; [2, 3, 4] = 1, 2, 3, 4 and more, in each direction");
  v.Require(
      std::is_sorted(distance_cuts.begin(), distance_cuts.end()) &&
          std::adjacent_find(distance_cuts.begin(), distance_cuts.end()) == distance_cuts.end() &&
          (distance_cuts.empty() || distance_cuts.front() >= 2),
      "must rise, and start at 2 or more");
  v.Require(distance_cuts.empty() || distances == "cuts", "needs distances: cuts");
  v.Field("distance_limit", distance_limit, "mixture: longer distances count as this one");
  v.Require(distances == "mixture" ? distance_limit >= 1 : distance_limit == 0,
            "must be >= 1 with distances: mixture, else 0");
  v.Field("distance_tensors", distance_tensors, "mixture: score tensors that are mixed");
  v.Require(distances == "mixture" ? distance_tensors >= 1 : distance_tensors == 0,
            "must be >= 1 with distances: mixture, else 0");
  v.Choice("schedule", schedule, {"heads_first", "together"},
           "update heads, then labels from them; or both from the step before");
  v.Field("weight_heads", weight_heads, "temperature of heads, in units of 1 / labels");
  v.Require(weight_heads > 0, "must be > 0");
  v.Field("weight_labels", weight_labels, "temperature of labels");
  v.Require(weight_labels > 0, "must be > 0");
  v.Field("step_heads", step_heads, "step size: share of the new head distribution");
  v.Require(step_heads > 0 && step_heads <= 1, "must be above 0 and at most 1");
  v.Field("step_labels", step_labels, "step size: share of the new label distribution");
  v.Require(step_labels > 0 && step_labels <= 1, "must be above 0 and at most 1");
  v.Field("decreasing_steps", decreasing_steps, "step sizes times 2 / (t + 1) in iteration t");
  v.Field("damping_heads", damping_heads, "share of the old head scores");
  v.Require(damping_heads >= 0 && damping_heads < 1, "must be from 0 to below 1");
  v.Field("damping_labels", damping_labels, "share of the old label scores");
  v.Require(damping_labels >= 0 && damping_labels < 1, "must be from 0 to below 1");
  v.Choice("normaliser", normaliser, {"softmax", "relu"}, "from scores to distributions");
  v.Field("root_labels", root_labels, "labels of a root node for whole sentences; 0 = no root");
  v.Require(root_labels >= 0, "must be >= 0");
  v.Field("root_rank", root_rank, "rank of the root's scores; 0 = not factored");
  v.Require(root_rank >= 0 && (root_rank == 0 || root_labels > 0),
            "must be >= 0, and 0 without a root");
  v.Section("globals", globals, "global features as further heads");
  v.Field("child_messages", child_messages, "words hear from their children, not their heads only");
  v.Field("probabilities", probabilities, "give distributions instead of scores");
  v.Field("projection", projection, "a feed-forward block after the last iteration");
  v.Field("dropout", dropout, "of head distributions and label scores in training");
  v.Require(dropout >= 0 && dropout < 1, "must be from 0 to below 1");
  v.Choice(
      "pairs", pairs, {"auto", "dense", "band", "gather", "fused"},
      "how pair terms are computed, with equal results; auto: gather on a CPU, dense or band on a "
      "GPU");
}

void ProbTransConfig::Check() const {
  if (globals.rank > 0 && globals.count == 0) {
    throw ConfigError("", "'model.globals.rank' needs 'model.globals.count' above 0");
  }
}

DistanceBins ProbTransConfig::Bins() const {
  if (distances == "none") return DistanceBins::None();
  if (distances == "mixture") return DistanceBins::Clipped(distance_limit);
  return DistanceBins::FromCuts(distance_cuts);
}

int64_t ProbTransConfig::GlobalChannels() const {
  return globals.channels > 0 ? globals.channels : channels;
}

int64_t ProbTransConfig::NumParameters() const {
  const bool mixture = distances == "mixture";
  const int64_t bins = mixture ? distance_tensors : Bins().size();
  int64_t count = 0;
  if (factor == "full") count = bins * labels * labels * channels;
  if (factor == "uv") count = 2 * bins * labels * rank * channels;
  if (factor == "uvw") count = bins * rank * (2 * labels + channels);
  if (mixture) count += Bins().size() * distance_tensors;
  count += (root_rank > 0 ? root_rank * (labels + root_labels) : labels * root_labels) * channels;
  const int64_t pieces =
      globals.rank > 0 ? globals.rank * (globals.count + labels) : globals.count * labels;
  count += pieces * GlobalChannels();
  if (projection) count += 8 * labels * labels + 5 * labels;
  return count;
}

}  // namespace ckv
