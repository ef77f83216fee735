// `ckv inspect --gpus N`: what training on N GPUs would cost, by ZeRO stage.
#pragma once

#include <string>

#include "app/inspect_report.h"
#include "sharing/dist_cost.h"

namespace ckv {

struct InspectedCluster {
  ClusterShape cluster;
  DistStep step;  // its stage does not count
};

// Throws ConfigError if a size of the model is not known.
OrderedJson GpusJson(const InspectedModel& model, const InspectedCluster& use);
std::string GpusText(const OrderedJson& json);

}  // namespace ckv
