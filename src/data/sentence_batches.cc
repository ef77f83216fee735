#include "data/sentence_batches.h"

#include <algorithm>
#include <numeric>

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/random.h"
#include "base/target.h"

namespace ckv {
namespace {

// One sentence of a batch, with what was masked in it.
struct BatchRow {
  int64_t sentence = 0;
  int64_t micro_batch = 0;
  std::vector<bool> masked;
};

int64_t LengthOf(const std::vector<EncodedSentence>& data, const BatchRow& row) {
  return static_cast<int64_t>(data[static_cast<size_t>(row.sentence)].ids.size());
}

// Where rows, sorted by length if at all, are cut: by size, and where padding would outweigh what
// another call costs.
std::vector<std::vector<BatchRow>> CutRows(const std::vector<EncodedSentence>& data,
                                           std::vector<BatchRow> rows,
                                           const SentenceBatchOptions& options) {
  constexpr double kMostPadding = 0.25;
  if (options.by_length) {
    std::stable_sort(rows.begin(), rows.end(), [&](const BatchRow& a, const BatchRow& b) {
      return LengthOf(data, a) < LengthOf(data, b);
    });
  }
  std::vector<std::vector<BatchRow>> groups;
  int64_t words = 0, longest = 0;
  for (BatchRow& row : rows) {
    const int64_t length = LengthOf(data, row);
    const int64_t count = groups.empty() ? 0 : static_cast<int64_t>(groups.back().size());
    const int64_t cells = (count + 1) * std::max(longest, length);
    const bool wasteful =
        options.by_length && count >= 4 &&
        static_cast<double>(cells - words - length) > kMostPadding * static_cast<double>(cells);
    if (groups.empty() || cells > options.max_cells || wasteful) {
      groups.emplace_back();
      words = longest = 0;
    }
    words += length;
    longest = std::max(longest, length);
    groups.back().push_back(std::move(row));
  }
  return groups;
}

int64_t RoundUp(int64_t number, int64_t unit) { return (number + unit - 1) / unit * unit; }

// The lengths that batches of few shapes have: steps of about an eighth.
int64_t ColumnsFor(int64_t length) {
  int64_t unit = 4;
  while (unit * 8 < length) unit *= 2;
  return RoundUp(std::max<int64_t>(length, 1), unit);
}

// Rows sorted by length, cut into batches of few shapes at the smallest cost: the cells, and for
// each batch what as many launches cost as it takes.
std::vector<std::vector<BatchRow>> CutFixedShapes(const std::vector<EncodedSentence>& data,
                                                  std::vector<BatchRow> rows,
                                                  const SentenceBatchOptions& options) {
  constexpr int64_t kCellsOfLaunches = 1024;
  std::stable_sort(rows.begin(), rows.end(), [&](const BatchRow& a, const BatchRow& b) {
    return LengthOf(data, a) < LengthOf(data, b);
  });
  const auto total = static_cast<int64_t>(rows.size()), unit = options.row_unit;
  const int64_t units = RoundUp(total, unit) / unit;
  // best[u]: cost of the first u units; from[u]: where the last batch of them begins.
  std::vector<int64_t> best(static_cast<size_t>(units + 1), 0), from(best.size(), 0);
  for (int64_t end = 1; end <= units; ++end) {
    const BatchRow& longest = rows[static_cast<size_t>(std::min(end * unit, total) - 1)];
    const int64_t columns = ColumnsFor(LengthOf(data, longest));
    int64_t& cost = best[static_cast<size_t>(end)];
    cost = INT64_MAX;
    for (int64_t begin = end - 1; begin >= 0; --begin) {
      const int64_t cells = (end - begin) * unit * columns;
      if (cells > options.max_cells && begin < end - 1) break;
      const int64_t all = best[static_cast<size_t>(begin)] + cells + kCellsOfLaunches;
      if (all >= cost) continue;
      cost = all;
      from[static_cast<size_t>(end)] = begin;
    }
  }
  std::vector<std::vector<BatchRow>> groups;
  for (int64_t end = units; end > 0; end = from[static_cast<size_t>(end)]) {
    const auto begin = rows.begin() + from[static_cast<size_t>(end)] * unit;
    groups.emplace_back(begin, rows.begin() + std::min(end * unit, total));
  }
  std::reverse(groups.begin(), groups.end());
  return groups;
}

class BatchBuilder {
 public:
  BatchBuilder(const std::vector<EncodedSentence>& data, const SentenceBatchOptions& options)
      : data_(data), options_(options) {}

  std::vector<SentenceBatch> Build(const std::vector<int64_t>& members, uint64_t draw) {
    const auto total = static_cast<int64_t>(members.size());
    const int64_t unit = options_.micro_rows > 0 ? options_.micro_rows : total;
    micro_counts_.assign(static_cast<size_t>(CountMicroBatches(total, options_.micro_rows)), 0);
    std::vector<BatchRow> rows;
    Random random(draw);
    for (int64_t i = 0; i < total; ++i) {
      BatchRow row{members[static_cast<size_t>(i)], i / unit, {}};
      int64_t& count = micro_counts_[static_cast<size_t>(row.micro_batch)];
      if (options_.task == SentenceTask::kMasked) {
        // A draw for every word, so that masks do not depend on the vocabulary.
        for (const int64_t id : data_[static_cast<size_t>(row.sentence)].ids) {
          row.masked.push_back((random.Uniform() < options_.mask_rate) && id != 0);
          count += row.masked.back() ? 1 : 0;
        }
      } else {
        ++count;
      }
      rows.push_back(std::move(row));
    }
    std::vector<SentenceBatch> batches;
    const auto groups = options_.row_unit > 0 ? CutFixedShapes(data_, std::move(rows), options_)
                                              : CutRows(data_, std::move(rows), options_);
    for (const std::vector<BatchRow>& group : groups) batches.push_back(Pad(group));
    return batches;
  }

 private:
  SentenceBatch Pad(const std::vector<BatchRow>& group) const {
    SentenceBatch batch;
    const auto sentences = static_cast<int64_t>(group.size());
    const bool fixed = options_.row_unit > 0;
    batch.rows = fixed ? RoundUp(sentences, options_.row_unit) : sentences;
    for (const BatchRow& row : group) batch.cols = std::max(batch.cols, LengthOf(data_, row));
    if (fixed) batch.cols = ColumnsFor(batch.cols);
    batch.ids.assign(static_cast<size_t>(batch.rows * batch.cols), 0);
    const size_t heads = options_.task == SentenceTask::kMasked
                             ? 1
                             : data_[static_cast<size_t>(group[0].sentence)].labels.size();
    batch.targets.resize(heads);
    for (int64_t r = 0; r < sentences; ++r) AddRow(group[static_cast<size_t>(r)], r, &batch);
    if (fixed) AddSurplus(&batch);
    return batch;
  }

  void AddSurplus(SentenceBatch* batch) const {
    batch->lengths.resize(static_cast<size_t>(batch->rows), 0);
    int64_t count = batch->rows * (options_.task == SentenceTask::kSentences ? 1 : batch->cols);
    if (options_.task == SentenceTask::kMasked) {
      // Most scores of the vocabulary would be for nothing.
      const int64_t unit = std::max<int64_t>(count / 16, 1);
      count = std::max(RoundUp(static_cast<int64_t>(batch->positions.size()), unit), unit);
    }
    const auto size = static_cast<size_t>(count);
    batch->positions.resize(size, 0);
    batch->weights.resize(size, 0.0);
    for (std::vector<int64_t>& targets : batch->targets) targets.resize(size, kIgnoreTarget);
  }

  void AddRow(const BatchRow& row, int64_t r, SentenceBatch* batch) const {
    const EncodedSentence& sentence = data_[static_cast<size_t>(row.sentence)];
    const auto length = static_cast<int64_t>(sentence.ids.size());
    batch->lengths.push_back(length);
    batch->sentences.push_back(row.sentence);
    std::copy(sentence.ids.begin(), sentence.ids.end(), batch->ids.begin() + r * batch->cols);
    const auto count = static_cast<double>(micro_counts_[static_cast<size_t>(row.micro_batch)]);
    const auto add = [&](int64_t position, double weight) {
      batch->positions.push_back(position);
      batch->weights.push_back(weight);
    };
    const auto target = [](int64_t label) {
      return label == LabelSet::kUnknownClass ? kIgnoreTarget : label;
    };
    switch (options_.task) {
      case SentenceTask::kSentences:
        add(r, 1.0 / count);
        for (size_t head = 0; head < batch->targets.size(); ++head) {
          batch->targets[head].push_back(target(sentence.labels[head][0]));
        }
        break;
      case SentenceTask::kWords:
        for (int64_t i = 0; i < length; ++i) {
          add(r * batch->cols + i, 1.0 / (count * static_cast<double>(length)));
          for (size_t head = 0; head < batch->targets.size(); ++head) {
            batch->targets[head].push_back(target(sentence.labels[head][static_cast<size_t>(i)]));
          }
        }
        break;
      case SentenceTask::kMasked:
        for (int64_t i = 0; i < length; ++i) {
          if (!row.masked[static_cast<size_t>(i)]) continue;
          int64_t& id = batch->ids[static_cast<size_t>(r * batch->cols + i)];
          add(r * batch->cols + i, 1.0 / count);
          batch->targets[0].push_back(id);
          id = options_.mask_id;
        }
        break;
    }
  }

  const std::vector<EncodedSentence>& data_;
  const SentenceBatchOptions& options_;
  std::vector<int64_t> micro_counts_;  // sentences, or masked words, of each micro-batch
};

}  // namespace

int64_t CountMicroBatches(int64_t rows, int64_t micro_rows) {
  return micro_rows > 0 ? (rows + micro_rows - 1) / micro_rows : 1;
}

std::vector<SentenceBatch> MakeSentenceBatches(const std::vector<EncodedSentence>& data,
                                               const std::vector<int64_t>& members,
                                               const SentenceBatchOptions& options, uint64_t draw) {
  return BatchBuilder(data, options).Build(members, draw);
}

SentenceOrder::SentenceOrder(int64_t sentences, int64_t batch, uint64_t seed, bool shuffle)
    : sentences_(sentences), batch_(batch), seed_(seed), shuffle_(shuffle) {
  CKV_CHECK(sentences >= 1 && batch >= 1, "sentences to train on");
  StartEpoch();
}

void SentenceOrder::StartEpoch() {
  order_.resize(static_cast<size_t>(sentences_));
  std::iota(order_.begin(), order_.end(), int64_t{0});
  if (!shuffle_ || epoch_ == 0) return;
  Random random(MixBits(seed_ + 0x5e47) ^ MixBits(static_cast<uint64_t>(epoch_)));
  for (size_t i = order_.size(); i > 1; --i) {
    std::swap(order_[i - 1], order_[static_cast<size_t>(random.Below(i))]);
  }
}

std::vector<int64_t> SentenceOrder::Next() {
  if (next_ >= sentences_) {
    ++epoch_;
    next_ = 0;
    StartEpoch();
  }
  const int64_t end = std::min(next_ + batch_, sentences_);
  std::vector<int64_t> members(order_.begin() + next_, order_.begin() + end);
  next_ = end;
  return members;
}

uint64_t SentenceOrder::draw() const {
  return MixBits(MixBits(seed_ + 0x3a5c) ^ MixBits(static_cast<uint64_t>(epoch_) << 32)) +
         static_cast<uint64_t>(next_);
}

Json SentenceOrder::State() const {
  return {{"epoch", epoch_}, {"next", next_}, {"sentences", sentences_}, {"seed", seed_}};
}

void SentenceOrder::Restore(const Json& state) {
  const auto number = [&](const char* key) {
    const auto found = state.find(key);
    if (found == state.end() || !found->is_number_integer()) {
      throw FormatError("state.json", Str("data.", key), "must be an integer");
    }
    return found->get<int64_t>();
  };
  if (!state.is_object()) throw FormatError("state.json", "data", "must be an object");
  if (number("sentences") != sentences_ || number("seed") != static_cast<int64_t>(seed_)) {
    throw FormatError("state.json", "data", "belongs to other data or another seed");
  }
  const int64_t epoch = number("epoch"), next = number("next");
  if (epoch < 0 || next < 0 || next > sentences_) {
    throw FormatError("state.json", "data", "is no place in the data");
  }
  epoch_ = epoch;
  StartEpoch();
  next_ = next;
}

}  // namespace ckv
