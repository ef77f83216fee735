#include "train/trainer.h"

#include <csignal>
#include <limits>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "base/signals.h"
#include "tests/tensors.h"
#include "tests/train/tiny_run.h"

namespace ckv {
namespace {

using ::testing::HasSubstr;

// Sum of the objective's loss, with one step made not finite.
class SpoiledObjective : public Objective {
 public:
  SpoiledObjective(Objective& inner, std::vector<int64_t> bad_steps)
      : inner_(inner), bad_steps_(std::move(bad_steps)) {}
  Tensor LossSum(const Batch& batch, int64_t step) override {
    const Tensor loss = inner_.LossSum(batch, step);
    const bool bad = std::count(bad_steps_.begin(), bad_steps_.end(), step) > 0;
    return bad ? loss * std::numeric_limits<double>::infinity() : loss;
  }
  torch::nn::Module& module() override { return inner_.module(); }
  double ModelFlopsPerToken(int64_t seq_len) const override {
    return inner_.ModelFlopsPerToken(seq_len);
  }
  double RunFlopsPerToken(int64_t seq_len, int64_t step) const override {
    return inner_.RunFlopsPerToken(seq_len, step);
  }

 private:
  Objective& inner_;
  std::vector<int64_t> bad_steps_;
};

class TrainerTest : public ::testing::Test {
 protected:
  TrainerTest() { WriteTinyDataset(data_, 2000); }

  TempDir dir_;
  std::string data_ = dir_.File("data");
};

TEST_F(TrainerTest, GradientDoesNotDependOnMicroBatches) {
  std::vector<std::vector<at::Tensor>> weights;
  std::vector<std::vector<double>> losses;
  for (const int64_t rows : {0, 4, 1}) {
    TrainConfig config = TinyTraining(4);
    config.micro_batch_size = rows;
    TinyRun run(data_, config, at::kDouble, /*dropout=*/0.0);
    run.Train();
    weights.emplace_back();
    for (const auto& [name, weight] : run.optimizer->Weights()) weights.back().push_back(weight);
    losses.push_back(run.losses);
  }
  for (size_t i = 0; i < weights[0].size(); ++i) {
    EXPECT_LT(MaxAbsDiff(weights[0][i], weights[1][i]), 1e-10);
    EXPECT_LT(MaxAbsDiff(weights[0][i], weights[2][i]), 1e-10);
  }
  EXPECT_NEAR(losses[0].back(), losses[2].back(), 1e-10);
}

TEST_F(TrainerTest, ActivationCheckpointingChangesNoStep) {
  TinyRun kept(data_, TinyTraining(3), at::kDouble, /*dropout=*/0.0);
  kept.Train();
  TrainConfig config = TinyTraining(3);
  config.checkpoint_layers = 2;
  TinyRun recomputed(data_, config, at::kDouble, /*dropout=*/0.0);
  recomputed.Train();
  const AdamW::Named a = kept.optimizer->Weights();
  const AdamW::Named b = recomputed.optimizer->Weights();
  for (size_t i = 0; i < a.size(); ++i) {
    EXPECT_LT(MaxAbsDiff(a[i].second, b[i].second), 1e-10) << a[i].first;
  }
}

TEST_F(TrainerTest, LossFallsAndCountsAreRight) {
  TrainConfig config = TinyTraining(60);
  config.log_every = 20;
  TinyRun run(data_, config);
  run.Train();
  ASSERT_EQ(run.losses.size(), 3u);
  EXPECT_LT(run.losses[2], run.losses[0] - 0.05);
  EXPECT_EQ(run.state.step, 60);
  EXPECT_EQ(run.state.tokens, 60 * 8 * 10);
  EXPECT_GT(run.state.seconds, 0.0);
}

TEST_F(TrainerTest, HooksComeAtTheirStepsAndOnceAtTheEnd) {
  TrainConfig config = TinyTraining(7);
  config.eval_every = 3;
  config.save_every = 7;
  TinyRun run(data_, config);
  std::vector<int64_t> logged, validated, saved;
  run.hooks.log = [&](const TrainState& s, const TrainProgress&) { logged.push_back(s.step); };
  run.hooks.validate = [&](TrainState& s) { validated.push_back(s.step); };
  run.hooks.save = [&](const TrainState& s) { saved.push_back(s.step); };
  run.Train();
  EXPECT_THAT(logged, ::testing::ElementsAre(2, 4, 6, 7));
  EXPECT_THAT(validated, ::testing::ElementsAre(3, 6, 7));
  EXPECT_THAT(saved, ::testing::ElementsAre(7));
}

TEST_F(TrainerTest, StopsAtALossThatIsNotFinite) {
  TinyRun run(data_, TinyTraining(6));
  SpoiledObjective objective(*run.objective, {3});
  std::vector<int64_t> saved;
  run.train.save_every = 2;
  run.hooks.save = [&](const TrainState& s) { saved.push_back(s.step); };
  Trainer trainer(run.train, objective, *run.data, *run.optimizer, nullptr, at::kCPU);
  EXPECT_THAT(ErrorOf([&] { trainer.Run(run.state, run.hooks); }),
              HasSubstr("5: step 4: the loss or a gradient is not finite"));
  EXPECT_THAT(saved, ::testing::ElementsAre(2));  // the bad step saves nothing
  for (const auto& [name, weight] : run.optimizer->Weights()) {
    EXPECT_TRUE(weight.isfinite().all().item<bool>()) << name;
  }
}

TEST_F(TrainerTest, SkipsAndCountsOnRequest) {
  TrainConfig config = TinyTraining(6);
  config.on_nonfinite = "skip";
  config.max_skipped_steps = 2;
  config.log_every = 1;
  TinyRun run(data_, config);
  SpoiledObjective objective(*run.objective, {1, 3});
  Trainer(config, objective, *run.data, *run.optimizer, nullptr, at::kCPU)
      .Run(run.state, run.hooks);
  EXPECT_EQ(run.state.skipped_steps, 2);
  EXPECT_EQ(run.optimizer->num_updates(), 4);
  // Rows of single steps: a skipped one has no loss, the others have that of their own targets.
  ASSERT_EQ(run.losses.size(), 6U);
  for (size_t step = 0; step < run.losses.size(); ++step) {
    EXPECT_EQ(std::isfinite(run.losses[step]), step != 1 && step != 3) << step;
  }
  TrainConfig one_row = config;
  one_row.log_every = 6;
  TinyRun rare(data_, one_row);
  SpoiledObjective same(*rare.objective, {1, 3});
  Trainer(one_row, same, *rare.data, *rare.optimizer, nullptr, at::kCPU)
      .Run(rare.state, rare.hooks);
  double mean = 0.0;
  for (const size_t step : {0U, 2U, 4U, 5U}) mean += run.losses[step] / 4.0;
  ASSERT_EQ(rare.losses.size(), 1U);
  EXPECT_NEAR(rare.losses[0], mean, 1e-9);

  TinyRun worse(data_, config);
  SpoiledObjective spoiled(*worse.objective, {1, 3, 4});
  Trainer trainer(config, spoiled, *worse.data, *worse.optimizer, nullptr, at::kCPU);
  EXPECT_THAT(ErrorOf([&] { trainer.Run(worse.state, worse.hooks); }),
              HasSubstr("more than train.max_skipped_steps"));
}

// Every signal of the documentation; each in a process of its own, for the request stays pending.
class TrainerSignalTest : public TrainerTest, public ::testing::WithParamInterface<int> {};

TEST_P(TrainerSignalTest, SavesAndLeaves) {
  const int signal_number = GetParam();
  GTEST_FLAG_SET(death_test_style, "threadsafe");  // a fork could not use a GPU in use
  EXPECT_EXIT(
      {
        at::set_num_threads(1);
        WatchSignals();
        TinyRun run(data_, TinyTraining(50));
        int64_t saved = 0;
        run.hooks.log = [&](const TrainState& s, const TrainProgress&) {
          if (s.step == 4) std::raise(signal_number);
        };
        run.hooks.save = [&](const TrainState& s) { saved = s.step; };
        try {
          run.Train();
        } catch (const Interrupted& interrupted) {
          std::exit(saved == 5 ? interrupted.exit_code() : 99);
        }
        std::exit(98);
      },
      ::testing::ExitedWithCode(128 + signal_number), "");
}

INSTANTIATE_TEST_SUITE_P(Signals, TrainerSignalTest, ::testing::Values(SIGINT, SIGTERM, SIGUSR1));

TEST(TrainState, RoundTripsThroughJson) {
  TrainState state;
  state.step = 12;
  state.tokens = 345;
  state.seconds = 0.1 + 0.2;
  state.skipped_steps = 1;
  state.best_valid_loss = 1.0 / 3.0;
  state.loss_sum = 2.0 / 3.0;
  state.loss_targets = 7;
  const TrainState back = TrainState::FromJson(ParseJson(state.ToJson().dump(), "x"), "x");
  EXPECT_EQ(back.step, 12);
  EXPECT_EQ(back.tokens, 345);
  EXPECT_EQ(back.seconds, state.seconds);
  EXPECT_EQ(back.skipped_steps, 1);
  EXPECT_EQ(back.best_valid_loss, state.best_valid_loss);
  EXPECT_EQ(back.loss_sum, state.loss_sum);
  EXPECT_EQ(back.loss_targets, 7);
  EXPECT_THAT(ErrorOf([] { TrainState::FromJson(ParseJson("{\"step\": 1}", "s.json"), "s.json"); }),
              HasSubstr("3: s.json: tokens: must be a number"));
}

}  // namespace
}  // namespace ckv
