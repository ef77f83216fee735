#include <memory>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "app/bench_conic.h"
#include "app/conic_commands.h"
#include "app/output.h"
#include "base/str.h"

namespace ckv {
namespace {

struct BenchConicCommand {
  std::vector<std::string> data;
  CommandOutput output;
};

void BenchConicByOptions(const BenchConicCommand& command) {
  OrderedJson json = OrderedJson::array();
  std::string text =
      "input                                          questions        ms    memory\n";
  const auto right = [](const std::string& cell, size_t width) {
    return std::string(cell.size() < width ? width - cell.size() : 0, ' ') + cell;
  };
  for (const ConicBenchRow& row : BenchConic(command.data)) {
    json.push_back({{"input", row.name},
                    {"questions", row.questions},
                    {"seconds", row.seconds},
                    {"memory_bytes", row.memory_bytes},
                    {"limit_seconds", row.limit_seconds},
                    {"within_limit", row.seconds < row.limit_seconds},
                    {"truncated", row.truncated}});
    std::string name = row.name;
    name.resize(std::max<size_t>(name.size(), 46), ' ');
    text += Str(name, right(Str(row.questions), 10), right(Fixed(1e3 * row.seconds, 2), 10),
                right(HumanBytes(row.memory_bytes), 11), row.truncated ? "  cut off" : "",
                row.seconds < row.limit_seconds ? "" : "  SLOW", "\n");
  }
  command.output.Print(json, text);
}

}  // namespace

void AddBenchConic(CLI::App& bench) {
  const auto options = std::make_shared<BenchConicCommand>();
  CLI::App* command = bench.add_subcommand(
      "conic", "Time and memory of the Conic10K scorer, on data and on hostile input");
  command
      ->add_option("--data", options->data,
                   "Release file whose statements are scored against themselves; may be repeated")
      ->type_name("FILE")
      ->allow_extra_args(false);
  options->output.AddOptions(*command);
  command->footer("Example:\n  ckv bench conic --data test.json");
  command->callback([options] { BenchConicByOptions(*options); });
}

}  // namespace ckv
