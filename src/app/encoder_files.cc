#include "app/encoder_files.h"

#include <iostream>
#include <iterator>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>
#include <torch/torch.h>

#include "app/load_model.h"
#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "ckpt/weights.h"
#include "nn/device.h"
#include "text/utf8.h"

namespace ckv {
namespace {

constexpr char kEncoderType[] = "crosskv-encoder";
constexpr char kVocabularyFile[] = "vocabulary.txt";
constexpr char kLabelsFile[] = "labels.json";

std::string NeededFile(const std::string& folder, const char* name) {
  const std::string path = JoinPath(folder, name);
  if (!FileExists(path)) throw FormatError(folder, name, "part of the checkpoint is missing");
  return path;
}

std::vector<LabelSet> ReadLabels(const std::string& path) {
  const Json json = ReadJsonFile(path);
  std::vector<LabelSet> labels;
  try {
    for (const Json& head : json.at("heads")) {
      labels.emplace_back(head.at("name").get<std::string>(),
                          head.at("classes").get<std::vector<std::string>>());
    }
  } catch (const nlohmann::json::exception&) {
    throw FormatError(path, "heads", "must be a list of {name, classes}");
  }
  return labels;
}

bool HasEncoderConfig(const std::string& folder) {
  const std::string path = JoinPath(folder, "config.json");
  if (!FileExists(path)) return false;
  const Json json = ReadJsonFile(path);
  return json.is_object() && json.value("model_type", "") == kEncoderType;
}

}  // namespace

std::vector<std::pair<std::string, std::string>> EncoderFiles(const EncoderRun& run,
                                                              const WordVocabulary& words,
                                                              const std::vector<LabelSet>& labels) {
  OrderedJson config;
  config["model_type"] = kEncoderType;
  config["family"] = run.model.family;
  config["task"] = run.task;
  config["vocab_size"] = words.size();
  config["encoder_parameters"] = run.model.NumEncoderParameters();
  OrderedJson heads = OrderedJson::array();
  for (const LabelSet& set : labels) {
    heads.push_back({{"name", set.name()}, {"classes", set.classes()}});
  }
  OrderedJson label_file;
  label_file["heads"] = heads;
  return {{"config.json", config.dump(2) + "\n"},
          {kVocabularyFile, words.FileContent()},
          {kLabelsFile, label_file.dump(2) + "\n"}};
}

void EncoderArguments::AddOptions(CLI::App& command) {
  command.add_option("CHECKPOINT", path, "Run folder or checkpoint of an encoder")
      ->type_name("FOLDER")
      ->required();
  command
      .add_option("--checkpoint", checkpoint,
                  "Which one of a run: best, latest or a step (default: best, else latest)")
      ->type_name("WHICH");
  command.add_option("--device", device, "auto, cpu, cuda or cuda:N")
      ->type_name("NAME")
      ->capture_default_str();
  command.add_option("--precision", precision, "Number format of the work")
      ->check(CLI::IsMember({"fp32", "tf32", "bf16", "fp64"}))
      ->capture_default_str();
}

bool IsEncoderFolder(const std::string& path) {
  return FileExists(path) && HasEncoderConfig(FindModelFolder(path));
}

LoadedEncoder LoadEncoder(const EncoderArguments& arguments) {
  const at::Device device = ChooseDevice(arguments.device, "--device");
  AllowTf32(arguments.precision == "tf32");
  const std::string folder = FindModelFolder(arguments.path, arguments.checkpoint);
  if (!HasEncoderConfig(folder)) {
    throw FormatError(folder, "config.json",
                      Str("is not of an encoder (model_type ", kEncoderType,
                          "); decoders are for 'ckv generate' and 'ckv eval perplexity'"));
  }
  EncoderRun run = LoadEncoderRun(NeededFile(folder, "config.yaml"));
  // What the training's device could do, this one need not; the results are the same.
  run.model.probtrans.pairs = "auto";
  WordVocabulary words = WordVocabulary::Load(NeededFile(folder, kVocabularyFile));
  std::vector<LabelSet> labels = ReadLabels(NeededFile(folder, kLabelsFile));
  std::shared_ptr<SentenceModel> model = MakeSentenceModel(run, words, labels);
  LoadEncoderWeights(folder, *model);
  const bool bf16 = arguments.precision == "bf16";
  model->to(device, bf16 ? at::kFloat : WorkingType(arguments.precision));
  model->encoder().UseBf16Products(bf16);
  model->eval();
  return {std::move(run), std::move(words), std::move(labels), std::move(model), folder, device};
}

void LoadEncoderWeights(const std::string& folder, SentenceModel& model) {
  LoadWeights(TensorFiles::OpenModel(folder), model);
}

std::vector<Sentence> ReadInputSentences(const std::string& path, const EncoderRun& run) {
  SentenceFormat format = run.data.format;
  format.format = "text";
  format.tags = "plain";
  format.classes = "all";
  format.split_sentences = false;
  format.max_words = 0;
  format.shuffle_words = false;
  if (!path.empty() && path != "-") return ReadSentences(path, format);
  std::vector<Sentence> sentences;
  int64_t number = 0;
  for (std::string line; std::getline(std::cin, line);) {
    ++number;
    if (!IsValidUtf8(line)) throw FormatError("stdin", Str("line ", number), "is not UTF-8");
    if (number == 1 && line.compare(0, 3, "\xEF\xBB\xBF") == 0) line.erase(0, 3);
    if (!line.empty() && line.back() == '\r') line.pop_back();
    Sentence sentence;
    sentence.words = SplitWords(line);
    if (!sentence.words.empty()) sentences.push_back(std::move(sentence));
  }
  if (sentences.empty()) throw FormatError("stdin", "", "has no sentences");
  for (Sentence& sentence : sentences) AdaptWords(format, &sentence);
  return sentences;
}

std::vector<EncodedSentence> EncodeAll(const std::vector<Sentence>& sentences,
                                       const WordVocabulary& words,
                                       const std::vector<LabelSet>& labels) {
  std::vector<EncodedSentence> encoded;
  encoded.reserve(sentences.size());
  for (const Sentence& sentence : sentences) {
    encoded.push_back(EncodeSentence(sentence, words, labels));
  }
  return encoded;
}

}  // namespace ckv
