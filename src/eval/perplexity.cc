#include "eval/perplexity.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include <torch/torch.h>

#include "base/error.h"
#include "nn/loss.h"

namespace ckv {
namespace {

struct EvalWindow {
  int64_t begin = 0;    // first input
  int64_t inputs = 0;   // each predicts the token behind it
  int64_t context = 0;  // leading inputs whose targets a window before has counted
};

EvalWindow WindowAt(int64_t index, int64_t num_targets, const PerplexityOptions& options) {
  EvalWindow window;
  window.begin = index * options.Stride();
  window.inputs = std::min(options.seq_len, num_targets - window.begin);
  window.context = index == 0 ? 0 : options.seq_len - options.Stride();
  return window;
}

int64_t NumWindows(int64_t num_targets, const PerplexityOptions& options) {
  const int64_t behind_first = std::max<int64_t>(num_targets - options.seq_len, 0);
  return 1 + (behind_first + options.Stride() - 1) / options.Stride();
}

void CheckPerplexityOptions(const PerplexityOptions& options) {
  if (options.seq_len < 1) {
    throw ConfigError("--seq-len", Str(options.seq_len, ", but must be >= 1"));
  }
  if (options.stride < 0 || options.stride > options.seq_len) {
    throw ConfigError("--stride", Str(options.stride, ", but must be from 1 to the window length ",
                                      options.seq_len));
  }
  if (options.batch_size < 1) {
    throw ConfigError("--batch-size", Str(options.batch_size, ", but must be >= 1"));
  }
  if (options.max_tokens < 0) {
    throw ConfigError("--max-tokens", Str(options.max_tokens, ", but must be >= 0"));
  }
  CKV_CHECK(options.run.cache == nullptr, "windows do not go on from a cache");
}

// Several windows as one call of the decoder. Rows are filled up with token 0, which comes after
// all that counts.
struct WindowBatch {
  DecoderInput input;
  Tensor places;   // [n] positions that count, in the flattened batch
  Tensor targets;  // [n]
};

WindowBatch MakeBatch(const EvalText& text, const std::vector<EvalWindow>& windows,
                      bool reset_attention, const at::Device& device) {
  int64_t cols = 0;
  for (const EvalWindow& window : windows) cols = std::max(cols, window.inputs);
  const auto rows = static_cast<int64_t>(windows.size());
  Tensor tokens = at::zeros({rows, cols}, at::kLong);
  Tensor segments = reset_attention ? at::zeros({rows, cols}, at::kLong) : Tensor();
  std::vector<int64_t> places;
  std::vector<int64_t> targets;
  std::vector<int64_t> ids;
  for (int64_t row = 0; row < rows; ++row) {
    const EvalWindow& window = windows[static_cast<size_t>(row)];
    ids.resize(static_cast<size_t>(window.inputs) + 1);
    text.Read(window.begin, window.inputs + 1, ids.data());
    std::copy_n(ids.begin(), window.inputs, tokens.data_ptr<int64_t>() + row * cols);
    std::vector<bool> starts(ids.size(), false);
    if (reset_attention) {
      const int64_t end = window.begin + window.inputs + 1;
      for (const int64_t start : text.DocumentStarts(window.begin + 1, end)) {
        starts[static_cast<size_t>(start - window.begin)] = true;
      }
      int64_t document = 0;
      for (int64_t i = 0; i < cols; ++i) {
        if (i < window.inputs && starts[static_cast<size_t>(i)]) ++document;
        segments.data_ptr<int64_t>()[row * cols + i] = document;
      }
    }
    for (int64_t i = window.context; i < window.inputs; ++i) {
      const auto target = static_cast<size_t>(i) + 1;
      if (starts[target]) continue;
      places.push_back(row * cols + i);
      targets.push_back(ids[target]);
    }
  }
  WindowBatch batch;
  batch.input.tokens = tokens.to(device);
  if (segments.defined()) batch.input.segments = segments.to(device);
  batch.places = at::tensor(places, at::kLong).to(device);
  batch.targets = at::tensor(targets, at::kLong).to(device);
  return batch;
}

}  // namespace

int64_t NumTargets(const EvalText& text, const PerplexityOptions& options) {
  const int64_t all = text.num_tokens() - 1;
  return options.max_tokens > 0 ? std::min(options.max_tokens, all) : all;
}

PerplexitySums SumPerplexity(Decoder& decoder, const EvalText& text,
                             const PerplexityOptions& options, const PerplexityProgress& progress) {
  CheckPerplexityOptions(options);
  const int64_t num_targets = NumTargets(text, options);
  if (num_targets < 1) {
    throw ConfigError("--data", Str("has ", text.num_tokens(), " tokens; at least 2 are needed"));
  }
  at::NoGradGuard no_grad;
  decoder->eval();
  const at::Device device = decoder->head_weight().device();
  // Summed on the device: reading a number back after each batch would make it wait.
  Tensor log_prob = at::zeros({}, at::TensorOptions().dtype(at::kDouble).device(device));
  Tensor correct = at::zeros({}, at::TensorOptions().dtype(at::kLong).device(device));
  PerplexitySums sums;
  sums.windows = NumWindows(num_targets, options);
  const int64_t skip = options.batch_size * options.world;
  for (int64_t first = options.batch_size * options.rank; first < sums.windows; first += skip) {
    std::vector<EvalWindow> windows;
    const int64_t end = std::min(first + options.batch_size, sums.windows);
    for (int64_t i = first; i < end; ++i) windows.push_back(WindowAt(i, num_targets, options));
    const WindowBatch batch = MakeBatch(text, windows, options.reset_attention, device);
    if (batch.targets.size(0) > 0) {
      const Tensor hidden = decoder->Hidden(batch.input, options.run).flatten(0, 1);
      const TokenScores scores =
          ScoreTokens(hidden.index_select(0, batch.places), decoder->head_weight(), batch.targets);
      log_prob += scores.log_prob.to(at::kDouble).sum();
      correct += scores.correct.sum();
      sums.tokens += batch.targets.size(0);
    }
    if (progress) progress(windows.back().begin + windows.back().inputs);
  }
  if (sums.tokens == 0 && options.world == 1) {
    throw ConfigError("--reset-attention", "every token starts a document: none can be predicted");
  }
  sums.nats = -log_prob.item<double>();
  sums.correct = correct.item<int64_t>();
  return sums;
}

PerplexityFigures Figures(const PerplexitySums& sums, const std::optional<TextCounts>& counts,
                          bool count_line_ends) {
  CKV_CHECK(sums.tokens > 0, "no token was counted");
  PerplexityFigures figures;
  const auto tokens = static_cast<double>(sums.tokens);
  figures.nats_per_token = sums.nats / tokens;
  figures.token_perplexity = std::exp(figures.nats_per_token);
  figures.accuracy = static_cast<double>(sums.correct) / tokens;
  if (!counts.has_value()) return figures;
  int64_t words = counts->words;
  if (count_line_ends) {
    CKV_CHECK(counts->line_ends.has_value(), "the line ends are not known");
    words += *counts->line_ends;
  }
  if (words > 0) figures.word_perplexity = std::exp(sums.nats / static_cast<double>(words));
  if (counts->bytes > 0) {
    const double nats_per_byte = sums.nats / static_cast<double>(counts->bytes);
    figures.byte_perplexity = std::exp(nats_per_byte);
    figures.bits_per_byte = nats_per_byte / std::log(2.0);
  }
  return figures;
}

}  // namespace ckv
