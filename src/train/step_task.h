// What the training loop knows of work that is not next-token prediction: one optimizer step's
// losses and gradients.
#pragma once

#include <cstdint>

#include <torch/nn/module.h>

#include "train/adamw.h"

namespace ckv {

struct StepLoss {
  Tensor sum;                 // scalar on the device, without gradient
  int64_t count = 0;          // `sum` / `count` is the loss to report
  int64_t words = 0;          // trained on
  double data_seconds = 0.0;  // spent on making batches
};

class StepTask {
 public:
  virtual ~StepTask() = default;

  // Takes the next batch, runs forward and backward over all its parts, and calls
  // optimizer.Accumulate() after each. The gradients are those of the step as a whole.
  virtual StepLoss RunStep(int64_t step, AdamW& optimizer) = 0;

  virtual torch::nn::Module& module() = 0;
};

}  // namespace ckv
