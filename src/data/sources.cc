// Builds sources from the configuration.
#include <algorithm>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/error.h"
#include "data/dataset.h"
#include "data/eval_source.h"
#include "data/pair_source.h"
#include "data/source.h"
#include "data/train_source.h"

namespace ckv {
namespace {

TokenRange WholeDataset(const std::string& path, const VocabularyInfo& vocabulary, bool verify) {
  auto data = std::make_shared<const TokenDataset>(path, &vocabulary, verify);
  const int64_t size = data->num_tokens();
  return {std::move(data), 0, size};
}

// Where the held-out end of a data set begins: at the start of a document if one starts in the
// first half of it.
int64_t HeldOutBegin(const TokenDataset& data, double percent) {
  const int64_t size = data.num_tokens();
  const auto held_out = static_cast<int64_t>(static_cast<double>(size) * percent / 100.0);
  const int64_t cut = size - held_out;
  const std::vector<int64_t> starts = data.DocumentStarts(cut, cut + held_out / 2);
  return starts.empty() ? cut : starts.front();
}

// The pairs of files, for training or validation.
std::shared_ptr<const PairSet> ReadPairs(const std::vector<std::string>& files,
                                         const DataConfig& config, const Tokenizer* tokenizer) {
  if (tokenizer == nullptr) throw ConfigError("tokenizer", "pairs need one");
  std::optional<ChatEncoder> chat;
  if (!config.chat_template.empty()) {
    chat.emplace(LoadChatTemplate(config.chat_template), *tokenizer);
  }
  return std::make_shared<const PairSet>(
      files, PairFields{config.prompt_field, config.target_field}, *tokenizer, config.seq_len,
      chat.has_value() ? &*chat : nullptr);
}

std::unique_ptr<DataSource> MakePairTrainSource(const DataConfig& config, const BatchLayout& layout,
                                                const Tokenizer* tokenizer) {
  std::vector<std::string> files;
  for (const WeightedDataset& item : config.TrainDatasets()) {
    if (item.weight != 1.0) {
      throw ConfigError(item.path, "files of pairs are read one after another and have no weights");
    }
    files.push_back(item.path);
  }
  if (config.valid_percent > 0 && config.valid.empty()) {
    throw ConfigError("data.valid_percent",
                      "is for token shards; name a file of pairs as 'data.valid'");
  }
  if (config.reset_attention) {
    throw ConfigError("data.reset_attention",
                      "has no meaning for pairs: each has a row of its own");
  }
  PairSourceOptions options;
  options.shuffle = config.shuffle;
  options.seed = static_cast<uint64_t>(config.seed);
  options.prompt_loss = config.prompt_loss;
  options.seq_len = config.seq_len;
  return std::make_unique<PairSource>(ReadPairs(files, config, tokenizer), options, layout);
}

std::unique_ptr<DataSource> MakePairEvalSource(const DataConfig& config, const BatchLayout& layout,
                                               const Tokenizer* tokenizer) {
  if (config.valid.empty()) return nullptr;
  std::shared_ptr<const PairSet> pairs = ReadPairs({config.valid}, config, tokenizer);
  PairSourceOptions options;
  options.endless = false;
  options.prompt_loss = config.prompt_loss;
  options.seq_len = config.seq_len;
  if (config.valid_tokens > 0 && config.valid_tokens < pairs->num_tokens()) {
    options.max_pairs =
        std::max<int64_t>(1, static_cast<int64_t>(static_cast<double>(config.valid_tokens) *
                                                  static_cast<double>(pairs->size()) /
                                                  static_cast<double>(pairs->num_tokens())));
  }
  return std::make_unique<PairSource>(std::move(pairs), options, layout);
}

bool HoldsOut(const DataConfig& config) { return config.valid.empty() && config.valid_percent > 0; }

}  // namespace

std::unique_ptr<DataSource> MakeTrainSource(const DataConfig& config,
                                            const VocabularyInfo& vocabulary,
                                            const BatchLayout& layout, const Tokenizer* tokenizer) {
  if (config.pairs()) return MakePairTrainSource(config, layout, tokenizer);
  std::vector<MixturePart> parts;
  for (const WeightedDataset& item : config.TrainDatasets()) {
    MixturePart part = {WholeDataset(item.path, vocabulary, config.verify), item.weight};
    if (HoldsOut(config)) part.range.end = HeldOutBegin(*part.range.data, config.valid_percent);
    if (part.range.size() < config.seq_len + 1) {
      throw ConfigError(item.path,
                        Str("data.seq_len ", config.seq_len, " needs at least ", config.seq_len + 1,
                            " tokens, but there are ", part.range.size(),
                            HoldsOut(config) ? " besides the held-out ones" : ""));
    }
    parts.push_back(std::move(part));
  }
  TrainSourceOptions options;
  options.seq_len = config.seq_len;
  options.shuffle = config.shuffle;
  options.seed = static_cast<uint64_t>(config.seed);
  options.reset_attention = config.reset_attention;
  return std::make_unique<TrainSource>(std::move(parts), options, layout);
}

std::unique_ptr<DataSource> MakeEvalSource(const DataConfig& config,
                                           const VocabularyInfo& vocabulary,
                                           const BatchLayout& layout, const Tokenizer* tokenizer) {
  if (config.pairs()) return MakePairEvalSource(config, layout, tokenizer);
  std::vector<TokenRange> ranges;
  if (!config.valid.empty()) {
    ranges.push_back(WholeDataset(config.valid, vocabulary, config.verify));
  } else if (HoldsOut(config)) {
    for (const WeightedDataset& item : config.TrainDatasets()) {
      TokenRange range = WholeDataset(item.path, vocabulary, /*verify=*/false);
      range.begin = HeldOutBegin(*range.data, config.valid_percent);
      ranges.push_back(std::move(range));
    }
  } else {
    return nullptr;
  }
  for (const TokenRange& range : ranges) {
    if (range.size() < 2) {
      throw ConfigError(range.data->folder(), Str("validation needs at least 2 tokens, but there ",
                                                  range.size() == 1 ? "is 1" : "are none"));
    }
  }
  return std::make_unique<EvalSource>(std::move(ranges), config.seq_len, config.reset_attention,
                                      config.valid_tokens, layout);
}

std::unique_ptr<DataSource> MakeEvalSource(const std::string& dataset, int64_t seq_len,
                                           bool reset_attention, const VocabularyInfo& vocabulary,
                                           const BatchLayout& layout) {
  DataConfig config;
  config.valid = dataset;
  config.seq_len = seq_len;
  config.reset_attention = reset_attention;
  return MakeEvalSource(config, vocabulary, layout);
}

}  // namespace ckv
