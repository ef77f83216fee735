#include "app/sweep_facts.h"

#include <algorithm>

#include "base/error.h"
#include "sharing/cost.h"
#include "sharing/plan.h"

namespace ckv {
namespace {

constexpr int64_t kBytesOfBf16 = 2;

}  // namespace

int64_t PointDescriber::VocabularyOf(const TrainRun& run) {
  if (run.model.vocab_size > 0) return run.model.vocab_size;
  const std::string path =
      run.tokenizer.empty() ? run.data.TrainDatasets().front().path : run.tokenizer;
  const auto known = vocabularies_.find(path);
  if (known != vocabularies_.end()) return known->second;
  int64_t size = 0;
  try {
    size = LoadTokenizer(path)->vocab_size();
  } catch (const Error&) {  // training says what is wrong; a dry run needs no data
    vocabulary_known_ = false;
  }
  vocabularies_[path] = size;
  return size;
}

PointFacts PointDescriber::Describe(const std::vector<std::string>& sets) {
  ConfigValue tree = tree_;
  for (const std::string& item : sets) ApplySet(tree, item);
  const TrainRun run = ReadTrainRun(tree, config_);
  PointFacts facts;
  facts.config = KeysThatCount(run);
  const KvSharingSpec& sharing = run.model.sharing();
  facts.kv_sharing = sharing.ToString();
  ModelShape shape = run.model.Shape();
  shape.vocab = std::max<int64_t>(1, VocabularyOf(run));
  facts.parameters = static_cast<double>(CountParams(sharing, shape).total());
  facts.tokens = static_cast<double>(run.train.steps) *
                 static_cast<double>(run.train.batch_size * run.data.seq_len);
  const IterationPlan plan(sharing, run.model.forward_passes, run.model.backward_passes);
  facts.train_flops = CountTrainFlops(plan, shape, run.data.seq_len).passes * facts.tokens;
  const DecodeCost step =
      CountDecode(sharing, shape, run.data.seq_len, 1, kBytesOfBf16, kBytesOfBf16);
  facts.kv_resident_bytes = static_cast<double>(KvBytesPerToken(sharing, shape, kBytesOfBf16));
  facts.kv_written_bytes = step.kv_write_bytes;
  facts.kv_read_bytes = step.kv_read_bytes;
  return facts;
}

}  // namespace ckv
