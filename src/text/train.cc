#include "text/train.h"

#include <algorithm>
#include <string_view>
#include <unordered_map>
#include <utility>

#include <sentencepiece_trainer.h>

#include "base/error.h"
#include "base/random.h"

namespace ckv {
namespace {

// The library skips longer sentences; they are cut at spaces instead.
constexpr size_t kMaxSentenceBytes = 4000;
// Fixed, because the sums of training depend on how many threads share them.
constexpr int kTrainThreads = 8;

struct SampledLine {
  uint64_t priority;
  uint64_t index;
  std::string text;
  bool operator<(const SampledLine& other) const {
    return std::make_pair(priority, index) < std::make_pair(other.priority, other.index);
  }
};

// Keeps the lines of lowest random priority whose bytes fit: a uniform sample in one pass.
class LineSample {
 public:
  LineSample(uint64_t max_bytes, uint64_t seed) : max_bytes_(max_bytes), seed_(seed) {}

  void Add(std::string_view line) {
    const uint64_t index = count_++;
    const uint64_t priority = MixBits(seed_ ^ MixBits(index));
    bytes_ += line.size();
    heap_.push_back({priority, index, std::string(line)});
    std::push_heap(heap_.begin(), heap_.end());
    while (bytes_ > max_bytes_ && heap_.size() > 1) {
      std::pop_heap(heap_.begin(), heap_.end());
      bytes_ -= heap_.back().text.size();
      heap_.pop_back();
    }
  }

  // The lines kept, in the order of the text.
  std::vector<SampledLine> Take() {
    std::sort(heap_.begin(), heap_.end(),
              [](const SampledLine& a, const SampledLine& b) { return a.index < b.index; });
    return std::move(heap_);
  }

 private:
  uint64_t max_bytes_;
  uint64_t seed_;
  uint64_t count_ = 0;
  uint64_t bytes_ = 0;
  std::vector<SampledLine> heap_;
};

// Without the spaces around it: were they kept, a text whose lines begin or end with spaces would
// make the bare space so probable that unigram training cuts it off common words ("_ this").
std::string_view Trimmed(std::string_view line) {
  const size_t begin = line.find_first_not_of(' ');
  if (begin == std::string_view::npos) return {};
  return line.substr(begin, line.find_last_not_of(' ') - begin + 1);
}

void AddSentences(std::string_view text, LineSample* sample) {
  while (!text.empty()) {
    const size_t end = std::min(text.find('\n'), text.size());
    std::string_view line = Trimmed(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
    while (line.size() > kMaxSentenceBytes) {
      size_t cut = line.rfind(' ', kMaxSentenceBytes);
      if (cut == std::string_view::npos || cut == 0) {
        cut = kMaxSentenceBytes;  // no word is that long; do not cut within a character
        while (cut > 1 && (static_cast<unsigned char>(line[cut]) & 0xC0) == 0x80) --cut;
      }
      sample->Add(line.substr(0, cut));
      line.remove_prefix(cut);
    }
    if (!line.empty()) sample->Add(line);
  }
}

class SampleIterator : public sentencepiece::SentenceIterator {
 public:
  explicit SampleIterator(const std::vector<SampledLine>& lines) : lines_(lines) {}
  bool done() const override { return at_ == lines_.size(); }
  void Next() override { ++at_; }
  const std::string& value() const override { return lines_[at_].text; }
  sentencepiece::util::Status status() const override { return {}; }

 private:
  const std::vector<SampledLine>& lines_;
  size_t at_ = 0;
};

// One field of a comma-separated list, quoted as the library reads it.
std::string CsvQuoted(const std::string& text) {
  std::string quoted = "\"";
  for (const char c : text) quoted += c == '"' ? std::string("\"\"") : std::string(1, c);
  return quoted + "\"";
}

void CheckOptions(const SentencePieceOptions& options) {
  if (options.type != "unigram" && options.type != "bpe") {
    throw ConfigError("type", Str("'", options.type, "' is no kind of model; unigram or bpe"));
  }
  // 3 special ones, 256 bytes, and at least one piece of text.
  const int64_t smallest = 260 + static_cast<int64_t>(options.user_symbols.size());
  if (options.vocab_size < smallest || options.vocab_size > 4'000'000) {
    throw ConfigError("vocab_size", Str(options.vocab_size, " is not possible; from ", smallest,
                                        " to 4000000 (259 ids are special and byte tokens)"));
  }
  if (!(options.character_coverage > 0.5 && options.character_coverage <= 1.0)) {
    throw ConfigError("character_coverage", "must be above 0.5 and at most 1");
  }
  for (const std::string& symbol : options.user_symbols) {
    if (symbol.empty()) throw ConfigError("user_symbols", "a symbol is empty");
    const auto& all = options.user_symbols;
    if (std::count(all.begin(), all.end(), symbol) > 1) {
      throw ConfigError("user_symbols", Str("'", symbol, "' is given twice"));
    }
    if (symbol == "<unk>" || symbol == "<s>" || symbol == "</s>") {
      throw ConfigError("user_symbols", Str("'", symbol, "' is in every vocabulary already"));
    }
  }
}

// The library's text without the place in its source that it puts in front.
std::string TrainReason(std::string_view message) {
  const size_t bracket = message.rfind("] ");
  if (bracket != std::string_view::npos) message.remove_prefix(bracket + 2);
  return std::string(message);
}

}  // namespace

std::string TrainSentencePiece(const SentencePieceOptions& options, const TextIterator& next) {
  CheckOptions(options);
  LineSample sample(options.max_sample_bytes, options.seed);
  std::string text;
  while (next(&text)) AddSentences(text, &sample);
  const std::vector<SampledLine> lines = sample.Take();
  if (lines.empty()) throw FormatError("tokenizer training", "", "the texts are empty");

  std::unordered_map<std::string, std::string> args = {
      {"model_type", options.type},
      {"vocab_size", Str(options.vocab_size)},
      {"character_coverage", Str(options.character_coverage)},
      {"split_digits", options.split_digits ? "true" : "false"},
      {"byte_fallback", "true"},
      {"normalization_rule_name", "identity"},
      {"add_dummy_prefix", "true"},
      {"remove_extra_whitespaces", "false"},
      {"allow_whitespace_only_pieces", "true"},
      {"max_sentence_length", Str(2 * kMaxSentenceBytes)},
      {"num_threads", Str(kTrainThreads)},
      {"minloglevel", "3"},
  };
  if (!options.user_symbols.empty()) {
    std::string list;
    for (const std::string& symbol : options.user_symbols) {
      list += (list.empty() ? "" : ",") + CsvQuoted(symbol);
    }
    args["user_defined_symbols"] = list;
  }

  SampleIterator iterator(lines);
  std::string model;
  const sentencepiece::util::Status status =
      sentencepiece::SentencePieceTrainer::Train(args, &iterator, &model);
  if (!status.ok()) throw ConfigError("tokenizer training", TrainReason(status.message()));
  return model;
}

}  // namespace ckv
