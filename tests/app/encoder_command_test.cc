// `ckv train`, `eval sentences`, `predict` and `parse` on encoders, from YAML alone.
#include <filesystem>
#include <sstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "app/encoder_run.h"
#include "base/error.h"
#include "tests/app/run_program.h"
#include "tests/temp_dir.h"

namespace ckv {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

constexpr char kModel[] =
    "model: {family: probtrans, labels: 16, channels: 2, iterations: 2, factor: uv, rank: 4,\n"
    "        distance_cuts: [2, 3], dropout: 0.1}\n";

class EncoderCommandTest : public ::testing::Test {
 protected:
  std::string Write(const std::string& name, const std::string& content) {
    const std::string path = dir_.File(name);
    WriteFileAtomically(path, content);
    return path;
  }

  // Words a, b, c; the tag of a word is what the word before it is ("X" in front).
  std::string Treebank(const std::string& name, int sentences, int shift) {
    std::string text;
    for (int s = 0; s < sentences; ++s) {
      std::string before = "X";
      for (int i = 0; i < 3 + (s + shift) % 4; ++i) {
        const std::string word(1, static_cast<char>('a' + (s * 7 + i * i + shift) % 3));
        text += Str(i + 1, "\t", word, "\t_\t", before, "\t", before, "\t_\t0\t_\t_\t_\n");
        before = word;
      }
      text += "\n";
    }
    return Write(name, text);
  }

  std::string TaggerConfig(const std::string& more = "", const std::string& model = kModel) {
    return Write("run.yaml",
                 Str("run: {device: cpu, threads: 1, dir: ", dir_.File("run"), "}\n",
                     "task: tagging\n", model, "data: {train: [", Treebank("train", 60, 0),
                     "], valid: [", Treebank("valid", 12, 1), "], test: [", Treebank("test", 12, 2),
                     "], format: conllu, column: upos}\n",
                     "train: {epochs: 25, batch_size: 8, micro_batch_size: 4, score_norm: 1e-4,\n",
                     "        log_every: 5, optim: {lr: 0.03}}\n", more));
  }

  TempDir dir_;
};

TEST_F(EncoderCommandTest, TagsWhatOneArcDecides) {
  const Json result = RunCkvJson({"train", TaggerConfig()});
  ASSERT_TRUE(result.is_object());
  EXPECT_GT(result["valid"]["accuracy"], 0.95);
  EXPECT_GT(result["test"][dir_.File("test")]["accuracy"], 0.95);
  EXPECT_EQ(result["encoder_parameters"], 2 * 6 * 16 * 4 * 2);
  // A complete run is left as it is.
  EXPECT_EQ(RunCkvJson({"train", dir_.File("run.yaml")}), result);

  const Json eval = RunCkvJson({"eval", "sentences", dir_.File("run"), "--device", "cpu"});
  ASSERT_EQ(eval.size(), 1u);
  EXPECT_EQ(eval[0]["accuracy"], result["test"][dir_.File("test")]["accuracy"]);

  const std::string input = Write("in.txt", "a b b\n\nzebra\n");
  const Json tags = RunCkvJson({"predict", dir_.File("run"), "--input", input});
  ASSERT_EQ(tags.size(), 2u);
  EXPECT_EQ(tags[0]["tag"], Json({"X", "a", "b"}));
  EXPECT_EQ(tags[1]["words"], Json({"zebra"}));
  ProgramLimits limits;
  limits.input = "a b\n";
  EXPECT_EQ(RunCkv({"predict", dir_.File("run")}, limits).out, "a\tX\nb\ta\n\n");
  limits.input =
      "\xEF\xBB\xBF"
      "a b\r\n";
  EXPECT_EQ(RunCkv({"predict", dir_.File("run")}, limits).out, "a\tX\nb\ta\n\n");

  const Json arcs = RunCkvJson({"parse", dir_.File("run"), "--input", input, "--channel", "all"});
  ASSERT_EQ(arcs[0]["structures"].size(), 2u);
  for (const Json& structure : arcs[0]["structures"]) {
    EXPECT_EQ(std::count(structure["tree"].begin(), structure["tree"].end(), Json(0)), 1);
    for (size_t i = 0; i < 3; ++i) EXPECT_NE(structure["heads"][i], Json(i + 1));
  }
  EXPECT_EQ(arcs[1]["structures"][0]["tree"], Json({0}));  // one word
  const ProgramResult conllu =
      RunCkv({"parse", dir_.File("run"), "--input", input, "--format", "conllu"});
  EXPECT_THAT(conllu.out, HasSubstr("# text = a b b\n1\ta\t_\t_\t_\t_\t"));
  const std::string svg = dir_.File("arcs.svg");
  RunCkv({"parse", dir_.File("run"), "--input", input, "--format", "svg", "--out", svg});
  EXPECT_THAT(ReadFile(svg), StartsWith("<svg xmlns="));
  EXPECT_THAT(ReadFile(svg), HasSubstr(">zebra</text>"));
  EXPECT_THAT(ReadFile(svg), HasSubstr(">sentence 2, mean of the channels, tree</text>"));
  EXPECT_THAT(ReadFile(svg), HasSubstr("stroke-dasharray"));  // a root without probability
  EXPECT_THAT(conllu.out, HasSubstr("\t0\troot\t_\t_\n"));
  EXPECT_THAT(conllu.out, HasSubstr("\tdep\t_\tProb="));
  // Trained where there are kernels that this device does not have.
  for (const auto& entry :
       std::filesystem::recursive_directory_iterator(dir_.File("run/checkpoints"))) {
    if (entry.path().filename() != "config.yaml") continue;
    std::string yaml = ReadFile(entry.path().string());
    yaml.replace(yaml.find("pairs: auto"), 11, "pairs: fused");
    WriteFileAtomically(entry.path().string(), yaml);
  }
  EXPECT_EQ(RunCkvJson({"predict", dir_.File("run"), "--input", input, "--device", "cpu"}), tags);
  EXPECT_THAT(
      CkvError(kExitConfig, {"parse", dir_.File("run"), "--input", input, "--channel", "9"}),
      HasSubstr("'9' is not mean, all or a number from 1 to 2"));
  EXPECT_THAT(CkvError(kExitFormat, {"generate", dir_.File("run"), "--prompt", "a"}),
              HasSubstr("no KV cache, and generates nothing"));
}

TEST_F(EncoderCommandTest, AnEncoderIsInspected) {
  const std::string config = TaggerConfig();
  const Json json = RunCkvJson({"inspect", config, "--seq-len", "3"});
  EXPECT_EQ(json["encoder_parameters"], 2 * 6 * 16 * 4 * 2);
  ASSERT_EQ(json["parameters"].size(), 2u);
  EXPECT_EQ(json["parameters"][0]["name"], "encoder.U");
  EXPECT_EQ(json["parameters"][0]["shape"], Json({6, 16, 4, 2}));
  EXPECT_EQ(json["distance_bins"][2], Json({{"head", "right"}, {"distance", "3+"}}));
  EXPECT_FALSE(json.contains("vocabulary"));
  // Three words have bins 1 and 2 in each direction: 2 iterations of 4 K d r h + 3 r h (n - 1).
  EXPECT_EQ(json["multiply_adds_per_word"], 2 * (4 * 4 * 16 * 4 * 2 + 3 * 4 * 2 * 2));
  const ProgramResult text = RunCkv({"inspect", config});
  EXPECT_THAT(text.out, HasSubstr("bins of j  3+ | 2 | 1 | i | 1 | 2 | 3+"));
  EXPECT_THAT(text.out, HasSubstr("2 iterations (heads_first)"));
  const std::string svg = dir_.File("graph.svg");
  RunCkv({"inspect", config, "--svg", svg, "--title", "Tags"});
  EXPECT_THAT(ReadFile(svg), HasSubstr(">2 channels</text>"));
  RunCkv({"inspect", config, "--svg", svg, "--title", "A & B", "--set",
          "model.distance_cuts=[2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13]"});
  EXPECT_THAT(ReadFile(svg), HasSubstr(">A &amp; B</text>"));
  EXPECT_THAT(ReadFile(svg), HasSubstr("| 11 | 12 | 13+</text>"));  // on a line of its own
  EXPECT_THAT(
      ReadFile(svg),
      Not(HasSubstr(
          "13+ | 12 | 11 | 10 | 9 | 8 | 7 | 6 | 5 | 4 | 3 | 2 | 1 | i | 1 | 2 | 3 | 4 | 5")));
  EXPECT_THAT(CkvError(kExitConfig, {"inspect", config, "--gpus", "8"}),
              HasSubstr("--gpus: is for decoders"));
  EXPECT_THAT(CkvError(kExitConfig, {"inspect", config, "--seq-len", "0"}), HasSubstr("--seq-len"));
}

// The same sentences with all that treebanks put around them train the same model.
TEST_F(EncoderCommandTest, OddTreebanksTrainLikePlainOnes) {
  const Json plain = RunCkvJson({"train", TaggerConfig(), "--set", "train.epochs=3"});
  ASSERT_TRUE(plain.is_object());
  std::string odd = "\xEF\xBB\xBF# newdoc\r\n";
  std::istringstream lines(ReadFile(dir_.File("train")));
  for (std::string line; std::getline(lines, line);) {
    if (line.rfind("2\t", 0) == 0) odd += "2-3\tof two\t_\t_\t_\t_\t_\t_\t_\t_\r\n";
    if (line.rfind("3\t", 0) == 0) odd += "2.1\tunsaid\t_\tVERB\tV\t_\t_\t_\t0:x\t_\r\n";
    odd += line + "\r\n";
  }
  odd.resize(odd.find_last_not_of("\r\n") + 1);  // nor an end of the last line
  const Json result = RunCkvJson({"train", dir_.File("run.yaml"), "--set", "train.epochs=3",
                                  "--set", "run.dir=" + dir_.File("odd"), "--set",
                                  Str("data.train=[", Write("odd.conllu", odd), "]")});
  ASSERT_TRUE(result.is_object());
  EXPECT_EQ(result["valid"], plain["valid"]);
  EXPECT_EQ(result["loss"], plain["loss"]);
}

// Tables with a header and columns by name, or without and by number.
TEST_F(EncoderCommandTest, OddTablesTrainLikePlainOnes) {
  std::string plain = "text\tgrade\n", odd = "\xEF\xBB\xBF";
  for (int i = 0; i < 40; ++i) {
    const char *word = i % 3 == 0 ? "good" : "bad", *grade = i % 3 == 0 ? "plus" : "minus";
    plain += Str("a ", word, " day\t", grade, "\n");
    odd += Str(i, "\t", grade, "\tmore\ta ", word, " day\r\n");
  }
  const auto train = [&](const std::string& name, const std::string& content,
                         const std::string& format) {
    const std::string path = Write(name, content);
    return RunCkvJson(
        {"train",
         Write(name + ".yaml", Str("run: {device: cpu, threads: 1, dir: ", dir_.File(name + ".run"),
                                   "}\ntask: classification\n",
                                   "model: {family: probtrans, labels: 8, channels: 2, iterations: "
                                   "1, root_labels: 4}\n",
                                   "data: {train: [", path, "], valid: [", path, "], ", format,
                                   "}\ntrain: {epochs: 3, batch_size: 8, optim: {lr: 0.02}}\n"))});
  };
  const Json want = train("plain", plain, "format: tsv, text_column: text, label_column: grade");
  const Json got = train("odd", odd, "format: tsv, text_column: 3, label_column: 1, header: false");
  ASSERT_TRUE(want.is_object() && got.is_object());
  EXPECT_EQ(got["valid"], want["valid"]);
  EXPECT_THAT(
      CkvError(kExitFormat, {"train", dir_.File("odd.yaml"), "--set", "run.dir=" + dir_.File("n"),
                             "--set", "data.text_column=4"}),
      HasSubstr("line 1: has 4 columns between tabs, but text and label are in columns 4 and 1"));
}

TEST_F(EncoderCommandTest, OneLabelIsNothingToLearn) {
  EXPECT_THAT(CkvError(kExitFormat, {"train", TaggerConfig(), "--set", "data.column=deprel"}),
              HasSubstr("has the tag '_' everywhere: there is nothing to learn"));
}

TEST_F(EncoderCommandTest, GoesOnAfterASignal) {
  const std::string config = TaggerConfig();
  ProgramLimits limits;
  limits.signal_number = SIGTERM;
  limits.signal_at = dir_.File("run/checkpoints/latest");
  const ProgramResult stopped = RunCkv({"train", config, "--set", "train.epochs=500"}, limits);
  EXPECT_EQ(stopped.exit_code, 128 + SIGTERM);
  EXPECT_THAT(CkvError(kExitConfig, {"train", config}), HasSubstr("train.epochs is 500 there"));
  const ProgramResult inspected = RunCkv({"eval", "sentences", dir_.File("run")});
  EXPECT_EQ(inspected.exit_code, 0);
}

TEST_F(EncoderCommandTest, BaselineRunsInTheSameLoopAndHasNoArcs) {
  const std::string config =
      TaggerConfig("",
                   "model: {family: transformer, width: 16, layers: 1, heads: 2, head_width: 8,\n"
                   "        feed_forward: 32, positions: relative, relative_limit: 4}\n");
  const Json result =
      RunCkvJson({"train", config, "--set", "train.score_norm=0", "--set", "train.optim.lr=0.01"});
  ASSERT_TRUE(result.is_object());
  EXPECT_GT(result["valid"]["accuracy"], 0.9);
  EXPECT_THAT(CkvError(kExitConfig, {"parse", dir_.File("run"), "--input", dir_.File("run.yaml")}),
              HasSubstr("infers no dependency arcs"));
}

TEST_F(EncoderCommandTest, ClassifiesByTheRoot) {
  std::string table = "text\tgrade\n";
  for (int i = 0; i < 80; ++i) {
    table += Str("word", i % 5, " ", i % 2 == 0 ? "good" : "bad", " end", i % 3, "\t",
                 i % 2 == 0 ? "plus" : "minus", "\n");
  }
  const std::string path = Write("table.tsv", table);
  const std::string config =
      Write("c.yaml",
            Str("run: {device: cpu, threads: 1, dir: ", dir_.File("c"), "}\ntask: classification\n",
                "model: {family: probtrans, labels: 8, channels: 2, iterations: 1, factor: uvw, "
                "rank: 4,\n",
                "        root_labels: 12}\n", "data: {train: [", path, "], valid: [", path,
                "], format: tsv, text_column: text, label_column: grade}\n",
                "train: {epochs: 20, batch_size: 8, optim: {lr: 0.02}}\n"));
  const Json result = RunCkvJson({"train", config});
  ASSERT_TRUE(result.is_object());
  EXPECT_EQ(result["valid"]["accuracy"], 1.0);
  ProgramLimits limits;
  limits.input = "a good one\n";
  EXPECT_EQ(RunCkv({"predict", dir_.File("c")}, limits).out, "plus\ta good one\n");
}

TEST_F(EncoderCommandTest, CogsCountsWholeSentencesByKind) {
  std::string data;
  for (int i = 0; i < 40; ++i) {
    const char* name = i % 2 == 0 ? "Emma" : "Liam";
    data +=
        Str("The cat saw ", name, " .\t* cat ( x _ 1 ) ; see . agent ( x _ 2 , x _ 1 ) AND see ",
            ". theme ( x _ 2 , ", name, " )\t", i % 4 == 0 ? "kind_a" : "kind_b", "\n");
  }
  const std::string path = Write("cogs.tsv", data);
  const std::string config = Write(
      "g.yaml", Str("run: {device: cpu, threads: 1, dir: ", dir_.File("g"), "}\ntask: cogs\n",
                    kModel, "data: {train: [", path, "], valid: [", path, "], test: [", path,
                    "], format: cogs}\ntrain: {epochs: 15, batch_size: 8, optim: {lr: 0.03}}\n"));
  const Json result = RunCkvJson({"train", config});
  ASSERT_TRUE(result.is_object());
  EXPECT_EQ(result["test"][path]["sentence_accuracy"], 1.0);
  EXPECT_EQ(result["test"][path]["by_kind"]["kind_a"], 1.0);
  const std::string input = Write("in.txt", "The cat saw Emma .\n");
  const Json labels = RunCkvJson({"predict", dir_.File("g"), "--input", input});
  EXPECT_EQ(labels[0]["parent"], Json({"none", "1", "none", "-1", "none"}));
  EXPECT_EQ(labels[0]["verb_name"][2], "see");
}

TEST_F(EncoderCommandTest, FillsMaskedWords) {
  std::string text;
  for (int i = 0; i < 60; ++i) text += i % 2 == 0 ? "x one y one z\n" : "x two y two z\n";
  const std::string path = Write("text.txt", text);
  const std::string config = Write(
      "m.yaml", Str("run: {device: cpu, threads: 1, dir: ", dir_.File("m"), "}\ntask: mlm\n",
                    kModel, "data: {train: [", path, "], valid: [", path, "], format: text}\n",
                    "train: {epochs: 20, batch_size: 8, optim: {lr: 0.02}}\n"));
  const Json result = RunCkvJson({"train", config});
  ASSERT_TRUE(result.is_object());
  EXPECT_LT(result["valid"]["perplexity"], 2.5);  // of 5 words; the twin of a number is often seen
  ProgramLimits limits;
  limits.input = "x one y <mask> z\n";
  EXPECT_THAT(RunCkv({"predict", dir_.File("m"), "--top", "1"}, limits).out,
              StartsWith("word 4: one "));
}

// What does not apply is refused in words, with its place.
TEST_F(EncoderCommandTest, RefusesWhatEncodersDoNotHave) {
  const std::string config = TaggerConfig();
  const auto error = [&](const std::string& set) {
    return CkvError(kExitConfig, {"train", config, "--set", set});
  };
  EXPECT_THAT(error("model.kv_sharing=0_0"),
              HasSubstr("'model.kv_sharing' does not apply to the family probtrans: it has no keys "
                        "and values"));
  EXPECT_THAT(error("model.sliding_window=8"), HasSubstr("does not apply"));
  EXPECT_THAT(error("model.family=gru"), HasSubstr("model.family"));
  EXPECT_THAT(error("model.root_labels=4"), HasSubstr("is for classification"));
  EXPECT_THAT(error("task=cogs"), HasSubstr("needs 'data.format' cogs, not conllu"));
  EXPECT_THAT(error("model.rank=0"), HasSubstr("must be >= 1 for uv and uvw"));
  EXPECT_THAT(error("model.distance_cuts=[3, 2]"), HasSubstr("must rise"));
  EXPECT_THAT(error("model.tied=true"), HasSubstr("needs the task mlm"));
  EXPECT_THAT(error("data.valid=[]"), HasSubstr("'data.valid' names no files"));
  EXPECT_THAT(error("data.column=lemma"), HasSubstr("must be xpos, upos"));
  EXPECT_THAT(error("model.pairs=fused"),
              HasSubstr("'model.pairs' is fused, which needs a GPU and fp32, tf32 or bf16"));
  EXPECT_THAT(error("train.recorded=true"),
              HasSubstr("'train.recorded' needs a GPU, but the run is on cpu"));
  EXPECT_THAT(error("model.width=8"), HasSubstr("unknown key 'model.width'"));
  EXPECT_EQ(CkvError(kExitFormat, {"train", Write("b.yaml", "base: run.yaml\n"), "--set",
                                   "data.train=[" + config + "]"})
                .substr(0, config.size()),
            config);
  EXPECT_FALSE(FileExists(dir_.File("run")));  // nothing was begun
  EXPECT_THAT(CkvError(kExitConfig, {"bench", "train", config}), HasSubstr("no KV cache"));
}

TEST(ShippedEncoderConfigs, AllLoad) {
  int count = 0;
  for (const auto& entry : std::filesystem::directory_iterator(
           std::filesystem::path(CKV_SOURCE_DIR) / "configs" / "probtrans")) {
    ++count;
    const EncoderRun run = LoadEncoderRun(entry.path().string());
    EXPECT_EQ(run.run.study, "probtrans") << entry.path();
    EXPECT_EQ(run.train.optim.kind, "adam") << entry.path();
    EXPECT_EQ(run.train.optim.eps, 1e-9) << entry.path();
    EXPECT_GT(run.model.NumEncoderParameters(), 40000) << entry.path();
  }
  EXPECT_GE(count, 16);
  // The published counts.
  const auto parameters = [](const std::string& name) {
    return LoadEncoderRun(Str(CKV_SOURCE_DIR, "/configs/probtrans/", name, ".yaml"))
        .model.NumEncoderParameters();
  };
  EXPECT_EQ(parameters("ewt-xpos"), 2359296);
  EXPECT_EQ(parameters("ewt-upos"), 4194304);
  EXPECT_EQ(parameters("cogs"), 147456);
  EXPECT_EQ(parameters("sst2"), 10485760);
  EXPECT_EQ(parameters("sst5"), 2630656);
  EXPECT_EQ(parameters("mlm-ewt"), 6291456);
  EXPECT_EQ(parameters("ner-conll2003"), 9437184);
  EXPECT_EQ(parameters("ewt-xpos-transformer"), 3155456);
  EXPECT_EQ(parameters("ewt-upos-transformer"), 14368256);
  EXPECT_EQ(parameters("sst2-transformer"), 23214080);
  EXPECT_EQ(parameters("sst5-transformer"), 8460800);
  EXPECT_EQ(parameters("mlm-ewt-transformer"), 23809408);
}

}  // namespace
}  // namespace ckv
