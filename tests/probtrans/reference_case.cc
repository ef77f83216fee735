#include "tests/probtrans/reference_case.h"

#include <sstream>
#include <stdexcept>

#include <gtest/gtest.h>

#include "ckpt/weights.h"
#include "tests/goldens.h"

namespace ckv {
namespace {

std::string Root() { return JoinPath(GoldensRoot(), "pt"); }

std::vector<int64_t> Numbers(const std::string& text) {
  std::vector<int64_t> numbers;
  std::istringstream in(text);
  for (std::string part; std::getline(in, part, ',');) numbers.push_back(std::stoll(part));
  return numbers;
}

// "uv:5" -> form and rank; "no" -> full.
void ReadDecomposition(const std::string& text, std::string* form, int64_t* rank) {
  const size_t colon = text.find(':');
  *form = text == "no" ? "full" : text.substr(0, colon);
  *rank = text == "no" ? 0 : std::stoll(text.substr(colon + 1));
}

}  // namespace

ProbTransConfig ReferenceConfig(const Json& meta) {
  const auto name = meta.at("reference_class").get<std::string>();
  ProbTransConfig config;
  if (name == "AbsoluteHeadProbEncoder") config.distances = "none";
  if (name == "DecomposedHeadProbEncoder") config.distances = "mixture";
  const bool rooted = name == "RootedHeadProbEncoder";
  const Json& options = meta.at("options");
  if (rooted) config.root_labels = options.at("d_model").get<int64_t>();
  for (const auto& [key, value] : options.items()) {
    if (key == "d_model") {
      config.labels = value;
    } else if (key == "n_head") {
      config.channels = value;
    } else if (key == "n_iter") {
      config.iterations = value;
    } else if (key == "damping_H") {
      config.damping_heads = value;
    } else if (key == "damping_Z") {
      config.damping_labels = value;
    } else if (key == "stepsize_H") {
      config.step_heads = value;
    } else if (key == "stepsize_Z") {
      config.step_labels = value;
    } else if (key == "regularize_H") {
      config.weight_heads = value;
    } else if (key == "regularize_Z") {
      config.weight_labels = value;
    } else if (key == "norm") {
      config.normaliser = value;
    } else if (key == "dists") {
      if (value.is_string()) config.distance_cuts = Numbers(value.get<std::string>());
      if (value.is_number()) config.distance_limit = value;
    } else if (key == "distance_rank") {
      config.distance_tensors = value;
    } else if (key == "async_update") {
      config.schedule = value.get<bool>() ? "heads_first" : "together";
    } else if (key == "output_prob") {
      config.probabilities = value;
    } else if (key == "use_td") {
      ReadDecomposition(value, &config.factor, &config.rank);
    } else if (key == "dropout") {
      config.dropout = value;
    } else if (key == "block_msg") {
      config.child_messages = !value.get<bool>();
    } else if (key == "use_projection") {
      config.projection = value;
    } else if (key == "d_root" && rooted) {
      config.root_labels = value;
    } else if (key == "output_root" && rooted) {
      // Both are always given.
    } else if (key == "n_global") {
      config.globals.count = value;
    } else if (key == "mode") {
      const auto mode = value.get<std::string>();
      config.globals.mode = mode == "all-attn" ? "shared" : "split";
      if (mode == "single-channel") {
        config.globals.channels = 1;
      } else if (mode != "all-attn" && mode != "attn-split") {
        config.globals.channels = std::stoll(mode);  // "3-channel"
      }
    } else if (key == "use_td_global") {
      std::string form;
      ReadDecomposition(value, &form, &config.globals.rank);
      if (form != "full" && form != "uv") throw std::runtime_error("globals of the form " + form);
    } else if ((key == "pos_embed" || key == "use_root_td") && (value == "none" || value == "no")) {
      // What we do anyway.
    } else {
      throw std::runtime_error(Str("option ", key, " = ", value.dump(), " of ", name));
    }
  }
  return config;
}

EncoderTransformerConfig BaselineConfig(const Json& meta) {
  EncoderTransformerConfig config;
  const bool relative = meta.at("reference_class") == "RelativeTransformerEncoder";
  config.positions = relative ? "relative" : "none";
  for (const auto& [key, value] : meta.at("options").items()) {
    if (key == "d_model") {
      config.width = value;
    } else if (key == "d_ff") {
      config.feed_forward = value;
    } else if (key == "d_qkv") {
      config.head_width = value;
    } else if (key == "n_head") {
      config.heads = value;
    } else if (key == "n_layers") {
      config.layers = value;
    } else if (key == "e_length") {
      config.relative_limit = value;
    } else if (key == "dropout") {
      config.dropout = value;
    } else if (key == "pos_embed" && value == "add") {
      config.positions = "absolute";
    } else if (key != "pos_embed" || value != "none") {
      throw std::runtime_error(Str("option ", key, " = ", value.dump()));
    }
  }
  return config;
}

std::vector<std::string> ReferenceCases() { return FoldersWith(Root(), "meta.json"); }

ReferenceCase::ReferenceCase(const std::string& name)
    : name_(name),
      folder_(JoinPath(Root(), name)),
      weights_(JoinPath(folder_, "weights.safetensors")),
      io_(JoinPath(folder_, "io.safetensors")),
      meta_(ReadJsonFile(JoinPath(folder_, "meta.json"))) {}

std::vector<std::string> ReferenceCase::WantedNames() const {
  std::vector<std::string> names;
  for (const SafetensorsEntry& entry : io_.header().entries()) {
    if (entry.name.rfind("want.", 0) == 0) names.push_back(entry.name.substr(5));
  }
  return names;
}

std::vector<std::string> ReferenceCase::WeightNames() const {
  std::vector<std::string> names;
  for (const SafetensorsEntry& entry : weights_.header().entries()) names.push_back(entry.name);
  return names;
}

std::unique_ptr<SentenceEncoder> ReferenceCase::MakeEncoder() const {
  if (meta_.at("reference_class").get<std::string>().find("Transformer") != std::string::npos) {
    return std::make_unique<TransformerEncoder>(BaselineConfig(meta_));
  }
  return std::make_unique<MeanFieldEncoder>(ReferenceConfig(meta_));
}

void ReferenceCase::LoadInto(torch::nn::Module& module) const {
  LoadWeights(TensorFiles({weights_.path()}), module);
}

double ReferenceCase::Compare(const std::string& wanted, const Tensor& got, const Tensor& defined,
                              at::ScalarType type) const {
  const Tensor want = Want(wanted);
  EXPECT_EQ(got.sizes(), want.sizes()) << name_ << ": " << wanted;
  if (got.sizes() != want.sizes()) return 1e9;
  const auto number = [&](const char* group) {
    const Json& values = meta_.at(group);
    return values.contains(wanted) ? values.at(wanted).get<double>() : 1.0;
  };
  const double largest = number("largest_absolute_value");
  const double tolerance = type == at::kDouble ? 1e-9 * std::max(1.0, largest)
                                               : 20.0 * number("float32_noise") + 1e-6 * largest;
  const Tensor difference = (got.to(at::kDouble) - want).abs();
  const Tensor counted = defined.defined() ? difference * defined : difference;
  const double error = counted.numel() == 0 ? 0.0 : counted.max().item<double>();
  EXPECT_LE(error, tolerance) << name_ << ": " << wanted;
  return error / tolerance;
}

}  // namespace ckv
