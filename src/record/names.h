// The names of metrics, in metrics.jsonl, metrics.csv, TensorBoard, plots and reports alike.
#pragma once

namespace ckv {

// Position. Every row has the step; the others where they are known.
inline constexpr char kMetricStep[] = "step";
inline constexpr char kMetricTokens[] = "tokens";    // training tokens consumed so far
inline constexpr char kMetricEpoch[] = "epoch";      // passes over the data so far
inline constexpr char kMetricSeconds[] = "seconds";  // time spent in training so far, all sessions

// Training.
inline constexpr char kMetricLoss[] = "loss";  // mean cross entropy per target, nats
inline constexpr char kMetricZLoss[] = "z_loss";
inline constexpr char kMetricLr[] = "lr";
inline constexpr char kMetricGradNorm[] = "grad_norm";  // before clipping
inline constexpr char kMetricParamNorm[] = "param_norm";
inline constexpr char kMetricSkippedSteps[] =
    "skipped_steps";  // with a loss or gradient not finite
inline constexpr char kMetricNoGradPasses[] = "no_grad_passes";
inline constexpr char kMetricGradPasses[] = "grad_passes";

// Speed and memory.
inline constexpr char kMetricTokensPerSecond[] = "tokens_per_second";
inline constexpr char kMetricStepSeconds[] = "step_seconds";
inline constexpr char kMetricDataSeconds[] = "data_seconds";  // waiting for batches, per step
inline constexpr char kMetricMfu[] = "mfu";                   // share of the device's peak, 0 to 1
inline constexpr char kMetricMemoryBytes[] = "memory_bytes";  // peak

// Several ranks; those of each rank alone are rank<N>_seconds and rank<N>_memory_bytes.
inline constexpr char kMetricRanks[] = "ranks";
inline constexpr char kMetricSlowestRank[] = "slowest_rank";
inline constexpr char kMetricSlowestRankSeconds[] = "slowest_rank_seconds";  // work of a step
inline constexpr char kMetricMeanRankSeconds[] = "mean_rank_seconds";

// Validation.
inline constexpr char kMetricValidLoss[] = "valid_loss";
inline constexpr char kMetricValidPerplexity[] = "valid_perplexity";
inline constexpr char kMetricValidAccuracy[] = "valid_accuracy";  // of the next token, 0 to 1
inline constexpr char kMetricValidTokens[] = "valid_tokens";
inline constexpr char kMetricBestValidLoss[] = "best_valid_loss";

}  // namespace ckv
