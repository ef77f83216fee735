#include <algorithm>
#include <cmath>
#include <memory>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>
#include <torch/torch.h>

#include "app/arc_picture.h"
#include "app/command.h"
#include "app/encoder_files.h"
#include "app/output.h"
#include "base/error.h"
#include "data/spanning_tree.h"

namespace ckv {
namespace {

struct ParseOptions {
  EncoderArguments model;
  std::string input = "-";
  std::string channel = "mean";
  std::string format = "text";
  bool no_tree = false;
  CommandOutput output;
};

// Arcs of one sentence in one channel, or in the mean of all.
struct Structure {
  std::string name;
  std::vector<std::vector<double>> probs;  // [child][head word]
  std::vector<double> root_probs;          // empty without a root node
  std::vector<int64_t> best;               // most probable head: -1 = root, -2 = none
  std::vector<int64_t> tree;               // -1 = root
};

// Below 0: none, for the root of a tree where the model has no root node.
double ArcProbability(const Structure& s, size_t child, int64_t head) {
  if (head >= 0) return s.probs[child][static_cast<size_t>(head)];
  return s.root_probs.empty() ? -1.0 : s.root_probs[child];
}

std::string ProbabilityText(double probability, int digits) {
  return probability < 0.0 ? "-" : Fixed(probability, digits);
}

Structure MakeStructure(std::string name, const Tensor& probs, bool root) {
  Structure s;
  s.name = std::move(name);
  const Tensor host = probs.to(at::kCPU, at::kDouble).contiguous();  // [n, C]
  const auto n = static_cast<size_t>(host.size(0));
  const auto columns = host.size(1);
  const double* data = host.data_ptr<double>();
  const size_t first = root ? 1 : 0;
  const double floor = 1e-12;
  std::vector<std::vector<double>> scores;
  std::vector<double> root_scores;
  for (size_t i = 0; i < n; ++i) {
    const double* row = data + static_cast<int64_t>(i) * columns;
    s.probs.emplace_back(row + first, row + first + n);
    if (root) s.root_probs.push_back(row[0]);
    int64_t best = root ? -1 : -2;
    double highest = root ? row[0] : 0.0;
    scores.emplace_back();
    for (size_t j = 0; j < n; ++j) {
      const double p = s.probs[i][j];
      if (i != j && p > highest) {
        highest = p;
        best = static_cast<int64_t>(j);
      }
      scores.back().push_back(std::log(std::max(p, floor)));
    }
    s.best.push_back(best);
    // Without a root node any word may be the root of the tree.
    root_scores.push_back(root ? std::log(std::max(row[0], floor)) : 0.0);
  }
  s.tree = MaximumSpanningTree(scores, root_scores);
  return s;
}

// The channels that the user asked for: one, all, or their mean.
std::vector<Structure> StructuresOf(const LoadedEncoder& encoder, const Sentence& sentence,
                                    const std::string& channel) {
  at::NoGradGuard no_grad;
  std::vector<int64_t> ids;
  for (const std::string& word : sentence.words) ids.push_back(encoder.words.Find(word));
  const Tensor row = at::tensor(ids, at::kLong).unsqueeze(0).to(encoder.device);
  InferenceTrace trace;
  encoder.model->Encode(row, at::ones_like(row, at::kBool), &trace);
  const Tensor probs = trace.head_probs.back()[0];  // [h, n, C]
  const bool root = encoder.run.model.probtrans.root_labels > 0;
  std::vector<Structure> structures;
  if (channel == "mean") {
    structures.push_back(MakeStructure("mean of the channels", probs.mean(0), root));
    return structures;
  }
  for (int64_t c = 0; c < probs.size(0); ++c) {
    if (channel != "all" && channel != std::to_string(c + 1)) continue;
    structures.push_back(MakeStructure(Str("channel ", c + 1), probs[c], root));
  }
  if (structures.empty()) {
    throw ConfigError(
        "--channel", Str("'", channel, "' is not mean, all or a number from 1 to ", probs.size(0)));
  }
  return structures;
}

std::string HeadName(const Sentence& sentence, int64_t head) {
  if (head == -1) return "ROOT";
  if (head == -2) return "-";
  return Str(head + 1, " ", sentence.words[static_cast<size_t>(head)]);
}

std::string StructureText(const Sentence& sentence, const Structure& s) {
  std::string text = "# " + s.name + "\n";
  for (size_t i = 0; i < sentence.words.size(); ++i) {
    text += Str(i + 1, "\t", sentence.words[i], "\t", HeadName(sentence, s.best[i]), "\t",
                ProbabilityText(ArcProbability(s, i, s.best[i]), 3), "\t",
                HeadName(sentence, s.tree[i]), "\n");
  }
  return text + "\n";
}

std::string StructureConllu(const Sentence& sentence, const Structure& s, bool trees) {
  std::string text = "# structure = " + s.name + "\n# text =";
  for (const std::string& word : sentence.words) text += " " + word;
  text += "\n";
  for (size_t i = 0; i < sentence.words.size(); ++i) {
    const int64_t head = trees ? s.tree[i] : s.best[i];
    const double probability = ArcProbability(s, i, head);
    const std::string number = head == -2 ? "_" : std::to_string(head + 1);
    text += Str(i + 1, "\t", sentence.words[i], "\t_\t_\t_\t_\t", number, "\t",
                head == -1   ? "root"
                : head == -2 ? "_"
                             : "dep",
                "\t_\t", probability < 0.0 ? "_" : "Prob=" + Fixed(probability, 4), "\n");
  }
  return text + "\n";
}

OrderedJson StructureJson(const Structure& s) {
  OrderedJson heads = OrderedJson::array(), tree = OrderedJson::array(),
              probabilities = OrderedJson::array();
  for (size_t i = 0; i < s.best.size(); ++i) {
    heads.push_back(s.best[i] == -2 ? OrderedJson(nullptr) : OrderedJson(s.best[i] + 1));
    tree.push_back(s.tree[i] + 1);
    const double probability = ArcProbability(s, i, s.best[i]);
    probabilities.push_back(probability < 0.0 ? OrderedJson(nullptr) : OrderedJson(probability));
  }
  return {{"name", s.name}, {"heads", heads}, {"probabilities", probabilities}, {"tree", tree}};
}

ArcPicture StructurePicture(const Sentence& sentence, size_t number, const Structure& s,
                            bool trees) {
  ArcPicture picture;
  picture.words = sentence.words;
  picture.heads = trees ? s.tree : s.best;
  for (size_t i = 0; i < picture.heads.size(); ++i) {
    picture.probability.push_back(ArcProbability(s, i, picture.heads[i]));
  }
  picture.title = Str("sentence ", number, ", ", s.name, trees ? ", tree" : ", likeliest heads");
  return picture;
}

void ParseByOptions(const ParseOptions& options) {
  const LoadedEncoder encoder = LoadEncoder(options.model);
  if (encoder.run.model.family != "probtrans") {
    throw ConfigError(options.model.path, Str("is of the family ", encoder.run.model.family,
                                              ", which infers no dependency arcs; parse needs "
                                              "probtrans"));
  }
  OrderedJson json = OrderedJson::array();
  std::string text;
  std::vector<ArcPicture> pictures;
  for (const Sentence& sentence : ReadInputSentences(options.input, encoder.run)) {
    OrderedJson item;
    item["words"] = sentence.words;
    item["structures"] = OrderedJson::array();
    for (const Structure& s : StructuresOf(encoder, sentence, options.channel)) {
      item["structures"].push_back(StructureJson(s));
      if (options.format == "text") text += StructureText(sentence, s);
      if (options.format == "conllu") text += StructureConllu(sentence, s, !options.no_tree);
      if (options.format == "svg")
        pictures.push_back(StructurePicture(sentence, json.size() + 1, s, !options.no_tree));
    }
    json.push_back(std::move(item));
  }
  if (options.format == "svg") text = DrawArcs(pictures);
  options.output.Print(json, text);
}

}  // namespace

void AddParseCommand(CLI::App& program) {
  const auto options = std::make_shared<ParseOptions>();
  CLI::App* command = program.add_subcommand(
      "parse", "Dependency arcs that a Probabilistic Transformer infers, and their best tree");
  options->model.AddOptions(*command);
  command
      ->add_option("--input", options->input,
                   "Sentences, one a line, words between blanks; - = stdin")
      ->type_name("FILE")
      ->capture_default_str();
  command
      ->add_option("--channel", options->channel,
                   "A channel's number from 1, all of them one by one, or their mean")
      ->type_name("WHICH")
      ->capture_default_str();
  command
      ->add_option("--format", options->format,
                   "text: word, most probable head, its probability, head in the tree; conllu; svg")
      ->check(CLI::IsMember({"text", "conllu", "svg"}))
      ->capture_default_str();
  command->add_flag("--no-tree", options->no_tree,
                    "conllu and svg: the most probable heads, which need not be a tree");
  options->output.AddOptions(*command);
  command->footer(
      "Arcs are the head distributions of the last iteration. The tree is a maximum spanning tree\n"
      "of their logarithms; where the model has no root node, any word may be its root.\n\n"
      "Example:\n"
      "  ckv parse experiments/probtrans/runs/ewt-xpos --input s.txt --format svg --out arcs.svg");
  command->callback([options] { ParseByOptions(*options); });
}

}  // namespace ckv
