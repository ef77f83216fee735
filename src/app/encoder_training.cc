#include "app/encoder_training.h"

#include <algorithm>
#include <cmath>
#include <optional>

#include <nlohmann/json.hpp>
#include <torch/torch.h>

#include "app/encoder_files.h"
#include "base/error.h"
#include "base/file.h"
#include "base/log.h"
#include "base/progress.h"
#include "base/signals.h"
#include "ckpt/weights.h"
#include "ckv_version.h"
#include "dist/launch.h"
#include "model/probtrans_pairs.h"
#include "nn/device.h"
#include "record/host.h"
#include "record/metrics.h"
#include "record/names.h"
#include "record/run_dir.h"
#include "record/status_line.h"
#include "train/training_checkpoint.h"

namespace ckv {
namespace {

constexpr char kEncoderTag[] = "train";
constexpr double kSecondsBetweenLines = 10.0;

// A file's sentences, as they are and in numbers.
struct Corpus {
  std::vector<Sentence> sentences;
  std::vector<EncodedSentence> encoded;
};

at::Device TrainingDevice(const EncoderRun& run) {
  const at::Device device = ChooseDevice(run.run.device, "run.device");
  if (run.train.recorded && !device.is_cuda()) {
    throw ConfigError("", Str("'train.recorded' needs a GPU, but the run is on ", device.str()));
  }
  return device;
}

void CheckAlone() {
  const std::optional<Launch> launch = FindLaunch();
  if (launch.has_value() && launch->world > 1) {
    throw ConfigError("model.family", Str("encoders train in one process, but ", launch->launcher,
                                          " has started ", launch->world, "; start ckv by itself"));
  }
}

class EncoderTraining {
 public:
  explicit EncoderTraining(EncoderRun run);

  OrderedJson Run(const std::vector<std::string>& arguments);

 private:
  WordVocabulary MakeVocabulary() const;
  std::vector<LabelSet> MakeLabels() const;
  Corpus Encode(std::vector<Sentence> sentences) const;
  std::shared_ptr<SentenceModel> MakeModel() const;
  TrainConfig LoopConfig() const;
  TrainingParts Parts();
  RunSession Session(const std::vector<std::string>& arguments, int64_t start_step) const;
  SentenceFigures Evaluate(const Corpus& corpus);

  void WriteMetrics(const TrainState& state, const TrainProgress& progress);
  void Validate(TrainState& state);
  void Save(const TrainState& state);
  OrderedJson Result(const TrainState& state);

  EncoderRun run_;
  at::Device device_;
  std::vector<Sentence> train_sentences_;
  WordVocabulary words_;
  std::vector<LabelSet> labels_;
  Corpus train_;
  Corpus valid_;
  SentenceTaskOptions options_;
  std::shared_ptr<SentenceModel> model_;
  SentenceStepTask task_;
  AdamW optimizer_;
  TrainConfig loop_;

  std::optional<RunDir> dir_;
  std::optional<MetricSink> metrics_;
  double last_loss_ = 0.0;
  int64_t saved_step_ = -1;
  double last_line_ = 0.0;
};

WordVocabulary EncoderTraining::MakeVocabulary() const {
  if (!run_.data.vocabulary.empty()) return WordVocabulary::Load(run_.data.vocabulary);
  return WordVocabulary::Build(train_sentences_, run_.data.min_count, run_.data.max_vocabulary);
}

// Of the training files alone: a label that only others have cannot be learnt.
std::vector<LabelSet> EncoderTraining::MakeLabels() const {
  std::vector<LabelSet> labels;
  if (run_.Kind() == SentenceTask::kMasked) return labels;
  const std::vector<std::string> heads = run_.Heads();
  for (size_t head = 0; head < heads.size(); ++head) {
    labels.push_back(LabelSet::Collect(heads[head], train_sentences_, head));
  }
  if (labels.size() == 1 && labels[0].size() == 1) {
    throw FormatError(run_.data.train.front(), "",
                      Str("has the ", heads[0], " '", labels[0].label(0),
                          "' everywhere: there is nothing to learn",
                          run_.data.format.format == "conllu" ? " (another data.column?)" : ""));
  }
  return labels;
}

Corpus EncoderTraining::Encode(std::vector<Sentence> sentences) const {
  std::vector<EncodedSentence> encoded = EncodeAll(sentences, words_, labels_);
  return {std::move(sentences), std::move(encoded)};
}

std::shared_ptr<SentenceModel> EncoderTraining::MakeModel() const {
  auto model = MakeSentenceModel(run_, words_, labels_);
  model->InitializeWeights(static_cast<uint64_t>(run_.run.seed));
  // bf16 is for products only; the weights stay in fp32.
  const bool bf16 = run_.train.precision == "bf16";
  model->to(device_, bf16 ? at::kFloat : WorkingType(run_.train.precision));
  model->encoder().UseBf16Products(bf16);
  if (run_.model.family == "probtrans") {  // refuses what the device cannot do before a run begins
    ChoosePairForm(run_.model.probtrans.pairs, 1, model->parameters().front());
  }
  return model;
}

EncoderTraining::EncoderTraining(EncoderRun run)
    : run_(std::move(run)),
      device_(TrainingDevice(run_)),
      train_sentences_(ReadAllSentences(run_.data.train, run_.data.format)),
      words_(MakeVocabulary()),
      labels_(MakeLabels()),
      train_(Encode(std::move(train_sentences_))),
      valid_(Encode(ReadAllSentences(run_.data.valid, run_.data.format))),
      options_(run_.TaskOptions(device_)),
      model_(MakeModel()),
      task_(model_, train_.encoded, options_, static_cast<uint64_t>(run_.run.seed),
            run_.data.shuffle, device_),
      optimizer_(NamedParameters(*model_), run_.train.optim),
      loop_(LoopConfig()) {}

// The loop's own config: steps instead of epochs, and a rate that only the plateau changes.
TrainConfig EncoderTraining::LoopConfig() const {
  const int64_t per_epoch =
      (static_cast<int64_t>(train_.encoded.size()) + run_.train.batch_size - 1) /
      run_.train.batch_size;
  TrainConfig loop;
  loop.steps = run_.train.epochs * per_epoch;
  loop.batch_size = run_.train.batch_size;
  loop.optim = run_.train.optim;
  loop.schedule.kind = "constant";
  loop.on_nonfinite = run_.train.on_nonfinite;
  loop.log_every = run_.train.log_every;
  loop.eval_every = per_epoch;
  loop.save_every = run_.train.save_every * per_epoch;
  loop.keep_checkpoints = run_.train.keep_checkpoints;
  return loop;
}

TrainingParts EncoderTraining::Parts() {
  TrainingParts parts;
  parts.optimizer = &optimizer_;
  parts.data = &task_.order();
  parts.files = EncoderFiles(run_, words_, labels_);
  parts.config_yaml = DumpYaml(run_);
  parts.device = device_;
  return parts;
}

RunSession EncoderTraining::Session(const std::vector<std::string>& arguments,
                                    int64_t start_step) const {
  RunSession session;
  session.command = arguments;
  session.device = DeviceName(device_);
  session.versions = {{"ckv", CKV_VERSION}, {"libtorch", TORCH_VERSION}};
  session.seed = static_cast<uint64_t>(run_.run.seed);
  session.start_step = start_step;
  return session;
}

SentenceFigures EncoderTraining::Evaluate(const Corpus& corpus) {
  const SentenceLosses losses = EvaluateModel(*model_, corpus.encoded, options_, device_);
  return ScorePredictions(corpus.sentences, labels_, losses, run_.Kind(),
                          run_.data.format.tags == "bioes");
}

void EncoderTraining::WriteMetrics(const TrainState& state, const TrainProgress& progress) {
  last_loss_ = progress.loss;
  MetricRow row(state.step);
  row.Set(kMetricTokens, static_cast<double>(state.tokens));
  row.Set(kMetricEpoch,
          static_cast<double>(state.step) / static_cast<double>(task_.order().BatchesPerEpoch()));
  row.Set(kMetricSeconds, state.seconds);
  row.Set(kMetricLoss, progress.loss);
  row.Set(kMetricLr, progress.lr);
  row.Set(kMetricGradNorm, progress.grad_norm);
  row.Set(kMetricTokensPerSecond, progress.tokens_per_second);
  row.Set(kMetricStepSeconds, progress.step_seconds);
  row.Set(kMetricDataSeconds, progress.data_seconds);
  row.Set(kMetricMemoryBytes, static_cast<double>(PeakMemoryBytes(device_)));
  metrics_->Write(row);

  TrainStatus status;
  status.step = state.step;
  status.num_steps = loop_.steps;
  status.loss = progress.loss;
  status.lr = progress.lr;
  status.tokens_per_second = progress.tokens_per_second;
  status.grad_norm = progress.grad_norm;
  status.seconds_left = static_cast<double>(loop_.steps - state.step) * progress.step_seconds;
  status.skipped_steps = state.skipped_steps;
  if (WallTime() - last_line_ >= kSecondsBetweenLines) {
    LogInfo(kEncoderTag, TrainLogLine(status));
    last_line_ = WallTime();
  }
  ShowLiveLine(TrainLiveLine(status));
}

void EncoderTraining::Validate(TrainState& state) {
  const SentenceFigures figures = Evaluate(valid_);
  const double loss = figures.values[0].second;
  const double rate = run_.train.optim.lr * state.plateau.lr_scale;
  const bool best =
      UpdatePlateau(run_.train.plateau, run_.train.optim.lr, figures.score, loss, &state.plateau);
  if (best) state.best_valid_loss = loss;
  MetricRow row(state.step);
  row.Set(kMetricTokens, static_cast<double>(state.tokens));
  row.Set(kMetricSeconds, state.seconds);
  std::string text;
  for (const auto& [name, value] : figures.values) {
    row.Set("valid_" + name, value);
    text += Str(text.empty() ? "" : " ", name, " ", Fixed(value, 4));
  }
  metrics_->Write(row);
  LogInfo(kEncoderTag, Str("epoch ", task_.order().epoch() + 1, ": validation ", text, ", lr ",
                           ShortExponent(rate), best ? " (best)" : ""));
  if (best) {
    Save(state);
    dir_->checkpoints().SetBest(state.step);
  }
}

void EncoderTraining::Save(const TrainState& state) {
  if (saved_step_ == state.step) return;
  CheckpointDir checkpoints = dir_->checkpoints();
  SaveTrainingCheckpoint(checkpoints.TemporaryPathOf(state.step), Parts(), state);
  metrics_->Sync();
  checkpoints.Publish(state.step);
  checkpoints.Prune(run_.train.keep_checkpoints);
  saved_step_ = state.step;
}

// Figures of the chosen weights, which are put into the model.
OrderedJson EncoderTraining::Result(const TrainState& state) {
  OrderedJson result;
  result["run"] = dir_->path();
  result["task"] = run_.task;
  result["family"] = run_.model.family;
  result["encoder_parameters"] = run_.model.NumEncoderParameters();
  result["parameters"] = model_->NumParameters();
  result["vocabulary"] = words_.size();
  result["steps"] = state.step;
  result["epochs"] = task_.order().epoch() + 1;
  result["words"] = state.tokens;
  result["seconds"] = state.seconds;
  const auto sentences = static_cast<double>(train_.encoded.size()) *
                         static_cast<double>(state.step) /
                         static_cast<double>(task_.order().BatchesPerEpoch());
  result["sentences_per_second"] = sentences / std::max(state.seconds, 1e-9);
  result["skipped_steps"] = state.skipped_steps;
  result["loss"] = last_loss_;
  const CheckpointDir checkpoints = dir_->checkpoints();
  if (const std::optional<int64_t> step = checkpoints.Best()) {
    result["best_step"] = *step;
    at::NoGradGuard no_grad;
    LoadEncoderWeights(checkpoints.PathOf(*step), *model_);
  }
  result["valid"] = FiguresJson(Evaluate(valid_));
  OrderedJson tests = OrderedJson::object();
  for (const std::string& path : run_.data.test) {
    tests[path] = FiguresJson(Evaluate(Encode(ReadSentences(path, run_.TestFormat()))));
  }
  if (!tests.empty()) result["test"] = tests;
  return result;
}

OrderedJson EncoderTraining::Run(const std::vector<std::string>& arguments) {
  dir_.emplace(run_.Dir());
  const std::string config_path = dir_->File("config.yaml");
  if (!FileExists(config_path)) dir_->WriteConfig(DumpYaml(run_));
  CheckpointDir checkpoints = dir_->checkpoints();
  checkpoints.RemoveLeftovers();
  SetLogFile(dir_->File("log.txt"));

  TrainState state;
  torch::manual_seed(static_cast<uint64_t>(run_.run.seed));
  if (const std::optional<int64_t> step = checkpoints.Latest()) {
    state = LoadTrainingCheckpoint(checkpoints.PathOf(*step), Parts());
    LogInfo(kEncoderTag, Str("going on from step ", *step, " of at most ", loop_.steps));
    saved_step_ = *step;
  }
  dir_->RecordSession(Session(arguments, state.step));
  MetricSinkOptions sinks;
  sinks.csv = run_.train.csv;
  sinks.tensorboard = run_.train.tensorboard;
  metrics_.emplace(dir_->path(), state.step, sinks);
  LogInfo(kEncoderTag,
          Str(HumanCount(static_cast<double>(run_.model.NumEncoderParameters())),
              " encoder parameters, ", HumanCount(static_cast<double>(model_->NumParameters())),
              " in all, ", words_.size(), " words, ", train_.encoded.size(),
              " sentences to train on and ", valid_.encoded.size(), " to validate, on ",
              DeviceName(device_), ", run ", dir_->path()));
  WatchSignals();

  TrainHooks hooks;
  hooks.log = [this](const TrainState& now, const TrainProgress& progress) {
    WriteMetrics(now, progress);
  };
  hooks.validate = [this](TrainState& now) { Validate(now); };
  hooks.save = [this](const TrainState& now) { Save(now); };
  Trainer(loop_, task_, optimizer_, device_).Run(state, hooks);

  ShowLiveLine("");
  metrics_->Sync();
  const OrderedJson result = Result(state);
  dir_->WriteResult(result);
  SetLogFile("");
  return result;
}

}  // namespace

OrderedJson FiguresJson(const SentenceFigures& figures) {
  OrderedJson json = OrderedJson::object();
  for (const auto& [name, value] : figures.values) json[name] = value;
  for (const auto& [kind, share] : figures.by_kind) json["by_kind"][kind] = share;
  return json;
}

std::string DescribeFigures(const SentenceFigures& figures) {
  std::string text;
  const auto line = [&text](const std::string& name, double value) {
    text +=
        name + std::string(name.size() < 36 ? 36 - name.size() : 1, ' ') + Fixed(value, 4) + "\n";
  };
  for (const auto& [name, value] : figures.values) line(name, value);
  for (const auto& [kind, share] : figures.by_kind) line("  " + kind, share);
  return text;
}

OrderedJson RunEncoderTraining(EncoderRun run, const std::vector<std::string>& arguments) {
  CheckAlone();
  if (run.run.threads > 0) at::set_num_threads(static_cast<int>(run.run.threads));
  AllowTf32(run.train.precision == "tf32");
  const std::string config_path = JoinPath(run.Dir(), "config.yaml");
  if (FileExists(config_path)) {
    EncoderRun before;
    ReadConfig(LoadConfig(config_path), before);
    CheckSameKeys(FlattenConfig(before), FlattenConfig(run), config_path);
  }
  OrderedJson complete = ResultOfCompleteRun(run.Dir());
  if (!complete.is_null()) return complete;
  EncoderTraining training(std::move(run));
  return training.Run(arguments);
}

}  // namespace ckv
