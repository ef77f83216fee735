// The recorded conversions of the published script: weights and what the models give.
#include <gtest/gtest.h>
#include <torch/torch.h>

#include "tests/convert/model_folder.h"
#include "tests/goldens.h"
#include "tests/temp_dir.h"
#include "tests/tensors.h"

namespace ckv {
namespace {

class ConvertGoldenTest : public ::testing::TestWithParam<std::string> {
 protected:
  std::string Path(const std::string& name) const {
    return JoinPath(JoinPath(GoldensRoot(), "kv/" + GetParam()), name);
  }

  void Check(const std::string& method) {
    const Json meta = ReadJsonFile(Path("meta.json"));
    const std::string layer_types = meta.at("layer_types").get<std::string>();
    TempDir dir;
    const std::string out = dir.File("out");
    ConvertModel(OptionsFor(Path("input"), out, layer_types, method));

    const std::map<std::string, Tensor> want = ReadAll(Path("expected_" + method));
    const std::map<std::string, Tensor> got = ReadAll(out);
    ASSERT_EQ(got.size(), want.size());
    for (const auto& [name, tensor] : want) {
      ASSERT_EQ(got.count(name), 1u) << name;
      if (method == "direct") {
        EXPECT_TRUE(got.at(name).equal(tensor)) << name;
      } else {
        EXPECT_LE(MaxAbsDiff(got.at(name), tensor), 1e-7) << name;
      }
    }
    CheckLogits(out, method, meta.at("tolerances").at("logits_atol").get<double>());
  }

  void CheckLogits(const std::string& out, const std::string& method, double tolerance) {
    const TensorFile io(Path("io.safetensors"));
    Decoder decoder(ReadConfigOf(out));
    LoadWeights(TensorFiles::OpenModel(out), *decoder);
    decoder->eval();
    at::NoGradGuard no_grad;
    const Tensor logits = decoder->Logits(decoder->Hidden({io.Read("input_ids"), {}, {}}));
    EXPECT_LT(MaxAbsDiff(logits, io.Read("expected_" + method + "_logits")), tolerance);
  }
};

TEST_P(ConvertGoldenTest, Average) { Check("average"); }
TEST_P(ConvertGoldenTest, Direct) { Check("direct"); }

GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(ConvertGoldenTest);
INSTANTIATE_TEST_SUITE_P(Goldens, ConvertGoldenTest,
                         ::testing::ValuesIn(GoldenFolders("target/config.json")),
                         [](const auto& row) { return row.param; });

TEST(ConvertGoldens, ArePresent) {
  if (GoldenFolders("target/config.json").empty()) {
    GTEST_SKIP() << "no fixtures under " << GoldensRoot() << "/kv; set CKV_GOLDENS";
  }
}

}  // namespace
}  // namespace ckv
