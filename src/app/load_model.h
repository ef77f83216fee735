// Opening a model for use: the options that name one, and what they stand for.
//
// A model is a folder with config.json and weights: a checkpoint of ours, a Hugging Face folder
// (llama, lckv-llama, crosskv-llama; one file or sharded), or the folder of a run, which stands for
// its best checkpoint or, before the first validation, its latest. Adapters (ckpt/adapter.h) are
// merged into their base's weights.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "ckpt/weights.h"
#include "model/decoder.h"
#include "text/tokenizer.h"

namespace CLI {
class App;
}

namespace ckv {

struct ModelArguments {
  std::string path;
  std::string checkpoint;          // of a run: "best", "latest" or a step; "" = best, else latest
  std::string weights = "auto";    // "model", "ema"; "auto" = ema where there is one
  std::string tokenizer;           // as LoadTokenizer; "" = the one in the folder
  std::string device = "auto";     // as ChooseDevice
  std::string precision = "fp32";  // as WorkingType

  // Adds CHECKPOINT and the options to a command. This object must outlive the parser.
  void AddOptions(CLI::App& command);
};

struct LoadedModel {
  std::string folder;
  std::string weights;  // "model" or "ema"
  Decoder decoder{nullptr};
  at::Device device = at::kCPU;
  std::unique_ptr<Tokenizer> tokenizer;  // nullptr: the folder has none that we can read
  // Texts begin with <s>, says the folder's tokenizer_config.json (Hugging Face's; true if it does
  // not mention it). Our own checkpoints have no such file.
  bool begins_with_bos = false;
  // The file of the chat template it was trained with; "" = with none.
  std::string chat_template;
  // Tokens a sample had in the training run that wrote the checkpoint.
  std::optional<int64_t> training_window;

  // The tokenizer; throws what LoadTokenizer says of the folder if there is none.
  const Tokenizer& NeedTokenizer() const;
};

// Whether a folder holds a tokenizer that LoadTokenizer reads.
bool HasTokenizerFile(const std::string& folder);

// The folder with config.json and weights that `path` stands for; `which` as in
// ModelArguments::checkpoint. Throws IoError, FormatError, and ConfigError for a `which` that means
// nothing.
std::string FindModelFolder(const std::string& path, const std::string& which = "");

// The config of a model's folder. Throws FormatError.
DecoderConfig ReadModelConfig(const std::string& folder);

// Copies the weights of a model's folder, `weights` = "model" or "ema", into `decoder`, whatever
// its device and dtype. What files hold beyond the model's need is left out: projections of keys
// and values that nobody reads, the head of a model with tied embeddings, stored rotary
// frequencies. An adapter's folder gives the merged weights. `may_grow_rows`: rows of the
// vocabulary that the files lack keep their values. Throws FormatError.
void LoadModelWeights(const std::string& folder, const std::string& weights, DecoderImpl& decoder,
                      bool may_grow_rows = false);

// The same for one parameter at a time.
WeightLoader ModelWeightLoader(const std::string& folder, const std::string& weights,
                               const DecoderImpl& decoder, bool may_grow_rows = false);

// Opens a model in evaluation mode. Throws also ConfigError or FormatError if tokenizer and model
// do not belong together: the model's vocabulary must have the tokenizer's size, or that rounded up
// to a multiple of 8, 16, ... 256.
LoadedModel LoadModel(const ModelArguments& arguments);

}  // namespace ckv
