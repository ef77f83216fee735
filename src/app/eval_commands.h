// The commands below `ckv eval` that have files of their own.
#pragma once

namespace CLI {
class App;
}

namespace ckv {

void AddEvalTasksCommand(CLI::App& eval);
void AddEvalCompareCommand(CLI::App& eval);

}  // namespace ckv
