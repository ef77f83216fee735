#include "app/model_fingerprint.h"

#include <string>

#include "base/file.h"
#include "base/hash.h"
#include "base/random.h"
#include "ckpt/adapter.h"

namespace ckv {
namespace {

bool EndsIn(const std::string& name, const std::string& end) {
  return name.size() >= end.size() && name.compare(name.size() - end.size(), end.size(), end) == 0;
}

}  // namespace

uint64_t ModelFingerprint(const LoadedModel& model) {
  uint64_t hash = Fnv1a64(ReadFile(JoinPath(ConfigFolder(model.folder), "config.json")));
  if (IsAdapterFolder(model.folder)) {
    hash = MixBits(hash ^ OpenModelWeights(model.folder, model.weights).Hash());
    return model.tokenizer == nullptr ? hash : MixBits(hash ^ model.tokenizer->Fingerprint());
  }
  for (const std::string& name : ListDir(model.folder)) {
    const bool wanted = model.weights == "ema"
                            ? name == "ema.safetensors"
                            : name.rfind("model", 0) == 0 && EndsIn(name, ".safetensors");
    if (!wanted) continue;
    const MappedFile file(JoinPath(model.folder, name));
    hash = HashWords(file.data(), file.size(), hash);
  }
  if (model.tokenizer != nullptr) hash = MixBits(hash ^ model.tokenizer->Fingerprint());
  return hash;
}

}  // namespace ckv
