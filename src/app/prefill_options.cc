#include "app/prefill_options.h"

#include <CLI/CLI.hpp>

#include "app/passes.h"
#include "base/error.h"

namespace ckv {

void PrefillArguments::AddOptions(CLI::App& command) {
  command
      .add_option("--prefill", order,
                  "How prompts are run where layers read a layer above them: iterative: all tokens "
                  "at once, in passes; chunked: so many tokens after so many; sequential: token by "
                  "token, exact; auto: as the model's config says")
      ->check(CLI::IsMember({"auto", "iterative", "chunked", "sequential"}))
      ->capture_default_str();
  command
      .add_option(
          "--passes", passes,
          "Passes of iterative and chunked prompts: N in all, or M,B (default: the model's)")
      ->type_name("N");
  command
      .add_option("--tolerance", tolerance,
                  "End passes early once keys and values change by no more than this, relative to "
                  "their norm; 0 = never (default: the model's)")
      ->type_name("X");
  command.add_option("--chunk", chunk, "Tokens of a chunk (default: 64)")->type_name("N");
}

DecoderRun PrefillArguments::Run(const DecoderConfig& config) const {
  DecoderRun run;
  run.chunk_tokens = chunk.value_or(64);
  if (run.chunk_tokens < 1) throw ConfigError("--chunk", Str(*chunk, ", but must be >= 1"));
  if (chunk.has_value() && order != "chunked") {
    throw ConfigError("--chunk", "belongs to --prefill chunked");
  }
  if (tolerance.has_value() && !(*tolerance >= 0.0)) {
    throw ConfigError("--tolerance", Str(*tolerance, ", but must be >= 0"));
  }
  if (order == "iterative") run.order = DecoderRun::Order::kParallel;
  if (order == "sequential") run.order = DecoderRun::Order::kSequential;
  if (order == "chunked") run.order = DecoderRun::Order::kChunked;
  const bool in_passes = !passes.empty() || tolerance.value_or(0.0) > 0.0;
  if (in_passes && !config.sharing().cyclic()) {
    throw ConfigError(passes.empty() ? "--tolerance" : "--passes",
                      "no layer of this model reads a layer above it, so one pass is exact");
  }
  if (in_passes && order == "sequential") {
    throw ConfigError(passes.empty() ? "--tolerance" : "--passes",
                      "belongs to prompts in passes, not to --prefill sequential");
  }
  if (!passes.empty()) {
    const Passes counts = ParsePasses(passes);
    run.forward_passes = counts.forward;
    run.backward_passes = counts.backward;
  }
  run.tolerance = tolerance;
  return run;
}

}  // namespace ckv
