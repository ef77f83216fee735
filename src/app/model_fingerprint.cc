#include "app/model_fingerprint.h"

#include <cstring>
#include <string>

#include "base/file.h"
#include "base/hash.h"
#include "base/random.h"

namespace ckv {
namespace {

// Eight bytes at a time: weights are large.
uint64_t HashFile(const std::string& path, uint64_t hash) {
  const MappedFile file(path);
  const unsigned char* data = file.data();
  size_t at = 0;
  for (; at + 8 <= file.size(); at += 8) {
    uint64_t word = 0;
    std::memcpy(&word, data + at, 8);
    hash = (hash ^ word) * 0x9e3779b97f4a7c15ULL;
    hash ^= hash >> 29;
  }
  uint64_t rest = file.size();
  for (; at < file.size(); ++at) rest = rest * 257 + data[at];
  return MixBits(hash ^ rest);
}

bool EndsIn(const std::string& name, const std::string& end) {
  return name.size() >= end.size() && name.compare(name.size() - end.size(), end.size(), end) == 0;
}

}  // namespace

uint64_t ModelFingerprint(const LoadedModel& model) {
  uint64_t hash = Fnv1a64(ReadFile(JoinPath(model.folder, "config.json")));
  for (const std::string& name : ListDir(model.folder)) {
    const bool wanted = model.weights == "ema"
                            ? name == "ema.safetensors"
                            : name.rfind("model", 0) == 0 && EndsIn(name, ".safetensors");
    if (wanted) hash = HashFile(JoinPath(model.folder, name), hash);
  }
  if (model.tokenizer != nullptr) hash = MixBits(hash ^ model.tokenizer->Fingerprint());
  return hash;
}

}  // namespace ckv
