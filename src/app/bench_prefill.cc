#include "app/bench_prefill.h"

#include <algorithm>
#include <chrono>

#include <ATen/CPUGeneratorImpl.h>
#include <nlohmann/json.hpp>
#include <torch/torch.h>

#include "base/error.h"
#include "base/progress.h"
#include "nn/device.h"

namespace ckv {
namespace {

// What a prompt leaves behind.
struct PrefillResult {
  std::optional<KvCache> cache;
  Tensor logits;  // [B, V], fp64
};

// Largest relative difference, over stores, of what two caches hold.
double KvError(const KvCache& got, const KvCache& want, const KvSharingSpec& spec) {
  double worst = 0.0;
  const auto compare = [&](Tensor (KvCache::*held)(int, int64_t) const, int layer) {
    double difference = 0.0;
    double norm = 0.0;
    for (int64_t row = 0; row < want.rows(); ++row) {
      const Tensor exact = (want.*held)(layer, row).to(at::kDouble);
      const Tensor other = (got.*held)(layer, row).to(at::kDouble);
      difference += (other - exact).square().sum().item<double>();
      norm += exact.square().sum().item<double>();
    }
    worst = std::max(worst, std::sqrt(difference / std::max(norm, 1e-300)));
  };
  for (const int layer : spec.kv_layers()) {
    if (spec.computes_k(layer)) compare(&KvCache::HeldKeys, layer);
    if (spec.computes_v(layer)) compare(&KvCache::HeldValues, layer);
  }
  return worst;
}

PrefillBenchRow Measure(Decoder& decoder, const PrefillArguments& prefill, const Tensor& tokens,
                        int64_t repeats, PrefillResult* result) {
  PrefillBenchRow row;
  row.prefill = prefill;
  const at::Device device = tokens.device();
  result->cache.emplace(decoder->NewCache(tokens.size(0), tokens.size(1)));
  std::vector<double> seconds;
  for (int64_t i = 0; i < std::max<int64_t>(repeats, 1); ++i) {
    result->cache->Clear();
    row.passes.clear();
    DecoderRun run = prefill.Run(decoder->config());
    run.cache = &*result->cache;
    run.last_only = true;
    run.passes_run = &row.passes;
    Synchronize(device);
    const auto start = std::chrono::steady_clock::now();
    const Tensor logits = decoder->Logits(decoder->Hidden({tokens, {}, {}}, run)).squeeze(1);
    Synchronize(device);
    seconds.push_back(
        std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
    result->logits = logits.to(at::kDouble);
  }
  if (seconds.size() > 1) seconds.erase(seconds.begin());
  std::sort(seconds.begin(), seconds.end());
  row.seconds = seconds[seconds.size() / 2];
  row.tokens_per_second = static_cast<double>(tokens.numel()) / row.seconds;
  return row;
}

}  // namespace

OrderedJson PrefillBenchRow::ToJson() const {
  OrderedJson json;
  json["order"] = prefill.order;
  if (prefill.order == "chunked") json["chunk"] = *prefill.chunk;
  if (prefill.order != "sequential") {
    if (!prefill.passes.empty()) json["passes"] = prefill.passes;
    if (prefill.tolerance.has_value()) json["tolerance"] = *prefill.tolerance;
    json["passes_run"] = passes;
  }
  json["seconds"] = seconds;
  json["tokens_per_second"] = tokens_per_second;
  json["logit_error"] = logit_error;
  json["kv_error"] = kv_error;
  return json;
}

std::vector<PrefillBenchRow> BenchPrefill(Decoder& decoder,
                                          const std::vector<PrefillArguments>& orders,
                                          const PrefillBenchOptions& options) {
  at::NoGradGuard no_grad;
  decoder->PackProjections();
  const Tensor tokens = at::empty({options.rows, options.tokens}, at::kLong)
                            .random_(0, decoder->config().vocab_size,
                                     at::make_generator<at::CPUGeneratorImpl>(options.seed))
                            .to(decoder->head_weight().device());
  PrefillArguments sequential;
  sequential.order = "sequential";
  ShowLiveLine("running sequential");
  PrefillResult exact;
  // The exact order is by far the slowest, and one measurement of so many calls is steady.
  std::vector<PrefillBenchRow> rows = {Measure(decoder, sequential, tokens, 1, &exact)};
  for (const PrefillArguments& order : orders) {
    ShowLiveLine(Str("running ", order.order, " ", order.passes));
    PrefillResult result;
    PrefillBenchRow row = Measure(decoder, order, tokens, options.repeats, &result);
    row.logit_error = (result.logits - exact.logits).abs().max().item<double>();
    row.kv_error = KvError(*result.cache, *exact.cache, decoder->config().sharing());
    rows.push_back(std::move(row));
  }
  ShowLiveLine("");
  return rows;
}

}  // namespace ckv
