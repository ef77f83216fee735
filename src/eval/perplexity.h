// Perplexity of a decoder on a text, in windows.
//
// Window k holds the tokens [k stride, k stride + seq_len) and predicts the token behind each of
// them; counted are the targets that no window before has predicted. With stride = seq_len windows
// do not overlap; with a smaller one each target behind the first window has at least
// seq_len - stride + 1 tokens of context, at seq_len / stride times the work. Every token but the
// first of the text is counted once, whatever the options.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>

#include "eval/eval_text.h"
#include "model/decoder.h"

namespace ckv {

struct PerplexityOptions {
  int64_t seq_len = 1024;
  int64_t stride = 0;  // 0 = seq_len
  int64_t batch_size = 8;
  int64_t max_tokens = 0;  // targets, from the start of the text; 0 = all
  // A document sees nothing of those before, and no token is counted that starts one.
  bool reset_attention = false;
  DecoderRun run;  // order and passes; no cache

  // This process runs every `world`-th batch from the `rank`-th on; the sums are of these alone.
  int rank = 0;
  int world = 1;

  int64_t Stride() const { return stride > 0 ? stride : seq_len; }
};

// Targets that windows predict under these options, counted or not.
int64_t NumTargets(const EvalText& text, const PerplexityOptions& options);

struct PerplexitySums {
  double nats = 0.0;    // sum of -log p
  int64_t tokens = 0;   // counted targets
  int64_t correct = 0;  // those that had the largest logit
  int64_t windows = 0;
};

// Called now and then with the targets done so far.
using PerplexityProgress = std::function<void(int64_t done)>;

// Runs the decoder, in evaluation mode, over the text. Throws ConfigError for options out of range
// and for a text without targets (or, on several ranks, gives sums without tokens).
PerplexitySums SumPerplexity(Decoder& decoder, const EvalText& text,
                             const PerplexityOptions& options,
                             const PerplexityProgress& progress = {});

// The usual figures. Those a word or byte need the text's counts.
struct PerplexityFigures {
  double nats_per_token = 0.0;
  double token_perplexity = 0.0;
  double accuracy = 0.0;
  std::optional<double> word_perplexity;
  std::optional<double> byte_perplexity;
  std::optional<double> bits_per_byte;
};

// `count_line_ends`: a line end is one more word, as in the word-level figures of WikiText and the
// Penn Treebank. Requires that the line ends are known then.
PerplexityFigures Figures(const PerplexitySums& sums, const std::optional<TextCounts>& counts,
                          bool count_line_ends);

}  // namespace ckv
