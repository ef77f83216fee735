#include "convert/tensor_list.h"

#include <set>

#include "base/error.h"

namespace ckv {
namespace {

constexpr char kRotaryEnd[] = ".rotary_emb.inv_freq";

bool IsRotary(const std::string& name) {
  const std::string end = kRotaryEnd;
  return name.size() >= end.size() && name.compare(name.size() - end.size(), end.size(), end) == 0;
}

// Adds the parameters of one layer.
class LayerLister {
 public:
  LayerLister(const DecoderConfig& config, int layer, std::vector<ModelTensor>* list)
      : prefix_(Str("model.layers.", layer, ".")), list_(list) {
    const int64_t width = config.hidden_size;
    const int64_t queries = config.num_attention_heads * config.head_width();
    const int64_t keys = config.kv_heads() * config.head_width();
    const bool bias = config.attention_bias;
    Add("input_layernorm.weight", {width});
    Projection("self_attn.q_proj", queries, width, bias);
    for (const KvKind kind : {KvKind::kKeys, KvKind::kValues}) {
      const bool owned = kind == KvKind::kKeys ? config.sharing().computes_k(layer)
                                               : config.sharing().computes_v(layer);
      if (!owned) continue;
      const size_t first = list_->size();
      Projection(Str("self_attn.", ProjectionName(kind)), keys, width, bias);
      for (size_t i = first; i < list_->size(); ++i) {
        (*list_)[i].kv_layer = layer;
        (*list_)[i].kind = kind;
        (*list_)[i].is_bias = i > first;
      }
    }
    Projection("self_attn.o_proj", width, queries, bias);
    Add("post_attention_layernorm.weight", {width});
    Projection("mlp.gate_proj", config.intermediate_size, width, config.mlp_bias);
    Projection("mlp.up_proj", config.intermediate_size, width, config.mlp_bias);
    Projection("mlp.down_proj", width, config.intermediate_size, config.mlp_bias);
  }

 private:
  void Add(const std::string& name, std::vector<int64_t> shape) {
    ModelTensor tensor;
    tensor.name = prefix_ + name;
    tensor.shape = std::move(shape);
    list_->push_back(std::move(tensor));
  }

  void Projection(const std::string& name, int64_t out, int64_t in, bool bias) {
    Add(name + ".weight", {out, in});
    if (bias) Add(name + ".bias", {out});
  }

  std::string prefix_;
  std::vector<ModelTensor>* list_;
};

// Names that a checkpoint may hold although the model does not use them.
std::set<std::string> SpareNames(const DecoderConfig& config) {
  std::set<std::string> names;
  if (config.tie_word_embeddings) names.insert("lm_head.weight");
  for (int layer = 0; layer < config.sharing().num_layers(); ++layer) {
    for (const KvKind kind : {KvKind::kKeys, KvKind::kValues}) {
      names.insert(KvTensorName(layer, kind, "weight"));
      if (config.attention_bias) names.insert(KvTensorName(layer, kind, "bias"));
    }
  }
  return names;
}

std::string TensorPlaceOf(const std::string& name) { return Str("tensor '", name, "'"); }

bool IsComputable(SafetensorsDtype dtype) {
  return dtype == SafetensorsDtype::kF64 || dtype == SafetensorsDtype::kF32 ||
         dtype == SafetensorsDtype::kF16 || dtype == SafetensorsDtype::kBF16;
}

}  // namespace

const char* ProjectionName(KvKind kind) { return kind == KvKind::kKeys ? "k_proj" : "v_proj"; }

std::string KvTensorName(int layer, KvKind kind, const std::string& part) {
  return Str("model.layers.", layer, ".self_attn.", ProjectionName(kind), ".", part);
}

std::vector<ModelTensor> ModelTensors(const DecoderConfig& config) {
  std::vector<ModelTensor> list(1);
  list[0].name = "model.embed_tokens.weight";
  list[0].shape = {config.vocab_size, config.hidden_size};
  for (int layer = 0; layer < config.sharing().num_layers(); ++layer) {
    LayerLister(config, layer, &list);
  }
  ModelTensor last;
  last.name = "model.norm.weight";
  last.shape = {config.hidden_size};
  list.push_back(last);
  if (!config.tie_word_embeddings) {
    last.name = "lm_head.weight";
    last.shape = {config.vocab_size, config.hidden_size};
    list.push_back(last);
  }
  return list;
}

void CheckModelTensors(const TensorFiles& files, const DecoderConfig& config) {
  std::set<std::string> known = SpareNames(config);
  const std::vector<std::string> names = files.Names();
  for (const ModelTensor& tensor : ModelTensors(config)) {
    known.insert(tensor.name);
    const std::vector<int64_t>& shape = files.Shape(tensor.name);  // throws if it is not there
    if (shape != tensor.shape) {
      throw FormatError(files.PathOf(tensor.name), TensorPlaceOf(tensor.name),
                        Str("has the shape ", at::IntArrayRef(shape), ", but the config asks for ",
                            at::IntArrayRef(tensor.shape)));
    }
    const SafetensorsDtype dtype = files.Dtype(tensor.name);
    if (!IsComputable(dtype)) {
      throw FormatError(
          files.PathOf(tensor.name), TensorPlaceOf(tensor.name),
          Str("is of type ", SafetensorsDtypeName(dtype), "; expected one of F64, F32, F16, BF16"));
    }
  }
  for (const std::string& name : names) {
    if (known.count(name) == 0 && !IsRotary(name)) {
      throw FormatError(files.PathOf(name), TensorPlaceOf(name), "is no parameter of the model");
    }
  }
}

}  // namespace ckv
