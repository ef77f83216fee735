#include "app/encoder_run.h"

#include <algorithm>
#include <iterator>
#include <map>
#include <utility>

#include "base/error.h"
#include "base/file.h"
#include "model/probtrans_encoder.h"
#include "record/run_dir.h"

namespace ckv {
namespace {

// Keys of decoders, and why an encoder has nothing of the kind.
const std::map<std::string, const char*>& DecoderKeys() {
  static constexpr char kNoCache[] = "it has no keys and values a layer that could be shared";
  static constexpr char kNoPasses[] =
      "its iterations are 'model.iterations'; no layer reads another";
  static constexpr char kNoOrder[] =
      "every word sees every other one; there is no causal order and no generation";
  static const std::map<std::string, const char*> keys = {
      {"kv_sharing", kNoCache},
      {"num_key_value_heads", kNoCache},
      {"sliding_window", kNoOrder},
      {"force_nodiag", "a word is never its own head anyway"},
      {"forward_passes", kNoPasses},
      {"backward_passes", kNoPasses},
      {"sequential", kNoOrder},
      {"attention_kernel", "its pair terms are 'model.pairs'"},
      {"rope", "distances are 'model.distance_cuts', not rotary positions"},
      {"max_position_embeddings", "sentences may be of any length"},
      {"bos_token_id", "sentences are lists of words without begin and end"},
      {"eos_token_id", "sentences are lists of words without begin and end"},
  };
  return keys;
}

void RefuseDecoderKeys(const ConfigValue& tree, const std::string& family) {
  const ConfigValue* model = tree.Find("model");
  if (model == nullptr || model->kind() != ConfigValue::Kind::kMap) return;
  for (const auto& [key, value] : model->entries()) {
    const auto found = DecoderKeys().find(key);
    if (found == DecoderKeys().end()) continue;
    throw ConfigError(
        value.key_origin().empty() ? value.origin() : value.key_origin(),
        Str("'model.", key, "' does not apply to the family ", family, ": ", found->second));
  }
}

void RefuseDecoderTraining(const ConfigValue& tree, const std::string& family) {
  const ConfigValue* train = tree.Find("train");
  if (train == nullptr || train->kind() != ConfigValue::Kind::kMap) return;
  for (const auto& [key, value] : train->entries()) {
    if (key != "lora") continue;
    throw ConfigError(value.key_origin().empty() ? value.origin() : value.key_origin(),
                      Str("'train.lora' does not apply to the family ", family,
                          ": adapters are for decoders, whose init_from they start from"));
  }
}

void CheckEncoderRun(const EncoderRun& run, const ConfigValue& tree) {
  const auto fail = [&tree](const char* key, const std::string& what) {
    throw ConfigError(OriginOf(tree, key), what);
  };
  const std::string& format = run.data.format.format;
  const auto needs = [&](bool holds, const char* formats) {
    if (holds) return;
    fail("data.format",
         Str("the task ", run.task, " needs 'data.format' ", formats, ", not ", format));
  };
  if (run.task == "tagging") needs(format == "conllu" || format == "conll", "conllu or conll");
  if (run.task == "cogs") needs(format == "cogs", "cogs");
  if (run.task == "classification") needs(format == "tsv" || format == "trees", "tsv or trees");
  if (run.data.train.empty()) fail("data.train", "'data.train' names no files to train on");
  if (run.data.valid.empty()) {
    fail("data.valid", "'data.valid' names no files: training stops by their score");
  }
  const bool probtrans = run.model.family == "probtrans";
  if (probtrans) run.model.probtrans.Check();
  if (run.task == "classification" && probtrans && run.model.probtrans.root_labels == 0) {
    fail("model.root_labels",
         "classification reads the root node: 'model.root_labels' must be above 0");
  }
  if (run.task != "classification" && probtrans && run.model.probtrans.root_labels > 0) {
    fail("model.root_labels", Str("'model.root_labels' is for classification; the task ", run.task,
                                  " reads words alone"));
  }
  if (run.model.tied && run.task != "mlm") {
    fail("model.tied", "'model.tied' needs the task mlm, whose classes are the words themselves");
  }
  if (run.train.score_norm > 0 && !probtrans) {
    fail("train.score_norm",
         "'train.score_norm' needs the family probtrans: the baseline has no "
         "ternary scores");
  }
  if (!run.data.test_format.empty() && run.task != "classification") {
    fail("data.test_format", "'data.test_format' is for the task classification");
  }
  if (run.data.format.tags == "bioes" && run.task != "tagging") {
    fail("data.tags", "'data.tags' is for the task tagging");
  }
}

}  // namespace

void EncoderModelConfig::Visit(ConfigVisitor& v) {
  v.Choice("family", family, {"probtrans", "transformer"},
           "Probabilistic Transformer, or the Transformer encoder it is compared with");
  v.Field("tied", tied, "masked words: the output layer is the embedding table");
  if (family == "probtrans") {
    probtrans.Visit(v);
  } else {
    transformer.Visit(v);
  }
}

std::shared_ptr<SentenceEncoder> EncoderModelConfig::MakeEncoder() const {
  if (family == "probtrans") return std::make_shared<MeanFieldEncoder>(probtrans);
  return std::make_shared<TransformerEncoder>(transformer);
}

int64_t EncoderModelConfig::NumEncoderParameters() const {
  return family == "probtrans" ? probtrans.NumParameters() : transformer.NumParameters();
}

void SentenceDataConfig::Visit(ConfigVisitor& v) {
  v.Field("train", train, "files to train on, together");
  v.Field("valid", valid, "files whose score stops training and chooses the model");
  v.Field("test", test, "files to evaluate with the chosen model, one by one");
  format.Visit(v);
  v.Field("test_format", test_format, "format of the test files if it is another; empty = format");
  v.Require(test_format.empty() || test_format == "tsv" || test_format == "trees",
            "must be tsv or trees, or empty");
  v.Field("vocabulary", vocabulary, "file with a word a line, <unk> first; empty = of the data");
  v.Field("min_count", min_count, "words seen less often are unknown");
  v.Require(min_count >= 1, "must be >= 1");
  v.Field("max_vocabulary", max_vocabulary, "the commonest words; 0 = all");
  v.Require(max_vocabulary >= 0, "must be >= 0");
  v.Field("mask_rate", mask_rate, "mlm: share of the words that are masked");
  v.Require(mask_rate > 0 && mask_rate < 1, "must be above 0 and below 1");
  v.Field("shuffle", shuffle, "new order in each epoch but the first");
}

EncoderTrainConfig::EncoderTrainConfig() {
  optim.kind = "adam";
  optim.lr = 0.001;
  optim.beta2 = 0.999;
  optim.eps = 1e-9;
  optim.weight_decay = 0.0;
  optim.clip_norm = 5.0;
}

void EncoderTrainConfig::Visit(ConfigVisitor& v) {
  v.Field("epochs", epochs, "passes over the data at most");
  v.Require(epochs >= 1, "must be >= 1");
  v.Field("batch_size", batch_size, "sentences a step");
  v.Require(batch_size >= 1, "must be >= 1");
  v.Field("micro_batch_size", micro_batch_size,
          "sentences whose mean is one term of the loss; 0 = batch_size");
  v.Require(micro_batch_size >= 0, "must be >= 0");
  v.Field("sum_micro_batches", sum_micro_batches,
          "the gradient is the sum over micro-batches, not their mean");
  v.Field("score_norm", score_norm,
          "weight of the norm (not squared) of the ternary scores, once a micro-batch");
  v.Require(score_norm >= 0, "must be >= 0");
  v.Choice("precision", precision, {"fp32", "tf32", "bf16", "fp64"},
           "number format of the work; bf16: of large products only");
  v.Section("optim", optim, "Adam");
  v.Section("plateau", plateau, "learning rate by the score on data.valid");
  v.Field("words_at_once", words_at_once,
          "cells of a padded batch that are run at once; 0 = by device");
  v.Require(words_at_once >= 0, "must be >= 0");
  v.Field("recorded", recorded,
          "batches of few shapes, each recorded once and then queued as a whole; needs a GPU");
  v.Choice("on_nonfinite", on_nonfinite, {"stop", "skip"},
           "a loss or gradient that is not finite: stop the run, or skip the step");
  v.Field("log_every", log_every, "steps between rows of metrics");
  v.Require(log_every >= 1, "must be >= 1");
  v.Field("save_every", save_every, "epochs between checkpoints beside the best; 0 = at the end");
  v.Require(save_every >= 0, "must be >= 0");
  v.Field("keep_checkpoints", keep_checkpoints, "newest checkpoints to keep beside the best");
  v.Require(keep_checkpoints >= 1, "must be >= 1");
  v.Field("csv", csv, "write metrics.csv beside metrics.jsonl");
  v.Field("tensorboard", tensorboard, "write TensorBoard event files");
}

void EncoderRun::Visit(ConfigVisitor& v) {
  v.Section("run", run, "name, place, seed");
  v.Choice("task", task, {"tagging", "classification", "cogs", "mlm"},
           "labels of words, of sentences, COGS's five labels a word, or masked words");
  v.Section("model", model, "the encoder");
  v.Section("data", data, "sentences");
  v.Section("train", train, "how it is trained");
}

std::string EncoderRun::Dir() const {
  return run.dir.empty() ? DefaultRunDir(run.study, run.name) : run.dir;
}

SentenceFormat EncoderRun::TestFormat() const {
  SentenceFormat format = data.format;
  if (!data.test_format.empty()) format.format = data.test_format;
  return format;
}

SentenceTask EncoderRun::Kind() const {
  if (task == "mlm") return SentenceTask::kMasked;
  return task == "classification" ? SentenceTask::kSentences : SentenceTask::kWords;
}

std::vector<std::string> EncoderRun::Heads() const {
  return task == "mlm" ? std::vector<std::string>{"word"} : data.format.Heads();
}

SentenceTaskOptions EncoderRun::TaskOptions(const at::Device& device) const {
  constexpr int64_t kCpuWords = 1024, kGpuWords = 16384;
  SentenceTaskOptions options;
  options.task = Kind();
  options.batch_size = train.batch_size;
  options.micro_batch_size = train.micro_batch_size;
  options.sum_micro_batches = train.sum_micro_batches;
  options.score_norm = train.score_norm;
  options.mask_rate = data.mask_rate;
  options.words_at_once = train.words_at_once;
  if (options.words_at_once == 0) options.words_at_once = device.is_cpu() ? kCpuWords : kGpuWords;
  options.by_length = device.is_cpu();  // a GPU would rather have one large batch
  options.recorded = train.recorded;
  return options;
}

bool IsEncoderRun(const std::string& path, const std::vector<std::string>& sets) {
  const ConfigValue tree = LoadConfig(path, sets);
  const ConfigValue* family = FindKey(tree, "model.family");
  return family != nullptr && !family->is_null();
}

EncoderRun LoadEncoderRun(const std::string& path, const std::vector<std::string>& sets) {
  const ConfigValue tree = LoadConfig(path, sets);
  const ConfigValue* family = FindKey(tree, "model.family");
  const std::string family_name = family == nullptr ? "probtrans" : family->text();
  RefuseDecoderKeys(tree, family_name);
  RefuseDecoderTraining(tree, family_name);
  EncoderRun run;
  ReadConfig(tree, run);
  if (run.run.name.empty()) {
    const std::string name = BaseName(path);
    run.run.name = name.substr(0, name.rfind('.'));
  }
  CheckEncoderRun(run, tree);
  return run;
}

std::vector<Sentence> ReadAllSentences(const std::vector<std::string>& paths,
                                       const SentenceFormat& format) {
  std::vector<Sentence> all;
  for (const std::string& path : paths) {
    std::vector<Sentence> sentences = ReadSentences(path, format);
    std::move(sentences.begin(), sentences.end(), std::back_inserter(all));
  }
  return all;
}

std::shared_ptr<SentenceModel> MakeSentenceModel(const EncoderRun& run, const WordVocabulary& words,
                                                 const std::vector<LabelSet>& labels) {
  SentenceModelShape shape;
  shape.tied = run.model.tied;
  shape.whole_sentences = run.Kind() == SentenceTask::kSentences;
  shape.vocabulary = words.size();
  if (run.Kind() == SentenceTask::kMasked) {
    ++shape.vocabulary;  // the mask, last
    shape.classes = {words.size()};
  } else {
    for (const LabelSet& set : labels) shape.classes.push_back(set.size());
  }
  return std::make_shared<SentenceModel>(run.model.MakeEncoder(), shape);
}

}  // namespace ckv
