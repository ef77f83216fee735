// The tensors that a Llama-family checkpoint holds, from its config alone.
//
// Conversion goes from folder to folder without building a model, so this list is what says which
// tensors must be there, what they look like and what may be left out. A test compares it with the
// parameters of Decoder.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "ckpt/tensor_file.h"
#include "model/decoder_config.h"

namespace ckv {

enum class KvKind { kKeys, kValues };

// "k_proj" or "v_proj".
const char* ProjectionName(KvKind kind);

// "model.layers.3.self_attn.k_proj.weight"; `part` is "weight" or "bias".
std::string KvTensorName(int layer, KvKind kind, const std::string& part);

struct ModelTensor {
  std::string name;
  std::vector<int64_t> shape;
  // Of a key or value projection: the layer, else -1.
  int kv_layer = -1;
  KvKind kind = KvKind::kKeys;
  bool is_bias = false;
};

// In the order of the model: embedding, layers from the bottom, last norm, head (unless tied).
std::vector<ModelTensor> ModelTensors(const DecoderConfig& config);

// Throws FormatError for a tensor of the list that is not there or has another shape, or is not of
// a floating-point type that can be computed with, and for one that the model does not know.
// Allowed beyond the list: projections that no layer reads, the head where embeddings are tied,
// stored rotary frequencies.
void CheckModelTensors(const TensorFiles& files, const DecoderConfig& config);

}  // namespace ckv
