#include "train/data_parallel.h"

#include <limits>
#include <memory>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "sharing/dist_cost.h"
#include "tests/dist/parallel_run.h"
#include "tests/dist/ranks.h"
#include "tests/tensors.h"

namespace ckv {
namespace {

using ::testing::HasSubstr;

struct Case {
  const char* sharing;
  int64_t stage;
};

void PrintTo(const Case& c, std::ostream* out) { *out << c.sharing << " ZeRO-" << c.stage; }

class DataParallelTest : public ::testing::Test {
 protected:
  void SetUp() override {
    CKV_NEEDS_GLOO();
    at::set_num_threads(1);
    WriteTinyDataset(data_, 2000);
  }

  // Trains on `world` ranks (0: alone) and leaves weights, losses and norms of rank 0 at `name`.
  void Train(int world, const std::string& name, const ParallelRunOptions& options,
             const std::function<void(ParallelRun&, CommGroup*)>& after = {}) {
    ExpectRanks(world, [&](CommGroup* group) {
      ParallelRun run(group, data_, options);
      run.Train();
      if (after) after(run, group);
      const NamedTensors weights = run.WholeWeights();
      if (group != nullptr && group->rank() != 0) return;
      WriteTensors(dir_.File(name), weights);
      Json json = {{"losses", run.losses}, {"norms", run.norms}, {"tokens", run.state.tokens}};
      WriteFileAtomically(dir_.File(name + ".json"), json.dump());
    });
  }

  void ExpectSame(const std::string& one, const std::string& other, double tolerance) {
    ASSERT_TRUE(FileExists(dir_.File(one)) && FileExists(dir_.File(other)));
    const TensorFile a(dir_.File(one));
    const TensorFile b(dir_.File(other));
    for (const SafetensorsEntry& entry : a.header().entries()) {
      EXPECT_LE(MaxAbsDiff(a.Read(entry.name), b.Read(entry.name)), tolerance) << entry.name;
    }
    const Json x = ReadJsonFile(dir_.File(one + ".json"));
    const Json y = ReadJsonFile(dir_.File(other + ".json"));
    EXPECT_EQ(x["tokens"], y["tokens"]);
    for (const char* key : {"losses", "norms"}) {
      ASSERT_EQ(x[key].size(), y[key].size());
      for (size_t i = 0; i < x[key].size(); ++i) {
        EXPECT_NEAR(x[key][i].get<double>(), y[key][i].get<double>(), std::max(tolerance, 0.0))
            << key << " " << i;
      }
    }
  }

  TempDir dir_;
  std::string data_ = dir_.File("data");
};

class EqualToOneRankTest : public DataParallelTest, public ::testing::WithParamInterface<Case> {};

// fp64: what is left is the order of sums.
TEST_P(EqualToOneRankTest, AnyNumberOfRanksGivesLossesAndWeightsOfOne) {
  ParallelRunOptions options;
  options.sharing = GetParam().sharing;
  options.dist.zero = GetParam().stage;
  options.dist.bucket_mb = 0.01;  // several buckets
  options.train = ParallelTraining(6);
  Train(0, "alone", options);
  for (const int world : {1, 2, 3, 4}) {
    Train(world, "ranks", options);
    ExpectSame("alone", "ranks", 1e-10);
    RemoveAll(dir_.File("ranks"));
  }
}

// Plain, CLA, and sandwich-top with its iterative group, at every stage.
INSTANTIATE_TEST_SUITE_P(Layouts, EqualToOneRankTest,
                         ::testing::Values(Case{"0_1_2_3", 0}, Case{"0_0_2_2", 0},
                                           Case{"0_2_2_3", 0}, Case{"0_1_2_3", 1},
                                           Case{"0_2_2_3", 1}, Case{"0_0_2_2", 2},
                                           Case{"0_2_2_3", 2}, Case{"0_1_2_3", 3},
                                           Case{"0_0_2_2", 3}, Case{"0_2_2_3", 3}));

// Stage 3 brings a layer's weights around the fused operations, too.
TEST_F(DataParallelTest, FusedLayersGiveTheRunAlone) {
  for (const char* sharing : {"0_1_2_3", "0_0_2_2", "0_2_2_3", "0_3_3_3_4_5", "2/0_2/1_2_3"}) {
    for (const int64_t stage : {0, 3}) {
      ParallelRunOptions options;
      options.sharing = sharing;
      options.dist.zero = stage;
      options.dist.bucket_mb = 0.01;
      options.train = ParallelTraining(3);
      options.fusing = DecoderRun::Fusing::kAlways;
      Train(0, "alone", options);
      for (const int64_t checkpoint_layers : {0, 2}) {
        SCOPED_TRACE(Str(sharing, ", stage ", stage, ", checkpoints ", checkpoint_layers));
        options.train.checkpoint_layers = checkpoint_layers;
        Train(3, "ranks", options);
        ExpectSame("alone", "ranks", 1e-10);
      }
    }
  }
}

// In bf16 a rank computes what a process alone does for a micro-batch of the same rows, to the bit;
// norms are summed in another order.
TEST_F(DataParallelTest, RanksInBf16GiveTheMicroBatchesAlone) {
  for (const char* sharing : {"0_2_2_3", "0_3_3_3_4_5"}) {
    for (const int64_t checkpoint_layers : {0, 2}) {
      ParallelRunOptions options;
      options.sharing = sharing;
      options.type = at::kBFloat16;
      options.dist.bucket_mb = 0.01;
      options.train = ParallelTraining(4);
      options.train.optim.lr = 1e-3;
      options.train.log_every = 1;
      options.train.checkpoint_layers = checkpoint_layers;
      options.fusing = DecoderRun::Fusing::kAlways;
      options.train.micro_batch_size = 6;
      Train(0, "alone", options);
      options.train.micro_batch_size = 0;
      const Json alone = ReadJsonFile(dir_.File("alone.json"));
      for (const int64_t stage : {0, 1, 2, 3}) {
        SCOPED_TRACE(Str(sharing, ", stage ", stage, ", checkpoints ", checkpoint_layers));
        options.dist.zero = stage;
        Train(2, "ranks", options);
        const Json ranks = ReadJsonFile(dir_.File("ranks.json"));
        EXPECT_EQ(alone["losses"], ranks["losses"]);
        ASSERT_EQ(alone["norms"].size(), ranks["norms"].size());
        for (size_t i = 0; i < alone["norms"].size(); ++i) {
          EXPECT_NEAR(ranks["norms"][i].get<double>() / alone["norms"][i].get<double>(), 1.0, 1e-5);
        }
      }
    }
  }
}

// Also where rows do not divide evenly over ranks and micro-batches, documents leave out targets,
// and activations are computed again.
TEST_F(DataParallelTest, AccumulationUnevenRanksAndCheckpointingChangeNothing) {
  for (const int64_t stage : {0, 1, 2, 3}) {
    ParallelRunOptions options;
    options.dist.zero = stage;
    options.dist.bucket_mb = 0.01;
    options.train = ParallelTraining(4);
    options.reset_attention = true;
    Train(0, "alone", options);
    options.train.micro_batch_size = 2;
    options.train.checkpoint_layers = 3;
    for (const int world : {2, 4, 5}) {
      Train(world, "ranks", options);
      ExpectSame("alone", "ranks", 1e-10);
    }
  }
}

TEST_F(DataParallelTest, AdaptersOfFrozenWeights) {
  for (const int64_t stage : {0, 1, 2}) {
    ParallelRunOptions options;
    options.dist.zero = stage;
    options.dist.bucket_mb = 0.001;
    options.train = ParallelTraining(5);
    options.lora.rank = 2;
    options.lora.targets = {"q_proj", "v_proj", "down_proj"};
    Train(0, "alone", options);
    EXPECT_EQ(TensorFile(dir_.File("alone")).header().entries().size(), 2u * (4 + 3 + 4));
    options.train.checkpoint_layers = 2;
    for (const int world : {2, 3}) {
      Train(world, "ranks", options);
      ExpectSame("alone", "ranks", 1e-10);
    }
  }
}

TEST_F(DataParallelTest, MoreRanksThanRows) {
  ParallelRunOptions options;
  options.train = ParallelTraining(3);
  options.train.batch_size = 3;
  Train(0, "alone", options);
  Train(4, "ranks", options);
  ExpectSame("alone", "ranks", 1e-10);
}

// Two runs of the same ranks are the same run: no sum depends on who comes first.
TEST_F(DataParallelTest, TheSameRanksGiveTheSameBits) {
  for (const int64_t stage : {0, 2, 3}) {
    ParallelRunOptions options;
    options.dist.zero = stage;
    options.dist.bucket_mb = 0.005;
    options.type = at::kFloat;
    options.train = ParallelTraining(5);
    Train(3, "one", options);
    Train(3, "other", options);
    ExpectSame("one", "other", 0.0);
  }
}

TEST_F(DataParallelTest, SumsInBf16AreCloseAndNotEqual) {
  ParallelRunOptions options;
  options.type = at::kFloat;
  options.train = ParallelTraining(2);
  options.train.optim.lr = 1e-3;
  Train(0, "alone", options);
  options.dist.reduce = "bf16";
  for (const int64_t stage : {0, 2}) {
    options.dist.zero = stage;
    Train(2, "ranks", options);
    const TensorFile a(dir_.File("alone"));
    const TensorFile b(dir_.File("ranks"));
    double worst = 0.0;
    for (const SafetensorsEntry& entry : a.header().entries()) {
      worst = std::max(worst, MaxAbsDiff(a.Read(entry.name), b.Read(entry.name)));
    }
    EXPECT_GT(worst, 0.0);
    EXPECT_LT(worst, 5e-3);  // two steps of 1e-3, where a gradient of about 0 may change its sign
  }
}

// bf16 weights with fp32 masters, which only their owner has.
TEST_F(DataParallelTest, LowPrecisionWeightsAgreeOnAllRanks) {
  ParallelRunOptions options;
  options.type = at::kBFloat16;
  options.train = ParallelTraining(4);
  Train(0, "alone", options);
  for (const int64_t stage : {1, 3}) {
    options.dist.zero = stage;
    Train(3, "ranks", options);
    const Json x = ReadJsonFile(dir_.File("alone.json"))["losses"];
    const Json y = ReadJsonFile(dir_.File("ranks.json"))["losses"];
    for (size_t i = 0; i < x.size(); ++i) {
      EXPECT_NEAR(x[i].get<double>(), y[i].get<double>(), 0.02);
    }
  }
}

// 2 gathers a micro-batch, of the unit of three iterated layers as of a single one, and never more
// at a time than one that computes, one that comes and one whose gradients are not sent yet.
TEST_F(DataParallelTest, Stage3GathersAUnitOnceForAllItsPasses) {
  using Fusing = DecoderRun::Fusing;
  for (const auto& [recompute, fusing] : {std::pair(0, Fusing::kNever),
                                          {2, Fusing::kNever},
                                          {0, Fusing::kAlways},
                                          {2, Fusing::kAlways}}) {
    ParallelRunOptions options;
    options.fusing = fusing;
    options.sharing = "0_3_3_3_4_5";
    options.dist.zero = 3;
    options.train = ParallelTraining(1);
    options.train.micro_batch_size = 3;
    options.train.checkpoint_layers = recompute;
    Train(2, "ranks", options, [](ParallelRun& run, CommGroup* group) {
      const auto bytes = [&](const std::string& part) {
        int64_t total = 0;
        for (const auto& [name, parameter] : run.parallel->parameters()) {
          if (name.find(part) != std::string::npos) total += parameter.numel() * 8;
        }
        return total;
      };
      // Layers 0, 1-3, 4, 5, of which 5 stays from forward to backward; two micro-batches; the rest
      // once, after the step.
      CKV_EXPECT_IN_RANK(run.parallel->num_gathers() == 2 * (4 + 3) + 1);
      const int64_t all = bytes("");
      const int64_t layers = bytes("model.layers.");
      CKV_EXPECT_IN_RANK(run.parallel->gathered_bytes_peak() < all);
      const int64_t group_of_layers = bytes("layers.1.") + bytes("layers.2.") + bytes("layers.3.");
      const int64_t padding = 16 * 8 * 80;
      CKV_EXPECT_IN_RANK(run.parallel->gathered_bytes_peak() <= all - layers + group_of_layers +
                                                                    bytes("layers.0.") +
                                                                    bytes("layers.4.") + padding);
      CKV_EXPECT_IN_RANK(group->traffic().scattered > 0 && group->traffic().gathered > 0);
    });
  }
}

int64_t ResidentBytes(const std::string& key) {
  const std::string status = ReadFile("/proc/self/status");
  return std::stoll(status.substr(status.find(key + ":") + key.size() + 1)) * 1024;
}

// Weights are drawn and shared out one parameter at a time: no rank ever holds the model.
TEST_F(DataParallelTest, Stage3NeverHoldsAllWeightsWhileItIsBuilt) {
  ExpectRanks(4, [&](CommGroup* group) {
    DecoderConfig config = TinyConfig("0*12");
    config.hidden_size = 768;
    config.intermediate_size = 2048;
    Decoder decoder(config);
    const NamedTensors parameters = NamedParameters(*decoder);
    int64_t all = 0;
    for (const auto& item : parameters) all += item.second.numel() * 4;
    const int64_t before = ResidentBytes("VmRSS");
    DataParallel::Options options;
    options.config.zero = 3;
    options.unit_of_layer = UnitsOfLayers({{0, 12, false}});
    DecoderInitializer initializer(config, 3);
    options.fill = [&](size_t i) { initializer.Fill(parameters[i].first, parameters[i].second); };
    const DataParallel parallel(*group, parameters, options);
    // A quarter of the weights and of their gradients, a layer or two, what the allocator keeps,
    // and pages of libraries that are used for the first time: about 0.7 to 1. The whole beside
    // them would add 1.
    const int64_t peak = ResidentBytes("VmHWM") - before;
    CKV_CHECK(peak < all * 13 / 10, "a peak of ", peak, " bytes for ", all, " bytes of weights");
    // The weights are those that a process alone draws.
    Decoder whole(config);
    whole->InitializeWeights(3);
    const NamedTensors want = NamedParameters(*whole);
    for (size_t i = 0; i < parallel.owned().size(); ++i) {
      const Tensor mine = parallel.SliceOfWhole(i, want[parallel.ParameterOf(i)].second);
      CKV_EXPECT_IN_RANK(at::equal(parallel.owned()[i].second, mine));
    }
  });
}

// What the cost model counts is what is sent; what remains are paddings and the few numbers that
// ranks agree on.
TEST_F(DataParallelTest, TrafficIsThatOfTheCostModel) {
  using Fusing = DecoderRun::Fusing;
  for (const char* sharing : {"0_1_2_3", "0_2_2_3", "0_3_3_3_4_5"}) {
    for (const int64_t stage : {0, 1, 2, 3}) {
      for (const auto& [world, fusing] : {std::pair(2, Fusing::kAlways), {3, Fusing::kNever}}) {
        SCOPED_TRACE(Str(sharing, ", stage ", stage, ", ranks ", world));
        constexpr int64_t kSteps = 3;
        ParallelRunOptions options;
        options.sharing = sharing;
        options.dist.zero = stage;
        options.fusing = fusing;
        options.train = ParallelTraining(kSteps);
        options.train.micro_batch_size = 2;
        const IterationPlan plan(KvSharingSpec::Parse(sharing), 2, 2);
        ClusterShape cluster;
        cluster.gpus = world;
        DistStep step;
        step.stage = stage;
        step.batch = options.train.batch_size;
        step.micro_rows = 2;
        step.weight_bytes = step.wire_bytes = 8;
        DecoderConfig config = TinyConfig(sharing);
        const DistCost cost = CountDistCost(plan, config.Shape(), cluster, step);
        EXPECT_EQ(cost.micro_batches, options.train.MicroBatchesOf(world));
        Train(world, "ranks", options, [&](ParallelRun& run, CommGroup* group) {
          const auto near = [](int64_t bytes, double expected) {
            const double numbers = 300.0;
            const double measured = static_cast<double>(bytes) / static_cast<double>(kSteps);
            return measured >= expected * 0.999 && measured <= expected * 1.02 + numbers;
          };
          const CommGroup::Traffic& traffic = group->traffic();
          CKV_EXPECT_IN_RANK(near(traffic.summed, cost.summed_bytes));
          CKV_EXPECT_IN_RANK(near(traffic.scattered, cost.scattered_bytes));
          CKV_EXPECT_IN_RANK(near(traffic.gathered, cost.gathered_bytes));
          CKV_EXPECT_IN_RANK(run.state.step == kSteps);
        });
      }
    }
  }
}

TEST_F(DataParallelTest, StagesHoldLessState) {
  std::vector<int64_t> bytes;
  for (const int64_t stage : {0, 1}) {
    ParallelRunOptions options;
    options.dist.zero = stage;
    options.train = ParallelTraining(1);
    Train(4, "ranks", options, [&](ParallelRun& run, CommGroup* group) {
      if (group->root()) {
        WriteFileAtomically(dir_.File("bytes"), std::to_string(run.optimizer->bytes()));
      }
    });
    bytes.push_back(std::stoll(ReadFile(dir_.File("bytes"))));
  }
  EXPECT_LT(bytes[1], bytes[0] * 0.3);
}

// An objective whose loss is not finite on one rank at one step.
class BrokenOnOneRank : public Objective {
 public:
  BrokenOnOneRank(Objective& inner, bool broken) : inner_(inner), broken_(broken) {}
  Tensor LossSum(const Batch& batch, int64_t step) override {
    const Tensor loss = inner_.LossSum(batch, step);
    return broken_ && step == 2 ? loss * std::numeric_limits<double>::quiet_NaN() : loss;
  }
  torch::nn::Module& module() override { return inner_.module(); }
  double ModelFlopsPerToken(int64_t n) const override { return inner_.ModelFlopsPerToken(n); }
  double RunFlopsPerToken(int64_t n, int64_t step) const override {
    return inner_.RunFlopsPerToken(n, step);
  }

 private:
  Objective& inner_;
  bool broken_;
};

TEST_F(DataParallelTest, NanOnOneRankStopsAll) {
  for (const int64_t stage : {0, 2, 3}) {
    const std::vector<RankEnd> ends = RunRanks(3, [&](CommGroup* group) {
      ParallelRunOptions options;
      options.dist.zero = stage;
      options.train = ParallelTraining(5);
      ParallelRun run(group, data_, options);
      BrokenOnOneRank objective(*run.objective, group->rank() == 1);
      run.Train(&objective);
    });
    for (const RankEnd& end : ends) {
      EXPECT_EQ(end.exit_code, kExitDiverged);
      EXPECT_THAT(end.message, HasSubstr("step 3: the loss or a gradient is not finite"));
    }
  }
}

TEST_F(DataParallelTest, ASkippedStepIsSkippedByAll) {
  ExpectRanks(2, [&](CommGroup* group) {
    ParallelRunOptions options;
    options.dist.zero = 1;
    options.train = ParallelTraining(5);
    options.train.on_nonfinite = "skip";
    ParallelRun run(group, data_, options);
    BrokenOnOneRank objective(*run.objective, group->rank() == 1);
    run.Train(&objective);
    CKV_EXPECT_IN_RANK(run.state.skipped_steps == 1 && run.state.step == 5);
    CKV_EXPECT_IN_RANK(run.optimizer->num_updates() == 4);
  });
}

// Each sample once, whatever the number of ranks of each part of the run.
TEST_F(DataParallelTest, AnotherNumberOfRanksGoesOnWithTheNextSample) {
  DataConfig config;
  config.train = ConfigValue::Scalar(data_);
  config.seq_len = 10;
  const auto rows_of = [&](int world, const Json* state, int64_t calls, Json* end) {
    std::vector<std::vector<int64_t>> rows;
    std::vector<std::unique_ptr<DataSource>> ranks;
    for (int rank = 0; rank < world; ++rank) {
      ranks.push_back(MakeTrainSource(config, {0, kTinyVocab}, {1, rank, world, 7}));
      if (state != nullptr) ranks.back()->Restore(*state);
    }
    for (int64_t call = 0; call < calls; ++call) {
      for (const auto& rank : ranks) {
        TokenBatch batch;
        EXPECT_TRUE(rank->Next(&batch));
        for (int64_t r = 0; r < batch.rows; ++r) {
          const auto begin = batch.tokens.begin() + r * batch.cols;
          if (batch.targets[static_cast<size_t>(r * batch.cols)] == kIgnoreTarget) continue;
          rows.emplace_back(begin, begin + batch.cols);
        }
      }
    }
    if (end != nullptr) *end = ranks.back()->State();
    return rows;
  };
  const auto whole = rows_of(1, nullptr, 6, nullptr);
  Json state;
  auto parts = rows_of(3, nullptr, 2, &state);
  Json later;
  for (const auto& row : rows_of(9, &state, 1, &later)) parts.push_back(row);
  for (const auto& row : rows_of(2, &later, 3, nullptr)) parts.push_back(row);
  EXPECT_EQ(parts, whole);
}

}  // namespace
}  // namespace ckv
