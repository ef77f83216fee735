// `ckv generate`: its arguments, and the two ways of giving prompts.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "app/continue_prompts.h"
#include "app/jsonl_prompts.h"
#include "app/load_model.h"
#include "app/output.h"
#include "app/prefill_options.h"
#include "app/prompt_builder.h"
#include "gen/sampler.h"

namespace ckv {

struct GenerateArguments {
  ModelArguments model;
  std::vector<std::string> prompts;
  std::vector<std::string> prompt_files;
  std::vector<std::string> prompt_ids;
  std::string jsonl;
  JsonlFields fields;
  int64_t max_tokens = 128;
  SamplingOptions sampling;
  PrefillArguments prefill;
  StepKind steps = StepKind::kAuto;
  int64_t beams = 0;  // 0 = sampling
  double length_penalty = 1.0;
  int64_t seed = 0;
  int64_t samples = 1;
  int64_t batch_size = 16;
  int64_t log_probs = 0;
  std::vector<std::string> stops;
  std::string stop_ids;
  bool ignore_eos = false;
  std::string bos = "auto";
  CommandOutput output;

  // Throws ConfigError for values out of range and options that do not go together.
  void Check() const;
};

// What all prompts have in common.
ContinueSettings SettingsOf(const GenerateArguments& arguments, const LoadedModel& model,
                            const PromptBuilder& builder);

// Continues prompts from the command line and files; the text comes on stdout as it is made.
void GenerateText(const GenerateArguments& arguments, LoadedModel& model,
                  const PromptBuilder& builder);

// Continues the prompts of a file of JSON lines.
void GenerateJsonl(const GenerateArguments& arguments, LoadedModel& model,
                   const PromptBuilder& builder);

}  // namespace ckv
