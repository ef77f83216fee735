#include "train/schedule.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"

namespace ckv {

void ScheduleConfig::Visit(ConfigVisitor& v) {
  v.Choice("kind", kind, {"cosine", "linear", "constant", "inverse_sqrt", "wsd"},
           "shape of the learning rate after the warm-up");
  v.Field("warmup_steps", warmup_steps, "steps of linear warm-up");
  v.Require(warmup_steps >= 0, "must be >= 0");
  v.Field("floor", floor, "smallest learning rate, as a share of the peak");
  v.Require(floor >= 0.0 && floor <= 1.0, "must be from 0 to 1");
  v.Field("decay_steps", decay_steps, "wsd: steps of the final decay; 0 = a tenth of the run");
  v.Require(decay_steps >= 0, "must be >= 0");
  v.Require(decay_steps == 0 || kind == "wsd", "is for 'kind: wsd'");
}

LrSchedule::LrSchedule(const ScheduleConfig& config, int64_t num_steps)
    : config_(config), num_steps_(num_steps) {
  if (config_.kind == "wsd" && config_.decay_steps == 0) {
    config_.decay_steps = std::max<int64_t>(1, num_steps / 10);
  }
  const int64_t decay = config_.kind == "wsd" ? config_.decay_steps : 0;
  if (config_.warmup_steps + decay > num_steps) {
    throw ConfigError("", Str("'train.schedule' needs ", config_.warmup_steps + decay,
                              " steps of warm-up and decay, but 'train.steps' is ", num_steps));
  }
}

double LrSchedule::At(int64_t step) const {
  const int64_t warmup = config_.warmup_steps;
  if (step < warmup) return static_cast<double>(step + 1) / static_cast<double>(warmup);
  // Share of the way from the end of the warm-up (0) to the last step (1).
  const auto share = [](int64_t done, int64_t all) {
    return all <= 0 ? 1.0 : std::min(1.0, static_cast<double>(done) / static_cast<double>(all));
  };
  const double span = 1.0 - config_.floor;
  if (config_.kind == "constant") return 1.0;
  if (config_.kind == "inverse_sqrt") {
    const auto base = static_cast<double>(std::max<int64_t>(warmup, 1));
    return std::max(config_.floor, std::sqrt(base / static_cast<double>(step + 1)));
  }
  if (config_.kind == "wsd") {
    const int64_t begin = num_steps_ - config_.decay_steps;
    return step < begin ? 1.0 : 1.0 - span * share(step - begin + 1, config_.decay_steps);
  }
  const double way = share(step - warmup, num_steps_ - 1 - warmup);
  if (config_.kind == "linear") return 1.0 - span * way;
  return config_.floor + span * 0.5 * (1.0 + std::cos(3.14159265358979323846 * way));
}

}  // namespace ckv
