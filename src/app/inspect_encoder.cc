#include "app/inspect_encoder.h"

#include <sstream>

#include <nlohmann/json.hpp>
#include <torch/torch.h>

#include "app/arc_picture.h"
#include "base/error.h"

namespace ckv {
namespace {

// "1", "4+": how far the heads of a bin are.
std::string DistanceName(const DistanceBins::Bin& bin) {
  if (bin.far == DistanceBins::kNoEnd) return Str(bin.near, "+");
  return bin.near == bin.far ? Str(bin.near) : Str(bin.near, "-", bin.far);
}

OrderedJson BinsJson(const ProbTransConfig& config) {
  OrderedJson bins = OrderedJson::array();
  const DistanceBins all = config.Bins();
  for (int64_t k = 0; k < all.size(); ++k) {
    const DistanceBins::Bin& bin = all.bin(k);
    bins.push_back({{"head", bin.sign > 0   ? "right"
                             : bin.sign < 0 ? "left"
                                            : "anywhere"},
                    {"distance", DistanceName(bin)}});
  }
  return bins;
}

// Bins from far left over the word itself to far right.
std::string BinsLine(const ProbTransConfig& config) {
  const DistanceBins all = config.Bins();
  std::string left, right;
  for (int64_t k = 0; k < all.size(); ++k) {
    const DistanceBins::Bin& bin = all.bin(k);
    const std::string name = DistanceName(bin);
    if (bin.sign == 0) return "any other word";
    if (bin.sign < 0) {
      left = name + (left.empty() ? "" : " | ") + left;
    } else if (config.distances == "mixture") {
      right = name + (right.empty() ? "" : " | ") + right;  // from far to near
    } else {
      right += (right.empty() ? "" : " | ") + name;
    }
  }
  return Str(left, " | i | ", right);
}

std::string Factor(const ProbTransConfig& config) {
  const std::string mixed = config.distances == "mixture"
                                ? Str(", mixtures of ", config.distance_tensors)
                                : std::string();
  if (config.factor == "full") return "T free" + mixed;
  return Str(config.factor == "uv" ? "T = U V" : "T = U V W", " of rank ", config.rank, mixed);
}

// The steps of an iteration, in order.
std::vector<std::string> IterationSteps(const ProbTransConfig& config) {
  const std::string more = Str(config.root_labels > 0 ? ", ROOT" : "",
                               config.globals.count > 0 && config.globals.mode == "shared"
                                   ? Str(", ", config.globals.count, " globals")
                                   : std::string());
  std::string head_step = Str("Q_ic = ", config.normaliser, "(", config.labels, " F_ic / ",
                              config.weight_heads, ") over the other words", more);
  if (config.step_heads != 1.0) head_step += Str(", step ", config.step_heads);
  if (config.damping_heads > 0.0) head_step += Str(", damping ", config.damping_heads);
  std::string label_step = Str("Q_i = ", config.normaliser, "((S_i + G_i) / ", config.weight_labels,
                               ") over ", config.labels, " labels");
  if (config.step_labels != 1.0) label_step += Str(", step ", config.step_labels);
  if (config.damping_labels > 0.0) label_step += Str(", damping ", config.damping_labels);
  const bool first = config.schedule == "heads_first";
  return {"F_ic(j) from Q_i, Q_j", head_step,
          Str("G_i from the ", first ? "new" : "old", " heads of i",
              config.child_messages ? " and of its children" : "",
              config.root_labels > 0 ? ", and ROOT" : "",
              config.globals.count > 0 ? ", and globals" : ""),
          label_step};
}

constexpr size_t kSvgColumns = 80;

// Lines of at most `columns` characters, unless a word alone has more.
std::vector<std::string> WrapAtBlanks(const std::string& text, size_t columns) {
  std::vector<std::string> lines(1);
  std::istringstream words(text);
  for (std::string word; words >> word;) {
    std::string& line = lines.back();
    if (line.empty()) {
      line = word;
    } else if (line.size() + 1 + word.size() <= columns) {
      line += " " + word;
    } else {
      lines.push_back(word);
    }
  }
  return lines;
}

}  // namespace

OrderedJson InspectEncoderJson(const EncoderRun& run, int64_t vocabulary, int64_t words) {
  if (words < 1) throw ConfigError("--seq-len", Str(words, ", but must be >= 1"));
  const std::shared_ptr<SentenceEncoder> encoder = run.model.MakeEncoder();
  OrderedJson json;
  json["family"] = run.model.family;
  json["task"] = run.task;
  json["width"] = encoder->width();
  OrderedJson parameters = OrderedJson::array();
  for (const auto& item : encoder->named_parameters()) {
    parameters.push_back({{"name", "encoder." + item.key()},
                          {"shape", item.value().sizes().vec()},
                          {"count", item.value().numel()}});
  }
  json["parameters"] = parameters;
  json["encoder_parameters"] = run.model.NumEncoderParameters();
  if (vocabulary > 0) {
    json["vocabulary"] = vocabulary;
    json["embedding_parameters"] = vocabulary * encoder->width();
  }
  json["words"] = words;
  const double forward = encoder->MultiplyAddsPerWord(words);
  json["multiply_adds_per_word"] = forward;
  // A multiply-add is two operations; the way back takes twice what the way there takes.
  json["training_flops_per_word"] = 6.0 * forward;
  if (run.model.family != "probtrans") return json;
  const ProbTransConfig& config = run.model.probtrans;
  json["channels"] = config.channels;
  json["iterations"] = config.iterations;
  json["distance_bins"] = BinsJson(config);
  json["schedule"] = config.schedule;
  json["steps"] = IterationSteps(config);
  return json;
}

std::string InspectEncoderText(const EncoderRun& run, const OrderedJson& json, bool ascii) {
  const bool probtrans = run.model.family == "probtrans";
  const std::string line = ascii ? "--" : "──", box = ascii ? "#" : "■";
  std::string text = Str(probtrans ? "Probabilistic Transformer" : "Transformer encoder", ", task ",
                         run.task, "\n\n");
  if (probtrans) {
    const ProbTransConfig& config = run.model.probtrans;
    text += Str("  S_i ", line, box, line, " Z_i ", line, box, line, " Z_j      Z: ", config.labels,
                " labels a word; S: its embedding\n");
    text += Str("            ", ascii ? "   |" : "   │",
                "            T: child, head label, by bin (", Factor(config), ")\n");
    text += Str("          H_ic = j         H: a head of word i in each of ", config.channels,
                " channels\n");
    if (config.root_labels > 0) {
      text += Str("                           ROOT: ", config.root_labels,
                  " labels, no embedding, a possible head of every word\n");
    }
    text +=
        Str("\n  bins of j  ", BinsLine(config), "\n\n  ", config.iterations,
            config.iterations == 1 ? " iteration" : " iterations", " (", config.schedule, ")\n");
    for (const std::string& step : IterationSteps(config)) text += "    " + step + "\n";
    text +=
        Str("  output     ",
            config.root_labels > 0 ? "scores of ROOT's labels" : "S_i + G_i of the last iteration",
            "\n");
  } else {
    const EncoderTransformerConfig& config = run.model.transformer;
    text += Str("  ", config.layers, config.shared_layers ? " times one layer" : " layers", " of ",
                config.heads, " heads of ", config.head_width, ", feed-forward ",
                config.feed_forward, ", ", config.positions, " positions\n");
  }
  text += "\n  parameters\n";
  for (const OrderedJson& item : json.at("parameters")) {
    std::string shape;
    for (const OrderedJson& size : item.at("shape")) {
      shape += Str(shape.empty() ? "[" : ", ", size.get<int64_t>());
    }
    const auto name = item.at("name").get<std::string>();
    text += Str("    ", name, std::string(name.size() < 44 ? 44 - name.size() : 1, ' '), shape,
                "]  ", HumanCount(item.at("count").get<double>()), "\n");
  }
  text += Str("    encoder in all  ",
              HumanCount(static_cast<double>(json.at("encoder_parameters").get<int64_t>())));
  if (json.contains("embedding_parameters")) {
    text += Str(", embedding of ", json.at("vocabulary").get<int64_t>(), " words ",
                HumanCount(json.at("embedding_parameters").get<double>()));
  }
  text +=
      Str("\n\n  a word of a sentence of ", json.at("words").get<int64_t>(), ": ",
          HumanCount(json.at("multiply_adds_per_word").get<double>()), " multiply-adds forward, ",
          HumanCount(json.at("training_flops_per_word").get<double>()), " FLOP in training\n");
  return text;
}

std::string FactorGraphSvg(const EncoderRun& run, const std::string& title) {
  if (run.model.family != "probtrans") {
    throw ConfigError("--svg",
                      "draws the random field of the family probtrans; the baseline has "
                      "none");
  }
  const ProbTransConfig& config = run.model.probtrans;
  std::string body;
  const auto variable = [&](int x, int y, const std::string& name) {
    body += Str("<circle cx=\"", x, "\" cy=\"", y, "\" r=\"26\"/><text x=\"", x, "\" y=\"", y + 5,
                "\">", name, "</text>\n");
  };
  const auto factor = [&](int x, int y, const std::string& name, int dx, int dy) {
    body += Str("<rect x=\"", x - 8, "\" y=\"", y - 8, "\" width=\"16\" height=\"16\"/><text x=\"",
                x + dx, "\" y=\"", y + dy, "\">", name, "</text>\n");
  };
  const auto line = [&](int x1, int y1, int x2, int y2) {
    body += Str("<line x1=\"", x1, "\" y1=\"", y1, "\" x2=\"", x2, "\" y2=\"", y2, "\"/>\n");
  };
  const bool root = config.root_labels > 0;
  line(140, 250, 420, 250);  // Z_i - T - Z_j
  line(280, 250, 280, 150);  // T - H
  line(140, 250, 140, 330);
  line(420, 250, 420, 330);
  if (root) {
    line(280, 150, 280, 70);  // H - R
    line(140, 250, 140, 70);
    line(140, 70, 420, 70);
  }
  variable(140, 250, "Z<tspan class=\"s\" dy=\"4\">i</tspan>");
  variable(420, 250, "Z<tspan class=\"s\" dy=\"4\">j</tspan>");
  variable(280, 150, "H<tspan class=\"s\" dy=\"4\">ic</tspan>");
  factor(280, 250, Str(config.distances == "none" ? "T, " : "T by bin, ", config.factor), 0, 28);
  factor(140, 330, "S of word i", 0, 28);
  factor(420, 330, "S of word j", 0, 28);
  if (root) {
    variable(420, 70, "Z<tspan class=\"s\" dy=\"4\">R</tspan>");
    factor(280, 70, "R by channel", 0, -16);
  }
  body += Str("<rect class=\"p\" x=\"215\" y=\"112\" width=\"130\" height=\"182\" rx=\"8\"/>",
              "<text class=\"n\" x=\"280\" y=\"310\">", config.channels,
              config.channels == 1 ? " channel" : " channels", "</text>\n");
  int y = 370;
  const auto note = [&](const std::string& text) {
    for (const std::string& part : WrapAtBlanks(text, kSvgColumns)) {
      y += 20;
      body += Str("<text class=\"n\" x=\"20\" y=\"", y, "\" style=\"text-anchor:start\">", part,
                  "</text>\n");
    }
  };
  note(Str(config.labels, " labels; heads j by distance: ", BinsLine(config)));
  note(Str(config.iterations, config.iterations == 1 ? " iteration, " : " iterations, ",
           config.schedule == "heads_first" ? "heads before labels" : "heads and labels together",
           root ? Str("; ROOT has ", config.root_labels, " labels") : std::string()));
  if (config.globals.count > 0) {
    note(
        Str(config.globals.count, " global features as further heads, ",
            config.globals.mode == "shared" ? "in the words' choice" : "in a choice of their own"));
  }
  // Nothing stands above the heads without a root.
  const int top = root ? 0 : 70, height = y + 20 - top;
  if (!title.empty()) {
    body += Str("<text x=\"280\" y=\"", top + 24, "\" style=\"font-weight:bold\">",
                EscapeXml(title), "</text>\n");
  }
  return Str("<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"560\" height=\"", height,
             "\" viewBox=\"0 ", top, " 560 ", height,
             "\">\n<style>text{font-family:sans-serif;font-size:14px;"
             "text-anchor:middle}.s{font-size:10px}.n{font-size:12px;fill:#555}circle{fill:#fff;"
             "stroke:#1b5e9e;stroke-width:1.5}rect{fill:#1b5e9e}line{stroke:#888;stroke-width:1.5}"
             ".p{fill:none;stroke:#aaa;stroke-dasharray:5 4}</style>\n"
             "<rect width=\"560\" y=\"",
             top, "\" height=\"", height, "\" style=\"fill:#fff\"/>\n", body, "</svg>\n");
}

}  // namespace ckv
