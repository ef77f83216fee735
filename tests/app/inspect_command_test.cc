#include <algorithm>
#include <filesystem>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "sharing/cost.h"
#include "sharing/picture.h"
#include "sharing/plan.h"
#include "tests/app/run_program.h"
#include "tests/temp_dir.h"

namespace ckv {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::StartsWith;

constexpr char kSandwich[] = "0_5_5_5_5_5_5_5_5_5_5_11";
const std::vector<std::string> kSizes = {"--hidden-size", "768",  "--heads", "12",
                                         "--kv-heads",    "6",    "--ffn",   "2048",
                                         "--vocab",       "32000"};

std::vector<std::string> Inspecting(const std::string& sharing,
                                    const std::vector<std::string>& more = {}) {
  std::vector<std::string> arguments = {"inspect", "--sharing", sharing};
  arguments.insert(arguments.end(), more.begin(), more.end());
  return arguments;
}

ModelShape SandwichShape() {
  ModelShape shape;
  shape.hidden = 768;
  shape.heads = 12;
  shape.kv_heads = 6;
  shape.head_dim = 64;
  shape.ffn = 2048;
  shape.vocab = 32000;
  return shape;
}

bool HasOnlyAscii(const std::string& text) {
  return std::all_of(text.begin(), text.end(),
                     [](char c) { return static_cast<signed char>(c) > 0; });
}

// --- a spec alone ---

TEST(InspectSharing, SaysWhatItCanWithoutSizes) {
  const Json json = RunCkvJson(Inspecting("0_5*10_11"));
  const Json& sharing = json["sharing"];
  EXPECT_EQ(sharing["kv_sharing"], kSandwich);
  EXPECT_EQ(sharing["layers"], 12);
  EXPECT_THAT(sharing["kv_layers"], ElementsAre(0, 5, 11));
  EXPECT_EQ(sharing["kv_stores"], 6);
  EXPECT_EQ(sharing["plain_kv_stores"], 24);
  ASSERT_EQ(sharing["groups"].size(), 3u);
  const Json& group = sharing["groups"][1];
  EXPECT_EQ(group["first_layer"], 1);
  EXPECT_EQ(group["last_layer"], 5);
  EXPECT_EQ(group["iterative"], true);
  EXPECT_EQ(group["forward_passes"], 7);
  EXPECT_EQ(group["backward_passes"], 2);
  // 7 layers once, 5 layers 7 + 2 times, backward worth two: (7 * 3 + 5 * (7 + 2 * 3)) / (12 * 3).
  EXPECT_NEAR(sharing["layer_pass_ratio"].get<double>(), 86.0 / 36.0, 1e-12);
  EXPECT_THAT(sharing["warnings"], IsEmpty());
  for (const char* key : {"parameters", "kv_cache", "training", "prefill", "decode"}) {
    EXPECT_FALSE(json.contains(key)) << key;
  }
}

TEST(InspectSharing, PrintsThePictureOfTheLibrary) {
  const IterationPlan plan(KvSharingSpec::Parse(kSandwich), 7, 2);
  const ProgramResult text = RunCkv(Inspecting(kSandwich));
  EXPECT_EQ(text.exit_code, 0);
  EXPECT_EQ(text.err, "");
  EXPECT_THAT(text.out, StartsWith(SharingPicture(plan)));
  EXPECT_FALSE(HasOnlyAscii(text.out));
  const ProgramResult ascii = RunCkv(Inspecting(kSandwich, {"--ascii"}));
  EXPECT_THAT(ascii.out, StartsWith(SharingPicture(plan, /*ascii=*/true)));
  EXPECT_TRUE(HasOnlyAscii(ascii.out));
  EXPECT_THAT(ascii.out, HasSubstr("layers 1..5: 7 without gradient, 2 with"));
}

TEST(InspectSharing, TakesPatternsPresetsAndLists) {
  const auto spec = [](const char* sharing, const std::vector<std::string>& more) {
    return RunCkvJson(Inspecting(sharing, more))["sharing"]["kv_sharing"].get<std::string>();
  };
  EXPECT_EQ(spec("{pattern: sandwich, target: middle, kv_layers: 3}", {"--layers", "12"}),
            kSandwich);
  EXPECT_EQ(spec("{preset: cla, factor: 2}", {"--layers", "4"}), "0_0_2_2");
  EXPECT_EQ(spec("[0, 0, 1/0, {kv: 3}]", {}), "0_0_1/0_3");
}

TEST(InspectSharing, ChangesPasses) {
  const Json json =
      RunCkvJson(Inspecting(kSandwich, {"--forward-passes", "3", "--backward-passes", "1"}));
  EXPECT_EQ(json["sharing"]["groups"][1]["forward_passes"], 3);
  EXPECT_EQ(json["sharing"]["groups"][1]["backward_passes"], 1);
  EXPECT_THAT(CkvError(kExitConfig, Inspecting(kSandwich, {"--forward-passes", "-1"})),
              HasSubstr("forward_passes"));
}

TEST(InspectSharing, CountsTheCacheFromTheHeadsAlone) {
  const Json json = RunCkvJson(Inspecting(kSandwich, {"--kv-heads", "6", "--head-dim", "64"}));
  EXPECT_EQ(json["kv_cache"]["bf16"]["bytes_per_token"], 6 * 6 * 64 * 2);
  EXPECT_EQ(json["kv_cache"]["fp32"]["bytes_per_token"], 6 * 6 * 64 * 4);
  EXPECT_EQ(json["kv_cache"]["fp8"]["bytes_per_token"], 6 * 6 * 64);
  EXPECT_DOUBLE_EQ(json["kv_cache"]["of_plain"].get<double>(), 0.25);
  EXPECT_FALSE(json["kv_cache"]["bf16"].contains("largest_batch"));
  EXPECT_FALSE(json.contains("training"));
}

TEST(InspectSharing, CountsAsTheCostModelDoes) {
  std::vector<std::string> more = kSizes;
  more.insert(more.end(), {"--seq-len", "512", "--batch", "3", "--memory-gb", "16"});
  const Json json = RunCkvJson(Inspecting(kSandwich, more));
  const KvSharingSpec spec = KvSharingSpec::Parse(kSandwich);
  const IterationPlan plan(spec, 7, 2);
  const ModelShape shape = SandwichShape();

  const ParamCount params = CountParams(spec, shape);
  EXPECT_EQ(json["parameters"]["total"], params.total());
  EXPECT_EQ(json["parameters"]["without_embedding"], params.without_embedding());
  EXPECT_EQ(json["kv_cache"]["bf16"]["largest_batch"], LargestBatch(spec, shape, 512, 16e9, 2, 2));
  EXPECT_EQ(json["kv_cache"]["fp32"]["largest_batch"], LargestBatch(spec, shape, 512, 16e9, 4, 4));
  EXPECT_EQ(json["kv_cache"]["fp8"]["largest_length"],
            LargestLength(spec, shape, 3, 16e9, 2, 1, int64_t{1} << 30));
  const TrainFlops flops = CountTrainFlops(plan, shape, 512);
  EXPECT_DOUBLE_EQ(json["training"]["flops_per_token"].get<double>(), flops.passes);
  EXPECT_DOUBLE_EQ(json["training"]["flops_per_token_unsaved"].get<double>(), flops.passes_unsaved);
  EXPECT_DOUBLE_EQ(json["training"]["flops_per_token_plain"].get<double>(), flops.plain_visible);
  EXPECT_DOUBLE_EQ(json["training"]["flops_per_token_mfu"].get<double>(), flops.plain);
  EXPECT_DOUBLE_EQ(json["training"]["of_plain"].get<double>(), flops.passes / flops.plain_visible);
  EXPECT_DOUBLE_EQ(json["prefill"]["flops"].get<double>(), CountPrefillFlops(plan, shape, 512));
  const DecodeCost decode = CountDecode(spec, shape, 512, 3, 2, 2);
  EXPECT_DOUBLE_EQ(json["decode"]["flops_per_token"].get<double>(), decode.flops / 3);
  EXPECT_DOUBLE_EQ(json["decode"]["weight_bytes_per_step"].get<double>(), decode.weight_bytes);
  EXPECT_DOUBLE_EQ(json["decode"]["kv_read_bytes_per_step"].get<double>(), decode.kv_read_bytes);
  EXPECT_DOUBLE_EQ(json["decode"]["kv_write_bytes_per_step"].get<double>(), decode.kv_write_bytes);

  const std::string text = RunCkv(Inspecting(kSandwich, more)).out;
  EXPECT_THAT(text, HasSubstr(Str("(", params.total(), ")")));
  EXPECT_THAT(text, HasSubstr("bytes a sequence of 512"));
  EXPECT_THAT(text, HasSubstr("in 16 GB"));
}

TEST(InspectSharing, CountsTiedEmbeddingsAndWindows) {
  std::vector<std::string> tied = kSizes;
  tied.push_back("--tied");
  const auto total = [](const std::vector<std::string>& more) {
    return RunCkvJson(Inspecting(kSandwich, more))["parameters"]["total"].get<int64_t>();
  };
  EXPECT_EQ(total(kSizes) - total(tied), 768 * 32000);

  std::vector<std::string> windowed = kSizes;
  const Json unknown = RunCkvJson(Inspecting("0_1s", windowed));
  ASSERT_EQ(unknown["sharing"]["warnings"].size(), 1u);
  EXPECT_THAT(unknown["sharing"]["warnings"][0].get<std::string>(), HasSubstr("--window"));
  windowed.insert(windowed.end(), {"--window", "128"});
  const Json known = RunCkvJson(Inspecting("0_1s", windowed));
  EXPECT_THAT(known["sharing"]["warnings"], IsEmpty());
  EXPECT_EQ(known["kv_cache"]["fp8"]["bytes_per_sequence"], 2 * 6 * 64 * (1024 + 128));
  EXPECT_EQ(unknown["kv_cache"]["fp8"]["bytes_per_sequence"], 2 * 6 * 64 * (1024 + 1024));
}

TEST(InspectSharing, SaysWhenNothingFits) {
  std::vector<std::string> more = kSizes;
  more.insert(more.end(), {"--memory-gb", "0.1"});
  const Json json = RunCkvJson(Inspecting(kSandwich, more));
  EXPECT_EQ(json["kv_cache"]["bf16"]["largest_batch"], 0);
  EXPECT_EQ(json["kv_cache"]["bf16"]["largest_length"], 0);
}

TEST(InspectSharing, ShowsTheWarningsOfTheSpec) {
  EXPECT_THAT(RunCkv(Inspecting("1_1")).out, HasSubstr("warning: layer 0 owns no KVs"));
  EXPECT_THAT(RunCkv(Inspecting("0_1")).out, Not(HasSubstr("warning")));
}

TEST(InspectSharing, DrawsAnSvgFile) {
  const TempDir dir;
  const ProgramResult result =
      RunCkv(Inspecting(kSandwich, {"--svg", dir.File("s.svg"), "--title", "A <sandwich>"}));
  EXPECT_EQ(result.exit_code, 0);
  const IterationPlan plan(KvSharingSpec::Parse(kSandwich), 7, 2);
  EXPECT_EQ(ReadFile(dir.File("s.svg")), SharingSvg(plan, "A <sandwich>"));
}

TEST(InspectSharing, WritesTheResultIntoAFile) {
  const TempDir dir;
  const ProgramResult shown = RunCkv(Inspecting(kSandwich, {"--json"}));
  const ProgramResult result =
      RunCkv(Inspecting(kSandwich, {"--json", "--out", dir.File("r.json")}));
  EXPECT_EQ(result.exit_code, 0);
  EXPECT_EQ(result.out, "");
  EXPECT_EQ(ReadFile(dir.File("r.json")), shown.out);
  EXPECT_THAT(CkvError(kExitIo, Inspecting(kSandwich, {"--out", dir.File("none/r.json")})),
              HasSubstr("none/r.json"));
}

TEST(InspectSharing, SaysWhatIsWrong) {
  const auto error = [](const char* sharing, const std::vector<std::string>& more) {
    return CkvError(kExitConfig, Inspecting(sharing, more));
  };
  EXPECT_EQ(error("0_1", {"--layers", "3"}),
            "--sharing: 'model.kv_sharing' has 2 entries but the model has 3 layers");
  EXPECT_THAT(error("0_9", {}), StartsWith("--sharing: layer 1 reads the KVs of layer 9"));
  EXPECT_THAT(error("0_x", {}), StartsWith("--sharing: "));
  EXPECT_THAT(error("{preset: cla, factor: 2}", {}), HasSubstr("--layers"));
  EXPECT_THAT(error("{preset: clb}", {"--layers", "4"}), HasSubstr("did you mean 'cla'?"));
  EXPECT_THAT(error("{preset: cla", {"--layers", "4"}), StartsWith("--sharing: "));
  EXPECT_THAT(error(" ", {}), HasSubstr("is empty"));
  EXPECT_THAT(error("0_1", {"--hidden-size", "100", "--heads", "3"}), StartsWith("--head-dim: "));
  EXPECT_THAT(error("0_1", {"--heads", "6", "--kv-heads", "4", "--head-dim", "8"}),
              HasSubstr("cannot share"));
  EXPECT_THAT(error("0_1", {"--seq-len", "0"}), StartsWith("--seq-len: 0, "));
  EXPECT_THAT(error("0_1", {"--batch", "0"}), StartsWith("--batch: 0, "));
  EXPECT_THAT(error("{preset: yoco, window: 64}", {"--layers", "4", "--window", "32"}),
              StartsWith("--window: 32"));
  EXPECT_EQ(error("0_1", {"--set", "a=b"}), "--set: changes a YAML file, but none is named");
  EXPECT_EQ(error("0_1", {"x.yaml"}), "MODEL and --sharing exclude each other");
}

// --- models ---

class InspectModelTest : public ::testing::Test {
 protected:
  std::string Write(const std::string& name, const std::string& content) const {
    MakeDirs(DirName(dir_.File(name)));
    WriteFileAtomically(dir_.File(name), content);
    return dir_.File(name);
  }

  TempDir dir_;
};

constexpr char kConfig[] =
    "model:\n"
    "  vocab_size: 1000\n"
    "  hidden_size: 64\n"
    "  intermediate_size: 128\n"
    "  num_layers: 4\n"
    "  num_attention_heads: 4\n"
    "  num_key_value_heads: 2\n"
    "  kv_sharing: 0_2_2_3\n"
    "  forward_passes: 5\n"
    "data:\n"
    "  seq_len: 96\n";

TEST_F(InspectModelTest, ReadsTheModelOfATrainingConfig) {
  const std::string path = Write("a.yaml", kConfig);
  const Json json = RunCkvJson({"inspect", path});
  EXPECT_EQ(json["sharing"]["kv_sharing"], "0_2_2_3");
  EXPECT_EQ(json["sharing"]["forward_passes"], 5);
  EXPECT_EQ(json["use"]["seq_len"], 96);
  EXPECT_EQ(json["model"]["vocab_size"], 1000);
  EXPECT_EQ(json["kv_cache"]["fp8"]["bytes_per_token"], 6 * 2 * 16);
  EXPECT_EQ(RunCkvJson({"inspect", path, "--seq-len", "7"})["use"]["seq_len"], 7);
  const Json changed = RunCkvJson(
      {"inspect", path, "--set", "model.kv_sharing=0_1_2_3", "--set", "model.hidden_size=128"});
  EXPECT_EQ(changed["sharing"]["kv_sharing"], "0_1_2_3");
  EXPECT_EQ(changed["model"]["hidden_size"], 128);
}

TEST_F(InspectModelTest, SaysThatTrainingIsSequential) {
  const std::string path = Write("a.yaml", kConfig);
  EXPECT_THAT(RunCkv({"inspect", path}).out, Not(HasSubstr("sequential")));
  const std::vector<std::string> arguments = {"inspect", path, "--set", "model.sequential=true"};
  EXPECT_THAT(RunCkv(arguments).out, HasSubstr("token by token (sequential: true)"));
  EXPECT_EQ(RunCkvJson(arguments)["sharing"]["sequential"], true);
}

TEST_F(InspectModelTest, TakesTheVocabularyFromTheTokenizerIfItIsThere) {
  const std::string path = Write("a.yaml", kConfig);
  const std::vector<std::string> arguments = {"inspect", path, "--set", "model.vocab_size=0"};
  const Json unknown = RunCkvJson(arguments);
  EXPECT_FALSE(unknown["model"].contains("vocab_size"));
  EXPECT_FALSE(unknown.contains("training"));
  EXPECT_TRUE(unknown["parameters"].contains("layers"));
  EXPECT_FALSE(unknown["parameters"].contains("total"));
  ASSERT_EQ(unknown["sharing"]["warnings"].size(), 1u);
  EXPECT_THAT(unknown["sharing"]["warnings"][0].get<std::string>(), HasSubstr("vocabulary"));
  std::vector<std::string> byte = arguments;
  byte.insert(byte.end(), {"--set", "tokenizer=byte"});
  EXPECT_EQ(RunCkvJson(byte)["model"]["vocab_size"], 258);
}

TEST_F(InspectModelTest, ReadsRunsAndCheckpoints) {
  Write("run/config.yaml", kConfig);
  EXPECT_EQ(RunCkvJson({"inspect", dir_.File("run")})["model"]["hidden_size"], 64);

  const std::string hf =
      R"({"model_type": "lckv-llama", "vocab_size": 99, "hidden_size": 32,
          "intermediate_size": 64, "num_hidden_layers": 3, "num_attention_heads": 4,
          "layer_types": "0_0_2", "tie_word_embeddings": true, "forward_passes": 4})";
  Write("checkpoint/config.json", hf);
  const Json json = RunCkvJson({"inspect", dir_.File("checkpoint")});
  EXPECT_EQ(json["sharing"]["kv_sharing"], "0_0_2");
  EXPECT_EQ(json["sharing"]["forward_passes"], 4);
  EXPECT_EQ(json["model"]["num_key_value_heads"], 4);
  EXPECT_EQ(json["model"]["vocab_size"], 99);
  EXPECT_EQ(RunCkvJson({"inspect", dir_.File("checkpoint/config.json")}), json);
}

TEST(InspectShippedConfigs, AllAreModels) {
  int count = 0;
  for (const char* folder : {"configs/train", "configs/conic10k", "experiments"}) {
    for (const auto& entry : std::filesystem::recursive_directory_iterator(
             std::filesystem::path(CKV_SOURCE_DIR) / folder)) {
      const std::string name = entry.path().filename().string();
      if (folder == std::string("experiments") && name != "study.yaml" && name != "base.yaml") {
        continue;  // sweeps, and what runs leave there
      }
      if (entry.path().extension() != ".yaml") continue;
      ++count;
      const Json json =
          RunCkvJson({"inspect", entry.path().string(), "--set", "model.vocab_size=32000"});
      ASSERT_TRUE(json.is_object()) << entry.path();
      EXPECT_GT(json["parameters"]["total"], 0) << entry.path();
      EXPECT_GE(json["training"]["of_plain"], 0.5) << entry.path();
    }
  }
  EXPECT_GE(count, 27);  // nine at three sizes
}

TEST_F(InspectModelTest, NamesThePlaceOfAFaultInTheConfig) {
  const std::string path = Write("a.yaml", "model:\n  hiden_size: 64\n");
  EXPECT_EQ(CkvError(kExitConfig, {"inspect", path}),
            path + ":2:3: unknown key 'model.hiden_size' (did you mean 'model.hidden_size'?)");
  const std::string wrong = Write("b.yaml", "model:\n  hidden_size: wide\n");
  EXPECT_THAT(CkvError(kExitConfig, {"inspect", wrong}),
              StartsWith(wrong + ":2:16: 'model.hidden_size' is 'wide'"));
  const std::string shorter = Write("c.yaml", "model:\n  num_layers: 4\n  kv_sharing: 0_0\n");
  EXPECT_EQ(CkvError(kExitConfig, {"inspect", shorter}),
            shorter + ":3:15: 'model.kv_sharing' has 2 entries but the model has 4 layers");
  const std::string none = Write("d.yaml", "data:\n  seq_len: 4\n");
  EXPECT_THAT(CkvError(kExitConfig, {"inspect", none}), HasSubstr("no section 'model'"));
  EXPECT_EQ(
      CkvError(kExitConfig, {"inspect", Write("e.yaml", kConfig), "--set", "model.num_layer=4"}),
      "--set model.num_layer=4: unknown key 'model.num_layer' (did you mean "
      "'model.num_layers'?)");
}

TEST_F(InspectModelTest, RefusesWhatIsNoModel) {
  EXPECT_THAT(CkvError(kExitIo, {"inspect", dir_.File("none.yaml")}),
              HasSubstr("none.yaml: cannot open"));
  MakeDirs(dir_.File("empty"));
  EXPECT_THAT(CkvError(kExitFormat, {"inspect", dir_.File("empty")}), HasSubstr("config.json"));
  Write("broken/config.json", "{\"model_type\": \"llama\", ");
  EXPECT_THAT(CkvError(kExitFormat, {"inspect", dir_.File("broken")}),
              HasSubstr("broken/config.json: line 1"));
  Write("other/config.json", "{\"model_type\": \"gpt2\"}");
  EXPECT_THAT(CkvError(kExitFormat, {"inspect", dir_.File("other")}), HasSubstr("'gpt2'"));
  EXPECT_THAT(CkvError(kExitConfig, {"inspect", dir_.File("other"), "--set", "model.x=1"}),
              StartsWith("--set: "));
}

}  // namespace
}  // namespace ckv
