#include "app/training.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <utility>

#include <nlohmann/json.hpp>
#include <torch/torch.h>

#include "app/init_from.h"
#include "app/load_model.h"
#include "app/share_model.h"
#include "app/task_hook.h"
#include "app/train_ranks.h"
#include "base/error.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/progress.h"
#include "base/random.h"
#include "base/signals.h"
#include "ckpt/adapter.h"
#include "ckpt/weights.h"
#include "ckv_version.h"
#include "config/config.h"
#include "data/source.h"
#include "model/decoder.h"
#include "model/objective.h"
#include "nn/device.h"
#include "record/host.h"
#include "record/metrics.h"
#include "record/names.h"
#include "record/run_dir.h"
#include "record/status_line.h"
#include "text/chat_template.h"
#include "train/checkpoint_saver.h"
#include "train/training_checkpoint.h"
#include "train/validation.h"

namespace ckv {
namespace {

constexpr char kTag[] = "train";
constexpr double kSecondsBetweenLogLines = 10.0;

class Training {
 public:
  // `group`: nullptr = this process is alone.
  Training(TrainRun run, std::unique_ptr<Tokenizer> tokenizer, CommGroup* group,
           const at::Device& device);

  OrderedJson Run(const std::vector<std::string>& arguments);

 private:
  Decoder BuildModel();
  void MakeOptimizer(at::ScalarType type);
  TrainingParts Parts();
  CausalLmOptions ObjectiveOptions() const;
  RunSession Session(const std::vector<std::string>& arguments, int64_t start_step) const;

  void WriteMetrics(const TrainState& state, const TrainProgress& progress);
  void WriteRow(const TrainState& state, const TrainProgress& progress,
                const std::vector<RankFigures>& figures);
  void ValidateNow(TrainState& state);
  void EvaluateTasks(const TrainState& state);
  void SaveNow(const TrainState& state, bool best);
  BatchLayout TrainLayout() const;
  BatchLayout EvalLayout() const;
  void OpenRunDir();
  TrainState Resume();
  void WithMeanWeights(const std::function<void()>& work);
  bool root() const { return group_ == nullptr || group_->root(); }
  int64_t NumTrained() const;
  OrderedJson Result(const TrainState& state) const;

  TrainRun run_;
  std::unique_ptr<Tokenizer> tokenizer_;
  AdapterInfo adapter_;        // of train.lora
  std::string base_hash_;      // as TrainingParts::base_hash
  std::string chat_template_;  // YAML; "" = none
  CommGroup* group_;
  at::Device device_;
  VocabularyInfo vocabulary_;
  std::unique_ptr<DataSource> data_;
  bool validates_ = false;
  TaskHook tasks_;
  FillParameter fill_;  // gives the model's parameters their first values, in order; for BuildModel
  Decoder model_;
  CausalLmObjective objective_;
  std::unique_ptr<DataParallel> parallel_;
  std::unique_ptr<AdamW> optimizer_;
  std::unique_ptr<Ema> ema_;

  std::optional<RunDir> dir_;
  std::optional<MetricSink> metrics_;
  std::optional<ValidationResult> validation_;
  std::vector<std::pair<std::string, double>> task_values_;
  std::optional<double> last_loss_;  // of the last row
  int64_t last_row_step_ = 0;
  double last_log_ = 0.0;
  std::optional<CheckpointSaver> saver_;  // last: it writes while it lives
};

// The base that adapters of the run are trained on. What `init_from` means may have changed since
// the first checkpoint, for a run has another best one.
std::string BaseModelFolder(const TrainRun& run) {
  const CheckpointDir checkpoints(run.Dir());
  const std::optional<int64_t> latest = checkpoints.Latest();
  if (latest.has_value() && IsAdapterFolder(checkpoints.PathOf(*latest))) {
    return ReadAdapterInfo(checkpoints.PathOf(*latest)).base;
  }
  return std::filesystem::absolute(FindModelFolder(run.init_from)).lexically_normal().string();
}

Decoder Training::BuildModel() {
  const auto seed = static_cast<uint64_t>(run_.run.seed);
  const LoraConfig& lora = run_.train.lora;
  Decoder model(run_.model);
  const auto initializer = std::make_shared<DecoderInitializer>(run_.model, seed);
  fill_ = [initializer](const std::string& name, const Tensor& parameter) {
    initializer->Fill(name, parameter);
  };
  std::string folder;
  if (!run_.init_from.empty()) {
    folder = lora.enabled() ? BaseModelFolder(run_) : FindModelFolder(run_.init_from);
    CheckInitFrom(folder, run_.model, tokenizer_.get());
    const auto loader = std::make_shared<WeightLoader>(
        ModelWeightLoader(folder, "model", *model, /*may_grow_rows=*/!lora.enabled()));
    // Drawn first: rows that the files lack stay so. A base of adapters lacks none.
    const FillParameter draw = lora.enabled() ? FillParameter() : fill_;
    fill_ = [draw, loader](const std::string& name, const Tensor& parameter) {
      if (draw) draw(name, parameter);
      loader->Fill(name, parameter);
    };
  }
  // Ranks fill parameters while they share them out.
  if (group_ == nullptr) {
    for (const auto& [name, parameter] : NamedParameters(*model)) fill_(name, parameter);
  }
  if (!lora.enabled()) return model;
  model->AddLora(lora, MixBits(seed));
  adapter_ = {folder, lora.rank, lora.alpha, lora.dropout, lora.targets};
  base_hash_ = HashHex(OpenModelWeights(folder).Hash());
  return model;
}

CausalLmOptions Training::ObjectiveOptions() const {
  CausalLmOptions options;
  options.loss.label_smoothing = run_.train.label_smoothing;
  options.loss.z_loss = run_.train.z_loss;
  options.passes = run_.train.passes;
  options.checkpoint_layers = run_.train.checkpoint_layers;
  if (!run_.train.fused) options.fusing = DecoderRun::Fusing::kNever;
  return options;
}

// Ranks share a step's samples; alone a process takes one micro-batch at a time.
BatchLayout Training::TrainLayout() const {
  if (group_ == nullptr) return {run_.train.MicroRows()};
  return {1, group_->rank(), group_->world(), run_.train.batch_size};
}

BatchLayout Training::EvalLayout() const {
  if (group_ == nullptr) return {run_.train.MicroRows()};
  const int64_t share = (run_.train.batch_size + group_->world() - 1) / group_->world();
  const int64_t rows = run_.train.micro_batch_size;
  return {rows > 0 ? std::min(rows, share) : share, group_->rank(), group_->world()};
}

Training::Training(TrainRun run, std::unique_ptr<Tokenizer> tokenizer, CommGroup* group,
                   const at::Device& device)
    : run_(std::move(run)),
      tokenizer_(std::move(tokenizer)),
      group_(group),
      device_(device),
      vocabulary_{tokenizer_->Fingerprint(), tokenizer_->vocab_size()},
      data_(MakeTrainSource(run_.data, vocabulary_, TrainLayout(), tokenizer_.get())),
      validates_(MakeEvalSource(run_.data, vocabulary_, EvalLayout(), tokenizer_.get()) != nullptr),
      tasks_(run_.tasks),
      model_(BuildModel()),
      objective_(model_, ObjectiveOptions()) {
  if (!run_.data.chat_template.empty()) {
    ChatTemplate chat_template = LoadChatTemplate(run_.data.chat_template);
    chat_template_ = DumpYaml(chat_template);
  }
  const at::ScalarType type = WorkingType(run_.train.precision);
  if (group_ != nullptr) {
    ShareOptions options;
    options.dist = run_.dist;
    options.optim = run_.train.optim;
    options.type = type;
    options.fused = run_.train.fused;
    // Adapters have their values.
    options.fill = [this](const std::string& name, const Tensor& parameter) {
      if (!model_->has_lora() || !parameter.requires_grad()) fill_(name, parameter);
    };
    SharedModel shared = ShareModel(model_, *group_, options);
    parallel_ = std::move(shared.parallel);
    optimizer_ = std::move(shared.optimizer);
  } else {
    MakeOptimizer(type);
  }
  fill_ = nullptr;  // it holds the files of init_from
  if (run_.train.ema_decay > 0.0) {
    ema_ = std::make_unique<Ema>(optimizer_->Weights(), run_.train.ema_decay);
  }
}

// Of a process that is alone.
void Training::MakeOptimizer(at::ScalarType type) {
  // Masters start from the weights as they were before rounding.
  NamedTensors exact;
  if (type == at::kBFloat16) {
    for (const auto& [name, weight] : model_->TrainedParameters()) {
      exact.emplace_back(name, weight.detach());
    }
  }
  model_->to(device_, type);
  if (run_.train.fused && type == at::kBFloat16) model_->PackProjections();
  optimizer_ = std::make_unique<AdamW>(model_->TrainedParameters(), run_.train.optim,
                                       std::vector<bool>{}, run_.train.fused);
  at::NoGradGuard no_grad;
  const AdamW::Named masters = optimizer_->Weights();
  for (size_t i = 0; i < exact.size(); ++i) {
    Tensor master = masters[i].second;
    master.copy_(exact[i].second);
  }
}

TrainingParts Training::Parts() {
  TrainingParts parts;
  parts.parallel = parallel_.get();
  parts.optimizer = optimizer_.get();
  parts.ema = ema_.get();
  parts.data = data_.get();
  parts.model = &run_.model;
  parts.tokenizer = tokenizer_.get();
  parts.config_yaml = DumpYaml(run_);
  if (!chat_template_.empty()) parts.files.emplace_back(kChatTemplateFile, chat_template_);
  if (model_->has_lora()) {
    parts.weights_stem = kAdapterStem;
    parts.base_hash = base_hash_;
    parts.files.emplace_back(kAdapterConfigFile, AdapterConfigText(adapter_));
  }
  parts.device = device_;
  return parts;
}

RunSession Training::Session(const std::vector<std::string>& arguments, int64_t start_step) const {
  RunSession session;
  session.command = arguments;
  session.device = DescribeDevices(device_, group_);
  session.versions = {{"ckv", CKV_VERSION}, {"libtorch", TORCH_VERSION}};
  session.seed = static_cast<uint64_t>(run_.run.seed);
  session.start_step = start_step;
  return session;
}

void Training::WriteMetrics(const TrainState& state, const TrainProgress& progress) {
  last_loss_ = progress.loss;
  std::vector<RankFigures> figures;
  if (group_ != nullptr) {
    const auto steps = static_cast<double>(std::max<int64_t>(state.step - last_row_step_, 1));
    RankFigures mine;
    mine.work_seconds = progress.step_seconds - group_->TakeWaitSeconds() / steps;
    mine.memory_bytes = static_cast<double>(PeakMemoryBytes(device_));
    figures = GatherFigures(*group_, mine);
  }
  last_row_step_ = state.step;
  DoTogether(group_, [&] {
    if (root()) WriteRow(state, progress, figures);
  });
}

void Training::WriteRow(const TrainState& state, const TrainProgress& progress,
                        const std::vector<RankFigures>& figures) {
  const int64_t seq_len = run_.data.seq_len;
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
  // Frozen weights have no gradients, which the count of FLOPs has.
  const std::optional<double> peak =
      model_->has_lora() ? std::nullopt : PeakFlops(device_, run_.train.precision);
  if (peak.has_value()) {
    const double ranks = group_ == nullptr ? 1.0 : group_->world();
    status.mfu =
        progress.tokens_per_second * objective_.ModelFlopsPerToken(seq_len) / (*peak * ranks);
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
  if (!figures.empty()) SetRankMetrics(figures, &row);
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
  const auto source = MakeEvalSource(run_.data, vocabulary_, EvalLayout(), tokenizer_.get());
  WithMeanWeights([&] { validation_ = Validate(model_, {}, *source, device_, group_); });
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
  DoTogether(group_, [&] {
    if (root()) metrics_->Write(row);
  });
  LogInfo(kTag, Str("step ", state.step, " validation loss ", Fixed(validation_->loss, 4),
                    " perplexity ", Fixed(validation_->perplexity(), 2), " accuracy ",
                    Fixed(100.0 * validation_->accuracy, 2), "%", best ? " (best)" : ""));
  if (best) SaveNow(state, /*best=*/true);
}

// The ranks share the documents, unless a sharded model needs all of them for each; rank 0 writes.
void Training::EvaluateTasks(const TrainState& state) {
  if (!tasks_.DueAt(state.step, state.step == run_.train.steps)) return;
  CommGroup* const sharing = run_.dist.zero == 3 ? nullptr : group_;
  WithMeanWeights([&] { task_values_ = tasks_.Evaluate(model_, *tokenizer_, sharing); });
  MetricRow row(state.step);
  row.Set(kMetricTokens, static_cast<double>(state.tokens));
  row.Set(kMetricSeconds, state.seconds);
  for (const auto& [name, value] : task_values_) row.Set(name, value);
  DoTogether(group_, [&] {
    if (root()) metrics_->Write(row);
  });
}

// Runs `work` while the weights are those of the running mean, if there is one.
void Training::WithMeanWeights(const std::function<void()>& work) {
  at::NoGradGuard no_grad;
  std::vector<std::pair<Tensor, Tensor>> saved;
  if (ema_ != nullptr) {
    const AdamW::Named weights = parallel_ ? parallel_->owned() : model_->TrainedParameters();
    for (size_t i = 0; i < weights.size(); ++i) {
      Tensor weight = weights[i].second;
      saved.emplace_back(weight, weight.clone());
      weight.copy_(ema_->weights()[i].second);
    }
    if (parallel_) parallel_->SpreadWeights();
  }
  work();
  if (parallel_) parallel_->ReleaseAll();  // also what is still on its way
  for (auto& [weight, value] : saved) weight.copy_(value);
  if (parallel_ && !saved.empty()) parallel_->SpreadWeights();
}

void Training::SaveNow(const TrainState& state, bool best) { saver_->Start(Parts(), state, best); }

int64_t Training::NumTrained() const {
  int64_t trained = 0;
  for (const auto& item : model_->TrainedParameters()) trained += item.second.numel();
  return trained;
}

OrderedJson Training::Result(const TrainState& state) const {
  OrderedJson result;
  result["run"] = dir_->path();
  result["kv_sharing"] = model_->config().sharing().ToString();
  result["parameters"] = model_->NumParameters();
  if (model_->has_lora()) result["trained_parameters"] = NumTrained();
  result["steps"] = state.step;
  result["tokens"] = state.tokens;
  result["seconds"] = state.seconds;
  result["tokens_per_second"] = static_cast<double>(state.tokens) / std::max(state.seconds, 1e-9);
  result["skipped_steps"] = state.skipped_steps;
  if (last_loss_.has_value()) result["loss"] = *last_loss_;
  if (validation_.has_value()) {
    result["valid_loss"] = validation_->loss;
    result["valid_perplexity"] = validation_->perplexity();
    result["valid_accuracy"] = validation_->accuracy;
  }
  if (state.best_valid_loss.has_value()) result["best_valid_loss"] = *state.best_valid_loss;
  for (const auto& [name, value] : task_values_) result[name] = value;
  return result;
}

// Rank 0 alone holds the run's folder.
void Training::OpenRunDir() {
  DoTogether(group_, [this] {
    if (!root()) return;
    dir_.emplace(run_.Dir());
    // Another process may have begun or ended the run since we looked.
    const std::string config_path = dir_->File("config.yaml");
    if (FileExists(config_path)) {
      CheckSameRun(run_, config_path);
    } else {
      dir_->WriteConfig(DumpYaml(run_));
    }
    dir_->checkpoints().RemoveLeftovers();
    SetLogFile(dir_->File("log.txt"));
  });
}

TrainState Training::Resume() {
  const CheckpointDir checkpoints(run_.Dir());
  TrainState state;
  const auto seed = static_cast<uint64_t>(run_.run.seed);
  const auto rank = static_cast<uint64_t>(group_ == nullptr ? 0 : group_->rank());
  torch::manual_seed(rank == 0 ? seed : MixBits(MixBits(seed) ^ rank));
  const std::optional<int64_t> step = FindWholeCheckpoint(checkpoints, group_);
  if (!step.has_value()) return state;
  // Its collectives come last, when no rank can fail any more.
  state = LoadTrainingCheckpoint(checkpoints.PathOf(*step), Parts());
  LogInfo(kTag, Str("going on from step ", *step, " of ", run_.train.steps));
  saver_->SetSaved(*step);
  last_row_step_ = *step;
  return state;
}

OrderedJson Training::Run(const std::vector<std::string>& arguments) {
  OpenRunDir();
  CheckpointSaverOptions saving;
  saving.keep = run_.train.keep_checkpoints;
  saving.asynchronous = run_.train.async_checkpoints;
  saving.before_publishing = [this] { metrics_->Sync(); };
  saver_.emplace(CheckpointDir(run_.Dir()), group_, std::move(saving));
  TrainState state = Resume();
  DoTogether(group_, [&] {
    if (!root()) return;
    dir_->RecordSession(Session(arguments, state.step));
    MetricSinkOptions options;
    options.csv = run_.train.csv;
    options.tensorboard = run_.train.tensorboard;
    metrics_.emplace(dir_->path(), state.step, options);
  });

  const IterationPlan plan(model_->config().sharing(), model_->config().forward_passes,
                           model_->config().backward_passes);
  LogInfo(kTag, Str(HumanCount(static_cast<double>(model_->NumParameters())), " parameters, ",
                    model_->has_lora()
                        ? HumanCount(static_cast<double>(NumTrained())) + " of them trained, "
                        : "",
                    "kv_sharing ", model_->config().sharing().ToString(), ", ", plan.num_steps(),
                    " group passes, on ", Session({}, 0).device, ", run ", run_.Dir()));
  WatchSignals();

  TrainHooks hooks;
  hooks.log = [this](const TrainState& now, const TrainProgress& progress) {
    WriteMetrics(now, progress);
  };
  hooks.validate = [this](TrainState& now) {
    ValidateNow(now);
    EvaluateTasks(now);
  };
  hooks.save = [this](const TrainState& now) { SaveNow(now, /*best=*/false); };
  hooks.after_step = [this](DataParallel::Report* report) {
    saver_->Poll(report, parallel_ ? &parallel_->agreed() : nullptr);
  };
  hooks.finish = [this] { saver_->Finish(); };
  Trainer trainer(run_.train, objective_, *data_, *optimizer_, ema_.get(), device_,
                  parallel_.get());
  if (group_ != nullptr) group_->TakeWaitSeconds();  // of getting ready
  try {
    trainer.Run(state, hooks);
  } catch (const DivergedError&) {
    saver_->Finish();
    throw;
  }
  // The last session ended here, before it could say so.
  if (!validation_.has_value() && validates_) ValidateNow(state);
  if (!last_loss_.has_value() && root()) {
    for (const MetricRow& row : ReadMetrics(dir_->File("metrics.jsonl"))) {
      const std::optional<double> loss = row.Find(kMetricLoss);
      if (loss.has_value()) last_loss_ = loss;
    }
  }
  if (task_values_.empty()) EvaluateTasks(state);
  saver_->Finish();

  OrderedJson result;
  DoTogether(group_, [&] {
    if (!root()) return;
    ShowLiveLine("");
    metrics_->Sync();
    result = Result(state);
    dir_->WriteResult(result);
    SetLogFile("");
  });
  return result;
}

// The result of a run that is complete; null if it is not.
OrderedJson CompleteResult(const TrainRun& run) {
  const std::string config_path = JoinPath(run.Dir(), "config.yaml");
  if (FileExists(config_path)) CheckSameRun(run, config_path);
  return ResultOfCompleteRun(run.Dir());
}

}  // namespace

OrderedJson RunTraining(TrainRun run, const std::vector<std::string>& arguments) {
  std::string device_name = run.run.device;
  const std::unique_ptr<CommGroup> group =
      JoinRanks(run.dist, run.run.threads, "run.device", &device_name);
  const at::Device device = ChooseDevice(device_name, "run.device");
  AllowTf32(run.train.precision == "tf32");
  ChooseSdpa(run.train.sdpa);
  std::unique_ptr<Tokenizer> tokenizer;
  OrderedJson complete;
  DoTogether(group.get(), [&] {
    tokenizer = ResolveTokenizer(run);
    if (group == nullptr || group->root()) complete = CompleteResult(run);
  });
  if (group != nullptr) {
    CheckSameOnAllRanks(*group, run);
    if (group->Gather(complete.is_null() ? "" : "complete")[0] == "complete") return complete;
  } else if (!complete.is_null()) {
    return complete;
  }
  std::optional<Training> training;
  DoTogether(group.get(),
             [&] { training.emplace(std::move(run), std::move(tokenizer), group.get(), device); });
  return training->Run(arguments);
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
