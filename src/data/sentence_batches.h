// Batches of sentences, and in which order they come.
//
// A training batch is cut into micro-batches in order. The loss of each is a mean of its own, and
// the gradients of all are summed; since every word's share of that sum is known beforehand, it is
// written down as the word's weight, and sentences of similar length may be computed together
// whatever micro-batch they are of.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/json.h"
#include "data/source.h"
#include "data/word_vocabulary.h"

namespace ckv {

enum class SentenceTask {
  kWords,      // labels of words; a sentence's loss is the mean over its words
  kSentences,  // one label a sentence
  kMasked,     // words that were masked; the mean over those of the micro-batch
};

// Rows to run at once. Words stand in front, then ids of 0.
struct SentenceBatch {
  int64_t rows = 0;
  int64_t cols = 0;
  std::vector<int64_t> ids;        // [rows * cols]
  std::vector<int64_t> lengths;    // [rows]
  std::vector<int64_t> sentences;  // [rows, surplus ones left out]: place in the data
  // What counts: rows * cols positions, or rows of whole sentences; and the targets of each head.
  std::vector<int64_t> positions;             // [N]
  std::vector<std::vector<int64_t>> targets;  // [heads][N]; kIgnoreTarget for classes not known
  std::vector<double> weights;                // [N]: share of the loss
};

struct SentenceBatchOptions {
  SentenceTask task = SentenceTask::kWords;
  int64_t micro_rows = 0;       // 0 = the whole batch
  double mask_rate = 0.3;       // kMasked
  int64_t mask_id = 0;          // kMasked
  int64_t max_cells = 1 << 20;  // rows * cols of what is run at once
  bool by_length = false;       // sort by length and cut where padding would be wasteful
  // Above 0: batches of few different shapes, for work that is recorded by shape. Rows come in
  // multiples of this, columns and masked words in steps of growing size; sentences are sorted by
  // length and cut where it pays. Surplus rows are sentences without words; surplus positions are
  // word 0 with target kIgnoreTarget and weight 0.
  int64_t row_unit = 0;
};

// The sentences `members` of `data`, in order, as one or several batches to run. `draw` is the
// random state for masks of this batch, one draw a word; the words of id 0 are never masked.
std::vector<SentenceBatch> MakeSentenceBatches(const std::vector<EncodedSentence>& data,
                                               const std::vector<int64_t>& members,
                                               const SentenceBatchOptions& options, uint64_t draw);

// Micro-batches that `rows` sentences make.
int64_t CountMicroBatches(int64_t rows, int64_t micro_rows);

// The order of training: epochs over all sentences, the first in file order and the others
// shuffled, in batches of which the last of an epoch may be smaller.
class SentenceOrder : public DataPosition {
 public:
  SentenceOrder(int64_t sentences, int64_t batch, uint64_t seed, bool shuffle);

  // The next batch's sentences.
  std::vector<int64_t> Next();

  int64_t BatchesPerEpoch() const { return (sentences_ + batch_ - 1) / batch_; }
  // Of the last batch, from 0.
  int64_t epoch() const { return epoch_; }
  // A number of its own for each batch, for random draws.
  uint64_t draw() const;

  Json State() const override;
  void Restore(const Json& state) override;

 private:
  void StartEpoch();

  int64_t sentences_;
  int64_t batch_;
  uint64_t seed_;
  bool shuffle_;
  int64_t epoch_ = 0;
  int64_t next_ = 0;  // place in order_
  std::vector<int64_t> order_;
};

}  // namespace ckv
