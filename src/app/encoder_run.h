// The YAML file of `ckv train` for encoders: tagging, classification, COGS and masked words, with
// the Probabilistic Transformer or its baseline.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "app/train_run.h"
#include "data/sentences.h"
#include "data/word_vocabulary.h"
#include "model/encoder_transformer.h"
#include "model/probtrans_config.h"
#include "model/sentence_model.h"
#include "train/plateau.h"
#include "train/sentence_task.h"

namespace ckv {

// `model` of an encoder: keys of the family named first.
struct EncoderModelConfig {
  std::string family = "probtrans";
  bool tied = false;
  ProbTransConfig probtrans;
  EncoderTransformerConfig transformer;

  void Visit(ConfigVisitor& v);

  std::shared_ptr<SentenceEncoder> MakeEncoder() const;
  int64_t NumEncoderParameters() const;
};

// `data`: files of sentences.
struct SentenceDataConfig {
  std::vector<std::string> train;
  std::vector<std::string> valid;
  std::vector<std::string> test;
  SentenceFormat format;
  std::string test_format;
  std::string vocabulary;
  int64_t min_count = 1;
  int64_t max_vocabulary = 0;
  double mask_rate = 0.3;
  bool shuffle = true;

  void Visit(ConfigVisitor& v);
};

// `train` of an encoder.
struct EncoderTrainConfig {
  int64_t epochs = 100;
  int64_t batch_size = 16;
  int64_t micro_batch_size = 0;
  bool sum_micro_batches = true;
  double score_norm = 0.0;
  std::string precision = "fp32";
  OptimConfig optim;
  PlateauConfig plateau;
  int64_t words_at_once = 0;
  bool recorded = false;
  std::string on_nonfinite = "stop";
  int64_t log_every = 50;
  int64_t save_every = 1;
  int64_t keep_checkpoints = 1;
  bool csv = true;
  bool tensorboard = true;

  EncoderTrainConfig();
  void Visit(ConfigVisitor& v);
};

struct EncoderRun {
  RunConfig run;
  std::string task = "tagging";
  EncoderModelConfig model;
  SentenceDataConfig data;
  EncoderTrainConfig train;

  void Visit(ConfigVisitor& v);

  std::string Dir() const;
  // How the test files are read.
  SentenceFormat TestFormat() const;
  SentenceTask Kind() const;
  // Heads that the task trains, with the format's names; {"word"} for masked words.
  std::vector<std::string> Heads() const;
  SentenceTaskOptions TaskOptions(const at::Device& device) const;
};

// Whether a run's file is for an encoder: `model.family` names one.
bool IsEncoderRun(const std::string& path, const std::vector<std::string>& sets);

// As LoadTrainRun. Keys that only decoders have, such as kv_sharing, are refused in words.
EncoderRun LoadEncoderRun(const std::string& path, const std::vector<std::string>& sets = {});

// All sentences of several files.
std::vector<Sentence> ReadAllSentences(const std::vector<std::string>& paths,
                                       const SentenceFormat& format);

// The model that a run describes, for a vocabulary and label sets; weights are zero.
std::shared_ptr<SentenceModel> MakeSentenceModel(const EncoderRun& run, const WordVocabulary& words,
                                                 const std::vector<LabelSet>& labels);

}  // namespace ckv
