// A tiny training run with everything that a checkpoint must carry: shuffled data, dropout, a
// running mean, iterative passes.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <torch/torch.h>

#include "base/random.h"
#include "ckpt/weights.h"
#include "data/dataset.h"
#include "data/source.h"
#include "tests/model/tiny_decoder.h"
#include "tests/temp_dir.h"
#include "train/training_checkpoint.h"

namespace ckv {

constexpr int64_t kTinyVocab = 31;

// `num_tokens` random tokens in documents of 50.
inline void WriteTinyDataset(const std::string& folder, int64_t num_tokens) {
  MakeDirs(folder);
  DatasetWriter writer(folder, {0, kTinyVocab}, 1000);
  Random random(7);
  for (int64_t begin = 0; begin < num_tokens; begin += 50) {
    std::vector<int32_t> ids;
    for (int64_t i = begin; i < std::min(begin + 50, num_tokens); ++i) {
      ids.push_back(static_cast<int32_t>(random.Below(kTinyVocab)));
    }
    writer.Append(ids, true);
  }
  writer.Finish({});
}

inline TrainConfig TinyTraining(int64_t steps) {
  TrainConfig config;
  config.steps = steps;
  config.batch_size = 8;
  config.ema_decay = 0.9;
  config.optim.lr = 1e-2;
  config.log_every = 2;
  return config;
}

struct TinyRun {
  TinyRun(const std::string& data_folder, TrainConfig train_config,
          at::ScalarType type = at::kFloat, double dropout = 0.1)
      : train(std::move(train_config)), model_config(TinyConfig("0_2_2_3")) {
    model_config.attention_dropout = dropout;
    model_config.forward_passes = 2;
    decoder = Decoder(model_config);
    decoder->InitializeWeights(3);
    decoder->to(type);
    CausalLmOptions options;
    options.loss.z_loss = train.z_loss;
    options.checkpoint_layers = train.checkpoint_layers;
    objective = std::make_unique<CausalLmObjective>(decoder, options);
    DataConfig data_config;
    data_config.train = ConfigValue::Scalar(data_folder);
    data_config.seq_len = 10;
    data = MakeTrainSource(data_config, {0, kTinyVocab}, {train.MicroRows()});
    optimizer = std::make_unique<AdamW>(NamedParameters(*decoder), train.optim);
    ema = std::make_unique<Ema>(optimizer->Weights(), train.ema_decay);
    torch::manual_seed(11);
    hooks.log = [this](const TrainState&, const TrainProgress& progress) {
      losses.push_back(progress.loss);
    };
    hooks.validate = [](TrainState&) {};
    hooks.save = [](const TrainState&) {};
  }

  TrainingParts Parts() {
    TrainingParts parts;
    parts.optimizer = optimizer.get();
    parts.ema = ema.get();
    parts.data = data.get();
    parts.model = &model_config;
    parts.config_yaml = "run: {}\n";
    return parts;
  }

  void Train() {
    Trainer(train, *objective, *data, *optimizer, ema.get(), at::kCPU).Run(state, hooks);
  }

  TrainConfig train;
  DecoderConfig model_config;
  Decoder decoder{nullptr};
  std::unique_ptr<CausalLmObjective> objective;
  std::unique_ptr<DataSource> data;
  std::unique_ptr<AdamW> optimizer;
  std::unique_ptr<Ema> ema;
  TrainState state;
  TrainHooks hooks;
  std::vector<double> losses;
};

}  // namespace ckv
