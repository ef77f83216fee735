// Where training and validation get their batches: windows of packed token files.
//
// A dataset is one long sequence of tokens, cut into windows of `seq_len` inputs and the `seq_len`
// tokens one further on, the targets. Documents stand one after another, each ended by the end of
// sentence that `ckv data prepare` wrote, which counts as the document's last token. Attention goes
// across documents unless reset_attention: then a batch says which document each token belongs to,
// and the last token of a document gets no target, for the next one starts another document.
//
// The training source is endless. All ranks see one global order of samples; a call takes the next
// rows x world of them, and rank r gets rows [r * rows, (r + 1) * rows) of these. The state counts
// global samples only, so it is equal on all ranks, any rank may save it, and a run may go on with
// another number of ranks or rows: every sample comes once. Restoring takes constant time.
//
// With `data.kind: pairs` the samples are prompts with targets instead (data/pair_source.h).
//
// Plain int64 buffers: this folder needs no LibTorch.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/json.h"
#include "base/target.h"
#include "data/config.h"
#include "data/shard.h"
#include "text/tokenizer.h"

namespace ckv {

// One micro-batch of one rank; all three are row-major [rows, cols].
struct TokenBatch {
  int64_t rows = 0;
  int64_t cols = 0;
  std::vector<int64_t> tokens;
  std::vector<int64_t> targets;   // the next token; kIgnoreTarget = no loss
  std::vector<int64_t> segments;  // document number within the row, from 0, never falling; empty
                                  // unless reset_attention
};

// What a checkpoint keeps of the data: the exact position.
class DataPosition {
 public:
  virtual ~DataPosition() = default;

  // The position after the last Next(), and going there. Restore throws FormatError if the state is
  // broken or belongs to other data, another length, seed or weights.
  virtual Json State() const = 0;
  virtual void Restore(const Json& state) = 0;
};

class DataSource : public DataPosition {
 public:
  // Fills `batch`; false, with `batch` untouched, at the end of a finite source.
  virtual bool Next(TokenBatch* batch) = 0;

  // The tokens that one pass over the data gives as targets or, if it mixes data sets, that they
  // hold together.
  virtual int64_t num_tokens() const = 0;
  // Global samples (windows) given so far.
  virtual int64_t samples() const = 0;
  // Passes over the data so far, for samples of `seq_len` tokens.
  virtual double epochs(int64_t seq_len) const {
    return static_cast<double>(samples()) * static_cast<double>(seq_len) /
           static_cast<double>(num_tokens());
  }
};

// How this process shares the work: `rows` of each micro-batch go to each of `world` ranks.
struct BatchLayout {
  int64_t rows = 1;
  int rank = 0;
  int world = 1;

  // If not 0, a training batch is this rank's share of so many samples instead: shares differ by
  // one at most, and one without samples is one row without targets.
  int64_t total = 0;
};

// The samples of a rank within the batch of all, and how many all are.
struct RankShare {
  int64_t first = 0;
  int64_t rows = 0;
  int64_t total = 0;
};
RankShare ShareOfBatch(const BatchLayout& layout);

// `batch` cut into `count` batches of nearly equal numbers of rows; where there are fewer rows than
// batches, some are one row without targets.
std::vector<TokenBatch> SplitRows(const TokenBatch& batch, int64_t count);

// The training part of `config`. Throws ConfigError (no data, seq_len longer than the data) and
// FormatError (broken files, another vocabulary). Pairs need the tokenizer.
std::unique_ptr<DataSource> MakeTrainSource(const DataConfig& config,
                                            const VocabularyInfo& vocabulary,
                                            const BatchLayout& layout,
                                            const Tokenizer* tokenizer = nullptr);

// The validation part: finite, in file order. Every token but the first of the data is a target
// exactly once; the last window is filled up with targets of kIgnoreTarget. All ranks make the same
// number of calls: where nothing is left for a rank, its batch is one row without targets. A source
// starts again with Restore(State() of a new source). nullptr if `config` names no validation data.
std::unique_ptr<DataSource> MakeEvalSource(const DataConfig& config,
                                           const VocabularyInfo& vocabulary,
                                           const BatchLayout& layout,
                                           const Tokenizer* tokenizer = nullptr);

// The same over one data set, whole, for `ckv eval`.
std::unique_ptr<DataSource> MakeEvalSource(const std::string& dataset, int64_t seq_len,
                                           bool reset_attention, const VocabularyInfo& vocabulary,
                                           const BatchLayout& layout);

}  // namespace ckv
