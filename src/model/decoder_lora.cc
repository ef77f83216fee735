// Adapters of a decoder's projections.
#include <algorithm>
#include <cmath>

#include <ATen/CPUGeneratorImpl.h>
#include <torch/torch.h>

#include "base/error.h"
#include "model/decoder.h"

namespace ckv {

void DecoderImpl::AddLora(const LoraConfig& lora, uint64_t seed) {
  CKV_CHECK(lora.enabled() && !has_lora(), "adapters of rank ", lora.rank);
  at::NoGradGuard no_grad;
  for (Tensor& parameter : parameters()) parameter.set_requires_grad(false);
  at::Generator generator = at::make_generator<at::CPUGeneratorImpl>(seed);
  for (const auto& item : model_->layers->named_modules("", /*include_self=*/false)) {
    const std::string name = item.key().substr(item.key().rfind('.') + 1);
    if (std::count(lora.targets.begin(), lora.targets.end(), name) == 0) continue;
    auto* projection = item.value()->as<ProjectionImpl>();
    CKV_CHECK(projection != nullptr, item.key(), " is no projection");
    projection->AddAdapter(lora.rank, lora.scale(), lora.dropout);
    for (auto& part : projection->named_parameters()) {
      Tensor weight = part.value();
      if (part.key() == "lora_A.weight") {
        // Kaiming's bound, as PEFT; drawn on the CPU in fp32 for every device and dtype.
        const double bound = 1.0 / std::sqrt(static_cast<double>(weight.size(1)));
        weight.copy_(at::empty(weight.sizes(), at::kFloat).uniform_(-bound, bound, generator));
      } else if (part.key() == "lora_B.weight") {
        weight.zero_();  // the model begins as it was
      }
    }
  }
  lora_ = lora;
}

std::vector<std::pair<std::string, Tensor>> DecoderImpl::TrainedParameters() const {
  std::vector<std::pair<std::string, Tensor>> trained;
  for (const auto& item : named_parameters()) {
    if (!has_lora()) {
      trained.emplace_back(item.key(), item.value());
    } else if (item.key().find(".lora_") != std::string::npos) {
      trained.emplace_back(kPeftPrefix + item.key(), item.value());
    }
  }
  return trained;
}

}  // namespace ckv
