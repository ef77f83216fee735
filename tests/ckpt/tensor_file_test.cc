#include "ckpt/tensor_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <torch/torch.h>

#include "tests/temp_dir.h"
#include "tests/tensors.h"

namespace ckv {
namespace {

using ::testing::HasSubstr;

class TensorFileTest : public ::testing::Test {
 protected:
  // Two shards and their index.
  void WriteShards() {
    WriteTensors(dir_.File("a.safetensors"), {{"x", RandomTensor({2, 3}, 1, at::kFloat)}});
    WriteTensors(dir_.File("b.safetensors"), {{"y", RandomTensor({4}, 2, at::kFloat)}});
    WriteFileAtomically(dir_.File("model.safetensors.index.json"),
                        R"({"weight_map": {"x": "a.safetensors", "y": "b.safetensors"}})");
  }

  TempDir dir_;
};

TEST_F(TensorFileTest, RoundTripsEveryTypeAndShape) {
  const std::string path = dir_.File("t.safetensors");
  const at::Tensor strided = RandomTensor({5, 4}, 3, at::kFloat).transpose(0, 1);
  const NamedTensors tensors = {
      {"f64", RandomTensor({2, 3}, 1)},
      {"f32", strided},
      {"bf16", RandomTensor({7}, 4, at::kBFloat16)},
      {"f16", RandomTensor({1, 1, 2}, 5, at::kHalf)},
      {"i64", RandomIds({3}, 100, 6)},
      {"u8", RandomIds({9}, 256, 7).to(at::kByte)},
      {"bool", RandomIds({4}, 2, 8).to(at::kBool)},
      {"scalar", at::full({}, 2.5)},
      {"empty", at::empty({0, 4})},
  };
  WriteTensors(path, tensors, {{"format", "pt"}});
  const TensorFile file(path);
  for (const auto& [name, tensor] : tensors) {
    const at::Tensor back = file.Read(name);
    EXPECT_EQ(back.scalar_type(), tensor.scalar_type()) << name;
    EXPECT_TRUE(back.equal(tensor)) << name;
  }
  EXPECT_FALSE(file.Has("other"));
  EXPECT_THAT(ErrorOf([&] { file.Read("other"); }), HasSubstr("3: " + path + ": tensor 'other'"));
}

TEST_F(TensorFileTest, OpensShardsByTheirIndex) {
  WriteShards();
  const TensorFiles files = TensorFiles::OpenModel(dir_.path());
  EXPECT_TRUE(files.Read("x").equal(RandomTensor({2, 3}, 1, at::kFloat)));
  EXPECT_EQ(files.Shape("y"), std::vector<int64_t>({4}));
  EXPECT_EQ(files.PathOf("y"), dir_.File("b.safetensors"));
}

TEST_F(TensorFileTest, MissingShardIsNamed) {
  WriteShards();
  RemoveAll(dir_.File("b.safetensors"));
  const std::string error = ErrorOf([&] { TensorFiles::OpenModel(dir_.path()); });
  EXPECT_EQ(error.substr(0, 3), "3: ");
  EXPECT_THAT(error, HasSubstr("b.safetensors"));
}

TEST_F(TensorFileTest, TensorThatItsShardLacksIsNamed) {
  WriteShards();
  WriteTensors(dir_.File("b.safetensors"), {{"z", RandomTensor({4}, 2)}});
  const std::string error = ErrorOf([&] { TensorFiles::OpenModel(dir_.path()); });
  EXPECT_EQ(error.substr(0, 3), "3: ");
  EXPECT_THAT(error, HasSubstr("'y'"));
}

TEST_F(TensorFileTest, IndexMustNotLeaveItsFolder) {
  WriteShards();
  WriteFileAtomically(dir_.File("model.safetensors.index.json"),
                      R"({"weight_map": {"x": "../a.safetensors"}})");
  EXPECT_EQ(ErrorOf([&] { TensorFiles::OpenModel(dir_.path()); }).substr(0, 3), "3: ");
}

TEST_F(TensorFileTest, FolderWithoutWeightsIsNamed) {
  EXPECT_THAT(ErrorOf([&] { TensorFiles::OpenModel(dir_.path()); }), HasSubstr(dir_.path()));
}

}  // namespace
}  // namespace ckv
