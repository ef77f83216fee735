#include "app/load_model.h"

#include <gtest/gtest.h>
#include <torch/torch.h>

#include "record/checkpoint_dir.h"
#include "tests/app/tiny_model.h"
#include "tests/temp_dir.h"
#include "tests/tensors.h"

namespace ckv {
namespace {

constexpr char kSharing[] = "0_3_3_3_4";

class LoadModelTest : public ::testing::Test {
 protected:
  LoadedModel Load() const { return LoadModel(arguments_); }
  std::string LoadError() const {
    return ErrorOf([this] { LoadModel(arguments_); });
  }
  // Largest difference of any parameter.
  static double WeightError(const LoadedModel& model, Decoder& want) {
    double worst = 0.0;
    for (const auto& [name, parameter] : NamedParameters(*model.decoder)) {
      const at::Tensor other = want->named_parameters()[name];
      worst = std::max(worst, MaxAbsDiff(parameter, other));
    }
    return worst;
  }

  // A run with checkpoints of steps 10, 20 and 30, whose weights have their step as seed.
  void WriteRun() {
    CheckpointDir checkpoints(temp_.path());
    for (const int64_t step : {10, 20, 30}) {
      WriteModel(checkpoints.PathOf(step), kSharing, static_cast<uint64_t>(step));
    }
    checkpoints.SetLatest(30);
    arguments_.path = temp_.path();
  }
  std::string Chosen(const std::string& which) const {
    return BaseName(FindModelFolder(temp_.path(), which));
  }

  LoadModelTest() { arguments_.device = "cpu"; }

  TempDir temp_;
  ModelArguments arguments_;
};

TEST_F(LoadModelTest, OpensACheckpoint) {
  Decoder decoder = RandomModel(BytesConfig(kSharing), 5);
  WriteModel(temp_.path(), decoder);
  arguments_.path = temp_.path();
  const LoadedModel model = Load();
  EXPECT_EQ(WeightError(model, decoder), 0.0);
  EXPECT_EQ(model.decoder->config().sharing(), decoder->config().sharing());
  EXPECT_EQ(std::string(model.NeedTokenizer().kind()), "byte");
  EXPECT_EQ(model.weights, "model");
  EXPECT_FALSE(model.decoder->is_training());
  EXPECT_FALSE(model.begins_with_bos);
  EXPECT_FALSE(model.training_window.has_value());
}

TEST_F(LoadModelTest, WorksInTheAskedPrecision) {
  WriteModel(temp_.path(), kSharing);
  arguments_.path = temp_.path();
  arguments_.precision = "bf16";
  EXPECT_EQ(Load().decoder->head_weight().scalar_type(), at::kBFloat16);
  arguments_.precision = "fp64";
  EXPECT_EQ(Load().decoder->head_weight().scalar_type(), at::kDouble);
}

TEST_F(LoadModelTest, OfARunTakesTheBestElseTheLatest) {
  WriteRun();
  EXPECT_EQ(Chosen(""), "step-00000030");
  CheckpointDir(temp_.path()).SetBest(20);
  EXPECT_EQ(Chosen(""), "step-00000020");
  EXPECT_EQ(Chosen("best"), "step-00000020");
  EXPECT_EQ(Chosen("latest"), "step-00000030");
  EXPECT_EQ(Chosen("10"), "step-00000010");
  EXPECT_EQ(Chosen("step-00000010"), "step-00000010");
  arguments_.checkpoint = "10";
  Decoder want = RandomModel(BytesConfig(kSharing), 10);
  EXPECT_EQ(WeightError(Load(), want), 0.0);
}

TEST_F(LoadModelTest, NamesTheStepsThatThereAre) {
  WriteRun();
  const std::string run = temp_.path();
  EXPECT_EQ(ErrorOf([&] { FindModelFolder(run, "15"); }),
            Str("2: --checkpoint: '15' is not best, latest or one of the steps of ", run,
                ": 10, 20, 30"));
  EXPECT_EQ(ErrorOf([&] { FindModelFolder(run, "best"); }),
            Str("3: ", run, ": the run has no best checkpoint: it was never validated"));
  EXPECT_EQ(ErrorOf([&] { FindModelFolder(JoinPath(run, "checkpoints/step-00000010"), "10"); }),
            Str("2: --checkpoint: ", run,
                "/checkpoints/step-00000010 is a single checkpoint, not the folder of a run"));
}

TEST_F(LoadModelTest, SaysWhatAFolderLacks) {
  const std::string path = temp_.path();
  EXPECT_EQ(ErrorOf([&] { FindModelFolder(path + "/no"); }),
            Str("4: ", path, "/no: there is no such folder"));
  EXPECT_EQ(
      ErrorOf([&] { FindModelFolder(path); }),
      Str("3: ", path, ": has no config.json: not a run, a checkpoint or a Hugging Face folder"));
  WriteFileAtomically(temp_.File("config.yaml"), "run: {name: x}\n");
  EXPECT_EQ(ErrorOf([&] { FindModelFolder(path); }),
            Str("3: ", path, ": the run has no complete checkpoint yet"));
  EXPECT_EQ(ErrorOf([&] { FindModelFolder(path + "/config.yaml"); }),
            Str("3: ", path, "/config.yaml: is a file; name the folder of a run or a checkpoint"));
  MakeDirs(temp_.File("checkpoints"));
  EXPECT_EQ(ErrorOf([&] { FindModelFolder(path); }),
            Str("3: ", path, ": the run has no complete checkpoint yet"));
}

TEST_F(LoadModelTest, PrefersTheRunningMean) {
  Decoder weights = RandomModel(BytesConfig(kSharing), 5);
  Decoder mean = RandomModel(BytesConfig(kSharing), 6);
  WriteModel(temp_.path(), weights);
  arguments_.path = temp_.path();
  arguments_.weights = "ema";
  EXPECT_EQ(LoadError(),
            Str("3: ", temp_.path(), ": ema.safetensors: the checkpoint has no running mean"));
  WriteTensors(temp_.File("ema.safetensors"), NamedParameters(*mean));
  EXPECT_EQ(WeightError(Load(), mean), 0.0);
  arguments_.weights = "auto";
  EXPECT_EQ(WeightError(Load(), mean), 0.0);
  EXPECT_EQ(Load().weights, "ema");
  arguments_.weights = "model";
  EXPECT_EQ(WeightError(Load(), weights), 0.0);
}

TEST_F(LoadModelTest, LeavesOutWhatTheModelHasNoUseFor) {
  DecoderConfig config = BytesConfig(kSharing);
  config.tie_word_embeddings = true;
  Decoder decoder = RandomModel(config, 5);
  WriteModel(temp_.path(), decoder);
  NamedTensors tensors = NamedParameters(*decoder);
  tensors.emplace_back("lm_head.weight", at::ones({258, 16}));
  tensors.emplace_back("model.layers.1.self_attn.k_proj.weight", at::ones({8, 16}));
  tensors.emplace_back("model.layers.2.self_attn.v_proj.bias", at::ones({8}));
  tensors.emplace_back("model.layers.0.self_attn.rotary_emb.inv_freq", at::ones({2}));
  WriteTensors(temp_.File("model.safetensors"), tensors);
  arguments_.path = temp_.path();
  EXPECT_EQ(WeightError(Load(), decoder), 0.0);

  tensors.emplace_back("model.layers.5.self_attn.k_proj.weight", at::ones({8, 16}));
  WriteTensors(temp_.File("model.safetensors"), tensors);
  EXPECT_EQ(LoadError(), Str("3: ", temp_.path(),
                             "/model.safetensors: tensor 'model.layers.5.self_attn.k_proj.weight': "
                             "is no parameter of the model"));
}

TEST_F(LoadModelTest, OpensShardedWeights) {
  Decoder decoder = RandomModel(BytesConfig(kSharing), 5);
  WriteModel(temp_.path(), decoder);
  const NamedTensors tensors = NamedParameters(*decoder);
  RemoveAll(temp_.File("model.safetensors"));
  Json index;
  for (size_t part = 0; part < 2; ++part) {
    const std::string file = Str("model-0000", part + 1, "-of-00002.safetensors");
    NamedTensors half;
    for (size_t i = part; i < tensors.size(); i += 2) {
      half.push_back(tensors[i]);
      index["weight_map"][tensors[i].first] = file;
    }
    WriteTensors(temp_.File(file), half);
  }
  WriteFileAtomically(temp_.File("model.safetensors.index.json"), index.dump());
  arguments_.path = temp_.path();
  EXPECT_EQ(WeightError(Load(), decoder), 0.0);
  RemoveAll(temp_.File("model-00002-of-00002.safetensors"));
  EXPECT_EQ(LoadError(), Str("3: ", temp_.path(),
                             ": model-00002-of-00002.safetensors: part of the checkpoint is "
                             "missing; model.safetensors.index.json lists it"));
}

TEST_F(LoadModelTest, RefusesATokenizerOfAnotherSize) {
  DecoderConfig config = BytesConfig(kSharing);
  config.vocab_size = 300;
  Decoder decoder = RandomModel(config, 5);
  WriteModel(temp_.path(), decoder);
  arguments_.path = temp_.path();
  EXPECT_EQ(LoadError(), Str("3: ", temp_.path(),
                             ": tokenizer.byte: the tokenizer has 258 entries, but the model's "
                             "vocabulary has 300"));
  arguments_.tokenizer = "byte";
  EXPECT_EQ(LoadError(),
            "2: --tokenizer byte: the tokenizer has 258 entries, but the model's vocabulary has "
            "300");
}

TEST_F(LoadModelTest, TakesAVocabularyThatWasRoundedUp) {
  for (const auto& [size, fits] :
       {std::pair(264, true), std::pair(320, true), std::pair(512, true), std::pair(257, false),
        std::pair(328, false), std::pair(768, false)}) {
    DecoderConfig config = BytesConfig(kSharing);
    config.vocab_size = size;
    Decoder decoder = RandomModel(config, 5);
    WriteModel(temp_.path(), decoder);
    arguments_.path = temp_.path();
    EXPECT_EQ(LoadError().empty(), fits) << size;
  }
}

TEST_F(LoadModelTest, WithoutTokenizerSaysWhatIsNotSupported) {
  Decoder decoder = RandomModel(BytesConfig(kSharing), 5);
  WriteModel(temp_.path(), decoder, /*tokenizer=*/false);
  WriteFileAtomically(temp_.File("tokenizer.json"), "{}");
  arguments_.path = temp_.path();
  const LoadedModel model = Load();
  EXPECT_EQ(model.tokenizer, nullptr);
  EXPECT_EQ(ErrorOf([&] { model.NeedTokenizer(); }),
            Str("3: ", temp_.path(),
                ": has tokenizer.json only, which is not supported; a SentencePiece model "
                "(tokenizer.model) is needed, or token ids instead of text"));
}

TEST_F(LoadModelTest, ReadsWhetherTextsBeginWithBos) {
  WriteModel(temp_.path(), kSharing);
  arguments_.path = temp_.path();
  const std::string file = temp_.File("tokenizer_config.json");
  WriteFileAtomically(file, "{}");
  EXPECT_TRUE(Load().begins_with_bos);
  WriteFileAtomically(file, R"({"add_bos_token": false})");
  EXPECT_FALSE(Load().begins_with_bos);
  WriteFileAtomically(file, R"({"add_bos_token": 1})");
  EXPECT_EQ(LoadError(), Str("3: ", file, ": add_bos_token: must be true or false"));
}

TEST_F(LoadModelTest, ReadsTheWindowOfTheTrainingRun) {
  WriteModel(temp_.path(), kSharing);
  WriteFileAtomically(temp_.File("config.yaml"), "data:\n  seq_len: 48\n");
  arguments_.path = temp_.path();
  EXPECT_EQ(Load().training_window, 48);
}

TEST_F(LoadModelTest, RowsThatTheFilesLackKeepTheirValues) {
  WriteModel(temp_.path(), kSharing, 5);
  DecoderConfig config = BytesConfig(kSharing);
  config.vocab_size = 270;
  Decoder grown = RandomModel(config, 9);
  const at::Tensor before = grown->head_weight().detach().clone();
  EXPECT_NE(ErrorOf([&] { LoadModelWeights(temp_.path(), "model", *grown); }), "");
  LoadModelWeights(temp_.path(), "model", *grown, /*may_grow_rows=*/true);
  Decoder stored = RandomModel(BytesConfig(kSharing), 5);
  EXPECT_EQ(MaxAbsDiff(grown->head_weight().narrow(0, 0, 258), stored->head_weight()), 0.0);
  EXPECT_EQ(MaxAbsDiff(grown->head_weight().narrow(0, 258, 12), before.narrow(0, 258, 12)), 0.0);
}

}  // namespace
}  // namespace ckv
