#include "sharing/spec.h"

#include <algorithm>
#include <utility>

namespace ckv {

namespace {

using Stage = SharingError::Stage;

constexpr std::string_view kDefaultName = "'model.kv_sharing'";

// Numbers stop growing here: beyond any layer, and far from overflow.
constexpr int kHugeSource = 1000000000;

// `text` for a message: short, and without control characters.
std::string Excerpt(std::string_view text) {
  constexpr size_t kMaxLength = 40;
  std::string shown = "'";
  for (const char c : text.substr(0, kMaxLength)) {
    shown += static_cast<unsigned char>(c) < ' ' || c == '\x7f' ? '?' : c;
  }
  if (text.size() > kMaxLength) shown += "...";
  return shown + "'";
}

// Takes the digits at the front of `text`. Returns false if there are none.
bool TakeNumber(std::string_view* text, int* number) {
  size_t length = 0;
  int64_t value = 0;
  while (length < text->size() && (*text)[length] >= '0' && (*text)[length] <= '9') {
    value = std::min<int64_t>(value * 10 + ((*text)[length] - '0'), kHugeSource);
    ++length;
  }
  text->remove_prefix(length);
  *number = static_cast<int>(value);
  return length > 0;
}

bool TakeChar(std::string_view* text, char c) {
  if (text->empty() || text->front() != c) return false;
  text->remove_prefix(1);
  return true;
}

// Takes SOURCE[/SOURCE][s] from the front of `text`.
bool TakeEntry(std::string_view* text, LayerSharing* entry) {
  if (!TakeNumber(text, &entry->k_source)) return false;
  entry->v_source = entry->k_source;
  if (TakeChar(text, '/') && !TakeNumber(text, &entry->v_source)) return false;
  entry->windowed = TakeChar(text, 's');
  return true;
}

void CheckCount(size_t found, std::optional<int64_t> wanted, std::string_view name,
                std::string_view origin) {
  if (!wanted || static_cast<int64_t>(found) == *wanted) return;
  throw SharingError(Stage::kCount, origin,
                     Str(name, " has ", found, found == 1 ? " entry" : " entries",
                         " but the model has ", *wanted, *wanted == 1 ? " layer" : " layers"));
}

void CheckRange(const std::vector<LayerSharing>& layers, std::string_view origin) {
  if (layers.empty() || layers.size() > KvSharingSpec::kMaxLayers) {
    throw SharingError(
        Stage::kCount, origin,
        Str("a model has 1 to ", KvSharingSpec::kMaxLayers, " layers, not ", layers.size()));
  }
  const int num_layers = static_cast<int>(layers.size());
  for (int i = 0; i < num_layers; ++i) {
    const LayerSharing& entry = layers[static_cast<size_t>(i)];
    const auto check = [&](int source, const char* what) {
      if (source >= 0 && source < num_layers) return;
      throw SharingError(
          Stage::kRange, origin,
          Str("layer ", i, " reads the ", what, " of layer ", source,
              source >= kHugeSource ? " or beyond" : "", ", but the model has ",
              num_layers == 1 ? Str("layer 0 only") : Str("layers 0 to ", num_layers - 1)));
    };
    const bool split = entry.k_source != entry.v_source;
    check(entry.k_source, split ? "keys" : "KVs");
    check(entry.v_source, "values");
  }
}

// Calls `use` with each piece of `text` between underscores.
template <typename Use>
void ForEachPiece(std::string_view text, Use use) {
  while (true) {
    const size_t end = text.find('_');
    use(text.substr(0, end));
    if (end == std::string_view::npos) return;
    text.remove_prefix(end + 1);
  }
}

[[noreturn]] void ThrowBadEntry(size_t layer, std::string_view piece, std::string_view name,
                                std::string_view forms, std::string_view origin) {
  throw SharingError(Stage::kParse, origin,
                     piece.empty() ? Str(name, ": the entry of layer ", layer, " is empty")
                                   : Str(name, ": the entry of layer ", layer, " is ",
                                         Excerpt(piece), ", but must look like ", forms));
}

}  // namespace

KvSharingSpec::KvSharingSpec(int num_layers) {
  std::vector<LayerSharing> layers;
  for (int i = 0; i < num_layers; ++i) layers.push_back({i, i, false});
  *this = FromLayers(std::move(layers));
}

KvSharingSpec::KvSharingSpec(std::vector<LayerSharing> layers) : layers_(std::move(layers)) {
  k_readers_.resize(layers_.size());
  v_readers_.resize(layers_.size());
  for (int i = 0; i < num_layers(); ++i) {
    k_readers_[static_cast<size_t>(k_source(i))].push_back(i);
    v_readers_[static_cast<size_t>(v_source(i))].push_back(i);
  }
  for (int i = 0; i < num_layers(); ++i) {
    if (computes_k(i) || computes_v(i)) kv_layers_.push_back(i);
  }
}

KvSharingSpec KvSharingSpec::FromLayers(std::vector<LayerSharing> layers, std::string_view origin) {
  CheckRange(layers, origin);
  return KvSharingSpec(std::move(layers));
}

KvSharingSpec KvSharingSpec::Parse(std::string_view text, std::optional<int64_t> num_layers,
                                   std::string_view origin) {
  if (text.empty()) throw SharingError(Stage::kParse, origin, Str(kDefaultName, " is empty"));
  std::vector<LayerSharing> layers;
  ForEachPiece(text, [&](std::string_view piece) {
    std::string_view rest = piece;
    LayerSharing entry;
    int count = 1;
    const bool good = TakeEntry(&rest, &entry) &&
                      (!TakeChar(&rest, '*') || TakeNumber(&rest, &count)) && rest.empty();
    if (!good) {
      ThrowBadEntry(layers.size(), piece, kDefaultName,
                    "5 (the layer to read), 5s (with a window), 5/0 (keys/values) or 5*3 "
                    "(three such layers)",
                    origin);
    }
    if (count < 1) {
      throw SharingError(Stage::kParse, origin,
                         Str(kDefaultName, ": ", Excerpt(piece),
                             " repeats 0 times, but must repeat at least once"));
    }
    if (layers.size() + static_cast<size_t>(count) > kMaxLayers) {
      throw SharingError(Stage::kCount, origin,
                         Str(kDefaultName, " has more than ", kMaxLayers, " entries"));
    }
    layers.insert(layers.end(), static_cast<size_t>(count), entry);
  });
  CheckCount(layers.size(), num_layers, kDefaultName, origin);
  return FromLayers(std::move(layers), origin);
}

KvSharingSpec KvSharingSpec::ParseLayerTypes(std::string_view text, int64_t num_layers,
                                             std::string_view origin) {
  constexpr std::string_view kName = "'layer_types'";
  std::vector<LayerSharing> layers;
  ForEachPiece(text, [&](std::string_view piece) {
    std::string_view rest = piece;
    LayerSharing entry;
    const bool good = TakeNumber(&rest, &entry.k_source);
    entry.v_source = entry.k_source;
    entry.windowed = TakeChar(&rest, 's');
    if (!good || !rest.empty()) {
      ThrowBadEntry(layers.size(), piece, kName, "5 (the layer to read) or 5s (with a window)",
                    origin);
    }
    if (layers.size() == kMaxLayers) {
      throw SharingError(Stage::kCount, origin,
                         Str(kName, " has more than ", kMaxLayers, " entries"));
    }
    layers.push_back(entry);
  });
  CheckCount(layers.size(), num_layers, kName, origin);
  return FromLayers(std::move(layers), origin);
}

std::string KvSharingSpec::ToString() const {
  std::string text;
  for (const LayerSharing& entry : layers_) {
    if (!text.empty()) text += '_';
    text += std::to_string(entry.k_source);
    if (entry.v_source != entry.k_source) text += '/' + std::to_string(entry.v_source);
    if (entry.windowed) text += 's';
  }
  return text;
}

int KvSharingSpec::higher_source(int layer) const {
  return std::max(k_source(layer), v_source(layer));
}

bool KvSharingSpec::cyclic() const {
  for (int i = 0; i < num_layers(); ++i) {
    if (looks_up(i)) return true;
  }
  return false;
}

bool KvSharingSpec::symmetric() const {
  return std::all_of(layers_.begin(), layers_.end(),
                     [](const LayerSharing& entry) { return entry.k_source == entry.v_source; });
}

const std::vector<int>& KvSharingSpec::k_readers(int layer) const {
  return k_readers_[static_cast<size_t>(layer)];
}

const std::vector<int>& KvSharingSpec::v_readers(int layer) const {
  return v_readers_[static_cast<size_t>(layer)];
}

bool KvSharingSpec::k_readers_windowed(int layer) const {
  const std::vector<int>& readers = k_readers(layer);
  return !readers.empty() &&
         std::all_of(readers.begin(), readers.end(), [this](int i) { return windowed(i); });
}

bool KvSharingSpec::v_readers_windowed(int layer) const {
  const std::vector<int>& readers = v_readers(layer);
  return !readers.empty() &&
         std::all_of(readers.begin(), readers.end(), [this](int i) { return windowed(i); });
}

LayerSharing ParseSharingEntry(std::string_view text, std::string_view origin) {
  std::string_view rest = text;
  LayerSharing entry;
  if (!TakeEntry(&rest, &entry) || !rest.empty()) {
    throw SharingError(Stage::kParse, origin,
                       Str(Excerpt(text),
                           " is not the entry of one layer; it must look like 5 (the layer to "
                           "read), 5s (with a window) or 5/0 (keys/values)"));
  }
  return entry;
}

std::vector<std::string> Warnings(const KvSharingSpec& spec) {
  std::vector<std::string> warnings;
  if (!spec.computes_k(0) && !spec.computes_v(0)) {
    warnings.push_back(
        "layer 0 owns no KVs; models lose much quality unless it does (in a pattern: "
        "'first_layer_kv: true')");
  }
  std::vector<int> mixed;
  for (int i = 0; i < spec.num_layers(); ++i) {
    if (spec.windowed(spec.k_source(i)) != spec.windowed(i) ||
        spec.windowed(spec.v_source(i)) != spec.windowed(i)) {
      mixed.push_back(i);
    }
  }
  if (!mixed.empty()) {
    const int reader = mixed.front();
    const int source = spec.windowed(spec.k_source(reader)) != spec.windowed(reader)
                           ? spec.k_source(reader)
                           : spec.v_source(reader);
    const auto kind = [&](int i) { return spec.windowed(i) ? "windowed" : "full"; };
    const std::string others =
        mixed.size() == 1 ? ""
                          : Str(" (and ", mixed.size() - 1,
                                mixed.size() == 2 ? " more such layer)" : " more such layers)");
    warnings.push_back(Str("layer ", reader, " has ", kind(reader),
                           " attention but reads KVs of layer ", source, ", whose own is ",
                           kind(source), others, "; sharing works best within one kind"));
  }
  return warnings;
}

}  // namespace ckv
