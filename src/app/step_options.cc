#include "app/step_options.h"

#include <map>
#include <string>

#include <CLI/CLI.hpp>

namespace ckv {

CLI::Option* AddStepsOption(CLI::App& command, StepKind& steps) {
  const std::map<std::string, StepKind> kinds = {
      {"auto", StepKind::kAuto}, {"engine", StepKind::kEngine}, {"eager", StepKind::kEager}};
  return command
      .add_option("--steps", steps,
                  "How tokens behind the prompt are computed: engine: fused operations, on a GPU "
                  "recorded once; eager: one operation after another; auto: engine on a GPU, where "
                  "the model allows it")
      ->type_name("KIND")
      ->transform(CLI::CheckedTransformer(kinds))
      ->default_str("auto");
}

}  // namespace ckv
