#include "convert/side_files.h"

#include <nlohmann/json.hpp>

#include "base/file.h"
#include "base/json.h"

namespace ckv {
namespace {

constexpr const char* kSideFiles[] = {
    "tokenizer.model",
    "tokenizer.char",
    "tokenizer.byte",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "generation_config.json",
    "chat_template.jinja",
    "chat_template.json",
    "chat_template.yaml",
};

}  // namespace

std::vector<std::string> CopySideFiles(const std::string& from, const std::string& to) {
  std::vector<std::string> names;
  for (const char* name : kSideFiles) {
    const std::string path = JoinPath(from, name);
    if (!FileExists(path)) continue;
    WriteFileAtomically(JoinPath(to, name), ReadFile(path));
    names.emplace_back(name);
  }
  return names;
}

bool WriteTokenizerConfig(const std::string& folder) {
  const std::string path = JoinPath(folder, "tokenizer_config.json");
  if (!FileExists(JoinPath(folder, "tokenizer.model")) || FileExists(path)) return false;
  OrderedJson json;
  json["tokenizer_class"] = "LlamaTokenizer";
  json["legacy"] = false;
  json["add_bos_token"] = false;
  json["add_eos_token"] = false;
  json["bos_token"] = "<s>";
  json["eos_token"] = "</s>";
  json["unk_token"] = "<unk>";
  json["clean_up_tokenization_spaces"] = false;
  json["spaces_between_special_tokens"] = false;
  WriteFileAtomically(path, json.dump(2) + "\n");
  return true;
}

}  // namespace ckv
