#include "app/bench_train.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <memory>

#include <nlohmann/json.hpp>
#include <torch/torch.h>

#include "app/share_model.h"
#include "app/train_ranks.h"
#include "base/error.h"
#include "base/random.h"
#include "data/source.h"
#include "model/decoder.h"
#include "model/objective.h"
#include "nn/device.h"
#include "nn/phase_clock.h"
#include "nn/profile.h"
#include "train/trainer.h"

namespace ckv {
namespace {

// Endless independent tokens, all of equal probability.
class RandomTokens : public DataSource {
 public:
  RandomTokens(int64_t rows, int64_t cols, int64_t vocab_size, int rank)
      : rows_(rows),
        cols_(cols),
        vocab_size_(vocab_size),
        random_(1 + static_cast<uint64_t>(rank)) {}

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

// Rows of a batch: of a micro-batch alone, of a whole step of each of several ranks.
int64_t RowsOf(const TrainConfig& config, CommGroup* group) {
  if (group == nullptr) return config.MicroRows();
  if (config.batch_size % group->world() != 0) {
    throw ConfigError("train.batch_size", Str(config.batch_size, ", but ", group->world(),
                                              " ranks must be able to share it evenly"));
  }
  return config.batch_size / group->world();
}

CommGroup::Traffic Less(const CommGroup::Traffic& a, const CommGroup::Traffic& b, int64_t steps) {
  return {(a.summed - b.summed) / steps, (a.scattered - b.scattered) / steps,
          (a.gathered - b.gathered) / steps};
}

}  // namespace

std::string FileOfRank(const std::string& path, int rank) {
  if (path.empty() || rank == 0) return path;
  const size_t dot = path.rfind('.');
  const size_t cut = dot == std::string::npos ? path.size() : dot;
  return Str(path.substr(0, cut), ".rank", rank, path.substr(cut));
}

OrderedJson TrainBenchResult::ToJson() const {
  OrderedJson json;
  json["kv_sharing"] = kv_sharing;
  json["parameters"] = parameters;
  json["batch_size"] = batch_size;
  json["seq_len"] = seq_len;
  json["tokens_per_second"] = tokens_per_second;
  json["spread"] = spread;
  json["flops_per_token"] = flops_per_token;
  json["plain_flops_per_token"] = plain_flops_per_token;
  if (peak_flops.has_value()) {
    json["mfu"] = tokens_per_second * plain_flops_per_token / (*peak_flops * ranks);
    json["hardware_utilisation"] = tokens_per_second * flops_per_token / (*peak_flops * ranks);
  }
  if (matmul_flops > 0.0) {
    json["matmul_flops"] = matmul_flops;
    json["mfu_of_matmul"] = tokens_per_second * plain_flops_per_token / (matmul_flops * ranks);
  }
  json["step_ms"] = step_ms;
  OrderedJson phases;
  for (size_t i = 0; i < kNumPhases; ++i) phases[PhaseName(static_cast<Phase>(i))] = phase_ms[i];
  json["phase_ms"] = phases;
  json["memory_bytes"] = memory_bytes;
  json["loss"] = loss;
  if (rank_memory_bytes.empty()) return json;
  json["ranks"] = ranks;
  json["zero"] = zero;
  json["rank_memory_bytes"] = rank_memory_bytes;
  json["step_bytes"] = {
      {"summed", traffic.summed}, {"scattered", traffic.scattered}, {"gathered", traffic.gathered}};
  return json;
}

double MeasureMatmul(const at::Device& device, const std::string& precision) {
  if (!device.is_cuda()) return 0.0;
  constexpr int64_t kSize = 8192;
  constexpr int kTimes = 10;
  const at::TensorOptions options =
      at::TensorOptions().device(device).dtype(WorkingType(precision));
  const Tensor a = at::randn({kSize, kSize}, options);
  const Tensor b = at::randn({kSize, kSize}, options);
  Tensor c = at::mm(a, b);
  at::mm_out(c, a, b);
  Synchronize(device);
  const auto start = std::chrono::steady_clock::now();
  for (int i = 0; i < kTimes; ++i) at::mm_out(c, a, b);
  Synchronize(device);
  const double seconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return 2.0 * kTimes * std::pow(static_cast<double>(kSize), 3.0) / seconds;
}

TrainBenchResult BenchTraining(TrainRun run, const TrainBenchOptions& options,
                               const at::Device& device, CommGroup* group) {
  AllowTf32(run.train.precision == "tf32");
  ChooseSdpa(run.train.sdpa);
  if (run.model.vocab_size == 0) throw ConfigError("", "'model.vocab_size' must be given");

  Decoder model(run.model);
  CausalLmOptions objective_options;
  objective_options.loss.label_smoothing = run.train.label_smoothing;
  objective_options.loss.z_loss = run.train.z_loss;
  objective_options.passes = run.train.passes;
  objective_options.checkpoint_layers = run.train.checkpoint_layers;
  if (!run.train.fused) objective_options.fusing = DecoderRun::Fusing::kNever;
  std::unique_ptr<DataParallel> parallel;
  std::unique_ptr<AdamW> optimizer;
  const auto seed = static_cast<uint64_t>(run.run.seed);
  const at::ScalarType type = WorkingType(run.train.precision);
  if (group == nullptr) model->InitializeWeights(seed);
  if (run.train.lora.enabled()) model->AddLora(run.train.lora, /*seed=*/0);
  if (group != nullptr) {
    ShareOptions sharing;
    sharing.dist = run.dist;
    sharing.optim = run.train.optim;
    sharing.type = type;
    sharing.fused = run.train.fused;
    DecoderInitializer initializer(run.model, seed);
    sharing.fill = [&](const std::string& name, const Tensor& parameter) {
      // Adapters have their values.
      if (!model->has_lora() || !parameter.requires_grad()) initializer.Fill(name, parameter);
    };
    SharedModel shared = ShareModel(model, *group, sharing);
    parallel = std::move(shared.parallel);
    optimizer = std::move(shared.optimizer);
  } else {
    model->to(device, type);
    if (run.train.fused && run.train.precision == "bf16") model->PackProjections();
    optimizer = std::make_unique<AdamW>(model->TrainedParameters(), run.train.optim,
                                        std::vector<bool>{}, run.train.fused);
  }
  CausalLmObjective objective(model, objective_options);
  RandomTokens data(RowsOf(run.train, group), run.data.seq_len, run.model.vocab_size,
                    group == nullptr ? 0 : group->rank());

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
  PhaseClock clock(device);
  CommGroup::Traffic before;
  TrainHooks hooks;
  hooks.log = [&](const TrainState& state, const TrainProgress& progress) {
    const std::array<double, kNumPhases> phases = clock.TakeMilliseconds();
    result.loss = progress.loss;
    if (state.step <= options.row_steps) {
      if (group != nullptr) before = group->traffic();
      return;
    }
    rates.push_back(progress.tokens_per_second);
    const auto steps = static_cast<double>(options.rows * options.row_steps);
    for (size_t i = 0; i < kNumPhases; ++i) result.phase_ms[i] += phases[i] / steps;
    result.step_ms += 1e3 * progress.step_seconds / static_cast<double>(options.rows);
  };
  hooks.validate = [](TrainState&) {};
  hooks.save = [](const TrainState&) {};
  TrainState state;
  Trainer(config, objective, data, *optimizer, nullptr, device, parallel.get()).Run(state, hooks);

  result.memory_bytes = PeakMemoryBytes(device);
  if (group != nullptr) {
    result.traffic = Less(group->traffic(), before, options.rows * options.row_steps);
  }
  if (!options.profile.empty()) {
    Profile profile(device);
    config.steps += 1;
    hooks.log = [](const TrainState&, const TrainProgress&) {};
    Trainer(config, objective, data, *optimizer, nullptr, device, parallel.get()).Run(state, hooks);
    DoTogether(group, [&] {
      profile.Write(FileOfRank(options.profile, group == nullptr ? 0 : group->rank()));
    });
  }
  if (group != nullptr) {
    result.ranks = group->world();
    result.zero = run.dist.zero;
    for (const std::string& bytes : group->Gather(std::to_string(result.memory_bytes))) {
      result.rank_memory_bytes.push_back(std::stoll(bytes));
      result.memory_bytes = std::max(result.memory_bytes, result.rank_memory_bytes.back());
    }
  }

  std::sort(rates.begin(), rates.end());
  result.kv_sharing = run.model.sharing().ToString();
  result.parameters = model->NumParameters();
  result.tokens_per_second = rates[rates.size() / 2];
  result.spread = (rates.back() - rates.front()) / result.tokens_per_second;
  result.batch_size = run.train.batch_size;
  result.seq_len = run.data.seq_len;
  result.flops_per_token = objective.RunFlopsPerToken(run.data.seq_len, 0);
  result.plain_flops_per_token = objective.ModelFlopsPerToken(run.data.seq_len);
  result.peak_flops = PeakFlops(device, run.train.precision);
  return result;
}

}  // namespace ckv
