// From text to the token ids that a model is to continue.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "app/load_model.h"

namespace ckv {

class PromptBuilder {
 public:
  // `bos`: texts begin with <s>: "yes", "no", or "auto", which is what the model's folder says.
  // Throws ConfigError if they must and the model has none. Refers to `model`.
  PromptBuilder(const LoadedModel& model, const std::string& bos);

  // Needs a tokenizer. An empty text is the start of a document: what follows <s>, or the </s> of
  // the document before; throws ConfigError if the model has neither.
  std::vector<int32_t> OfText(const std::string& text) const;

  // The ids that end a text.
  std::vector<int32_t> EndIds() const;

 private:
  const LoadedModel& model_;
  int64_t bos_ = -1;
  int64_t eos_ = -1;
  bool begins_with_bos_ = false;
};

// "1,17, 4" and "1 17 4" alike. Throws ConfigError(option, ...).
std::vector<int32_t> ParseIds(const std::string& text, const std::string& option);

// The text of a file, or of stdin for "-", without a line end at its end. Throws IoError.
std::string ReadPromptFile(const std::string& path);

}  // namespace ckv
