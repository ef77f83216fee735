// `ckv eval sentences`: scores of an encoder on files of sentences.
#include <chrono>
#include <memory>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "app/command.h"
#include "app/encoder_files.h"
#include "app/encoder_training.h"
#include "app/output.h"
#include "base/error.h"

namespace ckv {
namespace {

struct EvalSentencesOptions {
  EncoderArguments model;
  std::vector<std::string> data;
  CommandOutput output;
};

void EvalSentencesByOptions(const EvalSentencesOptions& options) {
  const LoadedEncoder encoder = LoadEncoder(options.model);
  const EncoderRun& run = encoder.run;
  const std::vector<std::string>& files = options.data.empty() ? run.data.test : options.data;
  if (files.empty()) {
    throw ConfigError("--data", "names no file, and the model's own config has no data.test");
  }
  OrderedJson json = OrderedJson::array();
  std::string text;
  for (const std::string& path : files) {
    const std::vector<Sentence> sentences = ReadSentences(path, run.TestFormat());
    const auto start = std::chrono::steady_clock::now();
    const SentenceLosses losses =
        EvaluateModel(*encoder.model, EncodeAll(sentences, encoder.words, encoder.labels),
                      run.TaskOptions(encoder.device), encoder.device);
    const double seconds =
        std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    const SentenceFigures figures = ScorePredictions(sentences, encoder.labels, losses, run.Kind(),
                                                     run.data.format.tags == "bioes");
    OrderedJson item;
    item["model"] = encoder.folder;
    item["data"] = path;
    item["sentences"] = sentences.size();
    item["targets"] = losses.targets;
    item.update(FiguresJson(figures));
    item["seconds"] = seconds;
    json.push_back(std::move(item));
    text += Str(path, ": ", sentences.size(), " sentences\n", DescribeFigures(figures));
  }
  options.output.Print(json, text);
}

}  // namespace

void AddEvalSentencesCommand(CLI::App& eval) {
  const auto options = std::make_shared<EvalSentencesOptions>();
  CLI::App* command = eval.add_subcommand(
      "sentences", "Scores of an encoder: tagging, classification, COGS, masked words");
  options->model.AddOptions(*command);
  command
      ->add_option("--data", options->data,
                   "Files in the format that the model was trained on (default: its data.test)")
      ->type_name("FILE");
  options->output.AddOptions(*command);
  command->footer(
      "Example:\n"
      "  ckv eval sentences experiments/probtrans/runs/ewt-xpos --data test.conllu.zst");
  command->callback([options] { EvalSentencesByOptions(*options); });
}

}  // namespace ckv
