#include <memory>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "app/bench_generate.h"
#include "app/load_model.h"
#include "app/output.h"
#include "app/train_run.h"
#include "base/error.h"
#include "base/file.h"
#include "base/progress.h"

namespace ckv {
namespace {

struct BenchGenerateCommand {
  std::string model;
  std::vector<std::string> sets;
  std::vector<std::string> sharings;
  std::string batch = "1";
  GenerateBenchOptions bench;
  CommandOutput output;
};

int64_t ParseBatch(const std::string& text) {
  if (text == "auto") return 0;
  const bool number = !text.empty() && text.size() <= 9 &&
                      text.find_first_not_of("0123456789") == std::string::npos;
  if (!number || std::stoll(text) < 1) {
    throw ConfigError("--batch", Str("'", text, "' is neither a number above 0 nor auto"));
  }
  return std::stoll(text);
}

// Text in a column of a table.
std::string Cell(const std::string& text, size_t width) {
  return std::string(text.size() < width ? width - text.size() : 0, ' ') + text;
}

std::string TableRow(const GenerateBenchResult& r) {
  const std::string name =
      r.kv_sharing.size() > 30 ? r.kv_sharing.substr(0, 27) + "..." : r.kv_sharing;
  const std::string first =
      r.first_token_ms.has_value() ? Fixed(*r.first_token_ms, 1) : std::string("-");
  const std::string whole = r.whole_tokens_per_second.has_value()
                                ? HumanCount(*r.whole_tokens_per_second)
                                : std::string("-");
  return Str(name, std::string(name.size() < 30 ? 30 - name.size() : 0, ' '), Cell(Str(r.batch), 7),
             Cell(Str(r.context), 9), Cell(Fixed(r.step_ms, 3), 9),
             Cell(HumanCount(r.tokens_per_second), 10),
             Cell(Fixed(100.0 * r.roofline, 1) + "%", 10), Cell(first, 12), Cell(whole, 9),
             Cell(HumanBytes(static_cast<double>(r.kv_resident_bytes)), 11),
             Cell(HumanBytes(r.kv_read_bytes), 11), Cell(HumanBytes(r.kv_written_bytes), 11), "\n");
}

void BenchGenerateByOptions(BenchGenerateCommand& options) {
  options.bench.batch = ParseBatch(options.batch);
  const bool is_folder = IsDirectory(options.model);
  if (is_folder && !(options.sharings.empty() && options.sets.empty())) {
    throw ConfigError("--sharing", "a checkpoint has its own; give the YAML file of a run instead");
  }
  std::vector<std::string> sharings = options.sharings;
  if (sharings.empty()) sharings.emplace_back();  // the model's own
  OrderedJson json = OrderedJson::array();
  std::string text =
      "kv_sharing                      batch  context  ms/step  tokens/s  roofline  first (ms)"
      "    whole   resident       read    written\n";
  for (const std::string& sharing : sharings) {
    DecoderConfig config;
    std::string folder;
    if (is_folder) {
      folder = FindModelFolder(options.model);
      config = ReadModelConfig(folder);
    } else {
      std::vector<std::string> sets = options.sets;
      if (!sharing.empty()) {
        sets.emplace_back("model.kv_sharing=null");  // a map would merge with the file's
        sets.push_back("model.kv_sharing=" + sharing);
      }
      config = LoadTrainRun(options.model, sets).model;
      if (config.vocab_size == 0) throw ConfigError("", "'model.vocab_size' must be given");
    }
    ShowLiveLine(Str("running ", config.sharing().ToString()));
    const GenerateBenchResult result = BenchGeneration(config, folder, options.bench);
    ShowLiveLine("");
    json.push_back(result.ToJson());
    text += TableRow(result);
  }
  text +=
      "roofline: time that weights, keys and values need at the bandwidth of a large copy, over "
      "the\n"
      "measured time; first: until every row has its first token; whole: new tokens/s with the "
      "prompt;\nKV bytes: of all stores, and a step\n";
  options.output.Print(json, text);
}

void AddBenchGenerateOptions(CLI::App& command, GenerateBenchOptions& bench) {
  command.add_option("--prompt", bench.prompt, "Tokens of a prompt")
      ->check(CLI::Range(1, 1 << 20))
      ->capture_default_str();
  command.add_option("--new", bench.new_tokens, "Tokens to decode")
      ->check(CLI::Range(1, 1 << 20))
      ->capture_default_str();
  command
      .add_option("--context", bench.context,
                  "Measure steps at this length alone; 0 = over the new tokens")
      ->check(CLI::Range(0, 1 << 20))
      ->capture_default_str();
  command
      .add_option("--memory-gb", bench.memory_gb,
                  "For --batch auto: use so many 10^9 bytes, as a smaller card would; 0 = all")
      ->check(CLI::Range(0.0, 1e4))
      ->capture_default_str();
  command.add_flag("--no-prefill", bench.no_prefill, "Measure steps alone, not the prompt");
  command.add_option("--device", bench.device, "auto, cpu, cuda or cuda:N")->capture_default_str();
  command.add_option("--precision", bench.precision, "Of weights, keys and values")
      ->check(CLI::IsMember({"bf16", "fp16", "fp32"}))
      ->capture_default_str();
}

}  // namespace

void AddBenchGenerate(CLI::App& bench) {
  const auto options = std::make_shared<BenchGenerateCommand>();
  CLI::App* command = bench.add_subcommand(
      "generate", "Time of a decode step and of a prompt, sharing schemes side by side");
  command
      ->add_option("MODEL", options->model,
                   "YAML file of a run (random weights), or a checkpoint or run folder")
      ->type_name("FILE|FOLDER")
      ->required();
  command->add_option("--set", options->sets, "Change a key of the file")
      ->type_name("KEY=VALUE")
      ->allow_extra_args(false);
  command
      ->add_option("--sharing", options->sharings,
                   "Sharing scheme to run instead of the file's; give it once for each")
      ->type_name("SPEC")
      ->allow_extra_args(false);
  command->add_option("--batch", options->batch, "Rows, or auto: the most that fit")
      ->type_name("N|auto")
      ->capture_default_str();
  AddBenchGenerateOptions(*command, options->bench);
  options->output.AddOptions(*command);
  command->callback([options] { BenchGenerateByOptions(*options); });
}

}  // namespace ckv
