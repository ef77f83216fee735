#include "eval/run_task.h"

#include <algorithm>
#include <numeric>
#include <optional>
#include <utility>

#include <ATen/Parallel.h>

#include "base/error.h"
#include "base/log.h"
#include "gen/generator.h"
#include "tasks/answers.h"

namespace ckv {
namespace {

class TaskRunner {
 public:
  TaskRunner(Decoder& decoder, const Tokenizer& tokenizer, const Task& task,
             const TaskRunOptions& options, ResponseCache* cache, const TaskProgress& progress)
      : decoder_(decoder),
        tokenizer_(tokenizer),
        task_(task),
        options_(options),
        cache_(cache),
        progress_(progress),
        total_(options.NumDocuments(task)),
        answers_(static_cast<size_t>(total_)) {
    if (options.score.max_length == 0) {
      options_.score.max_length = decoder->config().max_position_embeddings;
    }
    if (options.bos && tokenizer.bos_id() < 0) {
      throw ConfigError("--bos", "the tokenizer has no <s>");
    }
  }

  std::vector<std::vector<TaskResponse>> Run() {
    std::vector<int64_t> wanted(static_cast<size_t>(total_));
    std::iota(wanted.begin(), wanted.end(), 0);
    if (options_.documents.has_value()) wanted = *options_.documents;
    num_wanted_ = static_cast<int64_t>(wanted.size());
    std::vector<int64_t> open;
    for (const int64_t i : wanted) {
      const std::vector<TaskResponse>* known = cache_ == nullptr ? nullptr : cache_->Find(i);
      if (known != nullptr) {
        answers_[static_cast<size_t>(i)] = *known;
        ++done_;
      } else {
        open.push_back(i);
      }
    }
    if (progress_) progress_(done_, num_wanted_);
    if (open.empty()) return std::move(answers_);
    if (task_.config().kind == "generate") {
      RunGeneration(open);
    } else {
      RunScoring(open);
    }
    return std::move(answers_);
  }

 private:
  // What belongs to the requests of one document.
  struct Encoded {
    std::vector<ScoreRequest> requests;
    std::vector<size_t> answer;  // of the document, to which each request adds
    size_t num_answers = 0;
  };

  Encoded EncodeDocument(int64_t index) const {
    Encoded encoded;
    std::optional<std::string> context;
    std::vector<int32_t> context_ids;
    for (const TaskRequest& request : task_.Requests(index)) {
      if (request.kind == TaskRequest::Kind::kRolling) {
        for (RequestTokens& window : RollingWindows(tokenizer_, options_.bos, request.continuation,
                                                    options_.score.max_length)) {
          encoded.requests.push_back({std::move(window), index});
          encoded.answer.push_back(encoded.num_answers);
        }
      } else {
        if (!context.has_value() || *context != request.context) {
          context = request.context;
          context_ids = EncodeContext(tokenizer_, options_.bos, *context);
        }
        encoded.requests.push_back(
            {EncodeRequest(tokenizer_, options_.bos, *context, request.continuation, context_ids),
             index});
        encoded.answer.push_back(encoded.num_answers);
      }
      ++encoded.num_answers;
    }
    return encoded;
  }

  void RunScoring(const std::vector<int64_t>& open) {
    std::vector<Encoded> encoded(open.size());
    at::parallel_for(0, static_cast<int64_t>(open.size()), 16, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        encoded[static_cast<size_t>(i)] = EncodeDocument(open[static_cast<size_t>(i)]);
      }
    });
    std::vector<ScoreRequest> requests;
    std::vector<std::pair<size_t, size_t>> owner;  // document within `open`, and answer
    std::vector<size_t> left;                      // requests of each document
    int64_t cut = 0;
    for (size_t i = 0; i < open.size(); ++i) {
      std::vector<TaskResponse>& answers = answers_[static_cast<size_t>(open[i])];
      answers.assign(encoded[i].num_answers, {0.0, true, ""});
      left.push_back(encoded[i].requests.size());
      for (size_t k = 0; k < encoded[i].requests.size(); ++k) {
        ScoreRequest& request = encoded[i].requests[k];
        cut +=
            static_cast<int64_t>(request.tokens.context.size() +
                                 request.tokens.continuation.size()) > options_.score.max_length + 1
                ? 1
                : 0;
        requests.push_back(std::move(request));
        owner.emplace_back(i, encoded[i].answer[k]);
      }
      if (left.back() == 0) Finish(open[i]);  // a text without tokens
    }
    if (cut > 0) {
      LogWarn("eval", Str(task_.config().name, ": ", cut, " of ", requests.size(),
                          " requests are longer than ", options_.score.max_length,
                          " tokens and lose their start"));
    }
    const OnScores on_scores = [&](const std::vector<size_t>& finished,
                                   const std::vector<TokenScore>& scores) {
      for (size_t i = 0; i < finished.size(); ++i) {
        const auto [document, answer] = owner[finished[i]];
        TaskResponse& response = answers_[static_cast<size_t>(open[document])][answer];
        response.log_prob += scores[i].log_prob;
        response.greedy = response.greedy && scores[i].greedy;
        if (--left[document] == 0) Finish(open[document]);
      }
      if (cache_ != nullptr) cache_->Flush();
      if (progress_) progress_(done_, num_wanted_);
    };
    ScoreRequests(decoder_, requests, options_.score, on_scores);
    if (cache_ != nullptr) cache_->Flush();
  }

  void Finish(int64_t document) {
    if (cache_ != nullptr) cache_->Add(document, answers_[static_cast<size_t>(document)]);
    ++done_;
  }

  void RunGeneration(const std::vector<int64_t>& open) {
    const GenerationConfig& config = task_.config().generation;
    const int64_t room = options_.score.max_length - config.max_tokens;
    if (room < 1) {
      throw ConfigError(
          "generation.max_tokens",
          Str(config.max_tokens, ", but must leave room for a context in the model's ",
              options_.score.max_length, " positions"));
    }
    std::vector<GenerateRequest> prompts;
    for (const int64_t index : open) {
      GenerateRequest prompt;
      const TaskRequest request = task_.Requests(index).front();
      prompt.prompt = tokenizer_.Encode(request.context);
      if (options_.bos) prompt.prompt.insert(prompt.prompt.begin(), tokenizer_.bos_id());
      if (prompt.prompt.empty()) {
        throw FormatError(Str("task ", task_.config().name, ": document ", index), "",
                          "has an empty context, behind which nothing can be generated");
      }
      const auto size = static_cast<int64_t>(prompt.prompt.size());
      if (size > room)
        prompt.prompt.erase(prompt.prompt.begin(), prompt.prompt.begin() + size - room);
      prompts.push_back(std::move(prompt));
    }
    GenerateOptions options;
    options.max_new_tokens = config.max_tokens;
    options.sampling.temperature = 0.0;
    options.num_ids = tokenizer_.vocab_size();
    options.max_rows = options_.generation_rows;
    options.prefill = options_.score.run;
    if (tokenizer_.eos_id() >= 0) options.stop_ids = {tokenizer_.eos_id()};
    std::vector<std::vector<int32_t>> ids(open.size());
    GenerateHooks hooks;
    hooks.on_token = [&](size_t row, int32_t token) {
      ids[row].push_back(token);
      const std::string text = tokenizer_.Decode(ids[row]);
      return CutAtFirst(text, config.until) == text;
    };
    hooks.on_finish = [&](size_t row, const Generation&) {
      answers_[static_cast<size_t>(open[row])] = {
          {0.0, false, CutAtFirst(tokenizer_.Decode(ids[row]), config.until)}};
      Finish(open[row]);
      if (cache_ != nullptr) cache_->Flush();
      if (progress_) progress_(done_, num_wanted_);
    };
    Generate(decoder_, prompts, options, hooks);
  }

  Decoder& decoder_;
  const Tokenizer& tokenizer_;
  const Task& task_;
  TaskRunOptions options_;
  ResponseCache* cache_;
  const TaskProgress& progress_;
  int64_t total_;
  int64_t num_wanted_ = 0;
  int64_t done_ = 0;
  std::vector<std::vector<TaskResponse>> answers_;
};

}  // namespace

int64_t TaskRunOptions::NumDocuments(const Task& task) const {
  return limit > 0 ? std::min(limit, task.size()) : task.size();
}

std::vector<std::vector<TaskResponse>> RunTask(Decoder& decoder, const Tokenizer& tokenizer,
                                               const Task& task, const TaskRunOptions& options,
                                               ResponseCache* cache, const TaskProgress& progress) {
  return TaskRunner(decoder, tokenizer, task, options, cache, progress).Run();
}

}  // namespace ckv
