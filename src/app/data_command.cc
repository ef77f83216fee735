#include <algorithm>
#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "app/command.h"
#include "app/config_options.h"
#include "app/conic_commands.h"
#include "app/output.h"
#include "base/error.h"
#include "base/file.h"
#include "base/hash.h"
#include "data/dataset.h"
#include "data/prepare.h"
#include "data/stories.h"
#include "data/train_tokenizer.h"
#include "text/tokenizer.h"

namespace ckv {
namespace {

constexpr char kInputHelp[] = "Text files (.txt, .jsonl, plain, .gz or .zst) and patterns";
constexpr int64_t kMaxThreads = 1024;

double SecondsSince(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

// --- data tokenizer ---

struct TokenizerOptions {
  TrainTokenizerOptions train;
  bool whole_numbers = false;
  std::string out;
  ConfigOptions reader;
  std::vector<CLI::Option*> sentencepiece_only;
  CommandOutput output;
};

void TrainTokenizerByOptions(TokenizerOptions& options) {
  TrainTokenizerOptions& train = options.train;
  options.reader.Read(train.reader);
  train.sentencepiece.split_digits = !options.whole_numbers;
  for (const CLI::Option* option : options.sentencepiece_only) {
    if (train.kind == "char" && option->count() > 0) {
      throw ConfigError(option->get_name(), "is for --type unigram and bpe, not for char");
    }
  }
  for (const std::string& symbol : train.sentencepiece.user_symbols) {
    if (symbol.find_first_of(" \t\r\n") == std::string::npos) continue;
    throw ConfigError("--user-symbol",
                      Str("'", symbol, "' holds white space, with which it would never be found"));
  }
  const auto start = std::chrono::steady_clock::now();
  const int64_t vocab_size = TrainTokenizer(train, options.out);
  const uint64_t fingerprint = LoadTokenizer(options.out)->Fingerprint();
  OrderedJson json;
  json["file"] = options.out;
  json["type"] = train.kind;
  json["vocab_size"] = vocab_size;
  json["fingerprint"] = HashHex(fingerprint);
  json["seconds"] = SecondsSince(start);
  options.output.Print(json, Str(options.out, ": ", train.kind, ", ", vocab_size, " entries, ",
                                 "fingerprint ", HashHex(fingerprint)));
}

void AddTokenizer(CLI::App& data) {
  const auto options = std::make_shared<TokenizerOptions>();
  SentencePieceOptions& sentencepiece = options->train.sentencepiece;
  CLI::App* command = data.add_subcommand("tokenizer", "Train a vocabulary on text files");
  command->add_option("INPUT", options->train.inputs, kInputHelp)->required()->type_name("FILE");
  command->add_option("--out", options->out, "File to write, usually tokenizer.model")
      ->required()
      ->type_name("FILE");
  command
      ->add_option("--type", options->train.kind, "Kind of vocabulary; char: one code point each")
      ->check(CLI::IsMember({"unigram", "bpe", "char"}))
      ->capture_default_str();
  command
      ->add_option("--vocab-size", sentencepiece.vocab_size,
                   "Entries, with <unk>, <s>, </s> and 256 byte tokens (char: at most so many)")
      ->capture_default_str();
  auto& only = options->sentencepiece_only;
  only.push_back(command
                     ->add_option("--character-coverage", sentencepiece.character_coverage,
                                  "Share of the text's characters that get a piece of their own")
                     ->capture_default_str());
  only.push_back(command->add_flag("--whole-numbers", options->whole_numbers,
                                   "Let pieces hold several digits"));
  only.push_back(command
                     ->add_option("--user-symbol", sentencepiece.user_symbols,
                                  "Text that is always a token of its own (repeat for more)")
                     ->allow_extra_args(false));
  only.push_back(command
                     ->add_option("--max-sample-bytes", sentencepiece.max_sample_bytes,
                                  "Sample lines of texts that hold more")
                     ->capture_default_str());
  only.push_back(
      command->add_option("--seed", sentencepiece.seed, "Of the sample")->capture_default_str());
  options->reader.Add(*command, TextReaderOptions());
  options->output.AddJson(*command);
  command->footer(
      "Example:\n"
      "  ckv data tokenizer corpus/*.txt --vocab-size 8000 --out tokenizer.model\n\n"
      "A SentencePiece model that is there already needs no training: name it in --tokenizer of\n"
      "'ckv data prepare'. So does 'byte', the built-in byte tokenizer.");
  command->callback([options] { TrainTokenizerByOptions(*options); });
}

// --- data prepare ---

struct PrepareCommand {
  PrepareOptions prepare;
  std::string tokenizer;
  bool no_eos = false;
  ConfigOptions reader;
  CommandOutput output;
};

OrderedJson CountsJson(const DatasetCounts& counts) {
  OrderedJson json;
  json["documents"] = counts.documents;
  json["words"] = counts.words;
  json["bytes"] = counts.bytes;
  json["tokens"] = counts.tokens;
  return json;
}

void PrepareByOptions(PrepareCommand& options) {
  options.reader.Read(options.prepare.reader);
  options.prepare.eos = !options.no_eos;
  if (options.prepare.threads < 0 || options.prepare.threads > kMaxThreads) {
    throw ConfigError("--threads",
                      Str(options.prepare.threads, ", but must be in 0 to ", kMaxThreads));
  }
  const std::unique_ptr<Tokenizer> tokenizer = LoadTokenizer(options.tokenizer);
  const PrepareReport report = PrepareTokens(options.prepare, *tokenizer);
  OrderedJson json;
  json["folder"] = options.prepare.out;
  json["tokenizer"] = tokenizer->kind();
  json["vocab_size"] = tokenizer->vocab_size();
  json["train"] = CountsJson(report.train);
  if (report.valid.tokens > 0) json["valid"] = CountsJson(report.valid);
  json["seconds"] = report.seconds;
  options.output.Print(json, Describe(report));
}

void AddPrepare(CLI::App& data) {
  const auto options = std::make_shared<PrepareCommand>();
  PrepareOptions& prepare = options->prepare;
  CLI::App* command = data.add_subcommand("prepare", "Turn text files into token shards");
  command->add_option("INPUT", prepare.inputs, kInputHelp)->required()->type_name("FILE");
  command
      ->add_option("--tokenizer", options->tokenizer,
                   "SentencePiece .model, vocabulary of 'ckv data tokenizer', folder with one, or "
                   "'byte'")
      ->required()
      ->type_name("FILE");
  command->add_option("--out", prepare.out, "Folder to make")->required()->type_name("FOLDER");
  command->add_flag("--overwrite", prepare.overwrite,
                    "Replace a data set (never a folder with other things)");
  command
      ->add_option("--valid-percent", prepare.valid_percent,
                   "Share of the documents that go to the data set FOLDER/valid")
      ->capture_default_str();
  command->add_option("--seed", prepare.seed, "Of the choice of these documents")
      ->capture_default_str();
  command->add_flag("--bos", prepare.bos, "Put <s> in front of each document");
  command->add_flag("--no-eos", options->no_eos, "Put no </s> behind each document");
  command->add_option("--shard-tokens", prepare.shard_tokens, "Tokens of a shard file")
      ->capture_default_str();
  command->add_option("--threads", prepare.threads, "Threads that encode; 0: as many as cores")
      ->capture_default_str();
  options->reader.Add(*command, TextReaderOptions());
  options->output.AddJson(*command);
  command->footer(
      "Example:\n"
      "  ckv data prepare corpus/*.jsonl.zst --tokenizer tokenizer.model --valid-percent 1 \\\n"
      "      --out data/corpus");
  command->callback([options] { PrepareByOptions(*options); });
}

// --- data stories ---

struct StoriesOptions {
  int64_t count = 0;
  uint64_t seed = 0;
  std::string out;
  CommandOutput output;
};

void WriteStoriesByOptions(const StoriesOptions& options) {
  if (options.count < 1) throw ConfigError("--count", Str(options.count, ", but must be >= 1"));
  WriteStories(options.count, options.seed, options.out);
  const uint64_t size = FileSize(options.out);
  OrderedJson json;
  json["file"] = options.out;
  json["stories"] = options.count;
  json["seed"] = options.seed;
  json["bytes"] = size;
  options.output.Print(json, Str(options.out, ": ", options.count, " stories, ",
                                 HumanBytes(static_cast<double>(size))));
}

void AddStories(CLI::App& data) {
  const auto options = std::make_shared<StoriesOptions>();
  CLI::App* command = data.add_subcommand("stories", "Write the embedded corpus of simple stories");
  command->add_option("--count", options->count, "Stories, of 130 words on average")->required();
  command->add_option("--seed", options->seed, "Equal seeds give equal stories")
      ->capture_default_str();
  command->add_option("--out", options->out, "Text file to write")->required()->type_name("FILE");
  options->output.AddJson(*command);
  command->footer("Example:\n  ckv data stories --count 20000 --out stories.txt");
  command->callback([options] { WriteStoriesByOptions(*options); });
}

// --- data info, data verify ---

struct InfoOptions {
  std::string folder;
  CommandOutput output;
};

struct VerifyOptions {
  std::vector<std::string> folders;
  std::string tokenizer;
  CommandOutput output;
};

// The data set that `prepare` put aside for validation, within the folder of the other one.
constexpr char kHeldOut[] = "valid";

bool HasTokenizer(const std::string& folder) {
  for (const char* name : {"tokenizer.model", "tokenizer.char", "tokenizer.byte"}) {
    if (FileExists(JoinPath(folder, name))) return true;
  }
  return false;
}

// A data set in numbers. `index` is its index.json, of which the data set itself was read.
OrderedJson DatasetJson(const TokenDataset& dataset, const Json& index) {
  const DatasetCounts& counts = dataset.counts();
  OrderedJson json;
  json["folder"] = dataset.folder();
  json.update(CountsJson(counts));
  json["bytes_per_token"] =
      static_cast<double>(counts.bytes) / static_cast<double>(std::max<int64_t>(counts.tokens, 1));
  for (const char* key : {"tokenizer", "bos", "eos"}) {
    if (index.contains(key)) json[key] = index[key];
  }
  json["vocab_size"] = dataset.vocabulary().size;
  json["fingerprint"] = HashHex(dataset.vocabulary().fingerprint);
  json["shards"] = index["shards"].size();
  json["hash"] = HashHex(dataset.hash());
  return json;
}

std::string DatasetText(const OrderedJson& json) {
  const auto number = [&json](const char* key) { return json[key].get<int64_t>(); };
  const std::string tokenizer = json.contains("tokenizer") && json["tokenizer"].is_string()
                                    ? json["tokenizer"].get<std::string>() + ", "
                                    : "";
  return Str(json["folder"].get<std::string>(), "\n  documents   ", number("documents"),
             "\n  words       ", number("words"), "\n  bytes       ", number("bytes"),
             "\n  tokens      ", number("tokens"), ", ",
             Fixed(json["bytes_per_token"].get<double>(), 3), " bytes each\n  vocabulary  ",
             tokenizer, number("vocab_size"), " entries, fingerprint ",
             json["fingerprint"].get<std::string>(), "\n  shards      ", number("shards"),
             ", hash ", json["hash"].get<std::string>(), "\n");
}

OrderedJson ReadDatasetJson(const std::string& folder) {
  const TokenDataset dataset(folder, nullptr, /*verify=*/false);
  return DatasetJson(dataset, ReadJsonFile(JoinPath(folder, "index.json")));
}

void PrintInfo(const InfoOptions& options) {
  OrderedJson json = ReadDatasetJson(options.folder);
  std::string text = DatasetText(json);
  const std::string valid = JoinPath(options.folder, kHeldOut);
  if (IsDataset(valid)) {
    json["valid"] = ReadDatasetJson(valid);
    text += DatasetText(json["valid"]);
  }
  options.output.Print(json, text);
}

// Reads one data set; `given` or else the tokenizer in its folder must be the one it was made with.
OrderedJson VerifyDataset(const std::string& folder, const Tokenizer* given) {
  const std::unique_ptr<Tokenizer> own =
      given == nullptr && HasTokenizer(folder) ? LoadTokenizer(folder) : nullptr;
  const Tokenizer* tokenizer = given != nullptr ? given : own.get();
  VocabularyInfo expected;
  if (tokenizer != nullptr) expected = {tokenizer->Fingerprint(), tokenizer->vocab_size()};
  const TokenDataset dataset(folder, tokenizer != nullptr ? &expected : nullptr, /*verify=*/true);
  OrderedJson json;
  json["folder"] = folder;
  json["tokens"] = dataset.num_tokens();
  json["hash"] = HashHex(dataset.hash());
  return json;
}

void VerifyByOptions(const VerifyOptions& options) {
  std::unique_ptr<Tokenizer> tokenizer;
  if (!options.tokenizer.empty()) tokenizer = LoadTokenizer(options.tokenizer);
  OrderedJson json = OrderedJson::array();
  for (const std::string& folder : options.folders) {
    json.push_back(VerifyDataset(folder, tokenizer.get()));
    const std::string valid = JoinPath(folder, kHeldOut);
    if (IsDataset(valid)) json.push_back(VerifyDataset(valid, tokenizer.get()));
  }
  std::string text;
  for (const OrderedJson& dataset : json) {
    text += Str(dataset["folder"].get<std::string>(), ": good, ", dataset["tokens"].get<int64_t>(),
                " tokens, hash ", dataset["hash"].get<std::string>(), "\n");
  }
  options.output.Print(json, text);
}

void AddInfo(CLI::App& data) {
  const auto options = std::make_shared<InfoOptions>();
  CLI::App* command = data.add_subcommand("info", "Say what a folder of token shards holds");
  command->add_option("FOLDER", options->folder, "Folder that 'ckv data prepare' made")
      ->required()
      ->type_name("FOLDER");
  options->output.AddOptions(*command);
  command->callback([options] { PrintInfo(*options); });
}

void AddVerify(CLI::App& data) {
  const auto options = std::make_shared<VerifyOptions>();
  CLI::App* command =
      data.add_subcommand("verify", "Read token shards from end to end and compare their hashes");
  command->add_option("FOLDER", options->folders, "Folders that 'ckv data prepare' made")
      ->required()
      ->type_name("FOLDER");
  command
      ->add_option("--tokenizer", options->tokenizer,
                   "Check that they were made with this one, instead of the one in the folder")
      ->type_name("FILE");
  options->output.AddOptions(*command);
  command->callback([options] { VerifyByOptions(*options); });
}

}  // namespace

void AddDataCommand(CLI::App& program) {
  CLI::App* data = program.add_subcommand("data", "Make and check training data");
  data->require_subcommand(1);
  AddTokenizer(*data);
  AddPrepare(*data);
  AddStories(*data);
  AddInfo(*data);
  AddVerify(*data);
  AddDataConic(*data);
}

}  // namespace ckv
