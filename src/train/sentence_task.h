// Training and evaluation of a SentenceModel: tags of words, classes of sentences, masked words.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "data/sentence_batches.h"
#include "data/word_vocabulary.h"
#include "model/sentence_model.h"
#include "train/recorded_passes.h"
#include "train/step_task.h"

namespace ckv {

struct SentenceTaskOptions {
  SentenceTask task = SentenceTask::kWords;
  int64_t batch_size = 16;
  int64_t micro_batch_size = 0;   // sentences whose mean is one term of the loss; 0 = batch_size
  bool sum_micro_batches = true;  // the sum of the terms instead of their mean
  double score_norm = 0.0;        // weight of the norm of the ternary scores, once a micro-batch
  double mask_rate = 0.3;
  int64_t words_at_once = 4096;  // of padded batches
  bool by_length = true;         // run sentences of similar length together
  bool recorded = false;         // batches of few shapes, whose passes a GPU records
};

// The tensors of a batch on the device, views of one.
struct SentenceTensors {
  Tensor ids;                   // [B, n]
  Tensor mask;                  // [B, n] bool
  Tensor positions;             // [N]
  std::vector<Tensor> targets;  // [heads] of [N]
  Tensor weights;               // [N]
};
SentenceTensors ToTensors(const SentenceBatch& batch, const at::Device& device);

// The shape of a batch: all that its tensors' sizes depend on.
struct SentenceShape {
  int64_t rows = 0;
  int64_t cols = 0;
  int64_t positions = 0;
  int64_t heads = 0;

  explicit SentenceShape(const SentenceBatch& batch);
  // Numbers of 64 bits that a batch takes.
  int64_t size() const;
};
// A batch in one tensor on the host, [size()] int64, in memory that a GPU can read directly.
Tensor PackSentences(const SentenceBatch& batch, const at::Device& device);
SentenceTensors UnpackSentences(const Tensor& packed, const SentenceShape& shape);

// Features of the batch's positions, [N, width].
Tensor EncodePositions(SentenceModel& model, const SentenceTensors& batch);

class SentenceStepTask : public StepTask {
 public:
  // `data` must outlive this.
  SentenceStepTask(std::shared_ptr<SentenceModel> model, const std::vector<EncodedSentence>& data,
                   const SentenceTaskOptions& options, uint64_t seed, bool shuffle,
                   const at::Device& device);

  StepLoss RunStep(int64_t step, AdamW& optimizer) override;
  torch::nn::Module& module() override { return *model_; }
  SentenceOrder& order() { return order_; }

 private:
  Tensor RunPasses(const std::vector<SentenceBatch>& batches, int64_t micro_batches, double scale,
                   AdamW& optimizer);
  Tensor RunRecorded(const std::vector<SentenceBatch>& batches, int64_t micro_batches, double scale,
                     AdamW& optimizer);
  Tensor Loss(const SentenceTensors& tensors, double scale) const;
  // Undefined without one.
  Tensor Penalty(int64_t micro_batches, double scale) const;

  std::shared_ptr<SentenceModel> model_;
  const std::vector<EncodedSentence>& data_;
  SentenceTaskOptions options_;
  SentenceOrder order_;
  at::Device device_;
  std::optional<RecordedPasses> passes_;
  std::map<std::vector<int64_t>, Tensor> packed_;  // by shape: what recorded passes read
};

// Classes by sentence, head and word.
using Predictions = std::vector<std::vector<std::vector<int64_t>>>;

struct SentenceLosses {
  double loss = 0.0;        // as in training, of the data as one batch
  int64_t targets = 0;      // words, sentences or masked words
  int64_t right = 0;        // of them, by the first head
  Predictions predictions;  // empty for masked words
};

// Runs the model in evaluation mode over all of `data`. Masked words: masks of a fixed seed.
SentenceLosses EvaluateModel(SentenceModel& model, const std::vector<EncodedSentence>& data,
                             const SentenceTaskOptions& options, const at::Device& device);

// The classes with the largest scores; `data` needs no labels.
Predictions PredictClasses(SentenceModel& model, const std::vector<EncodedSentence>& data,
                           SentenceTask task, const at::Device& device);

// Figures of predictions against a file's sentences, in the order in which they are shown.
struct SentenceFigures {
  double score = 0.0;  // the one to choose models by, higher is better
  std::vector<std::pair<std::string, double>> values;
  // COGS: share of sentences that are right, by kind.
  std::vector<std::pair<std::string, double>> by_kind;
};
SentenceFigures ScorePredictions(const std::vector<Sentence>& sentences,
                                 const std::vector<LabelSet>& labels, const SentenceLosses& losses,
                                 SentenceTask task, bool spans);

}  // namespace ckv
