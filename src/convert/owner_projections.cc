#include "convert/owner_projections.h"

#include <algorithm>
#include <utility>

#include "base/error.h"

namespace ckv {
namespace {

constexpr const char* kDirect = "direct";
constexpr const char* kAverage = "average";
constexpr const char* kSvd = "svd";
constexpr const char* kCalibrated = "calibrated";

bool Computes(const KvSharingSpec& spec, int layer, KvKind kind) {
  return kind == KvKind::kKeys ? spec.computes_k(layer) : spec.computes_v(layer);
}

int SourceOf(const KvSharingSpec& spec, int layer, KvKind kind) {
  return kind == KvKind::kKeys ? spec.k_source(layer) : spec.v_source(layer);
}

}  // namespace

std::vector<std::string> ConvertMethods() { return {kAverage, kDirect, kSvd, kCalibrated}; }

std::vector<int> MadeFrom(const std::string& method, const KvSharingSpec& source,
                          const KvSharingSpec& target, int owner, KvKind kind) {
  if (method == kDirect || source == target) return {owner};
  return kind == KvKind::kKeys ? target.k_readers(owner) : target.v_readers(owner);
}

void CheckSources(const std::string& method, const DecoderConfig& source,
                  const DecoderConfig& target, const std::string& path) {
  const std::vector<std::string> methods = ConvertMethods();
  if (std::find(methods.begin(), methods.end(), method) == methods.end()) {
    throw ConfigError("--method",
                      Str("'", method, "' is not one of average, direct, svd, calibrated"));
  }
  for (const int owner : target.sharing().kv_layers()) {
    for (const KvKind kind : {KvKind::kKeys, KvKind::kValues}) {
      if (!Computes(target.sharing(), owner, kind)) continue;
      for (const int layer : MadeFrom(method, source.sharing(), target.sharing(), owner, kind)) {
        if (Computes(source.sharing(), layer, kind)) continue;
        const char* what = kind == KvKind::kKeys ? "keys" : "values";
        throw FormatError(
            path, Str("layer ", layer),
            Str("has no ", ProjectionName(kind), " (it reads the ", what, " of layer ",
                SourceOf(source.sharing(), layer, kind), "), but '", method,
                "' makes those of layer ", owner, " from it; convert from the full model"));
      }
    }
  }
}

OwnerProjections::OwnerProjections(const TensorFiles& files, const DecoderConfig& source,
                                   const DecoderConfig& target, std::string method, double ridge,
                                   const Calibration* calibration)
    : files_(files),
      source_(source),
      target_(target),
      method_(std::move(method)),
      ridge_(ridge),
      calibration_(calibration) {
  CKV_CHECK(method_ != kCalibrated || calibration_ != nullptr, "calibrated without activations");
}

std::vector<int> OwnerProjections::SourcesOf(const ModelTensor& tensor) const {
  return MadeFrom(method_, source_.sharing(), target_.sharing(), tensor.kv_layer, tensor.kind);
}

bool OwnerProjections::IsMade(const ModelTensor& tensor) const {
  return tensor.kv_layer >= 0 && SourcesOf(tensor) != std::vector<int>{tensor.kv_layer};
}

std::string OwnerProjections::AnySourceOf(const ModelTensor& tensor) const {
  return KvTensorName(SourcesOf(tensor).front(), tensor.kind, tensor.is_bias ? "bias" : "weight");
}

KvProjection OwnerProjections::Read(int layer, KvKind kind) const {
  KvProjection projection;
  projection.weight = files_.Read(KvTensorName(layer, kind, "weight"));
  if (source_.attention_bias) projection.bias = files_.Read(KvTensorName(layer, kind, "bias"));
  return projection;
}

KvProjection OwnerProjections::MakeProjection(const ModelTensor& tensor) const {
  std::vector<KvProjection> readers;
  for (const int layer : SourcesOf(tensor)) readers.push_back(Read(layer, tensor.kind));
  if (method_ == kSvd) return AlignedProjection(readers, tensor.kind, source_.head_width());
  const KvProjection mean = AverageProjection(readers);
  if (method_ == kAverage) return mean;
  return calibration_->Solve(tensor.kv_layer, tensor.kind, mean, ridge_);
}

Tensor OwnerProjections::Make(const ModelTensor& tensor) {
  if (!tensor.is_bias) {
    made_ = MakeProjection(tensor);
    made_layer_ = tensor.kv_layer;
    made_kind_ = tensor.kind;
    ++num_changed_;
    return made_.weight;
  }
  CKV_CHECK(made_layer_ == tensor.kv_layer && made_kind_ == tensor.kind, tensor.name,
            " was asked for before its weight");
  return made_.bias;
}

}  // namespace ckv
