#include "sharing/cost.h"

#include <algorithm>
#include <limits>

#include "sharing/stores.h"

namespace ckv {

namespace {

double Product(int64_t rows, int64_t columns) {
  return 2.0 * static_cast<double>(rows) * static_cast<double>(columns);
}

// FLOPs of the pieces of a layer, for one token.
struct PieceFlops {
  explicit PieceFlops(const ModelShape& shape)
      : key(Product(shape.hidden, shape.kv_width())),
        value(key),
        query_and_output(2 * Product(shape.hidden, shape.query_width())),
        per_visible_key(4.0 * static_cast<double>(shape.query_width())),
        ffn(3 * Product(shape.hidden, shape.ffn)),
        head(Product(shape.hidden, shape.vocab)) {}

  double key;
  double value;
  double query_and_output;
  double per_visible_key;
  double ffn;
  double head;
};

std::optional<int64_t> WindowOf(const KvSharingSpec& spec, const ModelShape& shape, int layer) {
  return spec.windowed(layer) ? shape.window : std::nullopt;
}

double VisibleKeys(const KvSharingSpec& spec, const ModelShape& shape, int layer, int64_t tokens,
                   int64_t past) {
  return MeanVisibleKeys(tokens, past, shape.hides_own_position || spec.looks_up(layer),
                         WindowOf(spec, shape, layer));
}

// Forward FLOPs of the steps over one sequence of `tokens`, without the output projection. Steps
// with gradient count `grad_factor` times.
double CountSteps(const KvSharingSpec& spec, const ModelShape& shape,
                  const std::vector<PassStep>& steps, int64_t tokens, double grad_factor) {
  const PieceFlops piece(shape);
  const double count = static_cast<double>(tokens);
  std::vector<double> all_visible;
  for (int i = 0; i < spec.num_layers(); ++i) {
    all_visible.push_back(VisibleKeys(spec, shape, i, tokens, 0));
  }
  double total = 0;
  for (const PassStep& step : steps) {
    double flops = 0;
    for (const LayerWork& guess : step.guesses) {
      flops += count * ((guess.compute_k ? piece.key : 0) + (guess.compute_v ? piece.value : 0));
    }
    for (const LayerWork& work : step.layers) {
      if (work.compute_k) flops += count * piece.key;
      if (work.compute_v) flops += count * piece.value;
      if (!work.body) continue;
      const double visible = work.last_position
                                 ? VisibleKeys(spec, shape, work.layer, 1, tokens - 1)
                                 : all_visible[static_cast<size_t>(work.layer)];
      const double rows = work.last_position ? 1 : count;
      flops += rows * piece.ffn;
      if (work.attention) {
        flops += rows * (piece.query_and_output + piece.per_visible_key * visible);
      }
    }
    total += flops * (step.grad ? grad_factor : 1);
  }
  return total;
}

// FLOPs of one token after `past` others, in a single pass without the output projection. Without
// `output` nothing runs that serves the token's own output alone.
double CountToken(const KvSharingSpec& spec, const ModelShape& shape, int64_t past, bool output) {
  const PieceFlops piece(shape);
  const int top_owner = spec.kv_layers().back();
  double flops = 0;
  for (int i = 0; i < spec.num_layers(); ++i) {
    flops += (spec.computes_k(i) ? piece.key : 0) + (spec.computes_v(i) ? piece.value : 0);
    if (!output && i >= top_owner) break;
    flops += piece.query_and_output + piece.ffn +
             piece.per_visible_key * VisibleKeys(spec, shape, i, 1, past);
  }
  return flops;
}

double TrainFlopsPerToken(const IterationPlan& plan, const ModelShape& shape, int64_t tokens,
                          bool exact_savings, KvStart start = KvStart::kZeros) {
  PlanOptions options;
  options.exact_savings = exact_savings;
  options.start = start;
  const double layers = CountSteps(plan.spec(), shape, plan.Steps(options), tokens, 3);
  return layers / static_cast<double>(tokens) + 3 * PieceFlops(shape).head;
}

// Tokens that a store holds of a sequence of `tokens`.
int64_t TokensHeld(bool windowed, const ModelShape& shape, int64_t tokens) {
  return windowed && shape.window ? std::min(tokens, *shape.window) : tokens;
}

double FreeBytes(const KvSharingSpec& spec, const ModelShape& shape, double memory_bytes,
                 int64_t weight_bytes_each) {
  return memory_bytes - static_cast<double>(CountParams(spec, shape).total()) *
                            static_cast<double>(weight_bytes_each);
}

}  // namespace

void CheckShape(const ModelShape& shape, std::string_view origin) {
  constexpr int64_t kMaxSize = int64_t{1} << 22;
  const auto check = [&](const char* name, int64_t size) {
    if (size >= 1 && size <= kMaxSize) return;
    throw ConfigError(origin,
                      Str("a model's ", name, " is ", size, ", but must be in 1 to ", kMaxSize));
  };
  check("width", shape.hidden);
  check("number of heads", shape.heads);
  check("number of key/value heads", shape.kv_heads);
  check("head width", shape.head_dim);
  check("attention width (heads times head width)", shape.query_width());
  check("feed-forward width", shape.ffn);
  check("vocabulary", shape.vocab);
  if (shape.window && *shape.window < 1) {
    throw ConfigError(origin, Str("a sliding window is ", *shape.window, ", but must be >= 1"));
  }
  if (shape.heads % shape.kv_heads != 0) {
    throw ConfigError(origin, Str("a model's ", shape.heads, " heads cannot share ", shape.kv_heads,
                                  " key/value heads evenly"));
  }
}

ParamCount CountParams(const KvSharingSpec& spec, const ModelShape& shape) {
  const int64_t c = shape.hidden;
  const int64_t attention_bias = shape.attention_bias ? 1 : 0;
  const int64_t mlp_bias = shape.mlp_bias ? 1 : 0;
  const int64_t kv_store = (c + attention_bias) * shape.kv_width();
  const int64_t query = (c + attention_bias) * shape.query_width();
  const int64_t output = (shape.query_width() + attention_bias) * c;
  const int64_t ffn = 2 * (c + mlp_bias) * shape.ffn + (shape.ffn + mlp_bias) * c;
  const int64_t norms = 2 * c;

  ParamCount count;
  count.embedding = shape.vocab * c;
  count.head = shape.tied ? 0 : shape.vocab * c;
  count.layers =
      spec.num_layers() * (query + output + ffn + norms) + NumKvStores(spec) * kv_store + c;
  return count;
}

int64_t NumKvStores(const KvSharingSpec& spec) {
  int64_t stores = 0;
  for (const int layer : spec.kv_layers()) {
    stores += (spec.computes_k(layer) ? 1 : 0) + (spec.computes_v(layer) ? 1 : 0);
  }
  return stores;
}

int64_t KvBytesPerToken(const KvSharingSpec& spec, const ModelShape& shape, int64_t bytes_each) {
  return NumKvStores(spec) * shape.kv_width() * bytes_each;
}

int64_t KvBytesPerSequence(const KvSharingSpec& spec, const ModelShape& shape, int64_t tokens,
                           int64_t bytes_each) {
  const WindowedStores windowed = FindWindowedStores(spec);
  int64_t held = 0;
  for (const int layer : spec.kv_layers()) {
    const auto index = static_cast<size_t>(layer);
    if (spec.computes_k(layer)) held += TokensHeld(windowed.keys[index], shape, tokens);
    if (spec.computes_v(layer)) held += TokensHeld(windowed.values[index], shape, tokens);
  }
  return held * shape.kv_width() * bytes_each;
}

int64_t LargestBatch(const KvSharingSpec& spec, const ModelShape& shape, int64_t tokens,
                     double memory_bytes, int64_t weight_bytes_each, int64_t kv_bytes_each) {
  const double free_bytes = FreeBytes(spec, shape, memory_bytes, weight_bytes_each);
  const int64_t sequence = KvBytesPerSequence(spec, shape, tokens, kv_bytes_each);
  if (free_bytes <= 0 || sequence <= 0) return 0;
  return static_cast<int64_t>(std::min(free_bytes / static_cast<double>(sequence), 1e15));
}

int64_t LargestLength(const KvSharingSpec& spec, const ModelShape& shape, int64_t batch,
                      double memory_bytes, int64_t weight_bytes_each, int64_t kv_bytes_each,
                      int64_t max_tokens) {
  int64_t fits = 0;
  int64_t too_long = max_tokens + 1;
  while (too_long - fits > 1) {
    const int64_t tokens = fits + (too_long - fits) / 2;
    const bool good =
        LargestBatch(spec, shape, tokens, memory_bytes, weight_bytes_each, kv_bytes_each) >= batch;
    (good ? fits : too_long) = tokens;
  }
  return fits;
}

double MeanVisibleKeys(int64_t tokens, int64_t past, bool hides_own,
                       std::optional<int64_t> window) {
  if (tokens <= 0) return 0;
  // Position p sees p + 1 keys with its own, as far as the window reaches; without its own one
  // fewer in both cases.
  const int64_t hidden = hides_own ? 1 : 0;
  const int64_t most = window ? *window - hidden : std::numeric_limits<int64_t>::max();
  const int64_t first = past + 1 - hidden;
  const int64_t last = first + tokens - 1;
  const int64_t growing = std::clamp<int64_t>(std::min(last, most) - first + 1, 0, tokens);
  const double grown = static_cast<double>(growing) *
                       (static_cast<double>(first) + static_cast<double>(growing - 1) / 2);
  const double full =
      growing == tokens ? 0 : static_cast<double>(tokens - growing) * static_cast<double>(most);
  return (grown + full) / static_cast<double>(tokens);
}

TrainFlops CountTrainFlops(const IterationPlan& plan, const ModelShape& shape, int64_t tokens,
                           KvStart start) {
  const KvSharingSpec plain_spec(plan.spec().num_layers());
  const IterationPlan plain_plan(plain_spec, 0, 1);
  const ParamCount plain_params = CountParams(plain_spec, shape);
  const int64_t n = plain_params.layers + shape.vocab * shape.hidden;

  TrainFlops flops;
  flops.passes = TrainFlopsPerToken(plan, shape, tokens, /*exact_savings=*/true, start);
  flops.passes_unsaved = TrainFlopsPerToken(plan, shape, tokens, /*exact_savings=*/false, start);
  flops.plain_visible = TrainFlopsPerToken(plain_plan, shape, tokens, /*exact_savings=*/true);
  flops.plain = 6.0 * static_cast<double>(n) + 12.0 * plain_spec.num_layers() *
                                                   static_cast<double>(shape.query_width()) *
                                                   static_cast<double>(tokens);
  return flops;
}

double LayerPassRatio(const IterationPlan& plan) {
  double runs = 0;
  for (const LayerGroup& group : plan.groups()) {
    runs += group.size() * (group.forward_only_passes + 3.0 * group.gradient_passes);
  }
  return runs / (3.0 * plan.spec().num_layers());
}

double CountPrefillFlops(const IterationPlan& plan, const ModelShape& shape, int64_t tokens) {
  const KvSharingSpec& spec = plan.spec();
  const double head = PieceFlops(shape).head;
  if (spec.cyclic() && tokens <= plan.max_passes()) {
    double total = head;
    for (int64_t past = 0; past < tokens; ++past) {
      total += CountToken(spec, shape, past, /*output=*/past == tokens - 1);
    }
    return total;
  }
  PlanOptions options;
  options.wanted = WantedOutput::kLastPosition;
  return CountSteps(spec, shape, plan.Steps(options), tokens, 1) + head;
}

DecodeCost CountDecode(const KvSharingSpec& spec, const ModelShape& shape, int64_t past,
                       int64_t batch, int64_t weight_bytes_each, int64_t kv_bytes_each) {
  const double flops = CountToken(spec, shape, past, /*output=*/true) + PieceFlops(shape).head;
  double keys_read = 0;
  for (int i = 0; i < spec.num_layers(); ++i) keys_read += VisibleKeys(spec, shape, i, 1, past);
  const double sequences = static_cast<double>(batch);
  const double kv_row = static_cast<double>(shape.kv_width() * kv_bytes_each);
  const ParamCount params = CountParams(spec, shape);
  // Of an input embedding only the tokens' rows are read; a tied one is read as output projection.
  const double weights =
      static_cast<double>(params.without_embedding() + (shape.tied ? params.embedding : 0)) +
      sequences * static_cast<double>(shape.hidden);

  DecodeCost cost;
  cost.flops = sequences * flops;
  cost.weight_bytes = weights * static_cast<double>(weight_bytes_each);
  cost.kv_read_bytes = sequences * 2 * keys_read * kv_row;
  cost.kv_write_bytes =
      sequences * static_cast<double>(KvBytesPerToken(spec, shape, kv_bytes_each));
  return cost;
}

}  // namespace ckv
