#include "train/sentence_task.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstring>
#include <map>
#include <numeric>

#include <torch/torch.h>

#include "base/error.h"
#include "base/target.h"
#include "data/spans.h"

namespace ckv {
namespace {

constexpr uint64_t kFixedMaskSeed = 313;
// Of a training batch, by which it is cut into batches of few shapes.
constexpr int64_t kBatchUnits = 4;

std::vector<int64_t> AllMembers(const std::vector<EncodedSentence>& data) {
  std::vector<int64_t> members(data.size());
  std::iota(members.begin(), members.end(), int64_t{0});
  return members;
}

SentenceBatchOptions BatchOptions(const SentenceTaskOptions& options, const SentenceModel& model) {
  SentenceBatchOptions batch;
  batch.task = options.task;
  batch.micro_rows = options.micro_batch_size;
  batch.mask_rate = options.mask_rate;
  batch.mask_id = model.shape().vocabulary - 1;
  batch.max_cells = options.words_at_once;
  batch.by_length = options.by_length;
  if (options.recorded) batch.row_unit = (options.batch_size + kBatchUnits - 1) / kBatchUnits;
  return batch;
}

Tensor LossOf(const std::vector<Tensor>& logits, const SentenceTensors& batch) {
  Tensor loss;
  for (size_t head = 0; head < logits.size(); ++head) {
    const Tensor one = WeightedCrossEntropy(logits[head], batch.targets[head], batch.weights);
    loss = loss.defined() ? loss + one : one;
  }
  return loss;
}

// Writes the classes of a batch to their sentences.
void Scatter(const SentenceBatch& batch, const std::vector<Tensor>& logits, bool whole,
             Predictions* predictions) {
  for (size_t head = 0; head < logits.size(); ++head) {
    const Tensor best = logits[head].argmax(-1).to(at::kCPU);
    const int64_t* classes = best.data_ptr<int64_t>();
    for (size_t at = 0; at < batch.positions.size(); ++at) {
      const int64_t position = batch.positions[at];
      const int64_t row = whole ? position : position / batch.cols;
      const auto sentence = static_cast<size_t>(batch.sentences[static_cast<size_t>(row)]);
      (*predictions)[sentence][head].push_back(classes[at]);  // positions are in order
    }
  }
}

Predictions EmptyPredictions(size_t sentences, size_t heads) {
  return Predictions(sentences, std::vector<std::vector<int64_t>>(heads));
}

// Tagging scores count to four decimals, so that chance in the last ones does not decide.
double Rounded(double share) { return std::round(share * 1e4) / 1e4; }

double ShareOf(int64_t part, int64_t whole) {
  return static_cast<double>(part) / static_cast<double>(std::max<int64_t>(whole, 1));
}

std::string PredictedLabel(const LabelSet& labels, int64_t id) { return labels.label(id); }

}  // namespace

SentenceShape::SentenceShape(const SentenceBatch& batch)
    : rows(batch.rows),
      cols(batch.cols),
      positions(static_cast<int64_t>(batch.positions.size())),
      heads(static_cast<int64_t>(batch.targets.size())) {}

int64_t SentenceShape::size() const { return rows * (cols + 1) + positions * (heads + 2); }

Tensor PackSentences(const SentenceBatch& batch, const at::Device& device) {
  const SentenceShape shape(batch);
  const Tensor packed = at::empty(
      {shape.size()}, at::TensorOptions().dtype(at::kLong).pinned_memory(device.is_cuda()));
  int64_t* next = packed.data_ptr<int64_t>();
  const auto add = [&next](const std::vector<int64_t>& numbers) {
    next = std::copy(numbers.begin(), numbers.end(), next);
  };
  add(batch.ids);
  add(batch.lengths);
  add(batch.positions);
  for (const std::vector<int64_t>& targets : batch.targets) add(targets);
  static_assert(sizeof(double) == sizeof(int64_t));
  std::memcpy(next, batch.weights.data(), batch.weights.size() * sizeof(double));
  return packed;
}

SentenceTensors UnpackSentences(const Tensor& packed, const SentenceShape& shape) {
  int64_t begin = 0;
  const auto take = [&](int64_t count) {
    begin += count;
    return packed.narrow(0, begin - count, count);
  };
  SentenceTensors tensors;
  tensors.ids = take(shape.rows * shape.cols).view({shape.rows, shape.cols});
  const Tensor lengths = take(shape.rows).view({shape.rows, 1});
  tensors.mask = at::arange(shape.cols, lengths.options()).lt(lengths);
  tensors.positions = take(shape.positions);
  for (int64_t head = 0; head < shape.heads; ++head) {
    tensors.targets.push_back(take(shape.positions));
  }
  tensors.weights = take(shape.positions).view(at::kDouble);
  return tensors;
}

SentenceTensors ToTensors(const SentenceBatch& batch, const at::Device& device) {
  return UnpackSentences(PackSentences(batch, device).to(device, /*non_blocking=*/true),
                         SentenceShape(batch));
}

Tensor EncodePositions(SentenceModel& model, const SentenceTensors& batch) {
  const Tensor features = model.Encode(batch.ids, batch.mask).flatten(0, 1);
  return features.index_select(0, batch.positions);
}

SentenceStepTask::SentenceStepTask(std::shared_ptr<SentenceModel> model,
                                   const std::vector<EncodedSentence>& data,
                                   const SentenceTaskOptions& options, uint64_t seed, bool shuffle,
                                   const at::Device& device)
    : model_(std::move(model)),
      data_(data),
      options_(options),
      order_(static_cast<int64_t>(data.size()), options.batch_size, seed, shuffle),
      device_(device) {
  if (options_.recorded) passes_.emplace(model_->parameters(), device_);
}

Tensor SentenceStepTask::Loss(const SentenceTensors& tensors, double scale) const {
  return LossOf(model_->Logits(EncodePositions(*model_, tensors)), tensors) * scale;
}

Tensor SentenceStepTask::Penalty(int64_t micro_batches, double scale) const {
  if (options_.score_norm == 0.0) return {};
  return model_->encoder().ScoreNorm() *
         (options_.score_norm * static_cast<double>(micro_batches) * scale);
}

Tensor SentenceStepTask::RunPasses(const std::vector<SentenceBatch>& batches, int64_t micro_batches,
                                   double scale, AdamW& optimizer) {
  Tensor penalty = Penalty(micro_batches, scale);
  Tensor sum;
  for (const SentenceBatch& batch : batches) {
    if (batch.positions.empty() && !penalty.defined()) continue;
    Tensor loss;
    if (!batch.positions.empty()) loss = Loss(ToTensors(batch, device_), scale);
    if (penalty.defined()) {
      loss = loss.defined() ? loss + penalty : penalty;
      penalty = Tensor();
    }
    loss.backward();
    optimizer.Accumulate();
    const Tensor one = loss.detach().to(at::kDouble);
    sum = sum.defined() ? sum + one : one;
  }
  if (!sum.defined()) {  // nothing was masked
    optimizer.Accumulate();
    sum = at::zeros({}, at::TensorOptions().dtype(at::kDouble).device(device_));
  }
  return sum;
}

Tensor SentenceStepTask::RunRecorded(const std::vector<SentenceBatch>& batches,
                                     int64_t micro_batches, double scale, AdamW& optimizer) {
  passes_->Begin();
  // Keys of one number are of penalties. A factor is part of a record, the weights of words are in
  // the batch.
  if (options_.score_norm > 0.0) {
    passes_->Run({micro_batches}, [&] { return Penalty(micro_batches, scale); });
  }
  for (const SentenceBatch& batch : batches) {
    const SentenceShape shape(batch);
    const std::vector<int64_t> key = {shape.rows, shape.cols, shape.positions,
                                      options_.sum_micro_batches ? 0 : micro_batches};
    const Tensor host = PackSentences(batch, device_);
    Tensor& packed = packed_[key];
    if (!packed.defined())
      packed = at::empty(host.sizes(), host.options().device(device_).pinned_memory(false));
    packed.copy_(host, /*non_blocking=*/true);
    passes_->Run(
        key, [&] { return Loss(UnpackSentences(packed, shape), scale); },
        batch.cols <= model_->encoder().LongestRecorded());
  }
  const Tensor sum = passes_->Finish();
  optimizer.Accumulate();
  return sum;
}

StepLoss SentenceStepTask::RunStep(int64_t /*step*/, AdamW& optimizer) {
  const auto start = std::chrono::steady_clock::now();
  const std::vector<int64_t> members = order_.Next();
  const std::vector<SentenceBatch> batches =
      MakeSentenceBatches(data_, members, BatchOptions(options_, *model_), order_.draw());
  StepLoss result;
  result.count = CountMicroBatches(static_cast<int64_t>(members.size()), options_.micro_batch_size);
  for (const int64_t member : members) {
    result.words += static_cast<int64_t>(data_[static_cast<size_t>(member)].ids.size());
  }
  result.data_seconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  // The mean over micro-batches has the share of each in its words' weights.
  const double scale = options_.sum_micro_batches ? 1.0 : 1.0 / static_cast<double>(result.count);
  result.sum = passes_.has_value() ? RunRecorded(batches, result.count, scale, optimizer)
                                   : RunPasses(batches, result.count, scale, optimizer);
  if (!options_.sum_micro_batches) result.sum = result.sum * static_cast<double>(result.count);
  return result;
}

SentenceLosses EvaluateModel(SentenceModel& model, const std::vector<EncodedSentence>& data,
                             const SentenceTaskOptions& options, const at::Device& device) {
  at::NoGradGuard no_grad;
  model.eval();
  SentenceBatchOptions batch_options = BatchOptions(options, model);
  batch_options.micro_rows = 0;
  batch_options.row_unit = 0;
  batch_options.by_length = true;
  const bool masked = options.task == SentenceTask::kMasked;
  SentenceLosses result;
  if (!masked) result.predictions = EmptyPredictions(data.size(), model.shape().classes.size());
  Tensor loss = at::zeros({}, at::TensorOptions().dtype(at::kDouble).device(device));
  Tensor right = at::zeros({}, at::TensorOptions().dtype(at::kLong).device(device));
  for (const SentenceBatch& batch :
       MakeSentenceBatches(data, AllMembers(data), batch_options, kFixedMaskSeed)) {
    if (batch.positions.empty()) continue;
    const SentenceTensors tensors = ToTensors(batch, device);
    const std::vector<Tensor> logits = model.Logits(EncodePositions(model, tensors));
    loss += LossOf(logits, tensors).to(at::kDouble);
    right += logits[0].argmax(-1).eq(tensors.targets[0]).sum();
    result.targets += static_cast<int64_t>(batch.positions.size());
    if (!masked) {
      Scatter(batch, logits, options.task == SentenceTask::kSentences, &result.predictions);
    }
  }
  result.loss = loss.item<double>();
  result.right = right.item<int64_t>();
  return result;
}

Predictions PredictClasses(SentenceModel& model, const std::vector<EncodedSentence>& data,
                           SentenceTask task, const at::Device& device) {
  std::vector<EncodedSentence> labelled = data;
  const size_t heads = model.shape().classes.size();
  for (EncodedSentence& sentence : labelled) {
    const size_t count = task == SentenceTask::kSentences ? 1 : sentence.ids.size();
    sentence.labels.assign(heads, std::vector<int64_t>(count, LabelSet::kUnknownClass));
  }
  SentenceTaskOptions options;
  options.task = task;
  return EvaluateModel(model, labelled, options, device).predictions;
}

namespace {

struct KindCount {
  int64_t right = 0;
  int64_t all = 0;
};

}  // namespace

SentenceFigures ScorePredictions(const std::vector<Sentence>& sentences,
                                 const std::vector<LabelSet>& labels, const SentenceLosses& losses,
                                 SentenceTask task, bool spans) {
  SentenceFigures figures;
  figures.values.emplace_back("loss", losses.loss);
  if (task == SentenceTask::kMasked) {
    figures.values.emplace_back("perplexity", std::exp(losses.loss));
    figures.values.emplace_back("accuracy", ShareOf(losses.right, losses.targets));
    figures.score = -losses.loss;
    return figures;
  }
  std::vector<KindCount> heads(labels.size());
  std::map<std::string, KindCount> kinds;
  KindCount whole;
  SpanCounts span_counts;
  for (size_t s = 0; s < sentences.size(); ++s) {
    bool all_right = true;
    for (size_t head = 0; head < labels.size(); ++head) {
      std::vector<std::string> found;
      for (const int64_t id : losses.predictions[s][head]) {
        found.push_back(PredictedLabel(labels[head], id));
      }
      const std::vector<std::string>& wanted = sentences[s].labels[head];
      CKV_CHECK(found.size() == wanted.size(), "predictions of sentence ", s);
      for (size_t i = 0; i < wanted.size(); ++i) {
        heads[head].right += found[i] == wanted[i] ? 1 : 0;
        all_right &= found[i] == wanted[i];
      }
      heads[head].all += static_cast<int64_t>(wanted.size());
      if (spans && head == 0) span_counts.Add(found, wanted);
    }
    whole.right += all_right ? 1 : 0;
    ++whole.all;
    KindCount& kind = kinds[sentences[s].kind];
    kind.right += all_right ? 1 : 0;
    ++kind.all;
  }
  const double accuracy = ShareOf(heads[0].right, heads[0].all);
  if (labels.size() > 1) {
    figures.score = ShareOf(whole.right, whole.all);
    figures.values.emplace_back("sentence_accuracy", figures.score);
    for (size_t head = 0; head < labels.size(); ++head) {
      figures.values.emplace_back(labels[head].name() + "_accuracy",
                                  ShareOf(heads[head].right, heads[head].all));
    }
    for (const auto& [kind, count] : kinds) {
      if (!kind.empty()) figures.by_kind.emplace_back(kind, ShareOf(count.right, count.all));
    }
    return figures;
  }
  figures.values.emplace_back("accuracy", accuracy);
  figures.score = Rounded(accuracy);
  if (spans) {
    figures.values.emplace_back("precision", span_counts.Precision());
    figures.values.emplace_back("recall", span_counts.Recall());
    figures.values.emplace_back("f1", span_counts.F1());
    figures.score = Rounded(span_counts.F1());
  }
  return figures;
}

}  // namespace ckv
