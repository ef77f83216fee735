#include "sharing/plan.h"

#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "base/json.h"
#include "sharing/presets.h"
#include "tests/goldens.h"
#include "tests/sharing/random_spec.h"
#include "tests/temp_dir.h"

namespace ckv {
namespace {

using ::testing::HasSubstr;

TEST(IterationPlan, EqualsEveryAcceptedRow) {
  const std::string path = JoinPath(GoldensRoot(), "kv/plans.json");
  if (!FileExists(path)) GTEST_SKIP() << "no kv/plans.json";
  const Json document = ReadJsonFile(path);
  ASSERT_FALSE(document.at("accepted").empty());
  for (const Json& row : document.at("accepted")) {
    const std::string text = row.at("layer_types");
    SCOPED_TRACE(text);
    const KvSharingSpec spec = KvSharingSpec::ParseLayerTypes(text, row.at("num_hidden_layers"));
    EXPECT_EQ(KvSharingSpec::Parse(text), spec);
    EXPECT_EQ(row.at("kv_owner_layers"), Json(spec.kv_layers()));
    Json above = Json::array();
    Json windows = Json::array();
    Json sources = Json::array();
    for (int i = 0; i < spec.num_layers(); ++i) {
      sources.push_back(spec.k_source(i));
      if (spec.looks_up(i)) above.push_back(i);
      if (spec.windowed(i)) windows.push_back(i);
    }
    EXPECT_EQ(row.at("attends_to"), sources);
    EXPECT_EQ(row.at("attends_above_layers"), above);
    EXPECT_EQ(row.at("sliding_window_layers"), windows);

    const IterationPlan plan(spec, row.at("forward_passes"), row.at("backward_passes"));
    Json groups = Json::array();
    for (const LayerGroup& group : plan.groups()) {
      groups.push_back({{"start", group.start},
                        {"stop", group.stop},
                        {"kind", group.iterative ? "iterative" : "normal"},
                        {"forward_only_passes", group.forward_only_passes},
                        {"gradient_passes", group.gradient_passes},
                        {"total_passes", group.total()}});
    }
    EXPECT_EQ(row.at("plan"), groups);
    EXPECT_EQ(row.at("plan_steps"), plan.num_steps());
    EXPECT_EQ(plan.Steps().size(), static_cast<size_t>(plan.num_steps()));
  }
}

TEST(IterationPlan, ZeroGradientPassesActAsOne) {
  const IterationPlan plan(KvSharingSpec::Parse("1_1"), 3, 0);
  EXPECT_EQ(plan.groups()[0].gradient_passes, 1);
  EXPECT_EQ(plan.max_passes(), 4);
  EXPECT_EQ(IterationPlan(KvSharingSpec::Parse("0_0"), 3, 2).max_passes(), 1);
}

TEST(IterationPlan, RefusesImpossiblePasses) {
  const KvSharingSpec spec(2);
  EXPECT_EQ(ErrorOf([&] { IterationPlan(spec, -1, 2, "a.yaml:3:4"); }),
            "2: a.yaml:3:4: 'forward_passes' is -1, but must be in 0 to 4096");
  EXPECT_THAT(ErrorOf([&] { IterationPlan(spec, 7, 4097); }), HasSubstr("'backward_passes'"));
}

TEST(IterationPlan, HigherSourceDecidesGroups) {
  const IterationPlan plan(KvSharingSpec::Parse("0_0/3_1_3_4"), 1, 1);
  ASSERT_EQ(plan.groups().size(), 3U);
  EXPECT_EQ(plan.groups()[1].start, 1);
  EXPECT_EQ(plan.groups()[1].stop, 4);
}

// "0:kv 1:kv-attn 2:kv." a layer, its projections, and what it leaves out: attention ("-attn"),
// all after the projections (".").
std::string Describe(const PassStep& step) {
  std::string text;
  for (const LayerWork& work : step.layers) {
    text += Str(text.empty() ? "" : " ", work.layer, ":", work.compute_k ? "k" : "",
                work.compute_v ? "v" : "",
                !work.body       ? "."
                : work.attention ? ""
                                 : "-attn");
  }
  return text;
}

std::vector<std::string> DescribeAll(const std::string& spec, int m, int b,
                                     const PlanOptions& options = {}) {
  std::vector<std::string> steps;
  for (const PassStep& step : IterationPlan(KvSharingSpec::Parse(spec), m, b).Steps(options)) {
    steps.push_back(Describe(step));
  }
  return steps;
}

TEST(IterationPlan, SandwichStopsAtTheSharedProjections) {
  EXPECT_THAT(DescribeAll("0_3*4_5", 1, 1),
              ::testing::ElementsAre("0:kv", "1:-attn 2:-attn 3:kv.", "1: 2: 3:kv", "4: 5:kv"));
}

TEST(IterationPlan, OnlyValuesDecideThatAttentionIsZero) {
  // Keys of zeros mix real values evenly; zero values give zeros whatever the keys.
  EXPECT_THAT(DescribeAll("0_2/0_2", 1, 1), ::testing::ElementsAre("0:kv", "1: 2:k.", "1: 2:kv"));
  EXPECT_THAT(DescribeAll("0_0/2_2", 1, 1),
              ::testing::ElementsAre("0:kv", "1:-attn 2:v.", "1: 2:kv"));
}

TEST(IterationPlan, CachedTokensKeepAttentionInTheFirstPass) {
  PlanOptions options;
  options.empty_past = false;
  EXPECT_THAT(DescribeAll("1_1", 1, 1, options), ::testing::ElementsAre("0: 1:kv.", "0: 1:kv"));
}

TEST(IterationPlan, AGuessIsOfWhatTheFirstPassReadsFromAbove) {
  PlanOptions options;
  options.start = KvStart::kGuess;
  const auto guesses = [&](const char* text, int64_t forward) {
    std::string all;
    const IterationPlan plan(KvSharingSpec::Parse(text), forward, 1);
    for (const PassStep& step : plan.Steps(options)) {
      EXPECT_TRUE(step.first || step.guesses.empty());
      for (const LayerWork& guess : step.guesses) {
        EXPECT_FALSE(guess.body || guess.attention);
        all += Str(guess.layer, guess.compute_k ? "k" : "", guess.compute_v ? "v" : "", " ");
      }
    }
    return all;
  };
  EXPECT_EQ(guesses("0_2_2_3", 2), "2kv ");
  EXPECT_EQ(guesses("0_2_2_3", 0), "2kv ");
  EXPECT_EQ(guesses("0_0_2", 2), "");
  EXPECT_EQ(guesses("2_2_2_5_5_5", 1), "2kv 5kv ");  // a group each
  EXPECT_EQ(guesses("2/0_1_2", 1), "2k ");           // values come from the layer itself
  EXPECT_EQ(guesses("1_2_2", 1), "1kv 2kv ");
  // Then the first pass attends.
  const IterationPlan plan(KvSharingSpec::Parse("1_1"), 1, 1);
  EXPECT_TRUE(plan.Steps(options).front().layers.front().attention);
  EXPECT_FALSE(plan.Steps().front().layers.front().attention);
}

TEST(IterationPlan, UnreadProjectionsOfEarlyPassesAreLeftOut) {
  // Layer 3 is read by the group above only.
  EXPECT_THAT(DescribeAll("0_4_2_0_4_3", 1, 1),
              ::testing::ElementsAre("0:kv", "1:-attn 2:kv 3: 4:kv.", "1: 2:kv 3:kv 4:kv", "5:"));
}

TEST(IterationPlan, AloneTheLastPositionGoesOnAboveTheTopmostOwner) {
  PlanOptions options;
  options.wanted = WantedOutput::kLastPosition;
  const std::vector<PassStep> steps =
      IterationPlan(KvSharingSpec::Parse("0_2_2_1"), 1, 1).Steps(options);
  ASSERT_EQ(steps.size(), 4U);
  EXPECT_FALSE(steps[1].layers.back().last_position);
  EXPECT_FALSE(steps[2].layers[0].last_position);
  EXPECT_TRUE(steps[2].layers[1].last_position);
  EXPECT_TRUE(steps[3].layers[0].last_position);
}

TEST(IterationPlan, WithoutOutputNothingRunsThatNoStoreNeeds) {
  PlanOptions options;
  options.wanted = WantedOutput::kNothing;
  EXPECT_THAT(DescribeAll("0_2_2_1", 1, 1, options),
              ::testing::ElementsAre("0:kv", "1:-attn 2:kv.", "1:kv 2:kv.", ""));
  EXPECT_THAT(DescribeAll("0_1*3", 1, 1, options), ::testing::ElementsAre("0:kv 1:kv."));
}

// Runs steps on symbols: every value is a hash of the expression that made it, so two schedules
// that agree here agree for all weights and inputs. Gradient enters as a mark on what is recorded.
class SymbolicRun {
 public:
  SymbolicRun(const IterationPlan& plan, bool empty_past)
      : plan_(plan),
        empty_past_(empty_past),
        keys_(static_cast<size_t>(plan.spec().num_layers()), kZeros),
        values_(keys_) {}

  void Run(const std::vector<PassStep>& steps) {
    uint64_t input = 0;
    uint64_t last_input = 0;
    for (const PassStep& step : steps) {
      if (step.first) {
        input = all_;
        last_input = last_;
      }
      all_ = input;
      last_ = last_input;
      for (const LayerWork& work : step.layers) RunLayer(work, step.grad);
    }
  }

  // Everything a caller can see: output and KVs.
  uint64_t Result() const {
    uint64_t result = Hash({7, all_, last_});
    for (size_t i = 0; i < keys_.size(); ++i) result = Hash({result, keys_[i], values_[i]});
    return result;
  }
  uint64_t Kvs() const {
    uint64_t result = 7;
    for (size_t i = 0; i < keys_.size(); ++i) result = Hash({result, keys_[i], values_[i]});
    return result;
  }
  uint64_t ResultAtLastPosition() const {
    uint64_t result = Hash({7, last_});
    for (size_t i = 0; i < keys_.size(); ++i) result = Hash({result, keys_[i], values_[i]});
    return result;
  }

 private:
  static constexpr uint64_t kZeros = 0;

  static uint64_t Hash(std::initializer_list<uint64_t> parts) {
    uint64_t hash = 0x1234567;
    for (const uint64_t part : parts) hash = MixBits(hash ^ MixBits(part + 1));
    return hash;
  }

  void RunLayer(const LayerWork& work, bool grad) {
    const KvSharingSpec& spec = plan_.spec();
    const uint64_t id = static_cast<uint64_t>(work.layer) * 2 + (grad ? 1 : 0);
    const size_t index = static_cast<size_t>(work.layer);
    if (work.compute_k) keys_[index] = Hash({1, id, all_});
    if (work.compute_v) values_[index] = Hash({2, id, all_});
    if (!work.body) return;
    const uint64_t keys = keys_[static_cast<size_t>(spec.k_source(work.layer))];
    const uint64_t values = values_[static_cast<size_t>(spec.v_source(work.layer))];
    const auto step = [&](uint64_t x) {
      const bool zeros = !work.attention || (empty_past_ && values == kZeros);
      const uint64_t attention = zeros ? kZeros : Hash({3, id, x, keys, values});
      return Hash({4, id, x, attention});
    };
    last_ = step(last_);
    all_ = work.last_position ? kNotComputed : step(all_);
  }

  static constexpr uint64_t kNotComputed = 0xdead;

  const IterationPlan& plan_;
  bool empty_past_;
  std::vector<uint64_t> keys_;
  std::vector<uint64_t> values_;
  uint64_t all_ = 1000;  // hidden states of all positions, and of the last one apart
  uint64_t last_ = 1000;
};

uint64_t ResultOf(const IterationPlan& plan, const std::vector<PassStep>& steps, bool empty_past) {
  SymbolicRun run(plan, empty_past);
  run.Run(steps);
  return run.Result();
}

// Calls `use` with every schedule that has one piece of work less.
template <typename Use>
void ForEachSmaller(const IterationPlan& plan, const std::vector<PassStep>& steps, Use use) {
  for (size_t s = 0; s < steps.size(); ++s) {
    const int start = plan.groups()[static_cast<size_t>(steps[s].group)].start;
    for (size_t l = 0; l < steps[s].layers.size(); ++l) {
      const LayerWork& work = steps[s].layers[l];
      const auto without = [&](auto change) {
        std::vector<PassStep> smaller = steps;
        change(&smaller[s].layers[l]);
        use(smaller, Str("step ", s, " layer ", work.layer));
      };
      // The KVs of a group's lowest layer are the same in each pass; see plan.h.
      const bool repeated = work.layer == start && steps[s].pass > 0;
      if (work.compute_k && !repeated) without([](LayerWork* w) { w->compute_k = false; });
      if (work.compute_v && !repeated) without([](LayerWork* w) { w->compute_v = false; });
      if (work.body && work.attention) without([](LayerWork* w) { w->attention = false; });
      if (work.body) without([](LayerWork* w) { w->body = false; });
      if (work.body || !repeated) {
        std::vector<PassStep> smaller = steps;
        smaller[s].layers.erase(smaller[s].layers.begin() + static_cast<std::ptrdiff_t>(l));
        use(smaller, Str("step ", s, " without layer ", work.layer));
      }
    }
  }
}

void ExpectExactAndComplete(const KvSharingSpec& spec, int m, int b, bool check_complete) {
  const IterationPlan plan(spec, m, b);
  for (const bool empty_past : {true, false}) {
    SCOPED_TRACE(Str(spec.ToString(), " m ", m, " b ", b, " empty past ", empty_past));
    PlanOptions everything;
    everything.exact_savings = false;
    everything.empty_past = empty_past;
    PlanOptions saving;
    saving.empty_past = empty_past;
    const uint64_t wanted = ResultOf(plan, plan.Steps(everything), empty_past);
    const std::vector<PassStep> steps = plan.Steps(saving);
    ASSERT_EQ(ResultOf(plan, steps, empty_past), wanted);

    PlanOptions last = saving;
    last.wanted = WantedOutput::kLastPosition;
    SymbolicRun full(plan, empty_past);
    full.Run(steps);
    SymbolicRun cut(plan, empty_past);
    cut.Run(plan.Steps(last));
    ASSERT_EQ(cut.ResultAtLastPosition(), full.ResultAtLastPosition());

    // A block of a prompt leaves the same KVs behind.
    PlanOptions nothing = saving;
    nothing.wanted = WantedOutput::kNothing;
    SymbolicRun silent(plan, empty_past);
    silent.Run(plan.Steps(nothing));
    ASSERT_EQ(silent.Kvs(), full.Kvs());

    if (!check_complete) continue;
    ForEachSmaller(plan, steps, [&](const std::vector<PassStep>& smaller, const std::string& what) {
      EXPECT_NE(ResultOf(plan, smaller, empty_past), wanted) << what << " is not needed";
    });
  }
}

TEST(IterationPlanSavings, ChangeNothingAndLeaveNothingForRandomSpecs) {
  Random random(2);
  for (int i = 0; i < 4000 && !::testing::Test::HasFailure(); ++i) {
    const KvSharingSpec spec = RandomSpec(random, 9);
    const int m = static_cast<int>(random.Below(4));
    const int b = static_cast<int>(random.Below(4));
    ExpectExactAndComplete(spec, m, b, /*check_complete=*/true);
  }
}

TEST(IterationPlanSavings, ChangeNothingForLargeRandomSpecs) {
  Random random(3);
  for (int i = 0; i < 2000 && !::testing::Test::HasFailure(); ++i) {
    ExpectExactAndComplete(RandomSpec(random, 40), 7, 2, /*check_complete=*/false);
  }
}

// Whatever number of passes is left out in the middle, the last one gives what a plan of that many
// passes gives.
TEST(IterationPlanSavings, LetAGroupEndAfterAnyPass) {
  Random random(6);
  for (int i = 0; i < 1000 && !::testing::Test::HasFailure(); ++i) {
    const KvSharingSpec spec = RandomSpec(random, 9);
    const IterationPlan plan(spec, 5, 1);
    PlanOptions options;
    for (const bool empty_past : {true, false}) {
      options.empty_past = empty_past;
      for (const int total : {2, 4}) {
        std::vector<PassStep> fewer;
        for (const PassStep& step : plan.Steps(options)) {
          if (step.last || step.pass < total - 1) fewer.push_back(step);
        }
        const IterationPlan short_plan(spec, total - 1, 1);
        PlanOptions everything;
        everything.exact_savings = false;
        everything.empty_past = empty_past;
        // Passes without gradient are marked alike in both.
        EXPECT_EQ(ResultOf(plan, fewer, empty_past),
                  ResultOf(short_plan, short_plan.Steps(everything), empty_past))
            << spec.ToString();
      }
    }
  }
}

TEST(IterationPlanSavings, ChangeNothingForNamedSpecs) {
  for (const char* text : {"5_2_2_4_4_5_6_6", "0_0_1_4_3_4", "0_10/0*10_11", "10/0*11",
                           "0_0/10*10_11", "1_0", "2_2_2_3_6_6_6_7", "1_2_3_4_5_5", "0_4s*4_5"}) {
    ExpectExactAndComplete(KvSharingSpec::Parse(text), 3, 2, /*check_complete=*/true);
  }
}

TEST(IterationPlanSavings, ChangeNothingForPresets) {
  for (const Preset& preset : Presets()) {
    for (const int layers : {2, 3, 8, 12, 22}) {
      std::map<std::string, std::string> params;
      for (const PresetParam& param : preset.params) {
        if (param.default_value == nullptr) params[param.key] = "1";
      }
      try {
        const PresetResult result = MakePreset(preset.name, layers, params);
        ExpectExactAndComplete(result.spec, 7, 2, /*check_complete=*/layers <= 12);
      } catch (const ConfigError&) {
        continue;  // presets_test.cc sees to these
      }
    }
  }
}

}  // namespace
}  // namespace ckv
