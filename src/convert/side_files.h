// What lies beside config and weights in a model's folder: tokenizer files and, for Transformers,
// our modeling code.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace ckv {

// Copies the tokenizer's files (tokenizer.model, tokenizer.json, tokenizer_config.json, chat
// templates, ...; also our own kinds) and generation_config.json as they are. Returns their names.
std::vector<std::string> CopySideFiles(const std::string& from, const std::string& to);

// For a folder with tokenizer.model and no tokenizer_config.json: writes the one with which
// Transformers' LlamaTokenizer gives the ids of this program: nothing put in front, and white space
// kept. Returns whether it did.
bool WriteTokenizerConfig(const std::string& folder);

// The files that let Transformers load every layout, with trust_remote_code: name and content. They
// are compiled into the program.
std::vector<std::pair<std::string, std::string_view>> ModelingFiles();

}  // namespace ckv
