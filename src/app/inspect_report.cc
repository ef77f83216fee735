#include "app/inspect_report.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "sharing/picture.h"

namespace ckv {
namespace {

constexpr int64_t kMostTokens = int64_t{1} << 30;

// Number formats: bytes of a key or value, and of a weight beside it. Weights in 8 bits would need
// scales and another kernel; with an 8-bit cache they are taken to be bf16.
struct NumberFormat {
  const char* name;
  int64_t kv_bytes;
  int64_t weight_bytes;
};
constexpr NumberFormat kFormats[] = {{"fp32", 4, 4}, {"bf16", 2, 2}, {"fp8", 1, 2}};

bool KnowsKvs(const ModelShape& shape) { return shape.kv_heads > 0 && shape.head_dim > 0; }

bool KnowsLayers(const ModelShape& shape) {
  return KnowsKvs(shape) && shape.hidden > 0 && shape.heads > 0 && shape.ffn > 0;
}

bool KnowsAll(const ModelShape& shape) { return KnowsLayers(shape) && shape.vocab > 0; }

// What is not known counts as 1 here, so that the rest is checked.
void CheckKnownSizes(ModelShape shape) {
  if (shape.heads == 0) shape.heads = shape.kv_heads;
  for (int64_t* size :
       {&shape.hidden, &shape.heads, &shape.kv_heads, &shape.head_dim, &shape.ffn, &shape.vocab}) {
    if (*size == 0) *size = 1;
  }
  CheckShape(shape);
}

// The longest sequence that can be counted: the bytes of its cache fit in 63 bits.
int64_t LongestCounted(const KvSharingSpec& spec, const ModelShape& shape) {
  if (!KnowsKvs(shape)) return kMostTokens;
  const int64_t bytes = KvBytesPerToken(spec, shape, 4);
  return std::min(kMostTokens, std::numeric_limits<int64_t>::max() / std::max<int64_t>(bytes, 1));
}

void CheckUse(const InspectedModel& model, const InspectedUse& use) {
  const int64_t longest = LongestCounted(model.plan.spec(), model.shape);
  if (use.seq_len < 1 || use.seq_len > longest) {
    throw ConfigError("--seq-len", Str(use.seq_len, ", but must be in 1 to ", longest));
  }
  if (use.batch < 1 || use.batch > kMostTokens) {
    throw ConfigError("--batch", Str(use.batch, ", but must be in 1 to ", kMostTokens));
  }
  if (!(use.memory_gb > 0) || !std::isfinite(use.memory_gb)) {
    throw ConfigError("--memory-gb", Str(use.memory_gb, ", but must be > 0"));
  }
}

OrderedJson SharingJson(const InspectedModel& model) {
  const IterationPlan& plan = model.plan;
  const KvSharingSpec& spec = plan.spec();
  OrderedJson json;
  json["kv_sharing"] = spec.ToString();
  json["layers"] = spec.num_layers();
  json["kv_layers"] = spec.kv_layers();
  json["kv_stores"] = NumKvStores(spec);  // keys and values apart
  json["plain_kv_stores"] = 2 * spec.num_layers();
  json["forward_passes"] = model.forward_passes;
  json["backward_passes"] = model.backward_passes;
  json["sequential"] = model.sequential;
  json["groups"] = OrderedJson::array();
  for (const LayerGroup& group : plan.groups()) {
    json["groups"].push_back({{"first_layer", group.start},
                              {"last_layer", group.stop - 1},
                              {"iterative", group.iterative},
                              {"forward_passes", group.forward_only_passes},
                              {"backward_passes", group.gradient_passes}});
  }
  json["layer_pass_ratio"] = LayerPassRatio(plan);
  std::vector<std::string> warnings = Warnings(spec);
  warnings.insert(warnings.end(), model.notes.begin(), model.notes.end());
  json["warnings"] = warnings;
  return json;
}

OrderedJson ShapeJson(const ModelShape& shape) {
  OrderedJson json;
  const auto set = [&json](const char* key, int64_t value) {
    if (value > 0) json[key] = value;
  };
  set("hidden_size", shape.hidden);
  set("num_attention_heads", shape.heads);
  set("num_key_value_heads", shape.kv_heads);
  set("head_dim", shape.head_dim);
  set("intermediate_size", shape.ffn);
  set("vocab_size", shape.vocab);
  set("sliding_window", shape.window.value_or(0));
  return json;
}

OrderedJson ParametersJson(const KvSharingSpec& spec, const ModelShape& shape) {
  const ParamCount count = CountParams(spec, shape);
  const ParamCount plain = CountParams(KvSharingSpec(spec.num_layers()), shape);
  OrderedJson json;
  if (KnowsAll(shape)) {
    json["total"] = count.total();
    json["without_embedding"] = count.without_embedding();
    json["plain_total"] = plain.total();
  }
  json["layers"] = count.layers;
  json["plain_layers"] = plain.layers;
  return json;
}

OrderedJson KvCacheJson(const KvSharingSpec& spec, const ModelShape& shape,
                        const InspectedUse& use) {
  OrderedJson json;
  json["of_plain"] = static_cast<double>(NumKvStores(spec)) / (2.0 * spec.num_layers());
  for (const NumberFormat& format : kFormats) {
    OrderedJson& row = json[format.name];
    row["bytes_per_token"] = KvBytesPerToken(spec, shape, format.kv_bytes);
    row["bytes_per_sequence"] = KvBytesPerSequence(spec, shape, use.seq_len, format.kv_bytes);
    if (!KnowsAll(shape)) continue;
    const double memory = use.memory_gb * 1e9;
    row["weight_bytes_each"] = format.weight_bytes;
    row["largest_batch"] =
        LargestBatch(spec, shape, use.seq_len, memory, format.weight_bytes, format.kv_bytes);
    row["largest_length"] = LargestLength(spec, shape, use.batch, memory, format.weight_bytes,
                                          format.kv_bytes, LongestCounted(spec, shape));
  }
  return json;
}

OrderedJson TrainingJson(const IterationPlan& plan, const ModelShape& shape,
                         const InspectedUse& use) {
  const TrainFlops flops = CountTrainFlops(plan, shape, use.seq_len);
  OrderedJson json;
  json["flops_per_token"] = flops.passes;
  json["flops_per_token_unsaved"] = flops.passes_unsaved;
  json["flops_per_token_plain"] = flops.plain_visible;
  json["flops_per_token_mfu"] = flops.plain;
  json["of_plain"] = flops.passes / flops.plain_visible;
  json["unsaved_of_plain"] = flops.passes_unsaved / flops.plain_visible;
  return json;
}

OrderedJson PrefillJson(const IterationPlan& plan, const ModelShape& shape,
                        const InspectedUse& use) {
  const IterationPlan plain(KvSharingSpec(plan.spec().num_layers()), 0, 1);
  const double flops = CountPrefillFlops(plan, shape, use.seq_len);
  const double plain_flops = CountPrefillFlops(plain, shape, use.seq_len);
  OrderedJson json;
  json["tokens"] = use.seq_len;
  json["flops"] = flops;
  json["flops_plain"] = plain_flops;
  json["of_plain"] = flops / plain_flops;
  return json;
}

OrderedJson DecodeJson(const KvSharingSpec& spec, const ModelShape& shape,
                       const InspectedUse& use) {
  const NumberFormat& format = kFormats[1];
  const DecodeCost cost =
      CountDecode(spec, shape, use.seq_len, use.batch, format.weight_bytes, format.kv_bytes);
  OrderedJson json;
  json["past"] = use.seq_len;
  json["batch"] = use.batch;
  json["format"] = format.name;
  json["flops_per_step"] = cost.flops;
  json["flops_per_token"] = cost.flops / static_cast<double>(use.batch);
  json["weight_bytes_per_step"] = cost.weight_bytes;
  json["kv_read_bytes_per_step"] = cost.kv_read_bytes;
  json["kv_write_bytes_per_step"] = cost.kv_write_bytes;
  return json;
}

// --- text ---

std::string Padded(std::string text, size_t width) {
  if (text.size() < width) text.insert(0, width - text.size(), ' ');
  return text;
}

std::string Times(const OrderedJson& ratio) {
  return Str(Fixed(ratio.get<double>(), 3), " x plain");
}

std::string GroupsText(const OrderedJson& groups) {
  std::string text;
  for (const OrderedJson& group : groups) {
    if (!group["iterative"].get<bool>()) continue;
    text += Str("passes      layers ", group["first_layer"].get<int>(), "..",
                group["last_layer"].get<int>(), ": ", group["forward_passes"].get<int>(),
                " without gradient, ", group["backward_passes"].get<int>(), " with\n");
  }
  return text.empty() ? "passes      one, no layer reads a higher one\n" : text;
}

std::string HeadText(const OrderedJson& json) {
  const OrderedJson& sharing = json["sharing"];
  std::string text = Str("kv_sharing  ", sharing["kv_sharing"].get<std::string>(), "\n");
  text += Str("stores      ", sharing["kv_layers"].size(), " of ", sharing["layers"].get<int>(),
              " layers own KVs: ", sharing["kv_stores"].get<int64_t>(), " of ",
              sharing["plain_kv_stores"].get<int64_t>(), " key and value stores\n");
  text += GroupsText(sharing["groups"]);
  text += Str("layer runs  ", Times(sharing["layer_pass_ratio"]), ", passes counted\n");
  if (sharing["sequential"].get<bool>()) {
    text += "training    token by token (sequential: true), not in the passes counted here\n";
  }
  return text;
}

std::string ParametersText(const OrderedJson& count) {
  const auto number = [&count](const char* key) { return count[key].get<int64_t>(); };
  const auto human = [](int64_t value) { return HumanCount(static_cast<double>(value)); };
  if (!count.contains("total")) {
    return Str("\nparameters  ", human(number("layers")), " (", number("layers"),
               ") without embedding and output projection; plain ", human(number("plain_layers")),
               "\n");
  }
  return Str("\nparameters  ", human(number("total")), " (", number("total"), "), ",
             human(number("without_embedding")), " (", number("without_embedding"),
             ") without the embedding; plain ", human(number("plain_total")), "\n");
}

std::string KvCacheText(const OrderedJson& cache, const OrderedJson& use) {
  constexpr size_t kLabel = 36;
  constexpr size_t kColumn = 12;
  const bool whole = cache["bf16"].contains("largest_batch");
  std::string head =
      Str("KV cache, ", Fixed(100 * cache["of_plain"].get<double>(), 1), "% of the plain model's");
  head.resize(std::max(head.size(), kLabel), ' ');
  std::string per_token = "  bytes a token";
  std::string per_sequence = Str("  bytes a sequence of ", use["seq_len"].get<int64_t>());
  std::string batch = Str("  largest batch of ", use["seq_len"].get<int64_t>(), " tokens");
  std::string length = Str("  longest sequence, batch ", use["batch"].get<int64_t>());
  for (std::string* line : {&per_token, &per_sequence, &batch, &length}) {
    line->resize(std::max(line->size(), head.size()), ' ');
  }
  for (const NumberFormat& format : kFormats) {
    const OrderedJson& row = cache[format.name];
    const auto bytes = [&row](const char* key) {
      return Padded(HumanBytes(static_cast<double>(row[key].get<int64_t>())), kColumn);
    };
    head += Padded(format.name, kColumn);
    per_token += bytes("bytes_per_token");
    per_sequence += bytes("bytes_per_sequence");
    if (!whole) continue;
    const int64_t longest = row["largest_length"].get<int64_t>();
    batch += Padded(Str(row["largest_batch"].get<int64_t>()), kColumn);
    length += Padded(longest == kMostTokens ? "any" : Str(longest), kColumn);
  }
  std::string text = "\n" + head + "\n" + per_token + "\n" + per_sequence + "\n";
  if (!whole) return text;
  return text + batch + "\n" + length + "\n" +
         Str("  in ", use["memory_gb"].get<double>(),
             " GB (1e9 bytes) beside the weights (fp32; for the others bf16), without "
             "activations\n");
}

std::string FlopsLine(const char* label, const OrderedJson& flops, const std::string& remark) {
  std::string line = Str("  ", label);
  line.resize(std::max<size_t>(line.size(), 30), ' ');
  line += Padded(HumanCount(flops.get<double>()), 10);
  return line + (remark.empty() ? "" : "   " + remark) + "\n";
}

std::string FlopsText(const OrderedJson& json) {
  const OrderedJson& training = json["training"];
  std::string text =
      Str("\nFLOPs a token of training on ", json["use"]["seq_len"].get<int64_t>(), " tokens\n");
  text += FlopsLine("with passes", training["flops_per_token"], Times(training["of_plain"]));
  text += FlopsLine("without the exact savings", training["flops_per_token_unsaved"],
                    Times(training["unsaved_of_plain"]));
  text += FlopsLine("plain model", training["flops_per_token_plain"], "");
  text +=
      FlopsLine("plain model, as MFU counts", training["flops_per_token_mfu"], "6 N + 12 L H D T");

  const OrderedJson& prefill = json["prefill"];
  text += Str("\nFLOPs of a prompt of ", prefill["tokens"].get<int64_t>(), " tokens\n");
  text += FlopsLine("prefill", prefill["flops"], Times(prefill["of_plain"]));

  const OrderedJson& decode = json["decode"];
  const auto bytes = [&decode](const char* key) { return HumanBytes(decode[key].get<double>()); };
  text += Str("\nDecoding after ", decode["past"].get<int64_t>(), " tokens, batch ",
              decode["batch"].get<int64_t>(), ", ", decode["format"].get<std::string>(), "\n");
  text += FlopsLine("FLOPs a token", decode["flops_per_token"], "");
  return text + Str("  memory traffic a step: weights ", bytes("weight_bytes_per_step"),
                    ", KVs read ", bytes("kv_read_bytes_per_step"), ", KVs written ",
                    bytes("kv_write_bytes_per_step"), "\n");
}

}  // namespace

OrderedJson InspectJson(const InspectedModel& model, const InspectedUse& use) {
  const KvSharingSpec& spec = model.plan.spec();
  const ModelShape& shape = model.shape;
  CheckKnownSizes(shape);
  CheckUse(model, use);
  OrderedJson json;
  json["sharing"] = SharingJson(model);
  json["use"] = {{"seq_len", use.seq_len}, {"batch", use.batch}, {"memory_gb", use.memory_gb}};
  json["model"] = ShapeJson(shape);
  if (KnowsLayers(shape)) json["parameters"] = ParametersJson(spec, shape);
  if (KnowsKvs(shape)) json["kv_cache"] = KvCacheJson(spec, shape, use);
  if (KnowsAll(shape)) {
    json["training"] = TrainingJson(model.plan, shape, use);
    json["prefill"] = PrefillJson(model.plan, shape, use);
    json["decode"] = DecodeJson(spec, shape, use);
  }
  return json;
}

std::string InspectText(const InspectedModel& model, const OrderedJson& json, bool ascii) {
  std::string text = SharingPicture(model.plan, ascii) + "\n" + HeadText(json);
  for (const OrderedJson& warning : json["sharing"]["warnings"]) {
    text += Str("warning: ", warning.get<std::string>(), "\n");
  }
  if (json.contains("parameters")) text += ParametersText(json["parameters"]);
  if (json.contains("kv_cache")) text += KvCacheText(json["kv_cache"], json["use"]);
  if (json.contains("training")) text += FlopsText(json);
  return text;
}

}  // namespace ckv
