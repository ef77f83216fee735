#include "tests/model/oracle.h"

#include <cmath>
#include <limits>

#include "base/error.h"

namespace ckv {
namespace {

// y = W x, W [out, in] row by row.
OracleRow Multiply(const OracleRow& weight, const OracleRow& x) {
  const size_t in = x.size();
  OracleRow y(weight.size() / in, 0.0);
  for (size_t o = 0; o < y.size(); ++o) {
    for (size_t i = 0; i < in; ++i) y[o] += weight[o * in + i] * x[i];
  }
  return y;
}

void AddTo(OracleRow* x, const OracleRow& y) {
  for (size_t i = 0; i < x->size(); ++i) (*x)[i] += y[i];
}

std::string LayerName(int layer, const char* part) {
  return Str("model.layers.", layer, ".", part, ".weight");
}

const OracleRow& Weight(const OracleWeights& w, const std::string& name) {
  const auto found = w.find(name);
  CKV_CHECK(found != w.end(), "no weight ", name);
  return found->second;
}

OracleRow Embedding(const OracleWeights& w, int64_t token, int64_t width) {
  const OracleRow& table = Weight(w, "model.embed_tokens.weight");
  const auto begin = table.begin() + token * width;
  return OracleRow(begin, begin + width);
}

double LogSumExp(const OracleRow& x) {
  double top = -std::numeric_limits<double>::infinity();
  for (const double value : x) top = std::max(top, value);
  double sum = 0.0;
  for (const double value : x) sum += std::exp(value - top);
  return top + std::log(sum);
}

}  // namespace

Oracle::Oracle(const DecoderConfig& config) : config_(config) {
  CKV_CHECK(!config.attention_bias && !config.mlp_bias && !config.tie_word_embeddings &&
                config.rope.scaling == "none" && config.hidden_act == "silu",
            "not in the oracle");
}

OracleRow Oracle::Norm(const OracleRow& x, const OracleRow& weight) const {
  double squares = 0.0;
  for (const double value : x) squares += value * value;
  const double scale =
      1.0 / std::sqrt(squares / static_cast<double>(x.size()) + config_.rms_norm_eps);
  OracleRow y(x.size());
  for (size_t i = 0; i < x.size(); ++i) y[i] = weight[i] * x[i] * scale;
  return y;
}

void Oracle::Rotate(OracleRow* heads, int64_t position) const {
  const auto width = static_cast<size_t>(config_.head_width());
  const size_t half = width / 2;
  for (size_t head = 0; head < heads->size(); head += width) {
    for (size_t i = 0; i < half; ++i) {
      const double frequency =
          std::pow(config_.rope.theta, -2.0 * static_cast<double>(i) / static_cast<double>(width));
      const double angle = static_cast<double>(position) * frequency;
      double& first = (*heads)[head + i];
      double& second = (*heads)[head + half + i];
      const double rotated = first * std::cos(angle) - second * std::sin(angle);
      second = second * std::cos(angle) + first * std::sin(angle);
      first = rotated;
    }
  }
}

Oracle::Board Oracle::EmptyBoard(size_t num_tokens) const {
  const OracleMatrix zeros(
      num_tokens, OracleRow(static_cast<size_t>(config_.kv_heads() * config_.head_width()), 0.0));
  return Board(static_cast<size_t>(config_.layers()), {zeros, zeros});
}

OracleRow Oracle::Attend(const OracleWeights& w, int layer, const OracleRow& normed,
                         int64_t position, const Board& board) const {
  const LayerSharing& sharing = config_.sharing().layer(layer);
  const OracleMatrix& keys = board[static_cast<size_t>(sharing.k_source)].keys;
  const OracleMatrix& values = board[static_cast<size_t>(sharing.v_source)].values;
  OracleRow queries = Multiply(Weight(w, LayerName(layer, "self_attn.q_proj")), normed);
  Rotate(&queries, position);
  const bool looks_up = sharing.k_source > layer || sharing.v_source > layer;
  const int64_t last = looks_up || config_.force_nodiag ? position - 1 : position;
  const int64_t first =
      sharing.windowed ? std::max<int64_t>(0, position - *config_.sliding_window + 1) : 0;
  const auto width = static_cast<size_t>(config_.head_width());
  const size_t per_group = static_cast<size_t>(config_.num_attention_heads / config_.kv_heads());
  OracleRow mixed(queries.size(), 0.0);
  for (size_t head = 0; head < queries.size() / width && first <= last; ++head) {
    const size_t group = head / per_group;
    OracleRow scores;
    for (int64_t j = first; j <= last; ++j) {
      double score = 0.0;
      for (size_t d = 0; d < width; ++d) {
        score += queries[head * width + d] * keys[static_cast<size_t>(j)][group * width + d];
      }
      scores.push_back(score / std::sqrt(static_cast<double>(width)));
    }
    const double normaliser = LogSumExp(scores);
    for (int64_t j = first; j <= last; ++j) {
      const double share = std::exp(scores[static_cast<size_t>(j - first)] - normaliser);
      for (size_t d = 0; d < width; ++d) {
        mixed[head * width + d] += share * values[static_cast<size_t>(j)][group * width + d];
      }
    }
  }
  return Multiply(Weight(w, LayerName(layer, "self_attn.o_proj")), mixed);
}

// Positions first .. first + x.size() - 1.
OracleMatrix Oracle::Layer(const OracleWeights& w, int layer, const OracleMatrix& x, int64_t first,
                           Board* board) const {
  OracleMatrix normed;
  for (const OracleRow& row : x) {
    normed.push_back(Norm(row, Weight(w, LayerName(layer, "input_layernorm"))));
  }
  Kv& own = (*board)[static_cast<size_t>(layer)];
  for (size_t t = 0; t < x.size(); ++t) {
    const auto place = static_cast<size_t>(first) + t;
    if (config_.sharing().computes_k(layer)) {
      own.keys[place] = Multiply(Weight(w, LayerName(layer, "self_attn.k_proj")), normed[t]);
      Rotate(&own.keys[place], static_cast<int64_t>(place));
    }
    if (config_.sharing().computes_v(layer)) {
      own.values[place] = Multiply(Weight(w, LayerName(layer, "self_attn.v_proj")), normed[t]);
    }
  }
  OracleMatrix y = x;
  for (size_t t = 0; t < x.size(); ++t) {
    AddTo(&y[t], Attend(w, layer, normed[t], first + static_cast<int64_t>(t), *board));
    const OracleRow inner = Norm(y[t], Weight(w, LayerName(layer, "post_attention_layernorm")));
    OracleRow gate = Multiply(Weight(w, LayerName(layer, "mlp.gate_proj")), inner);
    const OracleRow up = Multiply(Weight(w, LayerName(layer, "mlp.up_proj")), inner);
    for (size_t i = 0; i < gate.size(); ++i) gate[i] *= up[i] / (1.0 + std::exp(-gate[i]));
    AddTo(&y[t], Multiply(Weight(w, LayerName(layer, "mlp.down_proj")), gate));
  }
  return y;
}

OracleMatrix Oracle::RunPass(const OracleWeights& w, int start, int stop, OracleMatrix x,
                             Board* board) const {
  for (int layer = start; layer < stop; ++layer) x = Layer(w, layer, x, 0, board);
  return x;
}

void Oracle::RunGroup(const Run& run, int start, int stop, int forward, int backward,
                      OracleMatrix* x, OracleMatrix* frozen_x, Board* board,
                      Board* frozen_board) const {
  const OracleMatrix input = *x;
  const OracleMatrix frozen_input = *frozen_x;
  Board constants = *frozen_board;
  for (int pass = 0; pass < forward; ++pass) {
    RunPass(*run.frozen_weights, start, stop, frozen_input, &constants);
  }
  // What lies below the group keeps its gradient; what the passes left within it does not.
  for (int layer = start; layer < stop; ++layer) {
    (*board)[static_cast<size_t>(layer)] = constants[static_cast<size_t>(layer)];
  }
  *frozen_board = constants;
  for (int pass = 0; pass < backward; ++pass) {
    *x = RunPass(*run.weights, start, stop, input, board);
    *frozen_x = RunPass(*run.frozen_weights, start, stop, frozen_input, frozen_board);
  }
}

OracleRow Oracle::Head(const OracleWeights& w, const OracleRow& x) const {
  return Multiply(Weight(w, "lm_head.weight"), Norm(x, Weight(w, "model.norm.weight")));
}

OracleMatrix Oracle::RunLogits(const Run& run, const std::vector<int64_t>& tokens) const {
  const KvSharingSpec& spec = config_.sharing();
  OracleMatrix x;
  OracleMatrix frozen_x;
  for (const int64_t token : tokens) {
    x.push_back(Embedding(*run.weights, token, config_.hidden_size));
    frozen_x.push_back(Embedding(*run.frozen_weights, token, config_.hidden_size));
  }
  Board board = EmptyBoard(tokens.size());
  Board frozen_board = board;
  for (int start = 0; start < spec.num_layers();) {
    int top = start;
    for (int i = start; i <= top; ++i) top = std::max(top, spec.higher_source(i));
    const bool iterative = spec.looks_up(start);
    RunGroup(run, start, top + 1, iterative ? static_cast<int>(config_.forward_passes) : 0,
             iterative ? static_cast<int>(config_.backward_passes) : 1, &x, &frozen_x, &board,
             &frozen_board);
    start = top + 1;
  }
  OracleMatrix logits;
  for (const OracleRow& row : x) logits.push_back(Head(*run.weights, row));
  return logits;
}

OracleMatrix Oracle::Logits(const OracleWeights& weights,
                            const std::vector<int64_t>& tokens) const {
  return RunLogits({&weights, &weights}, tokens);
}

OracleMatrix Oracle::SequentialLogits(const OracleWeights& weights,
                                      const std::vector<int64_t>& tokens) const {
  Board board = EmptyBoard(tokens.size());
  OracleMatrix logits;
  for (size_t t = 0; t < tokens.size(); ++t) {
    OracleMatrix x = {Embedding(weights, tokens[t], config_.hidden_size)};
    for (int layer = 0; layer < config_.sharing().num_layers(); ++layer) {
      x = Layer(weights, layer, x, static_cast<int64_t>(t), &board);
    }
    logits.push_back(Head(weights, x[0]));
  }
  return logits;
}

double Oracle::MeanLoss(const Run& run, const std::vector<std::vector<int64_t>>& tokens,
                        const std::vector<std::vector<int64_t>>& labels) const {
  double sum = 0.0;
  int count = 0;
  for (size_t row = 0; row < tokens.size(); ++row) {
    const OracleMatrix logits = RunLogits(run, tokens[row]);
    for (size_t t = 0; t + 1 < tokens[row].size(); ++t) {
      const int64_t label = labels[row][t + 1];
      if (label < 0) continue;
      sum += LogSumExp(logits[t]) - logits[t][static_cast<size_t>(label)];
      ++count;
    }
  }
  return sum / count;
}

double Oracle::Loss(const OracleWeights& weights, const std::vector<std::vector<int64_t>>& tokens,
                    const std::vector<std::vector<int64_t>>& labels) const {
  return MeanLoss({&weights, &weights}, tokens, labels);
}

double Oracle::Gradient(const OracleWeights& weights, const std::string& name, size_t index,
                        const std::vector<std::vector<int64_t>>& tokens,
                        const std::vector<std::vector<int64_t>>& labels) const {
  // Differences over one and two steps: their third-order errors cancel.
  constexpr double kStep = 3e-5;
  OracleWeights moved = weights;
  double& weight = moved[name][index];
  const double origin = weight;
  const auto slope = [&](double step) {
    weight = origin + step;
    const double above = MeanLoss({&moved, &weights}, tokens, labels);
    weight = origin - step;
    return (above - MeanLoss({&moved, &weights}, tokens, labels)) / (2.0 * step);
  };
  return (4.0 * slope(kStep) - slope(2.0 * kStep)) / 3.0;
}

}  // namespace ckv
