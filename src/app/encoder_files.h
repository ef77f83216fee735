// What a checkpoint of an encoder holds besides weights: config.json, vocabulary.txt, labels.json;
// and opening one.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "app/encoder_run.h"

namespace CLI {
class App;
}

namespace ckv {

// Names and contents of the files.
std::vector<std::pair<std::string, std::string>> EncoderFiles(const EncoderRun& run,
                                                              const WordVocabulary& words,
                                                              const std::vector<LabelSet>& labels);

struct LoadedEncoder {
  EncoderRun run;
  WordVocabulary words;
  std::vector<LabelSet> labels;          // none for masked words
  std::shared_ptr<SentenceModel> model;  // in evaluation mode
  std::string folder;
  at::Device device;
};

struct EncoderArguments {
  std::string path;
  std::string checkpoint;
  std::string device = "auto";
  std::string precision = "fp32";

  void AddOptions(CLI::App& command);
};

// Whether a run or checkpoint folder is one of an encoder.
bool IsEncoderFolder(const std::string& path);

// Throws IoError, FormatError (also: a decoder's folder), ConfigError.
LoadedEncoder LoadEncoder(const EncoderArguments& arguments);

// Puts a checkpoint's weights into a model of its shape.
void LoadEncoderWeights(const std::string& folder, SentenceModel& model);

// Lines of words from a file, or stdin for "-" or "": one sentence a line, blank lines left out.
std::vector<Sentence> ReadInputSentences(const std::string& path, const EncoderRun& run);

std::vector<EncodedSentence> EncodeAll(const std::vector<Sentence>& sentences,
                                       const WordVocabulary& words,
                                       const std::vector<LabelSet>& labels);

}  // namespace ckv
