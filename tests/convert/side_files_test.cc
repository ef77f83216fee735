#include "convert/side_files.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/convert/model_folder.h"
#include "tests/temp_dir.h"

namespace ckv {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

TEST(CopySideFiles, TakesTokenizersAndNothingElse) {
  TempDir from;
  TempDir to;
  const std::string bytes("\0\x01\xff", 3);
  WriteFileAtomically(from.File("tokenizer.model"), bytes);
  WriteFileAtomically(from.File("special_tokens_map.json"), "{}");
  WriteFileAtomically(from.File("optimizer.safetensors"), "");
  EXPECT_THAT(CopySideFiles(from.path(), to.path()),
              ElementsAre("tokenizer.model", "special_tokens_map.json"));
  EXPECT_EQ(ReadFile(to.File("tokenizer.model")), bytes);
  EXPECT_THAT(ListDir(to.path()), ElementsAre("special_tokens_map.json", "tokenizer.model"));
}

TEST(WriteTokenizerConfig, OnlyWhereItIsNeeded) {
  TempDir dir;
  EXPECT_FALSE(WriteTokenizerConfig(dir.path()));  // no tokenizer
  WriteFileAtomically(dir.File("tokenizer.model"), "x");
  EXPECT_TRUE(WriteTokenizerConfig(dir.path()));
  const Json json = ReadJsonFile(dir.File("tokenizer_config.json"));
  EXPECT_EQ(json.at("legacy"), false);
  EXPECT_EQ(json.at("add_bos_token"), false);
  EXPECT_FALSE(WriteTokenizerConfig(dir.path()));  // a given one stays
}

TEST(ModelingFiles, AreThoseOfTheSourceTree) {
  const auto files = ModelingFiles();
  ASSERT_EQ(files.size(), 2u);
  for (const auto& [name, content] : files) {
    EXPECT_EQ(content, ReadFile(CKV_SOURCE_DIR "/scripts/hf/" + name));
  }
}

TEST(ModelingFiles, LieBesideSharedModelsForTransformersAlone) {
  for (const char* sharing : {"0_1", "0_0"}) {
    for (const HfFormat format : {HfFormat::kNative, HfFormat::kTransformers}) {
      TempDir dir;
      WriteFolder(dir.File("in"), TinyConfig(sharing));
      WriteFileAtomically(dir.File("in/tokenizer.char"), "x");
      ConvertOptions options = OptionsFor(dir.File("in"), dir.File("out"));
      options.format = format;
      const ConvertReport report = ConvertModel(options);
      const bool wanted = format == HfFormat::kTransformers && sharing == std::string("0_0");
      EXPECT_EQ(FileExists(dir.File("out/modeling_crosskv.py")), wanted);
      EXPECT_EQ(ReadJsonFile(dir.File("out/config.json")).contains("auto_map"), wanted);
      if (format == HfFormat::kTransformers) {
        EXPECT_THAT(report.warnings, Contains(HasSubstr("tokenizer.char comes along")));
      } else {
        EXPECT_THAT(report.warnings, Not(Contains(HasSubstr("tokenizer.char"))));
      }
    }
  }
}

}  // namespace
}  // namespace ckv
