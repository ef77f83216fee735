#include "eval/score_requests.h"

#include <algorithm>
#include <cmath>
#include <optional>

#include <torch/torch.h>

#include "base/error.h"
#include "eval/score_rows.h"
#include "nn/loss.h"

namespace ckv {
namespace {

constexpr int64_t kBatchTokensOfGpu = 32768;
constexpr int64_t kBatchTokensOfCpu = 2048;

ScoreOptions Resolved(const ScoreOptions& options, const DecoderConfig& config,
                      const at::Device& device) {
  ScoreOptions result = options;
  if (result.max_length == 0) result.max_length = config.max_position_embeddings;
  if (result.max_length < 1 || result.max_length > config.max_position_embeddings) {
    throw ConfigError("--max-length",
                      Str(result.max_length, ", but must be from 1 to the model's ",
                          config.max_position_embeddings, " positions (max_position_embeddings)"));
  }
  if (result.batch_tokens == 0) {
    result.batch_tokens = device.is_cuda() ? kBatchTokensOfGpu : kBatchTokensOfCpu;
  }
  if (result.batch_tokens < 1) {
    throw ConfigError("--batch-tokens", Str(result.batch_tokens, ", but must be >= 1"));
  }
  return result;
}

// Whether keys and values of a start are the same whatever comes behind it.
bool CanShare(const ScoreOptions& options, const DecoderConfig& config) {
  if (!options.share_prefixes || options.batch_invariant) return false;
  // Frequencies follow the length of the whole text.
  if (config.rope.scaling == "dynamic") return false;
  return !config.sharing().cyclic() || options.run.order == DecoderRun::Order::kSequential;
}

class RequestScorer {
 public:
  RequestScorer(Decoder& decoder, const std::vector<ScoreRequest>& requests,
                const ScoreOptions& options, const OnScores& on_scores)
      : decoder_(decoder),
        device_(decoder->head_weight().device()),
        requests_(requests),
        options_(Resolved(options, decoder->config(), device_)),
        on_scores_(on_scores),
        rows_(MakeRows(requests, options_.max_length, !options_.batch_invariant)),
        scores_(requests.size()) {
    CheckIds();
  }

  std::vector<TokenScore> Run() {
    ReportEmpty();
    const bool share = CanShare(options_, decoder_->config());
    common_ = share ? CommonStart(rows_) : 0;
    groups_ = MakeGroups(rows_, share, common_);
    if (common_ > 0) RunCommon();
    std::vector<std::pair<size_t, size_t>> batches;
    if (options_.batch_invariant) {
      for (size_t i = 0; i < groups_.size(); ++i) batches.emplace_back(i, i + 1);
    } else {
      batches = MakeBatches(groups_, options_.batch_tokens, common_);
    }
    for (const auto& [begin, end] : batches) RunBatch(begin, end);
    return std::move(scores_);
  }

 private:
  void CheckIds() const {
    const int64_t ids = decoder_->config().vocab_size;
    for (const ScoreRequest& request : requests_) {
      for (const auto* tokens : {&request.tokens.context, &request.tokens.continuation}) {
        for (const int32_t id : *tokens) {
          if (id >= 0 && id < ids) continue;
          throw ConfigError("", Str("token ", id, " is outside the model's vocabulary of ", ids));
        }
      }
    }
  }

  void ReportEmpty() const {
    std::vector<size_t> empty;
    for (size_t i = 0; i < requests_.size(); ++i) {
      if (requests_[i].tokens.continuation.empty()) empty.push_back(i);
    }
    if (on_scores_ && !empty.empty()) on_scores_(empty, std::vector<TokenScore>(empty.size()));
  }

  // Tokens [begin, end) of rows, [N, longest], padded with 0 at the end, which nothing before sees.
  Tensor Tokens(const std::vector<size_t>& rows, int64_t begin, int64_t end) const {
    int64_t longest = 0;
    for (const size_t row : rows) {
      longest = std::max(longest, std::min(end, rows_[row].length()) - begin);
    }
    const auto num_rows = static_cast<int64_t>(rows.size());
    Tensor tokens = at::zeros({num_rows, longest}, at::kLong);
    auto* out = tokens.data_ptr<int64_t>();
    for (size_t i = 0; i < rows.size(); ++i) {
      const std::vector<int32_t>& input = rows_[rows[i]].input;
      std::copy(input.begin() + begin,
                input.begin() + std::min<int64_t>(end, static_cast<int64_t>(input.size())),
                out + static_cast<int64_t>(i) * longest);
    }
    return tokens.to(device_);
  }

  // Runs tokens behind what the cache holds, for their keys and values alone.
  void Feed(const Tensor& tokens, KvCache& cache) {
    DecoderRun run = options_.run;
    run.cache = &cache;
    run.last_only = true;
    decoder_->Hidden({tokens, {}, {}}, run);
  }

  void RunCommon() {
    common_cache_.emplace(decoder_->NewCache(1, common_));
    Feed(Tokens({0}, 0, common_), *common_cache_);
  }

  void RunBatch(size_t begin, size_t end) {
    const int64_t shared = groups_[begin].shared;
    std::vector<size_t> rows;
    std::vector<size_t> firsts;         // a row of each group
    std::vector<int64_t> group_of_row;  // within the batch
    int64_t longest = 0;
    for (size_t i = begin; i < end; ++i) {
      firsts.push_back(groups_[i].rows.front());
      longest = std::max(longest, groups_[i].longest);
      for (const size_t row : groups_[i].rows) {
        rows.push_back(row);
        group_of_row.push_back(static_cast<int64_t>(i - begin));
      }
    }
    DecoderRun run = options_.run;
    std::optional<KvCache> cache;
    if (shared > 0) {
      const auto num_groups = static_cast<int64_t>(firsts.size());
      cache.emplace(decoder_->NewCache(num_groups, longest));
      if (common_ > 0) {
        std::vector<int64_t> all(firsts.size());
        for (size_t i = 0; i < all.size(); ++i) all[i] = static_cast<int64_t>(i);
        cache->ReplaceRows(all, *common_cache_, std::vector<int64_t>(firsts.size(), 0));
      }
      if (shared > common_) Feed(Tokens(firsts, common_, shared), *cache);
      if (rows.size() > firsts.size()) cache->SelectRows(group_of_row);
      run.cache = &*cache;
    }
    const Tensor tokens = Tokens(rows, shared, longest);
    const Tensor hidden = decoder_->Hidden({tokens, {}, {}}, run);
    Gather(hidden, rows, shared);
  }

  // Picks the scored positions of `hidden` [N, T, C], whose first column is position `shared`.
  void Gather(const Tensor& hidden, const std::vector<size_t>& rows, int64_t shared) {
    std::vector<int64_t> places;   // rows of the flattened output
    std::vector<int64_t> targets;  // token ids
    std::vector<int64_t> owners;   // within `done`
    std::vector<size_t> done;
    for (size_t i = 0; i < rows.size(); ++i) {
      const ScoreRow& row = rows_[rows[i]];
      for (const RowTarget& target : row.targets) {
        const std::vector<int32_t>& ids = requests_[target.request].tokens.continuation;
        for (int64_t k = 0; k < target.count; ++k) {
          places.push_back(static_cast<int64_t>(i) * hidden.size(1) + row.length() - target.count +
                           k - shared);
          targets.push_back(ids[ids.size() - static_cast<size_t>(target.count - k)]);
          owners.push_back(static_cast<int64_t>(done.size()));
        }
        done.push_back(target.request);
      }
    }
    const auto move = [this](const std::vector<int64_t>& numbers) {
      return at::tensor(numbers, at::kLong).to(device_);
    };
    const TokenScores scores = ScoreTokens(hidden.flatten(0, 1).index_select(0, move(places)),
                                           decoder_->head_weight(), move(targets));
    // One copy to the host, and sums there: adding up on a GPU takes atomic operations, whose order
    // is another each time.
    const Tensor by_token =
        at::stack({scores.log_prob.to(at::kDouble), scores.correct.to(at::kDouble)}).cpu();
    const double* log_prob = by_token.data_ptr<double>();
    const double* correct = log_prob + owners.size();
    std::vector<TokenScore> sums(done.size());
    for (size_t i = 0; i < owners.size(); ++i) {
      TokenScore& sum = sums[static_cast<size_t>(owners[i])];
      sum.log_prob += log_prob[i];
      sum.greedy = sum.greedy && correct[i] != 0.0;
    }
    Report(done, sums);
  }

  void Report(const std::vector<size_t>& done, const std::vector<TokenScore>& scores) {
    for (size_t i = 0; i < done.size(); ++i) {
      if (!std::isfinite(scores[i].log_prob)) {
        throw DivergedError(0, "the model's output is not a number");
      }
      scores_[done[i]] = scores[i];
    }
    if (on_scores_) on_scores_(done, scores);
  }

  Decoder& decoder_;
  at::Device device_;
  const std::vector<ScoreRequest>& requests_;
  ScoreOptions options_;
  const OnScores& on_scores_;
  std::vector<ScoreRow> rows_;
  std::vector<TokenScore> scores_;
  std::vector<RowGroup> groups_;
  int64_t common_ = 0;  // tokens that all rows begin with
  std::optional<KvCache> common_cache_;
};

}  // namespace

std::vector<TokenScore> ScoreRequests(Decoder& decoder, const std::vector<ScoreRequest>& requests,
                                      const ScoreOptions& options, const OnScores& on_scores) {
  at::NoGradGuard no_grad;
  decoder->eval();
  return RequestScorer(decoder, requests, options, on_scores).Run();
}

}  // namespace ckv
