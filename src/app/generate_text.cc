#include <chrono>
#include <functional>
#include <utility>

#include <nlohmann/json.hpp>

#include "app/generate.h"
#include "base/error.h"
#include "base/log.h"
#include "base/random.h"
#include "gen/generator.h"
#include "nn/device.h"
#include "text/utf8.h"

namespace ckv {
namespace {

// Writes continuations in their order while several grow at once: the first unfinished one as it
// comes, those behind it when their turn comes.
class OrderedText {
 public:
  using Sink = std::function<void(const std::string&)>;
  OrderedText(size_t count, Sink sink) : waiting_(count), done_(count), sink_(std::move(sink)) {}

  void Add(size_t index, const std::string& text) {
    if (index == current_) {
      if (!text.empty()) sink_(text);
    } else {
      waiting_[index] += text;
    }
  }

  void Finish(size_t index) {
    Add(index, "\n");
    done_[index] = true;
    while (current_ < done_.size() && done_[current_]) {
      ++current_;
      if (current_ < waiting_.size() && !waiting_[current_].empty()) sink_(waiting_[current_]);
    }
  }

 private:
  std::vector<std::string> waiting_;
  std::vector<bool> done_;
  Sink sink_;
  size_t current_ = 0;
};

struct TextPrompt {
  std::string shown;  // in JSON
  PromptItem item;
};

std::vector<TextPrompt> ReadTextPrompts(const GenerateArguments& arguments,
                                        const LoadedModel& model, const PromptBuilder& builder) {
  std::vector<std::string> texts;
  for (const std::string& text : arguments.prompts) {
    texts.push_back(text == "-" ? ReadPromptFile("-") : text);
  }
  for (const std::string& path : arguments.prompt_files) texts.push_back(ReadPromptFile(path));
  if (texts.empty() && arguments.prompt_ids.empty()) texts.emplace_back();
  std::vector<TextPrompt> prompts;
  for (const std::string& text : texts) {
    prompts.push_back({ReplaceInvalidUtf8(text), {}});
    prompts.back().item.ids = builder.OfText(text);
  }
  for (const std::string& text : arguments.prompt_ids) {
    const std::vector<int32_t> ids = ParseIds(text, "--prompt-ids");
    CheckPrompt(ids, model.decoder->config());
    prompts.push_back({PromptText(model, ids), {}});
    prompts.back().item.ids = ids;
  }
  for (size_t i = 0; i < prompts.size(); ++i) {
    PromptItem& item = prompts[i].item;
    CheckPrompt(item.ids, model.decoder->config());
    item.seed = MixBits(static_cast<uint64_t>(arguments.seed)) +
                i * static_cast<uint64_t>(arguments.samples);
    item.stops = arguments.stops;
  }
  return prompts;
}

// All continuations of a command: makes them and writes them as they come.
class TextRun {
 public:
  TextRun(const GenerateArguments& arguments, LoadedModel& model, const PromptBuilder& builder,
          OrderedText::Sink sink)
      : arguments_(arguments),
        model_(model),
        settings_(SettingsOf(arguments, model, builder)),
        prompts_(ReadTextPrompts(arguments, model, builder)),
        results_(prompts_.size()),
        written_(prompts_.size() * static_cast<size_t>(arguments.samples), std::move(sink)) {}

  void Run() {
    const size_t count = prompts_.size() * static_cast<size_t>(arguments_.samples);
    std::vector<PromptItem> items;
    for (size_t prompt = 0; prompt < prompts_.size(); ++prompt) {
      items.push_back(prompts_[prompt].item);
      for (int64_t sample = 0; sample < arguments_.samples; ++sample) {
        const size_t index = IndexOf(prompt, sample);
        if (count > 1) {
          written_.Add(index, Str(index == 0 ? "" : "\n", "[prompt ", prompt + 1, ", sample ",
                                  sample + 1, "]\n"));
        }
        written_.Add(index, PromptText(model_, items.back().ids));
      }
    }
    ContinueHooks hooks;
    hooks.on_text = [this](size_t prompt, int64_t sample, const std::string& piece) {
      written_.Add(IndexOf(prompt, sample), piece);
    };
    hooks.on_finish = [this](size_t prompt, int64_t sample) {
      written_.Finish(IndexOf(prompt, sample));
    };
    hooks.on_prompt = [this](size_t prompt, const std::vector<ContinuedText>& texts) {
      results_[prompt] = texts;
      for (auto i = static_cast<int64_t>(texts.size()); i < arguments_.samples; ++i) {
        written_.Finish(IndexOf(prompt, i));  // beam search found no more
      }
    };
    ContinuePrompts(model_, items, settings_, hooks);
  }

  int64_t NumTokens() const {
    int64_t count = 0;
    for (const std::vector<ContinuedText>& texts : results_) {
      for (const ContinuedText& text : texts) {
        count += static_cast<int64_t>(text.generation.tokens.size());
      }
    }
    return count;
  }

  OrderedJson Result() const {
    OrderedJson json;
    json["model"] = model_.folder;
    json["weights"] = model_.weights;
    if (arguments_.beams > 0) {
      json["beams"] = arguments_.beams;
      json["length_penalty"] = arguments_.length_penalty;
    } else {
      json["temperature"] = arguments_.sampling.temperature;
      json["top_k"] = arguments_.sampling.top_k;
      json["top_p"] = arguments_.sampling.top_p;
      json["min_p"] = arguments_.sampling.min_p;
      json["repetition_penalty"] = arguments_.sampling.repetition_penalty;
      json["seed"] = arguments_.seed;
    }
    json["generations"] = OrderedJson::array();
    for (size_t prompt = 0; prompt < prompts_.size(); ++prompt) {
      for (size_t sample = 0; sample < results_[prompt].size(); ++sample) {
        OrderedJson one;
        one["prompt"] = prompts_[prompt].shown;
        one["prompt_tokens"] = prompts_[prompt].item.ids;
        one["sample"] = sample;
        one.update(ContinuationJson(results_[prompt][sample], model_.tokenizer.get()));
        json["generations"].push_back(std::move(one));
      }
    }
    return json;
  }

 private:
  size_t IndexOf(size_t prompt, int64_t sample) const {
    return prompt * static_cast<size_t>(arguments_.samples) + static_cast<size_t>(sample);
  }

  const GenerateArguments& arguments_;
  LoadedModel& model_;
  ContinueSettings settings_;
  std::vector<TextPrompt> prompts_;
  std::vector<std::vector<ContinuedText>> results_;  // of each prompt
  OrderedText written_;
};

}  // namespace

void GenerateText(const GenerateArguments& arguments, LoadedModel& model,
                  const PromptBuilder& builder) {
  const bool live = !arguments.output.json() && !arguments.output.to_file();
  std::string collected;
  TextRun run(arguments, model, builder, [&](const std::string& piece) {
    if (live) {
      WriteToStdout(piece);
    } else {
      collected += piece;
    }
  });
  const auto start = std::chrono::steady_clock::now();
  run.Run();
  const double seconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  LogInfo("generate", Str(run.NumTokens(), " tokens in ", HumanSeconds(seconds), " on ",
                          DeviceName(model.device)));
  if (!live) arguments.output.Print(run.Result(), collected);
}

}  // namespace ckv
