#include "app/training.h"

#include <algorithm>
#include <cmath>
#include <optional>

#include <nlohmann/json.hpp>
#include <torch/torch.h>

#include "app/load_model.h"
#include "base/error.h"
#include "base/file.h"
#include "base/log.h"
#include "base/progress.h"
#include "base/signals.h"
#include "ckpt/weights.h"
#include "ckv_version.h"
#include "data/source.h"
#include "model/decoder.h"
#include "model/objective.h"
#include "nn/device.h"
#include "record/host.h"
#include "record/metrics.h"
#include "record/names.h"
#include "record/run_dir.h"
#include "record/status_line.h"
#include "train/training_checkpoint.h"
#include "train/validation.h"

namespace ckv {
namespace {

constexpr char kTag[] = "train";
constexpr double kSecondsBetweenLogLines = 10.0;

// The weights of a module are those of a running mean while this lives.
class MeanWeights {
 public:
  MeanWeights(torch::nn::Module& module, const Ema* ema) {
    if (ema == nullptr) return;
    at::NoGradGuard no_grad;
    const NamedTensors parameters = NamedParameters(module);
    for (size_t i = 0; i < parameters.size(); ++i) {
      saved_.emplace_back(parameters[i].second, parameters[i].second.clone());
      Tensor target = parameters[i].second;
      target.copy_(ema->weights()[i].second);
    }
  }
  ~MeanWeights() {
    at::NoGradGuard no_grad;
    for (auto& [parameter, saved] : saved_) parameter.copy_(saved);
  }
  MeanWeights(const MeanWeights&) = delete;
  MeanWeights& operator=(const MeanWeights&) = delete;

 private:
  std::vector<std::pair<Tensor, Tensor>> saved_;
};

class Training {
 public:
  Training(TrainRun run, std::unique_ptr<Tokenizer> tokenizer);

  OrderedJson Run(const std::vector<std::string>& arguments);

 private:
  static Decoder BuildModel(const TrainRun& run);
  TrainingParts Parts();
  CausalLmOptions ObjectiveOptions() const;
  RunSession Session(const std::vector<std::string>& arguments, int64_t start_step) const;

  void WriteMetrics(const TrainState& state, const TrainProgress& progress);
  void ValidateNow(TrainState& state);
  void SaveNow(const TrainState& state);
  OrderedJson Result(const TrainState& state) const;

  TrainRun run_;
  std::unique_ptr<Tokenizer> tokenizer_;
  at::Device device_;
  VocabularyInfo vocabulary_;
  std::unique_ptr<DataSource> data_;
  bool validates_ = false;
  Decoder model_;
  CausalLmObjective objective_;
  std::unique_ptr<AdamW> optimizer_;
  std::unique_ptr<Ema> ema_;

  std::optional<RunDir> dir_;
  std::optional<MetricSink> metrics_;
  std::optional<ValidationResult> validation_;
  double last_loss_ = 0.0;
  int64_t saved_step_ = -1;
  double last_log_ = 0.0;
};

Decoder Training::BuildModel(const TrainRun& run) {
  Decoder model(run.model);
  model->InitializeWeights(static_cast<uint64_t>(run.run.seed));
  if (!run.init_from.empty()) {
    const std::string folder = FindModelFolder(run.init_from);
    ReadModelConfig(folder);  // refuses other model families
    LoadModelWeights(folder, "model", *model, /*may_grow_rows=*/true);
  }
  return model;
}

CausalLmOptions Training::ObjectiveOptions() const {
  CausalLmOptions options;
  options.loss.label_smoothing = run_.train.label_smoothing;
  options.loss.z_loss = run_.train.z_loss;
  options.passes = run_.train.passes;
  options.checkpoint_layers = run_.train.checkpoint_layers;
  return options;
}

Training::Training(TrainRun run, std::unique_ptr<Tokenizer> tokenizer)
    : run_(std::move(run)),
      tokenizer_(std::move(tokenizer)),
      device_(ChooseDevice(run_.run.device, "run.device")),
      vocabulary_{tokenizer_->Fingerprint(), tokenizer_->vocab_size()},
      data_(MakeTrainSource(run_.data, vocabulary_, {run_.train.MicroRows()}, tokenizer_.get())),
      validates_(MakeEvalSource(run_.data, vocabulary_, {run_.train.MicroRows()},
                                tokenizer_.get()) != nullptr),
      model_(BuildModel(run_)),
      objective_(model_, ObjectiveOptions()) {
  // Masters start from the weights as they were before rounding.
  NamedTensors exact;
  const at::ScalarType type = WorkingType(run_.train.precision);
  if (type == at::kBFloat16) {
    for (const auto& [name, weight] : NamedParameters(*model_)) {
      exact.emplace_back(name, weight.detach().clone());
    }
  }
  model_->to(device_, type);
  optimizer_ = std::make_unique<AdamW>(NamedParameters(*model_), run_.train.optim);
  at::NoGradGuard no_grad;
  const AdamW::Named masters = optimizer_->Weights();
  for (size_t i = 0; i < exact.size(); ++i) masters[i].second.copy_(exact[i].second);
  if (run_.train.ema_decay > 0.0) {
    ema_ = std::make_unique<Ema>(optimizer_->Weights(), run_.train.ema_decay);
  }
}

TrainingParts Training::Parts() {
  TrainingParts parts;
  parts.optimizer = optimizer_.get();
  parts.ema = ema_.get();
  parts.data = data_.get();
  parts.model = &run_.model;
  parts.tokenizer = tokenizer_.get();
  parts.config_yaml = DumpYaml(run_);
  parts.device = device_;
  return parts;
}

RunSession Training::Session(const std::vector<std::string>& arguments, int64_t start_step) const {
  RunSession session;
  session.command = arguments;
  session.device = DeviceName(device_);
  session.versions = {{"ckv", CKV_VERSION}, {"libtorch", TORCH_VERSION}};
  session.seed = static_cast<uint64_t>(run_.run.seed);
  session.start_step = start_step;
  return session;
}

void Training::WriteMetrics(const TrainState& state, const TrainProgress& progress) {
  const int64_t seq_len = run_.data.seq_len;
  last_loss_ = progress.loss;
  TrainStatus status;
  status.step = state.step;
  status.num_steps = run_.train.steps;
  status.loss = progress.loss;
  status.lr = progress.lr;
  status.tokens_per_second = progress.tokens_per_second;
  status.grad_norm = progress.grad_norm;
  status.memory_bytes = static_cast<double>(PeakMemoryBytes(device_));
  status.seconds_left = static_cast<double>(run_.train.steps - state.step) * progress.step_seconds;
  status.skipped_steps = state.skipped_steps;
  if (const std::optional<double> peak = PeakFlops(device_, run_.train.precision)) {
    status.mfu = progress.tokens_per_second * objective_.ModelFlopsPerToken(seq_len) / *peak;
  }

  MetricRow row(state.step);
  row.Set(kMetricTokens, static_cast<double>(state.tokens));
  row.Set(kMetricEpoch, data_->epochs(seq_len));
  row.Set(kMetricSeconds, state.seconds);
  row.Set(kMetricLoss, progress.loss);
  row.Set(kMetricLr, progress.lr);
  row.Set(kMetricGradNorm, progress.grad_norm);
  row.Set(kMetricTokensPerSecond, progress.tokens_per_second);
  row.Set(kMetricStepSeconds, progress.step_seconds);
  row.Set(kMetricDataSeconds, progress.data_seconds);
  if (status.mfu.has_value()) row.Set(kMetricMfu, *status.mfu);
  row.Set(kMetricMemoryBytes, *status.memory_bytes);
  if (state.skipped_steps > 0) {
    row.Set(kMetricSkippedSteps, static_cast<double>(state.skipped_steps));
  }
  if (model_->config().sharing().cyclic()) {
    const PassesStage passes = objective_.PassesAt(state.step - 1);
    row.Set(kMetricNoGradPasses, static_cast<double>(passes.forward));
    row.Set(kMetricGradPasses, static_cast<double>(passes.backward));
  }
  metrics_->Write(row);

  if (WallTime() - last_log_ >= kSecondsBetweenLogLines || state.step == run_.train.steps) {
    LogInfo(kTag, TrainLogLine(status));
    last_log_ = WallTime();
  }
  ShowLiveLine(TrainLiveLine(status));
}

void Training::ValidateNow(TrainState& state) {
  if (!validates_) return;
  const auto source =
      MakeEvalSource(run_.data, vocabulary_, {run_.train.MicroRows()}, tokenizer_.get());
  {
    const MeanWeights mean(*model_, ema_.get());
    validation_ = Validate(model_, {}, *source, device_);
  }
  MetricRow row(state.step);
  row.Set(kMetricTokens, static_cast<double>(state.tokens));
  row.Set(kMetricSeconds, state.seconds);
  row.Set(kMetricValidLoss, validation_->loss);
  row.Set(kMetricValidPerplexity, validation_->perplexity());
  row.Set(kMetricValidAccuracy, validation_->accuracy);
  row.Set(kMetricValidTokens, static_cast<double>(validation_->targets));
  const bool best =
      std::isfinite(validation_->loss) &&
      (!state.best_valid_loss.has_value() || validation_->loss < *state.best_valid_loss);
  if (best) state.best_valid_loss = validation_->loss;
  if (state.best_valid_loss.has_value()) row.Set(kMetricBestValidLoss, *state.best_valid_loss);
  metrics_->Write(row);
  LogInfo(kTag, Str("step ", state.step, " validation loss ", Fixed(validation_->loss, 4),
                    " perplexity ", Fixed(validation_->perplexity(), 2), " accuracy ",
                    Fixed(100.0 * validation_->accuracy, 2), "%", best ? " (best)" : ""));
  if (best) {
    SaveNow(state);
    dir_->checkpoints().SetBest(state.step);
  }
}

void Training::SaveNow(const TrainState& state) {
  if (saved_step_ == state.step) return;
  CheckpointDir checkpoints = dir_->checkpoints();
  SaveTrainingCheckpoint(checkpoints.TemporaryPathOf(state.step), Parts(), state);
  metrics_->Sync();
  checkpoints.Publish(state.step);
  checkpoints.Prune(run_.train.keep_checkpoints);
  saved_step_ = state.step;
}

OrderedJson Training::Result(const TrainState& state) const {
  OrderedJson result;
  result["run"] = dir_->path();
  result["kv_sharing"] = model_->config().sharing().ToString();
  result["parameters"] = model_->NumParameters();
  result["steps"] = state.step;
  result["tokens"] = state.tokens;
  result["seconds"] = state.seconds;
  result["tokens_per_second"] = static_cast<double>(state.tokens) / std::max(state.seconds, 1e-9);
  result["skipped_steps"] = state.skipped_steps;
  result["loss"] = last_loss_;
  if (validation_.has_value()) {
    result["valid_loss"] = validation_->loss;
    result["valid_perplexity"] = validation_->perplexity();
    result["valid_accuracy"] = validation_->accuracy;
  }
  if (state.best_valid_loss.has_value()) result["best_valid_loss"] = *state.best_valid_loss;
  return result;
}

OrderedJson Training::Run(const std::vector<std::string>& arguments) {
  dir_.emplace(run_.Dir());
  // Another process may have begun or ended the run since we looked.
  const std::string config_path = dir_->File("config.yaml");
  if (FileExists(config_path)) {
    CheckSameRun(run_, config_path);
  } else {
    dir_->WriteConfig(DumpYaml(run_));
  }
  CheckpointDir checkpoints = dir_->checkpoints();
  checkpoints.RemoveLeftovers();
  SetLogFile(dir_->File("log.txt"));

  TrainState state;
  torch::manual_seed(static_cast<uint64_t>(run_.run.seed));
  if (const std::optional<int64_t> step = checkpoints.Latest()) {
    state = LoadTrainingCheckpoint(checkpoints.PathOf(*step), Parts());
    LogInfo(kTag, Str("going on from step ", *step, " of ", run_.train.steps));
    saved_step_ = *step;
  }
  dir_->RecordSession(Session(arguments, state.step));
  MetricSinkOptions options;
  options.csv = run_.train.csv;
  options.tensorboard = run_.train.tensorboard;
  metrics_.emplace(dir_->path(), state.step, options);

  const IterationPlan plan(model_->config().sharing(), model_->config().forward_passes,
                           model_->config().backward_passes);
  LogInfo(kTag,
          Str(HumanCount(static_cast<double>(model_->NumParameters())), " parameters, kv_sharing ",
              model_->config().sharing().ToString(), ", ", plan.num_steps(), " group passes, on ",
              DeviceName(device_), ", run ", dir_->path()));
  WatchSignals();

  TrainHooks hooks;
  hooks.log = [this](const TrainState& now, const TrainProgress& progress) {
    WriteMetrics(now, progress);
  };
  hooks.validate = [this](TrainState& now) { ValidateNow(now); };
  hooks.save = [this](const TrainState& now) { SaveNow(now); };
  Trainer trainer(run_.train, objective_, *data_, *optimizer_, ema_.get(), device_);
  trainer.Run(state, hooks);
  if (!validation_.has_value() && validates_) ValidateNow(state);  // the last session ended here

  ShowLiveLine("");
  metrics_->Sync();
  const OrderedJson result = Result(state);
  dir_->WriteResult(result);
  SetLogFile("");
  return result;
}

}  // namespace

OrderedJson RunTraining(TrainRun run, const std::vector<std::string>& arguments) {
  if (run.run.threads > 0) at::set_num_threads(static_cast<int>(run.run.threads));
  AllowTf32(run.train.precision == "tf32");
  std::unique_ptr<Tokenizer> tokenizer = ResolveTokenizer(run);
  const std::string config_path = JoinPath(run.Dir(), "config.yaml");
  if (FileExists(config_path)) CheckSameRun(run, config_path);
  const std::string result_path = JoinPath(run.Dir(), "result.json");
  if (FileExists(result_path)) {
    LogInfo(kTag, Str("the run ", run.Dir(), " is complete"));
    const std::string text = ReadFile(result_path);
    ParseJson(text, result_path);  // for its messages; only OrderedJson keeps the keys' order
    return OrderedJson::parse(text);
  }
  Training training(std::move(run), std::move(tokenizer));
  return training.Run(arguments);
}

std::string DescribeTraining(const OrderedJson& result) {
  std::string text;
  for (const auto& [key, value] : result.items()) {
    text += Str(key, std::string(key.size() < 20 ? 20 - key.size() : 1, ' '),
                value.is_string() ? value.get<std::string>() : value.dump(), "\n");
  }
  return text;
}

}  // namespace ckv
