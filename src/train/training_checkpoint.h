// A checkpoint of a training run: a folder that stands alone.
//
//   model.safetensors      master weights under Hugging Face names, fp32 (fp64 in fp64 runs)
//   config.json            Hugging Face's model config
//   tokenizer.*            if the run has a tokenizer
//   ema.safetensors        the running mean of the weights, if there is one
//   optimizer.safetensors  moments, and the state of the random generators
//   state.json             step, counters, the exact position in the data, the number of ranks
//   config.yaml            the run's resolved config
//
// A run of adapters (train.lora) has them in adapter_model.safetensors and adapter_config.json
// (ckpt/adapter.h) in the place of model.safetensors; the frozen base stays where it is.
//
//   checksums.json         size and FNV-1a hash of every file
//
// Several ranks write together: each the whole tensors of a share of the parameters, as
// model-00002-of-00004.safetensors and so on, with an index as Hugging Face's sharded checkpoints
// have it. So any number of ranks reads what any other wrote, and so does every other program.
//
// Resuming from one with as many ranks gives the run that was never interrupted, bit for bit on a
// CPU. With another number sums are added in another order, and dropout draws other numbers.
#pragma once

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "base/json.h"
#include "ckpt/tensor_file.h"
#include "model/decoder_config.h"
#include "text/tokenizer.h"
#include "train/adamw.h"
#include "train/data_parallel.h"
#include "train/ema.h"
#include "train/trainer.h"

namespace ckv {

// The parts of a run that a checkpoint holds; all of them outlive it.
struct TrainingParts {
  AdamW* optimizer = nullptr;
  DataParallel* parallel = nullptr;  // nullptr: one process
  Ema* ema = nullptr;                // nullptr: none
  DataPosition* data = nullptr;
  const DecoderConfig* model = nullptr;                    // nullptr: `files` holds a config.json
  std::vector<std::pair<std::string, std::string>> files;  // further ones: name, content
  const Tokenizer* tokenizer = nullptr;                    // nullptr: none
  std::string weights_stem = "model";                      // file name of the weights
  std::string base_hash;  // of adapters: what kBaseHashKey says; "" = there is no base
  std::string config_yaml;
  at::Device device = at::kCPU;
};

// What this rank writes of a checkpoint, copied to the CPU, so that training may go on.
struct CheckpointSnapshot {
  struct TensorPart {
    std::string file;
    NamedTensors tensors;
    std::map<std::string, std::string> metadata;
  };
  std::vector<TensorPart> tensors;
  std::vector<std::pair<std::string, std::string>> texts;  // file, content
  std::string checksum_file;
};

// Collective with several ranks.
CheckpointSnapshot TakeSnapshot(const TrainingParts& parts, const TrainState& state);

// Writes the rank's files into `folder`, which is there, and syncs them. Needs nothing but its
// arguments, so that it may run on another thread.
void WriteSnapshot(const std::string& folder, const CheckpointSnapshot& snapshot);

// Both for one process: writes all files into `folder`, which is made anew. If anything fails the
// folder is removed and the error goes on.
void SaveTrainingCheckpoint(const std::string& folder, const TrainingParts& parts,
                            const TrainState& state);

// Compares files with their checksums; those that rank `rank` of `world` should look at, all ranks
// together look at all. A checkpoint without checksums, of an older program, passes. Throws
// FormatError or IoError.
void VerifyCheckpoint(const std::string& folder, int rank = 0, int world = 1);

// Puts weights, moments, random state and data position of `folder` back and returns its state.
// Throws FormatError naming the part that is missing, broken or of another shape. Collective.
TrainState LoadTrainingCheckpoint(const std::string& folder, const TrainingParts& parts);

}  // namespace ckv
