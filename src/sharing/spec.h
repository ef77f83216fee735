// Which layer reads whose keys and values: the value that model, cache, plan, cost model and
// conversion share.
//
// Every layer i has an entry: the layer whose keys its queries use, the layer whose values it mixes
// (nearly always the same one) and whether it sees a sliding window only. Both sources may lie
// anywhere, above the layer too. A layer that somebody reads *owns* KVs and has the projections for
// them; a layer that nobody reads has none, whatever it reads itself.
//
// As text, entries stand from layer 0 upwards, separated by underscores:
//
//   SOURCE        5       keys and values of layer 5
//   K/V           5/0     keys of layer 5, values of layer 0
//   ...s          5s      this layer (not its source) has a sliding window
//   ...*COUNT     5s*3    three layers with the same entry
//
// The canonical text has no repeats, no leading zeros, and K/V only where the two differ.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"

namespace ckv {

// Thrown for a sharing text or list that is wrong; says at which of the checks, in this order.
class SharingError : public ConfigError {
 public:
  enum class Stage { kParse, kCount, kRange };
  SharingError(Stage stage, std::string_view origin, std::string_view what)
      : ConfigError(origin, what), stage_(stage) {}

  Stage stage() const { return stage_; }

 private:
  Stage stage_;
};

// The entry of one layer.
struct LayerSharing {
  int k_source = 0;
  int v_source = 0;
  bool windowed = false;

  bool operator==(const LayerSharing& other) const {
    return k_source == other.k_source && v_source == other.v_source && windowed == other.windowed;
  }
};

class KvSharingSpec {
 public:
  static constexpr int kMaxLayers = 4096;

  // The plain model of `num_layers` layers: each reads itself.
  explicit KvSharingSpec(int num_layers = 1);

  // Reads the extended notation above. With `num_layers`, the text must have as many entries.
  // Throws SharingError(origin, ...).
  static KvSharingSpec Parse(std::string_view text,
                             std::optional<int64_t> num_layers = std::nullopt,
                             std::string_view origin = {});

  // Reads only what a Hugging Face `layer_types` string may hold: SOURCE and SOURCEs.
  static KvSharingSpec ParseLayerTypes(std::string_view text, int64_t num_layers,
                                       std::string_view origin = {});

  // One entry a layer. Throws SharingError(origin, ...) for no or too many layers and for a source
  // that is not a layer.
  static KvSharingSpec FromLayers(std::vector<LayerSharing> layers, std::string_view origin = {});

  // The canonical text: Parse(ToString()) == *this. It is a valid `layer_types` if symmetric().
  std::string ToString() const;

  int num_layers() const { return static_cast<int>(layers_.size()); }
  const LayerSharing& layer(int layer) const { return layers_[static_cast<size_t>(layer)]; }
  int k_source(int layer) const { return this->layer(layer).k_source; }
  int v_source(int layer) const { return this->layer(layer).v_source; }
  int higher_source(int layer) const;
  bool windowed(int layer) const { return this->layer(layer).windowed; }

  // Some layer reads the keys (values) of `layer`.
  bool computes_k(int layer) const { return !k_readers(layer).empty(); }
  bool computes_v(int layer) const { return !v_readers(layer).empty(); }

  // Either source is above `layer`: the layer's own position is hidden from it.
  bool looks_up(int layer) const { return higher_source(layer) > layer; }

  // Some layer looks up.
  bool cyclic() const;

  // No layer has its keys from one layer and its values from another.
  bool symmetric() const;

  // The layers that own keys, values or both, ascending: the order of cache slots.
  const std::vector<int>& kv_layers() const { return kv_layers_; }

  // The layers that read the keys (values) of `layer`, ascending.
  const std::vector<int>& k_readers(int layer) const;
  const std::vector<int>& v_readers(int layer) const;

  // Every reader of the keys (values) of `layer` has a window, so that a cache may drop what has
  // left it. False if there is no reader.
  bool k_readers_windowed(int layer) const;
  bool v_readers_windowed(int layer) const;

  bool operator==(const KvSharingSpec& other) const { return layers_ == other.layers_; }
  bool operator!=(const KvSharingSpec& other) const { return !(*this == other); }

 private:
  explicit KvSharingSpec(std::vector<LayerSharing> layers);  // valid ones

  std::vector<LayerSharing> layers_;
  std::vector<std::vector<int>> k_readers_;
  std::vector<std::vector<int>> v_readers_;
  std::vector<int> kv_layers_;
};

// Reads one entry of the notation without COUNT: "5", "5s", "5/0s". Throws SharingError(origin,
// ...) at stage kParse; a source too large for any model is left for the range check.
LayerSharing ParseSharingEntry(std::string_view text, std::string_view origin = {});

// What is allowed but known to work badly, one sentence each: layer 0 without KVs of its own, and
// readers whose kind of attention (full, windowed) differs from their source's.
std::vector<std::string> Warnings(const KvSharingSpec& spec);

}  // namespace ckv
