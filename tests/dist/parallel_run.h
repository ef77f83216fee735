// A tiny training run as one process or as one of several ranks.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "sharing/plan.h"
#include "tests/train/tiny_run.h"
#include "train/data_parallel.h"

namespace ckv {

struct ParallelRunOptions {
  std::string sharing = "0_2_2_3";
  DistConfig dist;
  TrainConfig train;
  at::ScalarType type = at::kDouble;
  bool reset_attention = false;
  LoraConfig lora;
  DecoderRun::Fusing fusing = DecoderRun::Fusing::kAuto;
};

inline TrainConfig ParallelTraining(int64_t steps) {
  TrainConfig config = TinyTraining(steps);
  config.batch_size = 12;
  config.optim.clip_norm = 0.5;  // so that it clips
  return config;
}

class ParallelRun {
 public:
  // `group`: nullptr = alone.
  ParallelRun(CommGroup* group, const std::string& data_folder, const ParallelRunOptions& options,
              const at::Device& device = at::kCPU)
      : options_(options), device_(device), config_(TinyConfig(options.sharing)) {
    config_.forward_passes = 2;
    decoder = Decoder(config_);
    decoder->InitializeWeights(3);
    if (options.lora.enabled()) decoder->AddLora(options.lora, 4);
    // With adapters the weights that are not trained stay whole on every rank.
    if (group == nullptr || options.lora.enabled()) decoder->to(device, options.type);
    CausalLmOptions objective_options;
    objective_options.checkpoint_layers = options.train.checkpoint_layers;
    objective_options.fusing = options.fusing;
    objective = std::make_unique<CausalLmObjective>(decoder, objective_options);
    DataConfig data_config;
    data_config.train = ConfigValue::Scalar(data_folder);
    data_config.seq_len = 10;
    data_config.reset_attention = options.reset_attention;
    BatchLayout layout{options.train.MicroRows()};
    if (group != nullptr) {
      layout = {1, group->rank(), group->world(), options.train.batch_size};
      const IterationPlan plan(config_.sharing(), 2, 2);
      std::vector<LayerSpan> spans;
      for (const LayerGroup& one : plan.groups()) {
        spans.push_back({one.start, one.stop, one.iterative});
      }
      DataParallel::Options sharing;
      sharing.config = options.dist;
      sharing.unit_of_layer = UnitsOfLayers(spans);
      sharing.type = options.type;
      parallel = std::make_unique<DataParallel>(*group, decoder->TrainedParameters(), sharing);
      decoder->SetLayerHooks(parallel.get());
      optimizer =
          std::make_unique<AdamW>(parallel->owned(), options.train.optim, parallel->decays());
      optimizer->SetNormReduction(
          [this](const Tensor& norm) { return parallel->CombineNorm(norm); });
    } else {
      optimizer = std::make_unique<AdamW>(decoder->TrainedParameters(), options.train.optim);
    }
    data = MakeTrainSource(data_config, {0, kTinyVocab}, layout);
    hooks.log = [this](const TrainState&, const TrainProgress& progress) {
      losses.push_back(progress.loss);
      norms.push_back(progress.grad_norm);
    };
    hooks.validate = [](TrainState&) {};
    hooks.save = [](const TrainState&) {};
  }

  void Train(Objective* other = nullptr, Ema* ema = nullptr) {
    Objective& used = other == nullptr ? *objective : *other;
    Trainer(options_.train, used, *data, *optimizer, ema, device_, parallel.get())
        .Run(state, hooks);
  }

  // Whole master weights by name, on all ranks, on the CPU.
  NamedTensors WholeWeights() {
    NamedTensors weights;
    if (parallel == nullptr) {
      for (const auto& [name, weight] : optimizer->Weights()) {
        weights.emplace_back(name, weight.detach().cpu().clone());
      }
      return weights;
    }
    weights.resize(parallel->parameters().size());
    std::vector<Tensor> slices;
    for (const auto& item : optimizer->Weights()) slices.push_back(item.second);
    parallel->ForWhole(
        slices, [](size_t) { return true; },
        [&](size_t i, const Tensor& whole) {
          weights[i] = {parallel->parameters()[i].first, whole.detach().cpu().clone()};
        });
    return weights;
  }

  std::unique_ptr<DataParallel> parallel;
  Decoder decoder{nullptr};
  std::unique_ptr<CausalLmObjective> objective;
  std::unique_ptr<DataSource> data;
  std::unique_ptr<AdamW> optimizer;
  TrainState state;
  TrainHooks hooks;
  std::vector<double> losses;
  std::vector<double> norms;

 private:
  ParallelRunOptions options_;
  at::Device device_;
  DecoderConfig config_;
};

}  // namespace ckv
