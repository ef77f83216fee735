#include <algorithm>
#include <map>
#include <utility>

#include <nlohmann/json.hpp>

#include "app/generate.h"
#include "app/jsonl_results.h"
#include "base/error.h"
#include "base/log.h"
#include "base/progress.h"
#include "base/random.h"
#include "gen/generator.h"

namespace ckv {
namespace {

// Batches that are begun at once: results wait in memory for those before them.
constexpr size_t kBatchesOfPart = 16;

// All that decides what results are, device and batch size left out.
OrderedJson JobSettings(const GenerateArguments& arguments, const LoadedModel& model) {
  OrderedJson json;
  json["model"] = model.folder;
  json["weights"] = model.weights;
  json["precision"] = arguments.model.precision;
  json["tokenizer"] = arguments.model.tokenizer;
  json["prompt_field"] = arguments.fields.prompt;
  json["result_field"] = arguments.fields.results;
  json["max_tokens"] = arguments.max_tokens;
  json["temperature"] = arguments.sampling.temperature;
  json["top_k"] = arguments.sampling.top_k;
  json["top_p"] = arguments.sampling.top_p;
  json["min_p"] = arguments.sampling.min_p;
  json["repetition_penalty"] = arguments.sampling.repetition_penalty;
  json["beams"] = arguments.beams;
  json["length_penalty"] = arguments.length_penalty;
  json["prefill"] = arguments.prefill.order;
  json["passes"] = arguments.prefill.passes;
  if (arguments.prefill.tolerance.has_value()) json["tolerance"] = *arguments.prefill.tolerance;
  json["chunk"] = arguments.prefill.chunk.value_or(0);
  json["seed"] = arguments.seed;
  json["samples"] = arguments.samples;
  json["logprobs"] = arguments.log_probs;
  json["stop"] = arguments.stops;
  json["stop_ids"] = arguments.stop_ids;
  json["ignore_eos"] = arguments.ignore_eos;
  json["bos"] = arguments.bos;
  return json;
}

class JsonlJob {
 public:
  JsonlJob(const GenerateArguments& arguments, LoadedModel& model, const PromptBuilder& builder)
      : arguments_(arguments),
        model_(model),
        settings_(SettingsOf(arguments, model, builder)),
        prompts_(ReadJsonlPrompts(arguments.jsonl, arguments.fields)) {
    for (size_t i = 0; i < prompts_.size(); ++i) items_.push_back(ItemOf(i, builder));
  }

  void Run() {
    JsonlResults results(arguments_.output.file(), JobSettings(arguments_, model_), prompts_,
                         arguments_.fields);
    size_t done = results.num_kept();
    if (done > 0)
      LogInfo("generate", Str(done, " of ", prompts_.size(), " prompts were done before"));
    ProgressBar bar("generate", prompts_.size() - done, "prompts");
    const auto samples = static_cast<size_t>(std::max(arguments_.samples, arguments_.beams));
    const size_t part =
        std::max<size_t>(1, kBatchesOfPart * static_cast<size_t>(arguments_.batch_size) / samples);
    while (done < prompts_.size()) {
      const size_t count = std::min(part, prompts_.size() - done);
      RunPart(done, count, &results, &bar);
      done += count;
    }
    results.Close();
    bar.Finish();
  }

 private:
  // A prompt as it is continued; what is wrong with it is said before any work.
  PromptItem ItemOf(size_t index, const PromptBuilder& builder) const {
    const JsonlPrompt& prompt = prompts_[index];
    PromptItem item;
    item.ids = prompt.text.has_value() ? builder.OfText(*prompt.text) : prompt.ids;
    const auto first = index * static_cast<uint64_t>(arguments_.samples);
    item.seed = prompt.seed.has_value() ? MixBits(static_cast<uint64_t>(*prompt.seed))
                                        : MixBits(static_cast<uint64_t>(arguments_.seed)) + first;
    item.max_tokens = prompt.max_tokens;
    item.stops = prompt.stops.value_or(arguments_.stops);
    if (!item.stops.empty()) model_.NeedTokenizer();
    try {
      CheckPrompt(item.ids, model_.decoder->config());
    } catch (const ConfigError& error) {
      throw FormatError(arguments_.jsonl, Str("prompt ", index + 1), error.what());
    }
    return item;
  }

  // Continues prompts [first, first + count) and writes their results in order.
  void RunPart(size_t first, size_t count, JsonlResults* results, ProgressBar* bar) {
    const auto begin = items_.begin() + static_cast<std::ptrdiff_t>(first);
    std::map<size_t, OrderedJson> waiting;  // results of prompts before which one is missing
    size_t next = 0;
    ContinueHooks hooks;
    hooks.on_prompt = [&](size_t prompt, const std::vector<ContinuedText>& texts) {
      OrderedJson json = OrderedJson::array();
      for (const ContinuedText& text : texts) {
        json.push_back(ContinuationJson(text, model_.tokenizer.get()));
      }
      waiting[prompt] = std::move(json);
      for (auto ready = waiting.find(next); ready != waiting.end(); ready = waiting.find(next)) {
        results->Write(prompts_[first + next], ready->second);
        waiting.erase(ready);
        ++next;
        bar->Update(++num_written_);
      }
    };
    ContinuePrompts(model_, {begin, begin + static_cast<std::ptrdiff_t>(count)}, settings_, hooks);
  }

  const GenerateArguments& arguments_;
  LoadedModel& model_;
  ContinueSettings settings_;
  std::vector<JsonlPrompt> prompts_;
  std::vector<PromptItem> items_;
  uint64_t num_written_ = 0;
};

}  // namespace

void GenerateJsonl(const GenerateArguments& arguments, LoadedModel& model,
                   const PromptBuilder& builder) {
  JsonlJob(arguments, model, builder).Run();
}

}  // namespace ckv
