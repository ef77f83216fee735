#include <memory>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>
#include <torch/torch.h>

#include "app/command.h"
#include "app/encoder_files.h"
#include "app/output.h"
#include "base/error.h"

namespace ckv {
namespace {

constexpr char kMaskWord[] = "<mask>";

struct PredictOptions {
  EncoderArguments model;
  std::string input = "-";
  int64_t top = 5;
  CommandOutput output;
};

// Sentences with their words and, for each head, labels.
void PrintLabels(const PredictOptions& options, const LoadedEncoder& encoder,
                 const std::vector<Sentence>& sentences) {
  const Predictions predictions = PredictClasses(
      *encoder.model, EncodeAll(sentences, encoder.words, {}), encoder.run.Kind(), encoder.device);
  const bool whole = encoder.run.Kind() == SentenceTask::kSentences;
  OrderedJson json = OrderedJson::array();
  std::string text;
  for (size_t s = 0; s < sentences.size(); ++s) {
    OrderedJson item;
    item["words"] = sentences[s].words;
    std::vector<std::vector<std::string>> columns;
    for (size_t head = 0; head < encoder.labels.size(); ++head) {
      const LabelSet& set = encoder.labels[head];
      columns.emplace_back();
      for (const int64_t id : predictions[s][head]) columns.back().push_back(set.label(id));
      if (whole) {
        item[set.name()] = columns.back()[0];
      } else {
        item[set.name()] = columns.back();
      }
    }
    json.push_back(std::move(item));
    if (whole) {
      text += columns[0][0] + "\t";
      for (size_t i = 0; i < sentences[s].words.size(); ++i) {
        text += (i == 0 ? "" : " ") + sentences[s].words[i];
      }
      text += "\n";
      continue;
    }
    for (size_t i = 0; i < sentences[s].words.size(); ++i) {
      text += sentences[s].words[i];
      for (const std::vector<std::string>& column : columns) text += "\t" + column[i];
      text += "\n";
    }
    text += "\n";
  }
  options.output.Print(json, text);
}

// Likely words for each <mask> of one sentence.
OrderedJson FillMasks(const LoadedEncoder& encoder, const Sentence& sentence, int64_t top,
                      std::string* text) {
  at::NoGradGuard no_grad;
  std::vector<int64_t> ids, places;
  for (size_t i = 0; i < sentence.words.size(); ++i) {
    const bool mask = sentence.words[i] == kMaskWord;
    ids.push_back(mask ? encoder.words.size() : encoder.words.Find(sentence.words[i]));
    if (mask) places.push_back(static_cast<int64_t>(i));
  }
  if (places.empty()) throw ConfigError("--input", "a sentence has no <mask> to be filled");
  const Tensor row = at::tensor(ids, at::kLong).unsqueeze(0).to(encoder.device);
  const Tensor features = encoder.model->Encode(row, at::ones_like(row, at::kBool))[0];
  const Tensor wanted = features.index_select(0, at::tensor(places, at::kLong).to(encoder.device));
  const Tensor probs = encoder.model->Logits(wanted)[0].softmax(-1).to(at::kCPU, at::kDouble);
  const auto best = probs.topk(std::min(top, probs.size(1)));
  OrderedJson json = OrderedJson::array();
  for (size_t m = 0; m < places.size(); ++m) {
    *text += Str("word ", places[m] + 1, ":");
    OrderedJson words = OrderedJson::array();
    for (int64_t k = 0; k < std::get<1>(best).size(1); ++k) {
      const auto at = static_cast<int64_t>(m);
      const std::string& word = encoder.words.word(std::get<1>(best)[at][k].item<int64_t>());
      const auto probability = std::get<0>(best)[at][k].item<double>();
      words.push_back({{"word", word}, {"probability", probability}});
      *text += Str(" ", word, " ", Fixed(probability, 3));
    }
    json.push_back({{"word_number", places[m] + 1}, {"candidates", words}});
    *text += "\n";
  }
  *text += "\n";
  return json;
}

void PredictByOptions(const PredictOptions& options) {
  if (options.top < 1) throw ConfigError("--top", Str(options.top, ", but must be >= 1"));
  const LoadedEncoder encoder = LoadEncoder(options.model);
  const std::vector<Sentence> sentences = ReadInputSentences(options.input, encoder.run);
  if (encoder.run.Kind() != SentenceTask::kMasked) {
    PrintLabels(options, encoder, sentences);
    return;
  }
  OrderedJson json = OrderedJson::array();
  std::string text;
  for (const Sentence& sentence : sentences) {
    json.push_back(
        {{"words", sentence.words}, {"masks", FillMasks(encoder, sentence, options.top, &text)}});
  }
  options.output.Print(json, text);
}

}  // namespace

void AddPredictCommand(CLI::App& program) {
  const auto options = std::make_shared<PredictOptions>();
  CLI::App* command = program.add_subcommand(
      "predict", "Tags, classes or masked words of sentences, by an encoder");
  options->model.AddOptions(*command);
  command
      ->add_option("--input", options->input,
                   "Sentences, one a line, words between blanks; - = stdin")
      ->type_name("FILE")
      ->capture_default_str();
  command->add_option("--top", options->top, "Masked words: so many candidates")
      ->type_name("N")
      ->capture_default_str();
  options->output.AddOptions(*command);
  command->footer(
      "Tags are printed one word a line, classes in front of the sentence. A model of masked "
      "words\n"
      "gives candidates for each <mask>.\n\n"
      "Example:\n"
      "  echo 'From the AP comes this story :' | ckv predict experiments/probtrans/runs/ewt-xpos");
  command->callback([options] { PredictByOptions(*options); });
}

}  // namespace ckv
