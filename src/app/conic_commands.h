// Commands for Conic10K that stand under other commands.
#pragma once

namespace CLI {
class App;
}

namespace ckv {

void AddBenchConic(CLI::App& bench);
void AddDataConic(CLI::App& data);
void AddEvalConic(CLI::App& eval);

}  // namespace ckv
