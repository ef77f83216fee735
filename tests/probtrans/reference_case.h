// A recorded case of the Probabilistic Transformer: a folder under `CKV_GOLDENS`/pt.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>
#include <torch/torch.h>

#include "base/json.h"
#include "base/str.h"
#include "ckpt/tensor_file.h"
#include "model/encoder_transformer.h"
#include "model/probtrans_config.h"
#include "model/probtrans_encoder.h"

namespace ckv {

// The config that a case's options mean. Throws std::runtime_error for an option it does not know:
// an option that is passed over would make the comparison worthless.
ProbTransConfig ReferenceConfig(const Json& meta);
EncoderTransformerConfig BaselineConfig(const Json& meta);

class ReferenceCase {
 public:
  explicit ReferenceCase(const std::string& name);

  const std::string& name() const { return name_; }
  const Json& meta() const { return meta_; }
  std::string kind() const { return meta_.at("kind").get<std::string>(); }
  bool Has(const std::string& tensor) const { return io_.Has(tensor); }
  Tensor Read(const std::string& tensor) const { return io_.Read(tensor); }
  Tensor Want(const std::string& tensor) const { return io_.Read("want." + tensor); }
  // Names of expected values without "want.".
  std::vector<std::string> WantedNames() const;
  const TensorFile& weights() const { return weights_; }
  std::vector<std::string> WeightNames() const;

  std::unique_ptr<SentenceEncoder> MakeEncoder() const;
  // Copies the weights into parameters of the same names, all of them.
  void LoadInto(torch::nn::Module& module) const;

  // Compares entries where `defined` (of the same shape or broadcast to it) is true, to the
  // tolerance of `type`: fp64 1e-9, relative above 1; fp32 20 times the recorded noise + 1e-6
  // relative. Returns the error over its tolerance.
  double Compare(const std::string& wanted, const Tensor& got, const Tensor& defined,
                 at::ScalarType type) const;

 private:
  std::string name_;
  std::string folder_;
  TensorFile weights_;
  TensorFile io_;
  Json meta_;
};

std::vector<std::string> ReferenceCases();

}  // namespace ckv
