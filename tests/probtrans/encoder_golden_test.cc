// Encoders against recorded outputs of the published implementation: every folder under
// `CKV_GOLDENS`/pt. Prints the worst error of each, as a share of its tolerance.
#include <cstdio>

#include <gtest/gtest.h>

#include "ckpt/weights.h"
#include "tests/probtrans/reference_case.h"

namespace ckv {
namespace {

class EncoderGoldenTest : public ::testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    golden_ = std::make_unique<ReferenceCase>(GetParam());
    if (golden_->kind() != "encoder" && golden_->kind() != "baseline") {
      GTEST_SKIP() << "a case of a task, not of an encoder alone";
    }
  }

  void Run(at::ScalarType type, const std::string& pairs);

  std::unique_ptr<ReferenceCase> golden_;
};

// The number at the end of "h_prob.3".
size_t IterationOf(const std::string& name) {
  return static_cast<size_t>(std::stoul(name.substr(name.rfind('.') + 1)));
}

bool StartsWith(const std::string& name, const char* start) { return name.rfind(start, 0) == 0; }

void EncoderGoldenTest::Run(at::ScalarType type, const std::string& pairs) {
  const ReferenceCase& golden = *golden_;
  std::unique_ptr<SentenceEncoder> encoder;
  if (golden.kind() == "baseline") {
    encoder = golden.MakeEncoder();
  } else {
    ProbTransConfig config = ReferenceConfig(golden.meta());
    config.pairs = pairs;
    EXPECT_EQ(config.NumParameters(), golden.meta().at("parameters").get<int64_t>());
    encoder = std::make_unique<MeanFieldEncoder>(config);
  }
  golden.LoadInto(*encoder);
  encoder->to(type);
  encoder->eval();
  int64_t parameters = 0;
  for (const Tensor& parameter : encoder->parameters()) parameters += parameter.numel();
  EXPECT_EQ(parameters, golden.meta().at("parameters").get<int64_t>());

  const Tensor x = golden.Read("x").to(type).set_requires_grad(true);
  const Tensor mask = golden.Read("mask").to(at::kBool);
  InferenceTrace trace;
  const EncodedSentences encoded = encoder->Encode(x, mask, &trace);
  const bool reads_root = golden.meta().at("options").value("output_root", false);
  const Tensor out = reads_root ? encoded.root.unsqueeze(1) : encoded.words;
  const Tensor words = mask.unsqueeze(2).to(at::kDouble);
  const Tensor probe = golden.Read("probe").to(type);
  const Tensor loss = reads_root ? (out * probe).sum() : (out * probe * words.to(type)).sum();
  loss.backward();

  const int64_t n = x.size(1);
  Tensor pairs_of_words = mask.unsqueeze(1).unsqueeze(3) & mask.unsqueeze(1).unsqueeze(2) &
                          at::eye(n, at::kBool).logical_not();  // [B, 1, n, n]
  double worst = 0.0;
  int compared = 0;
  for (const std::string& name : golden.WantedNames()) {
    Tensor got, defined;
    if (name == "out") {
      got = out;
      if (!reads_root) defined = words;
    } else if (name == "loss") {
      got = loss.unsqueeze(0);
    } else if (name == "score_norm") {
      got = encoder->ScoreNorm().unsqueeze(0);
    } else if (name == "grad.x") {
      got = x.grad();
    } else if (StartsWith(name, "grad.")) {
      got = encoder->named_parameters()[name.substr(5)].grad();
    } else if (StartsWith(name, "z_prob.")) {
      got = trace.label_probs.at(IterationOf(name));
      defined = words;
    } else if (StartsWith(name, "z_score.")) {
      got = trace.label_scores.at(IterationOf(name) - 1);
      defined = words;
    } else if (StartsWith(name, "root_score.")) {
      got = trace.root_scores.at(IterationOf(name) - 1);
    } else if (StartsWith(name, "h_prob.")) {
      got = trace.head_probs.at(IterationOf(name) - 1);
      const int64_t columns = golden.Want(name).size(3);
      if (got.size(3) < columns) {  // globals of their own softmax stand behind the words
        got = at::cat({got, trace.global_probs.at(IterationOf(name) - 1)}, 3);
      }
      const Tensor row = mask.unsqueeze(1).unsqueeze(3);
      const bool root = !trace.root_scores.empty();
      std::vector<Tensor> parts = {pairs_of_words};
      if (root) parts.insert(parts.begin(), row);
      const int64_t rest = columns - n - (root ? 1 : 0);
      if (rest > 0) parts.push_back(row.expand({-1, -1, -1, rest}));
      defined = at::cat(parts, 3);
    } else {
      ADD_FAILURE() << golden.name() << ": no idea what " << name << " is";
      continue;
    }
    ASSERT_TRUE(got.defined()) << name;
    worst = std::max(worst, golden.Compare(name, got.detach(), defined, type));
    ++compared;
  }
  EXPECT_GE(compared, 4);
  std::printf("  %-22s %-7s %-6s %2d tensors, worst %.1e of the tolerance\n", golden.name().c_str(),
              type == at::kDouble ? "fp64" : "fp32", pairs.c_str(), compared, worst);
}

TEST_P(EncoderGoldenTest, DoublePrecision) { Run(at::kDouble, "gather"); }
TEST_P(EncoderGoldenTest, DoublePrecisionDense) { Run(at::kDouble, "dense"); }
TEST_P(EncoderGoldenTest, DoublePrecisionBand) { Run(at::kDouble, "band"); }
TEST_P(EncoderGoldenTest, SinglePrecision) { Run(at::kFloat, "auto"); }

INSTANTIATE_TEST_SUITE_P(Goldens, EncoderGoldenTest, ::testing::ValuesIn(ReferenceCases()),
                         [](const auto& one) { return one.param; });
GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(EncoderGoldenTest);

}  // namespace
}  // namespace ckv
