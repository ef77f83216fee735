// Streams through a sink cache against recorded outputs: the folders of `CKV_GOLDENS`/kv that have
// some. Prints the worst error of each.
#include <cstdio>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>
#include <torch/torch.h>

#include "base/json.h"
#include "ckpt/tensor_file.h"
#include "ckpt/weights.h"
#include "model/decoder.h"
#include "model/hf_config.h"
#include "tests/goldens.h"
#include "tests/tensors.h"

namespace ckv {
namespace {

std::vector<std::string> StreamingFolders() {
  std::vector<std::string> folders;
  for (const std::string& name : GoldenFolders("model.safetensors")) {
    if (name.rfind("streaming_", 0) == 0) folders.push_back(name);
  }
  return folders;
}

class StreamingGoldenTest : public ::testing::TestWithParam<std::string> {
 protected:
  StreamingGoldenTest()
      : folder_(JoinPath(JoinPath(GoldensRoot(), "kv"), GetParam())),
        io_(JoinPath(folder_, "io.safetensors")),
        meta_(ReadJsonFile(JoinPath(folder_, "meta.json"))) {
    const std::string path = JoinPath(folder_, "config.json");
    decoder_ = Decoder(FromHfConfig(ReadJsonFile(path), path));
    LoadWeights(TensorFiles::OpenModel(folder_), *decoder_);
    decoder_->eval();
    tolerance_ = meta_.at("tolerances").at("logits_atol").get<double>();
  }

  KvCache NewCache() {
    return decoder_->NewCache(1, 1,
                              SinkWindow{meta_.at("num_sink_tokens"), meta_.at("window_length")});
  }

  // Logits [T, V] after `first` tokens in one call and the others one by one.
  at::Tensor Stream(KvCache& cache, int64_t first) {
    const at::Tensor ids = io_.Read("stream_ids");
    DecoderRun run;
    run.cache = &cache;
    std::vector<at::Tensor> parts;
    for (int64_t at = 0; at < ids.size(1);) {
      const int64_t count = at == 0 ? first : 1;
      parts.push_back(decoder_->Hidden({ids.narrow(1, at, count), {}, {}}, run)[0]);
      at += count;
      lengths_.push_back(cache.HeldValues(decoder_->config().sharing().kv_layers()[0], 0).size(1));
    }
    return decoder_->Logits(at::cat(parts, 0));
  }

  void Compare(const char* what, const at::Tensor& got, const std::string& tensor) {
    const double error = MaxAbsDiff(got, io_.Read(tensor));
    std::printf("  %-22s %-24s error %.1e  tolerance %.0e\n", GetParam().c_str(), what, error,
                tolerance_);
    EXPECT_LE(error, tolerance_) << what;
  }

  at::NoGradGuard no_grad_;
  std::string folder_;
  TensorFile io_;
  Json meta_;
  Decoder decoder_{nullptr};
  double tolerance_ = 0.0;
  std::vector<int64_t> lengths_;  // cached tokens after each call
};

TEST_P(StreamingGoldenTest, TokenByToken) {
  KvCache cache = NewCache();
  const at::Tensor logits = Stream(cache, 1);
  Compare("stream_logits", logits, "stream_logits");
  const int64_t targets = logits.size(0) - 1;
  const at::Tensor next = io_.Read("stream_ids")[0].narrow(0, 1, targets);
  const at::Tensor nll = -logits.narrow(0, 0, targets).log_softmax(1).gather(1, next.unsqueeze(1));
  Compare("stream_nll", nll.squeeze(1), "stream_nll");
  EXPECT_TRUE(at::tensor(lengths_, at::kLong).equal(io_.Read("stream_cache_len").to(at::kLong)));
  for (const int layer : decoder_->config().sharing().kv_layers()) {
    Compare(Str("final_k.", layer).c_str(), cache.HeldKeys(layer, 0).unsqueeze(0),
            Str("final_k.", layer));
    Compare(Str("final_v.", layer).c_str(), cache.HeldValues(layer, 0).unsqueeze(0),
            Str("final_v.", layer));
  }
}

TEST_P(StreamingGoldenTest, AfterAPromptInOneCall) {
  int compared = 0;
  for (const int64_t prompt : {8, 24}) {  // the latter is longer than the window
    const std::string tensor = Str("prefill", prompt, "_stream_logits");
    if (!io_.Has(tensor)) continue;
    KvCache cache = NewCache();
    Compare(tensor.c_str(), Stream(cache, prompt), tensor);
    ++compared;
  }
  if (compared == 0) GTEST_SKIP() << "the folder records no prompts";
}

GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(StreamingGoldenTest);
INSTANTIATE_TEST_SUITE_P(Kv, StreamingGoldenTest, ::testing::ValuesIn(StreamingFolders()),
                         [](const auto& row) { return row.param; });

}  // namespace
}  // namespace ckv
