// The key and value projections of a conversion's target: which layers of the source each is made
// from, and how.
//
//   direct      the owner's own
//   average     of all readers, the owner only if it reads itself (kv_projection.h)
//   svd         best fit to those of all readers up to turns (kv_projection.h)
//   calibrated  least squares on activations (calibration.h)
//
// Keys go by the layers that read the owner's keys, values by those that read its values. A target
// that shares like its source is a copy, whatever the method.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "ckpt/tensor_file.h"
#include "convert/calibration.h"
#include "convert/tensor_list.h"
#include "model/decoder_config.h"

namespace ckv {

// "average", "direct", ... in the order of the help.
std::vector<std::string> ConvertMethods();

// The layers of the source whose projections make that of `owner`, ascending.
std::vector<int> MadeFrom(const std::string& method, const KvSharingSpec& source,
                          const KvSharingSpec& target, int owner, KvKind kind);

// Throws FormatError(path, ...) unless the source has all projections that MadeFrom names, and
// ConfigError for an unknown method.
void CheckSources(const std::string& method, const DecoderConfig& source,
                  const DecoderConfig& target, const std::string& path);

class OwnerProjections {
 public:
  // All arguments must outlive this object. `calibration` is nullptr unless it is asked for.
  OwnerProjections(const TensorFiles& files, const DecoderConfig& source,
                   const DecoderConfig& target, std::string method, double ridge,
                   const Calibration* calibration);

  // False for a tensor that is copied under its own name.
  bool IsMade(const ModelTensor& tensor) const;

  // The name of a tensor of the source that `tensor`, which IsMade, is made from.
  std::string AnySourceOf(const ModelTensor& tensor) const;

  // A weight or bias; the bias must be asked for right after its weight, with which it is made.
  Tensor Make(const ModelTensor& tensor);

  int64_t num_changed() const { return num_changed_; }

 private:
  std::vector<int> SourcesOf(const ModelTensor& tensor) const;
  KvProjection Read(int layer, KvKind kind) const;
  KvProjection MakeProjection(const ModelTensor& tensor) const;

  const TensorFiles& files_;
  const DecoderConfig& source_;
  const DecoderConfig& target_;
  std::string method_;
  double ridge_;
  const Calibration* calibration_;
  KvProjection made_;
  int made_layer_ = -1;
  KvKind made_kind_ = KvKind::kKeys;
  int64_t num_changed_ = 0;
};

}  // namespace ckv
