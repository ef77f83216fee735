#include "ckpt/weights.h"

#include <utility>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <torch/torch.h>

#include "tests/temp_dir.h"
#include "tests/tensors.h"

namespace ckv {
namespace {

using ::testing::HasSubstr;

struct TwoWeights : torch::nn::Module {
  TwoWeights() {
    matrix = register_parameter("matrix", at::zeros({3, 2}));
    vector = register_parameter("vector", at::zeros({2}));
  }
  at::Tensor matrix;
  at::Tensor vector;
};

class WeightsTest : public ::testing::Test {
 protected:
  TensorFiles Write(const NamedTensors& tensors) {
    WriteTensors(dir_.File("model.safetensors"), tensors);
    return TensorFiles::OpenModel(dir_.path());
  }
  std::string Load(const NamedTensors& tensors, const LoadOptions& options = {}) {
    TensorFiles files = Write(tensors);
    return ErrorOf([&] { LoadWeights(std::move(files), module_, options); });
  }

  TempDir dir_;
  TwoWeights module_;
};

TEST_F(WeightsTest, CopiesAndConverts) {
  const at::Tensor matrix = RandomTensor({3, 2}, 1, at::kBFloat16);
  EXPECT_EQ(Load({{"matrix", matrix}, {"vector", at::ones({2}, at::kDouble)}}), "");
  EXPECT_TRUE(module_.matrix.equal(matrix.to(at::kFloat)));
  EXPECT_TRUE(module_.vector.equal(at::ones({2})));
}

TEST_F(WeightsTest, RefusesWhatDoesNotFitAndChangesNothing) {
  EXPECT_THAT(Load({{"matrix", at::ones({3, 2})}}), HasSubstr("tensor 'vector': is not there"));
  EXPECT_THAT(Load({{"matrix", at::ones({3, 2})}, {"vector", at::ones({3})}}),
              HasSubstr("tensor 'vector': has the shape [3], but the model needs [2]"));
  EXPECT_THAT(
      Load({{"matrix", at::ones({3, 2})}, {"vector", at::ones({2})}, {"more", at::ones({1})}}),
      HasSubstr("tensor 'more': is no parameter of the model"));
  EXPECT_TRUE(module_.matrix.equal(at::zeros({3, 2})));
}

TEST_F(WeightsTest, IgnoresWhatItMay) {
  LoadOptions options;
  options.may_ignore = [](const std::string& name) { return name == "more"; };
  EXPECT_EQ(Load({{"matrix", at::ones({3, 2})}, {"vector", at::ones({2})}, {"more", at::ones({1})}},
                 options),
            "");
}

TEST_F(WeightsTest, GrownRowsKeepTheirValues) {
  LoadOptions options;
  EXPECT_NE(Load({{"matrix", at::ones({2, 2})}, {"vector", at::ones({2})}}, options), "");
  options.may_grow_rows = [](const std::string& name) { return name == "other"; };
  EXPECT_NE(Load({{"matrix", at::ones({2, 2})}, {"vector", at::ones({2})}}, options), "");
  options.may_grow_rows = [](const std::string& name) { return name == "matrix"; };
  EXPECT_EQ(Load({{"matrix", at::ones({2, 2})}, {"vector", at::ones({2})}}, options), "");
  EXPECT_TRUE(module_.matrix.equal(at::cat({at::ones({2, 2}), at::zeros({1, 2})})));
  EXPECT_NE(Load({{"matrix", at::ones({4, 2})}, {"vector", at::ones({2})}}, options), "");
}

}  // namespace
}  // namespace ckv
