#include "app/continue_prompts.h"

#include <utility>

#include <nlohmann/json.hpp>

#include "base/random.h"
#include "gen/beam_search.h"
#include "gen/generator.h"
#include "gen/text_stream.h"
#include "text/utf8.h"

namespace ckv {
namespace {

// The continuations of all prompts by sampling, all samples of a prompt behind one another.
class SampledTexts {
 public:
  SampledTexts(LoadedModel& model, const std::vector<PromptItem>& prompts,
               const ContinueSettings& settings, const ContinueHooks& hooks)
      : model_(model),
        settings_(settings),
        hooks_(hooks),
        samples_(static_cast<size_t>(settings.samples)),
        missing_(prompts.size(), samples_) {
    for (const PromptItem& prompt : prompts) {
      for (size_t sample = 0; sample < samples_; ++sample) {
        requests_.push_back({prompt.ids, MixBits(prompt.seed + sample), prompt.max_tokens});
        streams_.emplace_back(model.tokenizer.get(), prompt.ids, prompt.stops);
      }
    }
    texts_.resize(requests_.size());
  }

  void Run() {
    GenerateHooks hooks;
    hooks.on_token = [this](size_t row, int32_t id) {
      Add(row, streams_[row].Push(id));
      return !streams_[row].stopped();
    };
    hooks.on_finish = [this](size_t row, const Generation& generation) { Finish(row, generation); };
    Generate(model_.decoder, requests_, settings_.options, hooks);
  }

 private:
  void Add(size_t row, const std::string& piece) {
    texts_[row].text += piece;
    if (hooks_.on_text && !piece.empty()) hooks_.on_text(row / samples_, SampleOf(row), piece);
  }

  void Finish(size_t row, const Generation& generation) {
    Add(row, streams_[row].Finish());
    texts_[row].generation = generation;
    if (hooks_.on_finish) hooks_.on_finish(row / samples_, SampleOf(row));
    const size_t prompt = row / samples_;
    if (--missing_[prompt] > 0) return;
    const auto begin = texts_.begin() + static_cast<std::ptrdiff_t>(prompt * samples_);
    const std::vector<ContinuedText> all(begin, begin + static_cast<std::ptrdiff_t>(samples_));
    if (hooks_.on_prompt) hooks_.on_prompt(prompt, all);
  }

  int64_t SampleOf(size_t row) const { return static_cast<int64_t>(row % samples_); }

  LoadedModel& model_;
  const ContinueSettings& settings_;
  const ContinueHooks& hooks_;
  size_t samples_;
  std::vector<size_t> missing_;  // of each prompt
  std::vector<GenerateRequest> requests_;
  std::vector<TextStream> streams_;
  std::vector<ContinuedText> texts_;
};

// The text of a whole continuation, and whether a stop string ended it.
std::pair<std::string, bool> WholeText(const LoadedModel& model, const PromptItem& prompt,
                                       const std::vector<int32_t>& tokens) {
  TextStream stream(model.tokenizer.get(), prompt.ids, prompt.stops);
  std::string text;
  for (const int32_t id : tokens) text += stream.Push(id);
  const bool stopped = stream.stopped();
  return {text + stream.Finish(), stopped};
}

std::vector<ContinuedText> BestTexts(LoadedModel& model, const PromptItem& prompt,
                                     const ContinueSettings& settings) {
  BeamOptions options;
  options.num_beams = settings.num_beams;
  options.num_results = settings.samples;
  options.length_penalty = settings.length_penalty;
  options.max_new_tokens =
      prompt.max_tokens > 0 ? prompt.max_tokens : settings.options.max_new_tokens;
  options.stop_ids = settings.options.stop_ids;
  options.num_ids = settings.options.num_ids;
  options.prefill = settings.options.prefill;
  if (!prompt.stops.empty()) {
    options.is_complete = [&](const std::vector<int32_t>& tokens) {
      return WholeText(model, prompt, tokens).second;
    };
  }
  std::vector<ContinuedText> texts;
  for (BeamResult& result : BeamSearch(model.decoder, prompt.ids, options)) {
    ContinuedText text;
    text.text = WholeText(model, prompt, result.generation.tokens).first;
    text.generation = std::move(result.generation);
    text.score = result.score;
    texts.push_back(std::move(text));
  }
  return texts;
}

OrderedJson TopJson(const std::vector<TokenLogProb>& top, const Tokenizer* tokenizer) {
  OrderedJson list = OrderedJson::array();
  for (const TokenLogProb& entry : top) {
    OrderedJson json;
    json["token"] = entry.id;
    if (tokenizer != nullptr) json["piece"] = ReplaceInvalidUtf8(tokenizer->IdToPiece(entry.id));
    json["log_prob"] = entry.log_prob;
    list.push_back(std::move(json));
  }
  return list;
}

}  // namespace

std::string PromptText(const LoadedModel& model, const std::vector<int32_t>& ids) {
  return TextStream(model.tokenizer.get(), ids).prompt_text();
}

void ContinuePrompts(LoadedModel& model, const std::vector<PromptItem>& prompts,
                     const ContinueSettings& settings, const ContinueHooks& hooks) {
  if (settings.num_beams == 0) {
    SampledTexts(model, prompts, settings, hooks).Run();
    return;
  }
  for (size_t prompt = 0; prompt < prompts.size(); ++prompt) {
    const std::vector<ContinuedText> texts = BestTexts(model, prompts[prompt], settings);
    for (size_t i = 0; i < texts.size(); ++i) {
      const auto sample = static_cast<int64_t>(i);
      if (hooks.on_text) hooks.on_text(prompt, sample, texts[i].text);
      if (hooks.on_finish) hooks.on_finish(prompt, sample);
    }
    if (hooks.on_prompt) hooks.on_prompt(prompt, texts);
  }
}

OrderedJson ContinuationJson(const ContinuedText& text, const Tokenizer* tokenizer) {
  const Generation& generation = text.generation;
  OrderedJson json;
  json["text"] = text.text;
  json["tokens"] = generation.tokens;
  json["log_probs"] = generation.log_probs;
  if (!generation.top.empty()) {
    json["top_log_probs"] = OrderedJson::array();
    for (const std::vector<TokenLogProb>& top : generation.top) {
      json["top_log_probs"].push_back(TopJson(top, tokenizer));
    }
  }
  if (text.score.has_value()) json["score"] = *text.score;
  json["finish"] = FinishName(generation.finish);
  return json;
}

}  // namespace ckv
