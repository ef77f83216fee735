#include "app/sampling_options.h"

#include <CLI/CLI.hpp>

namespace ckv {

std::vector<CLI::Option*> AddSamplingOptions(CLI::App& command, SamplingOptions& sampling) {
  std::vector<CLI::Option*> options = {
      command
          .add_option("--temperature", sampling.temperature,
                      "Divides the logits; 0 = always the likeliest token")
          ->type_name("X"),
      command
          .add_option("--top-k", sampling.top_k, "Draw from the N likeliest tokens; 0 = from all")
          ->type_name("N"),
      command
          .add_option("--top-p", sampling.top_p,
                      "Draw from the likeliest tokens that together hold this share")
          ->type_name("X"),
      command
          .add_option("--min-p", sampling.min_p,
                      "Draw from tokens at least this share as likely as the likeliest")
          ->type_name("X"),
      command
          .add_option("--repetition-penalty", sampling.repetition_penalty,
                      "Makes tokens that were there before less likely; 1 = none")
          ->type_name("X")};
  for (CLI::Option* option : options) option->capture_default_str();
  return options;
}

}  // namespace ckv
