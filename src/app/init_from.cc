#include "app/init_from.h"

#include <algorithm>
#include <memory>

#include "app/load_model.h"
#include "base/error.h"
#include "base/log.h"
#include "ckpt/adapter.h"
#include "config/config.h"

namespace ckv {
namespace {

constexpr char kInitTag[] = "init_from";

void CheckHeads(const std::string& folder, const DecoderConfig& source,
                const DecoderConfig& target) {
  const auto check = [&](const char* key, int64_t of_source, int64_t of_target) {
    if (of_source == of_target) return;
    throw ConfigError("init_from", Str("the model in ", folder, " has ", of_source, " as '", key,
                                       "', but this run has ", of_target,
                                       ": its projections would be cut into other heads"));
  };
  check("model.num_attention_heads", source.num_attention_heads, target.num_attention_heads);
  check("model.num_key_value_heads", source.kv_heads(), target.kv_heads());
  check("model.head_dim", source.head_width(), target.head_width());
  if (target.tie_word_embeddings && !source.tie_word_embeddings) {
    throw ConfigError("init_from",
                      Str("the model in ", folder,
                          " has an output head of its own, which 'model.tie_word_embeddings: true' "
                          "would drop; set it to false"));
  }
}

void WarnOfOtherMaths(const std::string& folder, const DecoderConfig& source,
                      const DecoderConfig& target) {
  const FlatConfig of_source = FlattenConfig(source);
  const FlatConfig of_target = FlattenConfig(target);
  const bool scales = source.rope.scaling != "none" || target.rope.scaling != "none";
  for (size_t i = 0; i < of_target.size(); ++i) {
    const auto& [key, value] = of_target[i];
    const bool rotation =
        key.rfind("rope.", 0) == 0 && (scales || key == "rope.theta" || key == "rope.scaling");
    if (!rotation && key != "hidden_act" && key != "rms_norm_eps" && key != "force_nodiag")
      continue;
    if (of_source[i].second == value) continue;
    LogWarn(kInitTag, Str("'model.", key, "' is ", value, " here, but ", of_source[i].second,
                          " in ", folder, ": its weights were made for that"));
  }
}

void CheckVocabulary(const std::string& folder, int64_t size, const Tokenizer& tokenizer) {
  const std::string place = ConfigFolder(folder);
  if (HasTokenizerFile(place)) {
    const std::unique_ptr<Tokenizer> before = LoadTokenizer(place);
    const int64_t common = std::min(before->vocab_size(), tokenizer.vocab_size());
    for (int64_t id = 0; id < common; ++id) {
      const auto entry = static_cast<int32_t>(id);
      if (before->IdToPiece(entry) == tokenizer.IdToPiece(entry)) continue;
      LogWarn(kInitTag, Str("token ", id, " is '", tokenizer.IdToPiece(entry), "' here, but '",
                            before->IdToPiece(entry), "' in ", folder,
                            ": embeddings will stand for other tokens than they were trained on"));
      break;
    }
  }
  if (size < tokenizer.vocab_size()) {
    LogInfo(kInitTag, Str("the vocabulary grows from ", size, " to ", tokenizer.vocab_size(),
                          " entries; the new ones are drawn"));
  }
}

}  // namespace

void CheckInitFrom(const std::string& folder, const DecoderConfig& target,
                   const Tokenizer* tokenizer) {
  const DecoderConfig source = ReadModelConfig(folder);
  CheckHeads(folder, source, target);
  WarnOfOtherMaths(folder, source, target);
  if (tokenizer != nullptr) CheckVocabulary(folder, source.vocab_size, *tokenizer);
}

}  // namespace ckv
