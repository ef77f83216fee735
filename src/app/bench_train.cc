#include "app/bench_train.h"

#include <algorithm>

#include <nlohmann/json.hpp>
#include <torch/torch.h>

#include "base/error.h"
#include "base/random.h"
#include "ckpt/weights.h"
#include "data/source.h"
#include "model/decoder.h"
#include "model/objective.h"
#include "nn/device.h"
#include "train/trainer.h"

namespace ckv {
namespace {

// Endless independent tokens, all of equal probability.
class RandomTokens : public DataSource {
 public:
  RandomTokens(int64_t rows, int64_t cols, int64_t vocab_size)
      : rows_(rows), cols_(cols), vocab_size_(vocab_size), random_(1) {}

  bool Next(TokenBatch* batch) override {
    batch->rows = rows_;
    batch->cols = cols_;
    batch->segments.clear();
    batch->tokens.resize(static_cast<size_t>(rows_ * cols_));
    batch->targets.resize(batch->tokens.size());
    for (size_t i = 0; i < batch->tokens.size(); ++i) {
      batch->tokens[i] = Draw();
      batch->targets[i] = Draw();
    }
    samples_ += rows_;
    return true;
  }
  Json State() const override { return Json(samples_); }
  void Restore(const Json& state) override { samples_ = state.get<int64_t>(); }
  int64_t num_tokens() const override { return rows_ * cols_; }
  int64_t samples() const override { return samples_; }

 private:
  int64_t Draw() { return static_cast<int64_t>(random_.Below(static_cast<uint64_t>(vocab_size_))); }

  int64_t rows_;
  int64_t cols_;
  int64_t vocab_size_;
  Random random_;
  int64_t samples_ = 0;
};

}  // namespace

OrderedJson TrainBenchResult::ToJson() const {
  OrderedJson json;
  json["kv_sharing"] = kv_sharing;
  json["parameters"] = parameters;
  json["tokens_per_second"] = tokens_per_second;
  json["spread"] = spread;
  json["flops_per_token"] = flops_per_token;
  json["plain_flops_per_token"] = plain_flops_per_token;
  if (peak_flops.has_value()) {
    json["mfu"] = tokens_per_second * plain_flops_per_token / *peak_flops;
    json["hardware_utilisation"] = tokens_per_second * flops_per_token / *peak_flops;
  }
  json["memory_bytes"] = memory_bytes;
  json["loss"] = loss;
  return json;
}

TrainBenchResult BenchTraining(TrainRun run, const TrainBenchOptions& options) {
  if (run.run.threads > 0) at::set_num_threads(static_cast<int>(run.run.threads));
  AllowTf32(run.train.precision == "tf32");
  const at::Device device = ChooseDevice(run.run.device, "run.device");
  if (run.model.vocab_size == 0) throw ConfigError("", "'model.vocab_size' must be given");

  Decoder model(run.model);
  model->InitializeWeights(static_cast<uint64_t>(run.run.seed));
  model->to(device, WorkingType(run.train.precision));
  CausalLmOptions objective_options;
  objective_options.loss.label_smoothing = run.train.label_smoothing;
  objective_options.loss.z_loss = run.train.z_loss;
  objective_options.passes = run.train.passes;
  objective_options.checkpoint_layers = run.train.checkpoint_layers;
  CausalLmObjective objective(model, objective_options);
  AdamW optimizer(NamedParameters(*model), run.train.optim);
  RandomTokens data(run.train.MicroRows(), run.data.seq_len, run.model.vocab_size);

  TrainConfig config = run.train;
  config.log_every = options.row_steps;
  config.steps = options.row_steps * (options.rows + 1);
  config.eval_every = 0;
  config.save_every = 0;
  config.schedule = ScheduleConfig();
  config.schedule.kind = "constant";
  config.schedule.warmup_steps = 0;

  ResetPeakMemory(device);
  TrainBenchResult result;
  std::vector<double> rates;
  TrainHooks hooks;
  hooks.log = [&](const TrainState& state, const TrainProgress& progress) {
    if (state.step > options.row_steps) rates.push_back(progress.tokens_per_second);
    result.loss = progress.loss;
  };
  hooks.validate = [](TrainState&) {};
  hooks.save = [](const TrainState&) {};
  TrainState state;
  Trainer trainer(config, objective, data, optimizer, nullptr, device);
  trainer.Run(state, hooks);

  std::sort(rates.begin(), rates.end());
  result.kv_sharing = run.model.sharing().ToString();
  result.parameters = model->NumParameters();
  result.tokens_per_second = rates[rates.size() / 2];
  result.spread = (rates.back() - rates.front()) / result.tokens_per_second;
  result.flops_per_token = objective.RunFlopsPerToken(run.data.seq_len, 0);
  result.plain_flops_per_token = objective.ModelFlopsPerToken(run.data.seq_len);
  result.peak_flops = PeakFlops(device, run.train.precision);
  result.memory_bytes = PeakMemoryBytes(device);
  return result;
}

}  // namespace ckv
