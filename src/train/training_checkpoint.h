// A checkpoint of a training run: a folder that stands alone.
//
//   model.safetensors      master weights under Hugging Face names, fp32 (fp64 in fp64 runs)
//   config.json            Hugging Face's model config
//   tokenizer.*            if the run has a tokenizer
//   ema.safetensors        the running mean of the weights, if there is one
//   optimizer.safetensors  moments, and the state of the random generators
//   state.json             step, counters, the exact position in the data
//   config.yaml            the run's resolved config
//
// Resuming from one gives the run that was never interrupted, bit for bit on a CPU.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "base/json.h"
#include "ckpt/tensor_file.h"
#include "model/decoder_config.h"
#include "text/tokenizer.h"
#include "train/adamw.h"
#include "train/ema.h"
#include "train/trainer.h"

namespace ckv {

// The parts of a run that a checkpoint holds; all of them outlive it.
struct TrainingParts {
  AdamW* optimizer = nullptr;
  Ema* ema = nullptr;  // nullptr: none
  DataPosition* data = nullptr;
  const DecoderConfig* model = nullptr;                    // nullptr: `files` holds a config.json
  std::vector<std::pair<std::string, std::string>> files;  // further ones: name, content
  const Tokenizer* tokenizer = nullptr;                    // nullptr: none
  std::string config_yaml;
  at::Device device = at::kCPU;
};

// Writes all files into `folder`, which is made anew, and syncs them. If anything fails the folder
// is removed and the error goes on.
void SaveTrainingCheckpoint(const std::string& folder, const TrainingParts& parts,
                            const TrainState& state);

// Puts weights, moments, random state and data position of `folder` back and returns its state.
// Throws FormatError naming the part that is missing, broken or of another shape.
TrainState LoadTrainingCheckpoint(const std::string& folder, const TrainingParts& parts);

}  // namespace ckv
