#include "train/flat_layout.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "train/data_parallel.h"

namespace ckv {
namespace {

using ::testing::ElementsAre;

// Whatever the sizes, every element of every parameter has exactly one owner.
TEST(FlatLayout, EveryElementHasOneOwner) {
  const std::vector<int64_t> sizes = {100, 7, 1, 64, 33, 250, 5};
  for (const int world : {1, 2, 3, 4, 7}) {
    for (const int64_t elements : {1, 90, 1000}) {
      FlatLayoutOptions options;
      options.world = world;
      options.bucket_elements = elements;
      const std::vector<FlatBucket> buckets = LayOut(sizes, options);
      std::vector<std::vector<int>> owners;
      for (const int64_t size : sizes) owners.emplace_back(static_cast<size_t>(size), 0);
      for (int rank = 0; rank < world; ++rank) {
        for (const OwnedSlice& slice : SlicesOf(buckets, rank, world)) {
          EXPECT_LE(slice.in_part + slice.size, buckets[slice.bucket].part_size(world));
          for (int64_t i = 0; i < slice.size; ++i) {
            ++owners[slice.parameter][static_cast<size_t>(slice.in_parameter + i)];
          }
        }
      }
      for (const auto& of_parameter : owners) {
        EXPECT_THAT(of_parameter, ::testing::Each(1)) << world << " ranks";
      }
      for (const FlatBucket& bucket : buckets) EXPECT_EQ(bucket.size % world, 0);
    }
  }
}

TEST(FlatLayout, AUnitIsOneBucketFromTheTopDown) {
  FlatLayoutOptions options;
  options.world = 2;
  options.by_unit = true;
  options.units = {-1, 0, 0, 1, 2, -1};
  const std::vector<FlatBucket> buckets = LayOut({10, 20, 30, 40, 50, 60}, options);
  std::vector<std::vector<size_t>> parameters;
  for (const FlatBucket& bucket : buckets) {
    parameters.emplace_back();
    for (const FlatPiece& piece : bucket.pieces) parameters.back().push_back(piece.parameter);
  }
  EXPECT_THAT(parameters,
              ElementsAre(ElementsAre(4), ElementsAre(3), ElementsAre(1, 2), ElementsAre(0, 5)));
}

TEST(FlatLayout, IteratedLayersAreOneUnit) {
  EXPECT_THAT(UnitsOfLayers({{0, 2, false}, {2, 5, true}, {5, 6, false}}),
              ElementsAre(0, 1, 2, 2, 2, 3));
  EXPECT_EQ(LayerOfParameter("model.layers.12.mlp.up_proj.weight"), 12);
  EXPECT_EQ(LayerOfParameter("model.embed_tokens.weight"), -1);
}

}  // namespace
}  // namespace ckv
