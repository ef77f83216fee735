#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "tests/app/run_program.h"
#include "tests/temp_dir.h"

namespace ckv {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::StartsWith;

class DataCommandTest : public ::testing::Test {
 protected:
  std::string File(const std::string& name) const { return dir_.File(name); }
  std::string Write(const std::string& name, const std::string& content) const {
    WriteFileAtomically(File(name), content);
    return File(name);
  }

  // Makes a data set of bytes out of `text` in the folder `name`, and returns the report.
  Json Prepare(const std::string& text, const std::string& name,
               const std::vector<std::string>& more = {}) const {
    std::vector<std::string> arguments = {
        "data", "prepare", Write(name + ".txt", text), "--tokenizer", "byte", "--out", File(name)};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return RunCkvJson(arguments);
  }

  TempDir dir_;
};

constexpr char kThreeDocuments[] =
    "one two\nthree\n<|endoftext|>\nfour\n<|endoftext|>\nfive six seven\n";

// --- stories ---

TEST_F(DataCommandTest, StoriesAreTheSameForTheSameSeed) {
  const auto write = [this](const char* name, const char* seed) {
    const Json json =
        RunCkvJson({"data", "stories", "--count", "20", "--seed", seed, "--out", File(name)});
    EXPECT_EQ(json["stories"], 20);
    EXPECT_EQ(json["bytes"], FileSize(File(name)));
    return ReadFile(File(name));
  };
  const std::string first = write("a.txt", "1");
  EXPECT_EQ(write("b.txt", "1"), first);
  EXPECT_NE(write("c.txt", "2"), first);
  EXPECT_GT(first.size(), 20u * 200u);
}

TEST_F(DataCommandTest, StoriesThatDoNotFitLeaveNothing) {
  ProgramLimits limits;
  limits.file_bytes = 10000;
  EXPECT_THAT(
      CkvError(kExitIo, {"data", "stories", "--count", "1000", "--out", File("s.txt")}, limits),
      HasSubstr("File too large"));
  EXPECT_THAT(ListDir(dir_.path()), IsEmpty());
}

// --- tokenizer ---

TEST_F(DataCommandTest, TokenizerTrainsEveryKind) {
  ASSERT_EQ(RunCkv({"data", "stories", "--count", "200", "--out", File("s.txt")}).exit_code, 0);
  for (const std::string type : {"unigram", "bpe", "char"}) {
    const std::string out = File(type + ".model");
    const Json json = RunCkvJson(
        {"data", "tokenizer", File("s.txt"), "--type", type, "--vocab-size", "400", "--out", out});
    EXPECT_EQ(json["type"], type);
    EXPECT_EQ(json["file"], out);
    if (type == "char") {
      EXPECT_LT(json["vocab_size"], 100);
      EXPECT_GT(json["vocab_size"], 30);
    } else {
      EXPECT_EQ(json["vocab_size"], 400);
    }
    const Json prepared = RunCkvJson(
        {"data", "prepare", File("s.txt"), "--tokenizer", out, "--out", File(type + ".tokens")});
    EXPECT_EQ(prepared["vocab_size"], json["vocab_size"]);
    EXPECT_EQ(prepared["train"]["documents"], 200);
    const Json info = RunCkvJson({"data", "info", File(type + ".tokens")});
    EXPECT_EQ(info["fingerprint"], json["fingerprint"]);
  }
}

TEST_F(DataCommandTest, TokenizerKeepsUserSymbolsWhole) {
  ASSERT_EQ(RunCkv({"data", "stories", "--count", "100", "--out", File("s.txt")}).exit_code, 0);
  const auto tokens_of = [this](const std::vector<std::string>& more) {
    std::vector<std::string> arguments = {"data",          "tokenizer",    File("s.txt"), "--out",
                                          File("t.model"), "--vocab-size", "400"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    RunCkvJson(arguments);
    Write("symbols.txt", "<!--ab--><!--ab-->");
    return RunCkvJson({"data", "prepare", File("symbols.txt"), "--tokenizer", File("t.model"),
                       "--overwrite", "--no-eos", "--out", File("symbols")})["train"]["tokens"]
        .get<int>();
  };
  // The dummy space in front is a token of its own.
  EXPECT_EQ(tokens_of({"--user-symbol", "<!--ab-->"}), 3);
  EXPECT_GT(tokens_of({}), 10);
}

TEST_F(DataCommandTest, TokenizerOptionsChangeTheVocabulary) {
  ASSERT_EQ(RunCkv({"data", "stories", "--count", "60", "--out", File("s.txt")}).exit_code, 0);
  std::string text = ReadFile(File("s.txt"));
  for (int i = 0; i < 2000; ++i) text += Str("In ", 1900 + i % 100, " it rained on the café.\n");
  Write("years.txt", text);
  const auto fingerprint = [this](const std::vector<std::string>& more) {
    std::vector<std::string> arguments = {"data", "tokenizer", File("years.txt"), "--vocab-size",
                                          "350",  "--out",     File("t.model")};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return RunCkvJson(arguments)["fingerprint"].get<std::string>();
  };
  const std::string plain = fingerprint({});
  EXPECT_EQ(fingerprint({}), plain);
  EXPECT_NE(fingerprint({"--whole-numbers"}), plain);
  EXPECT_NE(fingerprint({"--character-coverage", "0.98"}), plain);
  const std::string sampled = fingerprint({"--max-sample-bytes", "5000"});
  EXPECT_NE(sampled, plain);
  EXPECT_NE(fingerprint({"--max-sample-bytes", "5000", "--seed", "7"}), sampled);
}

TEST_F(DataCommandTest, TokenizerRefusesOptionsThatItsTypeDoesNotHave) {
  Write("a.txt", "some text\n");
  EXPECT_EQ(CkvError(kExitConfig, {"data", "tokenizer", File("a.txt"), "--user-symbol", "a b",
                                   "--out", File("t")}),
            "--user-symbol: 'a b' holds white space, with which it would never be found");
  EXPECT_EQ(CkvError(kExitConfig, {"data", "tokenizer", File("a.txt"), "--type", "char",
                                   "--character-coverage", "0.9", "--out", File("t")}),
            "--character-coverage: is for --type unigram and bpe, not for char");
  EXPECT_THAT(CkvError(kExitConfig, {"data", "tokenizer", File("a.txt"), "--vocab-size", "100",
                                     "--out", File("t")}),
              HasSubstr("from 260"));
  EXPECT_THAT(CkvError(kExitConfig, {"data", "tokenizer", File("a.txt"), "--vocab-size", "4000",
                                     "--out", File("t")}),
              HasSubstr("Vocabulary size"));
  EXPECT_THAT(ListDir(dir_.path()), ElementsAre("a.txt"));
}

TEST_F(DataCommandTest, TokenizerOfAnEmptyCorpusIsAnErrorAndLeavesNothing) {
  Write("empty.txt", "\n \n");
  for (const char* type : {"unigram", "char"}) {
    EXPECT_THAT(CkvError(kExitFormat, {"data", "tokenizer", File("empty.txt"), "--type", type,
                                       "--out", File("t.model")}),
                HasSubstr("empty"));
  }
  EXPECT_THAT(ListDir(dir_.path()), ElementsAre("empty.txt"));
}

// --- prepare, info, verify ---

TEST_F(DataCommandTest, PrepareInfoAndVerifyAgree) {
  const Json report = Prepare(kThreeDocuments, "set");
  EXPECT_EQ(report["tokenizer"], "byte");
  EXPECT_EQ(report["train"]["documents"], 3);
  EXPECT_EQ(report["train"]["words"], 7);
  const Json info = RunCkvJson({"data", "info", File("set")});
  for (const char* key : {"documents", "words", "bytes", "tokens"}) {
    EXPECT_EQ(info[key], report["train"][key]) << key;
  }
  // One token a byte and one </s> a document.
  EXPECT_EQ(info["tokens"], info["bytes"].get<int>() + 3);
  EXPECT_EQ(info["tokenizer"], "byte");
  EXPECT_EQ(info["vocab_size"], 258);
  EXPECT_EQ(info["eos"], true);
  EXPECT_EQ(info["bos"], false);
  EXPECT_EQ(info["shards"], 1);
  const Json verified = RunCkvJson({"data", "verify", File("set")});
  ASSERT_EQ(verified.size(), 1u);
  EXPECT_EQ(verified[0]["hash"], info["hash"]);
  EXPECT_EQ(verified[0]["tokens"], info["tokens"]);
}

TEST_F(DataCommandTest, TextOutputSaysTheSameAndGoesToAFile) {
  Prepare(kThreeDocuments, "set");
  const ProgramResult text = RunCkv({"data", "info", File("set")});
  EXPECT_THAT(text.out, HasSubstr("documents   3\n"));
  EXPECT_EQ(text.err, "");
  const ProgramResult file = RunCkv({"data", "info", File("set"), "--out", File("info.txt")});
  EXPECT_EQ(file.exit_code, 0);
  EXPECT_EQ(file.out, "");
  EXPECT_EQ(ReadFile(File("info.txt")), text.out);
  EXPECT_THAT(RunCkv({"data", "verify", File("set")}).out, HasSubstr("set: good, "));
}

TEST_F(DataCommandTest, EveryOptionOfPrepareHasItsEffect) {
  const auto tokens = [this](const char* name, const std::vector<std::string>& more) {
    return Prepare(kThreeDocuments, name, more)["train"]["tokens"].get<int>();
  };
  const int plain = tokens("plain", {});
  EXPECT_EQ(tokens("bos", {"--bos"}), plain + 3);
  EXPECT_EQ(tokens("no_eos", {"--no-eos"}), plain - 3);
  EXPECT_EQ(tokens("threads", {"--threads", "3"}), plain);
  EXPECT_EQ(tokens("shards", {"--shard-tokens", "10"}), plain);
  EXPECT_EQ(RunCkvJson({"data", "info", File("shards")})["shards"], (plain + 9) / 10);

  const auto documents = [this](const char* name, const std::vector<std::string>& more) {
    return Prepare(kThreeDocuments, name, more)["train"]["documents"].get<int>();
  };
  EXPECT_EQ(documents("lines", {"--documents", "line"}), 6);
  EXPECT_EQ(documents("separator", {"--document-separator", "four"}), 2);
  EXPECT_EQ(documents("one", {"--document-separator", ""}), 1);
}

TEST_F(DataCommandTest, PrepareReadsJsonLinesByField) {
  const std::string lines =
      "{\"story\": \"a b\", \"text\": \"c\"}\n{\"story\": \"d\", \"text\": 1}\n";
  const auto prepare = [&](const std::vector<std::string>& more) {
    std::vector<std::string> arguments = {"data",        "prepare",  Write("in.jsonl", lines),
                                          "--tokenizer", "byte",     "--overwrite",
                                          "--out",       File("set")};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return arguments;
  };
  EXPECT_EQ(RunCkvJson(prepare({"--text-field", "story"}))["train"]["bytes"], 4);
  EXPECT_EQ(RunCkvJson(prepare({"--format", "text"}))["train"]["documents"], 1);
  EXPECT_THAT(CkvError(kExitFormat, prepare({})), HasSubstr("in.jsonl: line 2"));
  EXPECT_THAT(CkvError(kExitConfig, prepare({"--format", "jsn"})),
              StartsWith("--format: 'format' is 'jsn', but must be one of: auto, text"));
  EXPECT_THAT(CkvError(kExitConfig, prepare({"--max-line-bytes", "0"})),
              StartsWith("--max-line-bytes: "));
  EXPECT_THAT(CkvError(kExitFormat, prepare({"--text-field", "story", "--max-line-bytes", "5"})),
              HasSubstr("in.jsonl: line 1"));
}

TEST_F(DataCommandTest, PrepareHoldsDocumentsOutForValidation) {
  std::string text;
  for (int i = 0; i < 400; ++i) text += Str("document ", i, "\n");
  const Json report =
      Prepare(text, "set", {"--documents", "line", "--valid-percent", "25", "--seed", "5"});
  const int valid = report["valid"]["documents"].get<int>();
  EXPECT_EQ(report["train"]["documents"].get<int>() + valid, 400);
  EXPECT_GT(valid, 60);
  EXPECT_LT(valid, 140);
  const Json info = RunCkvJson({"data", "info", File("set")});
  EXPECT_EQ(info["valid"]["documents"], valid);
  EXPECT_EQ(RunCkvJson({"data", "verify", File("set")}).size(), 2u);
  const Json other =
      Prepare(text, "other", {"--documents", "line", "--valid-percent", "25", "--seed", "6"});
  EXPECT_NE(RunCkvJson({"data", "info", File("other")})["valid"]["hash"], info["valid"]["hash"]);
}

TEST_F(DataCommandTest, InvalidUtf8IsRefusedUnlessAskedFor) {
  const std::string path = Write("bad.txt",
                                 "good\nb\xff"
                                 "d\n");
  const std::vector<std::string> arguments = {"data", "prepare", path,       "--tokenizer",
                                              "byte", "--out",   File("set")};
  EXPECT_THAT(CkvError(kExitFormat, arguments), HasSubstr("bad.txt: line 2"));
  EXPECT_THAT(ListDir(dir_.path()), ElementsAre("bad.txt"));
  std::vector<std::string> replacing = arguments;
  replacing.insert(replacing.end(), {"--invalid-utf8", "replace"});
  EXPECT_EQ(RunCkvJson(replacing)["train"]["documents"], 1);
}

TEST_F(DataCommandTest, BadInputsAreNamedAndLeaveNothing) {
  Write("empty.txt", "");
  Write("broken.txt.gz", "\x1f\x8b\x08\x00 this is no gzip");
  Write("a.txt", "text\n");
  MakeDirs(File("folder"));
  const auto error = [this](int code, const char* input) {
    return CkvError(code,
                    {"data", "prepare", File(input), "--tokenizer", "byte", "--out", File("set")});
  };
  EXPECT_THAT(error(kExitIo, "missing.txt"), HasSubstr("missing.txt"));
  EXPECT_THAT(error(kExitIo, "*.jsonl"), HasSubstr("*.jsonl"));
  EXPECT_THAT(error(kExitConfig, "folder"), HasSubstr("folder"));
  EXPECT_THAT(error(kExitFormat, "empty.txt"), HasSubstr("empty.txt: has no text"));
  EXPECT_THAT(error(kExitFormat, "broken.txt.gz"), HasSubstr("broken.txt.gz"));
  EXPECT_THAT(CkvError(kExitConfig, {"data", "prepare", File("a.txt"), "--tokenizer", "byte",
                                     "--threads", "-1", "--out", File("set")}),
              StartsWith("--threads: -1"));
  EXPECT_THAT(CkvError(kExitConfig, {"data", "prepare", File("a.txt"), "--tokenizer", "byte",
                                     "--valid-percent", "100", "--out", File("set")}),
              HasSubstr("valid_percent"));
  EXPECT_THAT(ListDir(dir_.path()), ElementsAre("a.txt", "broken.txt.gz", "empty.txt", "folder"));
}

TEST_F(DataCommandTest, AFullDiskLeavesTheOldDataSet) {
  const Json before = Prepare(kThreeDocuments, "set");
  Write("large.txt", std::string(100000, 'x') + "\n");
  ProgramLimits limits;
  limits.file_bytes = 20000;
  EXPECT_THAT(CkvError(kExitIo,
                       {"data", "prepare", File("large.txt"), "--tokenizer", "byte", "--overwrite",
                        "--out", File("set")},
                       limits),
              HasSubstr("File too large"));
  EXPECT_THAT(ListDir(dir_.path()), ElementsAre("large.txt", "set", "set.txt"));
  EXPECT_EQ(RunCkvJson({"data", "verify", File("set")})[0]["tokens"], before["train"]["tokens"]);
}

TEST_F(DataCommandTest, ADataSetIsReplacedOnlyOnRequest) {
  Prepare("first text\n", "set");
  const std::vector<std::string> again = {
      "data", "prepare", Write("b.txt", "second\n"), "--tokenizer", "byte", "--out", File("set")};
  EXPECT_THAT(CkvError(kExitConfig, again), HasSubstr("--overwrite"));
  std::vector<std::string> overwrite = again;
  overwrite.push_back("--overwrite");
  EXPECT_EQ(RunCkvJson(overwrite)["train"]["documents"], 1);
  // What is no part of a data set is not removed; what a killed call left is.
  const std::string notes = JoinPath(overwrite[6], "notes.txt");
  WriteFileAtomically(notes, "mine");
  EXPECT_THAT(CkvError(kExitConfig, overwrite), HasSubstr("holds 'notes.txt' beside"));
  EXPECT_EQ(ReadFile(notes), "mine");
  RemoveAll(notes);
  const std::string left = overwrite[6] + ".unfinished.999999999";
  MakeDirs(left);
  EXPECT_EQ(RunCkvJson(overwrite)["train"]["documents"], 1);
  EXPECT_FALSE(FileExists(left));

  MakeDirs(File("other"));
  Write("other/notes.txt", "mine");
  overwrite[6] = File("other");
  EXPECT_THAT(CkvError(kExitConfig, overwrite), HasSubstr("other things"));
  EXPECT_EQ(ReadFile(File("other/notes.txt")), "mine");
}

TEST_F(DataCommandTest, BadTokenizersAreNamed) {
  Write("a.txt", "text\n");
  Write("no.model", "this is no tokenizer");
  MakeDirs(File("hf"));
  Write("hf/tokenizer.json", "{}");
  const auto error = [this](int code, const std::string& tokenizer) {
    return CkvError(
        code, {"data", "prepare", File("a.txt"), "--tokenizer", tokenizer, "--out", File("set")});
  };
  EXPECT_THAT(error(kExitIo, File("missing.model")), HasSubstr("missing.model"));
  EXPECT_THAT(error(kExitFormat, File("no.model")), HasSubstr("no.model"));
  EXPECT_THAT(error(kExitFormat, File("hf")), HasSubstr("tokenizer.json"));
  EXPECT_FALSE(FileExists(File("set")));
}

TEST_F(DataCommandTest, ForeignFoldersAndFilesAreRefused) {
  MakeDirs(File("foreign"));
  Write("foreign/tokens-00000.bin", std::string(4096, 'x'));
  for (const char* command : {"info", "verify"}) {
    EXPECT_THAT(CkvError(kExitFormat, {"data", command, File("foreign")}),
                HasSubstr("no index.json"));
    EXPECT_THAT(CkvError(kExitIo, {"data", command, File("missing")}), HasSubstr("missing"));
  }
  Prepare(kThreeDocuments, "set");
  Write("set/tokens-00000.bin", std::string(4096, 'x'));
  EXPECT_THAT(CkvError(kExitFormat, {"data", "info", File("set")}), HasSubstr("tokens-00000.bin"));
  Write("set/index.json", "{\"format\": \"something else\"}");
  EXPECT_THAT(CkvError(kExitFormat, {"data", "info", File("set")}), HasSubstr("index.json"));
}

TEST_F(DataCommandTest, ATruncatedShardIsRefused) {
  Prepare(kThreeDocuments, "set");
  const std::string shard = ReadFile(File("set/tokens-00000.bin"));
  for (const size_t size : {shard.size() - 1, shard.size() / 2, size_t{20}, size_t{0}}) {
    Write("set/tokens-00000.bin", shard.substr(0, size));
    EXPECT_THAT(CkvError(kExitFormat, {"data", "info", File("set")}),
                HasSubstr("tokens-00000.bin"));
  }
  RemoveAll(File("set/tokens-00000.bin"));
  EXPECT_THAT(CkvError(kExitFormat, {"data", "verify", File("set")}),
              HasSubstr("tokens-00000.bin: is missing"));
}

TEST_F(DataCommandTest, VerifyFindsAChangedTokenThatInfoDoesNotRead) {
  Prepare(kThreeDocuments, "set");
  std::string shard = ReadFile(File("set/tokens-00000.bin"));
  shard[130] = static_cast<char>(shard[130] ^ 1);  // behind the header of 128 bytes
  Write("set/tokens-00000.bin", shard);
  EXPECT_EQ(RunCkv({"data", "info", File("set")}).exit_code, 0);
  EXPECT_THAT(CkvError(kExitFormat, {"data", "verify", File("set")}),
              HasSubstr("tokens-00000.bin"));
}

TEST_F(DataCommandTest, VerifyComparesTheTokenizer) {
  Prepare(kThreeDocuments, "set");
  ASSERT_EQ(
      RunCkv({"data", "tokenizer", File("set.txt"), "--type", "char", "--out", File("other.char")})
          .exit_code,
      0);
  EXPECT_THAT(
      CkvError(kExitFormat, {"data", "verify", File("set"), "--tokenizer", File("other.char")}),
      HasSubstr("was made with a vocabulary of 258"));
  EXPECT_EQ(RunCkv({"data", "verify", File("set"), "--tokenizer", "byte"}).exit_code, 0);
  // A tokenizer that somebody put into the folder.
  RemoveAll(File("set/tokenizer.byte"));
  Write("set/tokenizer.char", ReadFile(File("other.char")));
  EXPECT_THAT(CkvError(kExitFormat, {"data", "verify", File("set")}),
              HasSubstr("was made with a vocabulary of 258"));
}

}  // namespace
}  // namespace ckv
