#include "data/prepare.h"

#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <exception>
#include <map>
#include <mutex>
#include <thread>
#include <utility>

#include "base/error.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/progress.h"
#include "base/random.h"

namespace ckv {
namespace {

// In front of the process that makes or removes a folder.
constexpr char kUnfinished[] = ".unfinished.";
constexpr char kReplaced[] = ".replaced.";

// Documents are handed over in batches of at least this size.
constexpr size_t kBatchBytes = size_t{1} << 18;
// Text read but not yet written: reading waits above this, unless nothing else is under way.
constexpr size_t kMaxInFlightBytes = size_t{64} << 20;

struct EncodedPart {
  std::vector<int32_t> ids;
  int64_t bytes = 0;
  int64_t words = 0;
  uint64_t hash = 0;  // of the text
  bool first = false;
  bool last = false;
};

int64_t CountWords(const std::string& text) {
  int64_t words = 0;
  bool in_word = false;
  for (const char c : text) {
    const bool space = c == ' ' || (c >= '\t' && c <= '\r');
    words += !space && !in_word ? 1 : 0;
    in_word = !space;
  }
  return words;
}

// Batches of parts on their way from the reader through the workers to the writer, in order.
class Pipeline {
 public:
  struct Batch {
    std::vector<TextPart> parts;
    size_t bytes = 0;
    uint64_t file_bytes = 0;  // how far the reader was, for progress
  };
  struct Result {
    std::vector<EncodedPart> parts;
    size_t bytes = 0;
    uint64_t file_bytes = 0;
  };

  // Called by the reader. Waits while too much is under way; false if the work has stopped.
  bool Put(Batch batch) {
    std::unique_lock<std::mutex> lock(mutex_);
    changed_.wait(lock, [&] {
      return error_ || in_flight_bytes_ == 0 || in_flight_bytes_ + batch.bytes <= kMaxInFlightBytes;
    });
    if (error_) return false;
    in_flight_bytes_ += batch.bytes;
    waiting_.emplace_back(num_put_++, std::move(batch));
    changed_.notify_all();
    return true;
  }

  void FinishReading() {
    const std::lock_guard<std::mutex> lock(mutex_);
    reading_done_ = true;
    changed_.notify_all();
  }

  // Called by workers; false when there is no more to do.
  bool TakeWork(uint64_t* number, Batch* batch) {
    std::unique_lock<std::mutex> lock(mutex_);
    changed_.wait(lock, [&] { return error_ || !waiting_.empty() || reading_done_; });
    if (error_ || waiting_.empty()) return false;
    *number = waiting_.front().first;
    *batch = std::move(waiting_.front().second);
    waiting_.pop_front();
    return true;
  }

  void PutResult(uint64_t number, Result result) {
    const std::lock_guard<std::mutex> lock(mutex_);
    results_.emplace(number, std::move(result));
    changed_.notify_all();
  }

  // Called by the writer: the next batch in the order of reading; false at the end. Throws what the
  // reader or a worker threw.
  bool TakeResult(Result* result) {
    std::unique_lock<std::mutex> lock(mutex_);
    changed_.wait(lock, [&] {
      return error_ || results_.count(num_taken_) > 0 || (reading_done_ && num_taken_ == num_put_);
    });
    if (error_) std::rethrow_exception(error_);
    const auto found = results_.find(num_taken_);
    if (found == results_.end()) return false;
    *result = std::move(found->second);
    in_flight_bytes_ -= result->bytes;
    results_.erase(found);
    ++num_taken_;
    changed_.notify_all();
    return true;
  }

  // The first error stops everybody.
  void Fail(std::exception_ptr error) {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (!error_) error_ = std::move(error);
    changed_.notify_all();
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::pair<uint64_t, Batch>> waiting_;
  std::map<uint64_t, Result> results_;
  size_t in_flight_bytes_ = 0;
  uint64_t num_put_ = 0;
  uint64_t num_taken_ = 0;
  bool reading_done_ = false;
  std::exception_ptr error_;
};

void ReadAll(TextReader* reader, Pipeline* pipeline) {
  Pipeline::Batch batch;
  TextPart part;
  while (reader->Next(&part)) {
    batch.bytes += part.text.size();
    batch.parts.push_back(std::move(part));
    batch.file_bytes = reader->bytes_read();
    if (batch.bytes < kBatchBytes) continue;
    if (!pipeline->Put(std::move(batch))) return;
    batch = {};
  }
  if (!batch.parts.empty()) pipeline->Put(std::move(batch));
  pipeline->FinishReading();
}

EncodedPart EncodePart(const Tokenizer& tokenizer, const PrepareOptions& options,
                       const TextPart& part) {
  EncodedPart encoded;
  encoded.first = part.first;
  encoded.last = part.last;
  encoded.bytes = static_cast<int64_t>(part.text.size());
  encoded.words = CountWords(part.text);
  encoded.hash = Fnv1a64(part.text);
  std::vector<int32_t> ids =
      part.first ? tokenizer.Encode(part.text) : tokenizer.EncodeAfterNewline(part.text);
  if (part.first && options.bos) ids.insert(ids.begin(), tokenizer.bos_id());
  if (part.last && options.eos) ids.push_back(tokenizer.eos_id());
  encoded.ids = std::move(ids);
  return encoded;
}

void EncodeAll(const Tokenizer& tokenizer, const PrepareOptions& options, Pipeline* pipeline) {
  uint64_t number = 0;
  Pipeline::Batch batch;
  while (pipeline->TakeWork(&number, &batch)) {
    Pipeline::Result result = {{}, batch.bytes, batch.file_bytes};
    for (const TextPart& part : batch.parts) {
      result.parts.push_back(EncodePart(tokenizer, options, part));
    }
    pipeline->PutResult(number, std::move(result));
  }
}

// One of the two data sets being written.
struct Split {
  DatasetWriter writer;
  DatasetCounts counts;

  void Add(const EncodedPart& part) {
    writer.Append(part.ids, part.first);
    counts.bytes += part.bytes;
    counts.words += part.words;
  }
};

// Sends documents to the split that the hash of their first part says.
class SplitWriter {
 public:
  SplitWriter(const PrepareOptions& options, const Tokenizer& tokenizer, const std::string& folder)
      : options_(options), tokenizer_(tokenizer) {
    const VocabularyInfo vocabulary = {tokenizer.Fingerprint(), tokenizer.vocab_size()};
    MakeDirs(folder);
    folders_.push_back(folder);
    if (options.valid_percent > 0) folders_.push_back(JoinPath(folder, "valid"));
    for (const std::string& path : folders_) {
      MakeDirs(path);
      splits_.push_back({DatasetWriter(path, vocabulary, options.shard_tokens), {}});
    }
  }

  void Add(const EncodedPart& part) {
    if (part.first) current_ = IsHeldOut(part.hash) ? 1 : 0;
    splits_[current_].Add(part);
  }

  void Finish(PrepareReport* report) {
    for (size_t i = 0; i < splits_.size(); ++i) {
      DatasetWriter::Description description;
      description.counts = splits_[i].counts;
      description.tokenizer_kind = tokenizer_.kind();
      description.bos = options_.bos;
      description.eos = options_.eos;
      SaveTokenizer(tokenizer_, folders_[i]);
      (i == 0 ? report->train : report->valid) = splits_[i].writer.Finish(description);
    }
  }

 private:
  bool IsHeldOut(uint64_t hash) const {
    const uint64_t draw = MixBits(hash ^ MixBits(options_.seed)) >> 11;
    return static_cast<double>(draw) * 0x1.0p-53 * 100.0 < options_.valid_percent;
  }

  const PrepareOptions& options_;
  const Tokenizer& tokenizer_;
  std::vector<std::string> folders_;
  std::vector<Split> splits_;
  size_t current_ = 0;
};

// Runs reader and workers while the calling thread writes.
void RunPipeline(const PrepareOptions& options, const Tokenizer& tokenizer,
                 const std::vector<std::string>& files, SplitWriter* writer) {
  TextReader reader(options.reader, files);
  ProgressBar progress("tokenizing", reader.total_bytes(), "bytes");
  Pipeline pipeline;
  std::vector<std::thread> threads;
  const auto start = [&](auto work) {
    threads.emplace_back([&pipeline, work] {
      try {
        work();
      } catch (...) {
        pipeline.Fail(std::current_exception());
      }
    });
  };
  const auto join = [&] {
    for (std::thread& thread : threads) thread.join();
  };

  const int64_t cores = std::max<int64_t>(1, std::thread::hardware_concurrency());
  const int64_t workers = options.threads > 0 ? options.threads : cores;
  try {
    start([&] { ReadAll(&reader, &pipeline); });
    for (int64_t i = 0; i < workers; ++i) {
      start([&] { EncodeAll(tokenizer, options, &pipeline); });
    }
    Pipeline::Result result;
    while (pipeline.TakeResult(&result)) {
      for (const EncodedPart& part : result.parts) writer->Add(part);
      progress.Update(result.file_bytes);
    }
  } catch (...) {
    pipeline.Fail(std::current_exception());
    join();
    throw;
  }
  join();
  progress.Finish();
}

// The first thing in a data set's folder that is no part of one; "" = nothing.
std::string NotOfDataset(const std::string& folder) {
  for (const std::string& name : ListDir(folder)) {
    const bool part =
        name == "index.json" || name.rfind("tokens-", 0) == 0 || name.rfind("tokenizer.", 0) == 0;
    if (part) continue;
    const std::string path = JoinPath(folder, name);
    if (name != "valid" || !IsDirectory(path)) return name;
    const std::string inside = NotOfDataset(path);
    if (!inside.empty()) return JoinPath(name, inside);
  }
  return "";
}

// Removes what calls with the same output left that were killed: their processes are gone.
void RemoveLeftBehind(const std::string& out) {
  const std::string parent = DirName(out);
  if (!IsDirectory(parent)) return;
  for (const char* what : {kUnfinished, kReplaced}) {
    const std::string prefix = BaseName(out) + what;
    for (const std::string& name : ListDir(parent)) {
      if (name.rfind(prefix, 0) != 0) continue;
      const std::string digits = name.substr(prefix.size());
      if (digits.empty() || digits.size() > 9 ||
          digits.find_first_not_of("0123456789") != std::string::npos) {
        continue;
      }
      const auto process = static_cast<pid_t>(std::stol(digits));
      if (::kill(process, 0) != 0 && errno == ESRCH) RemoveAll(JoinPath(parent, name));
    }
  }
}

void CheckPrepareOptions(const PrepareOptions& options, const Tokenizer& tokenizer) {
  if (options.inputs.empty()) throw ConfigError("data prepare", "no input files are named");
  if (options.out.empty()) throw ConfigError("--out", "no folder is named");
  if (options.shard_tokens < 1) {
    throw ConfigError("shard_tokens", Str(options.shard_tokens, ", but must be >= 1"));
  }
  if (!(options.valid_percent >= 0 && options.valid_percent < 100)) {
    throw ConfigError("valid_percent",
                      Str(options.valid_percent, ", but must be from 0 to below 100"));
  }
  if (options.bos && tokenizer.bos_id() < 0) throw ConfigError("bos", "the tokenizer has no <s>");
  if (options.eos && tokenizer.eos_id() < 0) throw ConfigError("eos", "the tokenizer has no </s>");
  if (!FileExists(options.out)) return;
  if (!IsDirectory(options.out)) throw ConfigError(options.out, "is a file, not a folder");
  if (ListDir(options.out).empty()) return;
  if (!IsDataset(options.out)) {
    throw ConfigError(options.out, "is a folder with other things in it; name a new one");
  }
  if (!options.overwrite) {
    throw ConfigError(options.out, "holds a token data set already; --overwrite replaces it");
  }
  const std::string other = NotOfDataset(options.out);
  if (!other.empty()) {
    throw ConfigError(options.out, Str("holds '", other,
                                       "' beside a token data set, which "
                                       "--overwrite would remove; name a new folder"));
  }
}

void CheckNotEmpty(const PrepareOptions& options, const PrepareReport& report, size_t num_files) {
  const int64_t documents = report.train.documents + report.valid.documents;
  if (documents == 0) {
    throw FormatError(options.inputs[0], "",
                      num_files == 1
                          ? "has no text"
                          : Str("has no text, nor do the other ", num_files - 1, " files"));
  }
  const bool valid_missing = options.valid_percent > 0 && report.valid.documents == 0;
  if (valid_missing || report.train.documents == 0) {
    throw ConfigError(
        "valid_percent",
        Str(options.valid_percent, " of ", documents, " document", documents == 1 ? "" : "s",
            " leaves none for ", valid_missing ? "validation" : "training",
            "; take another share, or set what separates documents"));
  }
}

}  // namespace

PrepareReport PrepareTokens(const PrepareOptions& options, const Tokenizer& tokenizer) {
  CheckPrepareOptions(options, tokenizer);
  const std::vector<std::string> files = ExpandInputs(options.inputs);
  const auto start = std::chrono::steady_clock::now();
  std::string out = options.out;
  while (out.size() > 1 && out.back() == '/') out.pop_back();
  const std::string unfinished = Str(out, kUnfinished, ::getpid());
  RemoveLeftBehind(out);

  PrepareReport report;
  try {
    RemoveAll(unfinished);
    SplitWriter writer(options, tokenizer, unfinished);
    RunPipeline(options, tokenizer, files, &writer);
    writer.Finish(&report);
    CheckNotEmpty(options, report, files.size());
    // The old set is whole until the new one has its place.
    const std::string replaced = Str(out, kReplaced, ::getpid());
    if (FileExists(out)) RenameDurably(out, replaced);
    RenameDurably(unfinished, out);
    RemoveAll(replaced);
  } catch (...) {
    RemoveAll(unfinished);
    throw;
  }
  report.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return report;
}

std::string Describe(const PrepareReport& report) {
  const auto line = [](const char* name, const DatasetCounts& counts) {
    const auto tokens = static_cast<double>(std::max<int64_t>(counts.tokens, 1));
    return Str(name, ": ", counts.documents, " documents, ", counts.words, " words, ", counts.bytes,
               " bytes, ", counts.tokens, " tokens, ",
               Fixed(static_cast<double>(counts.bytes) / tokens, 3), " bytes/token\n");
  };
  std::string text = line("train", report.train);
  if (report.valid.tokens > 0) text += line("valid", report.valid);
  const auto bytes = static_cast<double>(report.train.bytes + report.valid.bytes);
  return text + Str(HumanSeconds(report.seconds), ", ",
                    HumanBytes(bytes / std::max(report.seconds, 1e-9)), "/s\n");
}

}  // namespace ckv
