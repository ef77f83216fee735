#include "model/probtrans_encoder.h"

#include <cmath>
#include <limits>

#include <torch/torch.h>

#include "base/error.h"

namespace ckv {
namespace {

// Layouts of sentences up to this length are kept, about 64 MB of them with eight bins.
constexpr int64_t kLongestKept = 256;

// [B, n, d] -> [B, h, n]: sum_a q(a) x[b, a, c]
Tensor ByChannelScores(const Tensor& q, const Tensor& x) { return at::bmm(q, x).transpose(1, 2); }

}  // namespace

struct MeanFieldEncoder::Call {
  Tensor unary;               // [B, n, d], zero at padding
  Tensor words;               // [B, n, 1] 1 or 0
  Tensor admissible;          // [B, 1, n, C] bool: heads that a word may choose
  Tensor admissible_globals;  // [B, 1, n, 1] bool
  std::shared_ptr<const PairLayout> layout;
  PairForm form = PairForm::kDense;
  PreparedFactor factor;
  Tensor root;     // [d, root labels, h]
  Tensor globals;  // [m, d, channels]
  int64_t num_words = 0;
  int64_t shared_globals = 0;  // columns behind the words
  int64_t first_word = 0;      // column of the first word: 1 behind ROOT
};

struct MeanFieldEncoder::State {
  Tensor label_scores, head_scores, global_scores, root_scores;
  Tensor label_probs, head_probs, global_probs, root_probs;
  PairSides sides;     // of label_probs
  Tensor root_vector;  // [B, d, h]: R with the root's labels summed out
};

MeanFieldEncoder::MeanFieldEncoder(const ProbTransConfig& config)
    : config_(config), bins_(config.Bins()), factor_(MakeTernaryFactor(config)) {
  config_.Check();
  for (const auto& [name, weights] : factor_->parameters()) register_parameter(name, weights);
  const int64_t d = config_.labels;
  const auto add = [this](const char* name, at::IntArrayRef shape) {
    return register_parameter(name, at::zeros(shape));
  };
  if (config_.root_rank > 0) {
    root_left_ = add("U_root", {d, config_.root_rank, config_.channels});
    root_right_ = add("V_root", {config_.root_labels, config_.root_rank, config_.channels});
  } else if (config_.root_labels > 0) {
    root_ = add("root_ternary", {d, config_.root_labels, config_.channels});
  }
  const GlobalsConfig& globals = config_.globals;
  if (globals.count > 0 && globals.rank == 0) {
    globals_ = add("global_", {globals.count, d, config_.GlobalChannels()});
  } else if (globals.count > 0) {
    globals_left_ = add("U_global", {globals.count, globals.rank, config_.GlobalChannels()});
    globals_right_ = add("V_global", {d, globals.rank, config_.GlobalChannels()});
  }
  if (config_.projection) {
    inner_weight_ = add("linear1_weight", {4 * d, d});
    inner_bias_ = add("linear1_bias", {4 * d});
    outer_weight_ = add("linear2_weight", {d, 4 * d});
    outer_bias_ = add("linear2_bias", {d});
  }
}

void MeanFieldEncoder::InitializeWeights(at::Generator generator) {
  at::NoGradGuard no_grad;
  factor_->Initialize(generator);
  const double width = static_cast<double>(config_.labels);
  if (root_.defined()) root_.normal_(0.0, 1.0, generator);
  if (root_left_.defined()) {
    const double deviation = 1.0 / std::sqrt(static_cast<double>(config_.root_rank));
    root_left_.normal_(0.0, deviation, generator);
    root_right_.normal_(0.0, deviation, generator);
  }
  if (globals_.defined()) globals_.normal_(0.0, 1.0 / std::sqrt(width), generator);
  if (globals_left_.defined()) {
    const double deviation = 1.0 / std::sqrt(width * static_cast<double>(config_.globals.rank));
    globals_left_.normal_(0.0, deviation, generator);
    globals_right_.normal_(0.0, deviation, generator);
  }
  if (config_.projection) {
    for (Tensor* weights : {&inner_weight_, &inner_bias_, &outer_weight_, &outer_bias_}) {
      const bool inner = weights == &inner_weight_ || weights == &inner_bias_;
      const double bound = 1.0 / std::sqrt(inner ? width : 4.0 * width);
      weights->uniform_(-bound, bound, generator);
    }
  }
}

double MeanFieldEncoder::MultiplyAddsPerWord(int64_t words) const {
  const auto present = static_cast<double>(config_.distances == "mixture"
                                               ? config_.distance_tensors
                                               : static_cast<int64_t>(bins_.Present(words).size()));
  const auto d = static_cast<double>(config_.labels), h = static_cast<double>(config_.channels);
  const auto r = static_cast<double>(config_.rank), others = static_cast<double>(words - 1);
  double step = 0.0;
  if (config_.factor == "full") step = 2.0 * present * d * d * h + 3.0 * d * h * others;
  if (config_.factor == "uv") step = 4.0 * present * d * r * h + 3.0 * r * h * others;
  if (config_.factor == "uvw") step = 4.0 * present * d * r + 3.0 * r * h * others;
  return step * static_cast<double>(config_.iterations);
}

double MeanFieldEncoder::Step(double size, int64_t iteration) const {
  return config_.decreasing_steps ? size * 2.0 / static_cast<double>(iteration + 1) : size;
}

Tensor MeanFieldEncoder::Normalise(const Tensor& scores) const {
  if (config_.normaliser == "softmax") return scores.softmax(-1);
  const Tensor positive = scores.relu();
  return positive / positive.sum(-1, /*keepdim=*/true).clamp_min(1e-12);
}

// A row without admissible entries becomes zero.
Tensor MeanFieldEncoder::NormaliseAdmissible(const Tensor& scores, const Tensor& admissible) const {
  if (config_.normaliser == "relu") return Normalise(scores * admissible);
  // Finite, so that a row of nothing else is no NaN on the way back.
  const double lowest = scores.scalar_type() == at::kDouble
                            ? -1e300
                            : -static_cast<double>(std::numeric_limits<float>::max()) / 4.0;
  const Tensor masked = scores.masked_fill(admissible.logical_not(), lowest);
  return masked.softmax(-1) * admissible;
}

Tensor MeanFieldEncoder::Drop(const Tensor& x) const {
  return config_.dropout > 0.0 && is_training() ? at::dropout(x, config_.dropout, true) : x;
}

Tensor MeanFieldEncoder::Root() const {
  if (!root_left_.defined()) return root_;
  return at::einsum("alc,rlc->arc", {root_left_, root_right_});
}

Tensor MeanFieldEncoder::Globals() const {
  if (!globals_left_.defined()) return globals_;
  return at::einsum("glc,alc->gac", {globals_left_, globals_right_});
}

std::shared_ptr<const PairLayout> MeanFieldEncoder::Layout(int64_t words,
                                                           const at::Device& device) {
  if (words > kLongestKept) return MakePairLayout(bins_, words, device);
  auto& layout = layouts_[{words, device.str()}];
  if (layout == nullptr) layout = MakePairLayout(bins_, words, device);
  return layout;
}

int64_t MeanFieldEncoder::LongestRecorded() const { return kLongestKept; }

MeanFieldEncoder::Call MeanFieldEncoder::Begin(const Tensor& unary, const Tensor& mask) {
  CKV_CHECK(unary.dim() == 3 && unary.size(2) == config_.labels && mask.dim() == 2 &&
                mask.size(0) == unary.size(0) && mask.size(1) == unary.size(1),
            "unary scores ", unary.sizes(), " with a mask ", mask.sizes());
  Call call;
  const int64_t n = call.num_words = unary.size(1);
  const Tensor is_word = mask.to(at::kBool);
  call.words = is_word.unsqueeze(2).to(unary.scalar_type());
  call.unary = unary * call.words;
  call.layout = Layout(n, unary.device());
  call.factor = factor_->Prepare(*call.layout);
  call.form = ChoosePairForm(config_.pairs, n, call.unary);
  call.factor.bf16 = bf16_products_;
  call.factor.by_bin = call.form == PairForm::kDense || call.form == PairForm::kBand;
  call.root = Root();
  call.globals = Globals();

  const Tensor other = at::eye(n, mask.options().dtype(at::kBool)).logical_not();
  std::vector<Tensor> columns = {is_word.unsqueeze(1) & is_word.unsqueeze(2) & other};
  if (call.root.defined()) {
    columns.insert(columns.begin(), is_word.unsqueeze(2));
    call.first_word = 1;
  }
  if (call.globals.defined() && config_.globals.mode == "shared") {
    call.shared_globals = config_.globals.count;
    columns.push_back(is_word.unsqueeze(2).expand({-1, -1, call.shared_globals}));
  }
  call.admissible = at::cat(columns, 2).unsqueeze(1);
  call.admissible_globals = is_word.unsqueeze(1).unsqueeze(3);
  return call;
}

MeanFieldEncoder::State MeanFieldEncoder::Start(const Call& call) const {
  State state;
  state.label_scores = call.unary;
  state.label_probs = Normalise(call.unary) * call.words;
  const int64_t batch = call.unary.size(0);
  const int64_t columns = call.admissible.size(3);
  const auto options = call.unary.options().requires_grad(false);
  state.head_scores = at::zeros({batch, config_.channels, call.num_words, columns}, options);
  state.head_probs = NormaliseAdmissible(at::ones_like(state.head_scores), call.admissible);
  if (call.globals.defined() && call.shared_globals == 0) {
    state.global_scores = at::zeros(
        {batch, config_.GlobalChannels(), call.num_words, config_.globals.count}, options);
    state.global_probs =
        NormaliseAdmissible(at::ones_like(state.global_scores), call.admissible_globals);
  }
  if (call.root.defined()) {
    state.root_scores = at::zeros({batch, config_.root_labels}, options);
    state.root_probs =
        at::full_like(state.root_scores, 1.0 / static_cast<double>(config_.root_labels));
  }
  return state;
}

// Makes the sides of the current label distributions, and damps the new head scores into the old.
void MeanFieldEncoder::HeadScores(const Call& call, State& state) const {
  const Tensor& q = state.label_probs;
  const int64_t batch = q.size(0), n = call.num_words;
  state.sides = ProjectSides(q, call.factor);
  std::vector<Tensor> columns = {
      PairScores(state.sides.child, state.sides.head, call.layout, call.form)};
  if (call.root.defined()) {
    const int64_t labels = config_.root_labels;
    // [B, rho] x [rho, d h] -> [B, d, h]
    state.root_vector =
        at::matmul(state.root_probs, call.root.transpose(0, 1).reshape({labels, -1}))
            .view({batch, config_.labels, config_.channels});
    columns.insert(columns.begin(), ByChannelScores(q, state.root_vector).unsqueeze(3));
  }
  Tensor of_globals;  // [B, channels, n, m]
  if (call.globals.defined()) {
    const int64_t count = call.globals.size(0), channels = call.globals.size(2);
    of_globals = at::matmul(q, call.globals.permute({1, 2, 0}).reshape({config_.labels, -1}))
                     .view({batch, n, channels, count})
                     .transpose(1, 2);
    if (call.shared_globals > 0) columns.push_back(of_globals);
  }
  const double scale = static_cast<double>(config_.labels) / config_.weight_heads;
  const double keep = config_.damping_heads;
  const auto damp = [&](const Tensor& old, const Tensor& fresh) {
    const Tensor scaled = fresh * ((1.0 - keep) * scale);
    return keep > 0.0 ? old * keep + scaled : scaled;
  };
  state.head_scores =
      damp(state.head_scores, columns.size() == 1 ? columns[0] : at::cat(columns, 3));
  if (state.global_scores.defined()) state.global_scores = damp(state.global_scores, of_globals);
}

void MeanFieldEncoder::UpdateHeads(const Call& call, State& state, bool first, double step) const {
  const auto mix = [&](const Tensor& old, const Tensor& fresh) {
    return first || step == 1.0 ? fresh : old * (1.0 - step) + fresh * step;
  };
  state.head_probs = mix(state.head_probs, NormaliseAdmissible(state.head_scores, call.admissible));
  if (state.global_scores.defined()) {
    state.global_probs =
        mix(state.global_probs, NormaliseAdmissible(state.global_scores, call.admissible_globals));
  }
}

// Messages (2a) and (2b), of ROOT and globals, from head distributions and the sides of the label
// distributions.
void MeanFieldEncoder::UpdateLabels(const Call& call, State& state) const {
  const Tensor& q = state.label_probs;
  const Tensor of_words = state.head_probs.narrow(3, call.first_word, call.num_words);
  const auto [to_child, to_head] =
      PairSums(of_words.contiguous(), state.sides.child, state.sides.head, call.layout, call.form);
  Tensor message = call.unary + ChildMessage(to_child, call.factor);
  if (config_.child_messages) message = message + HeadMessage(to_head, call.factor);

  const double keep = config_.damping_labels;
  const double scale = (1.0 - keep) / config_.weight_labels;
  const auto damp = [&](const Tensor& old, const Tensor& fresh) {
    return Drop(keep > 0.0 ? old * keep + fresh * scale : fresh * scale);
  };
  if (call.root.defined()) {
    const Tensor of_root = state.head_probs.select(3, 0);  // [B, h, n]
    message = message + at::bmm(of_root.transpose(1, 2), state.root_vector.transpose(1, 2));
    const Tensor collected = at::bmm(of_root, q);  // [B, h, d]
    const Tensor to_root = at::matmul(
        collected.flatten(1), call.root.permute({2, 0, 1}).reshape({-1, config_.root_labels}));
    state.root_scores = damp(state.root_scores, to_root);
  }
  if (call.globals.defined()) {
    const Tensor probs = call.shared_globals > 0
                             ? state.head_probs.narrow(3, call.first_word + call.num_words,
                                                       call.shared_globals)
                             : state.global_probs;  // [B, channels, n, m]
    message = message + at::matmul(probs.transpose(1, 2).flatten(2),
                                   call.globals.permute({2, 0, 1}).reshape({-1, config_.labels}));
  }
  state.label_scores = damp(state.label_scores, message);
}

void MeanFieldEncoder::MixLabels(const Call& call, State& state, double step) const {
  const auto mix = [step](const Tensor& old, const Tensor& fresh) {
    return step == 1.0 ? fresh : old * (1.0 - step) + fresh * step;
  };
  state.label_probs = mix(state.label_probs, Normalise(state.label_scores)) * call.words;
  if (call.root.defined()) state.root_probs = mix(state.root_probs, Normalise(state.root_scores));
}

void MeanFieldEncoder::Record(const Call& call, const State& state, bool heads_too,
                              InferenceTrace* trace) const {
  if (trace == nullptr) return;
  if (!heads_too) {
    trace->label_probs.push_back(state.label_probs);
    return;
  }
  trace->head_probs.push_back(state.head_probs);
  if (state.global_probs.defined()) trace->global_probs.push_back(state.global_probs);
  trace->label_scores.push_back(state.label_scores * call.words);
  if (state.root_scores.defined()) trace->root_scores.push_back(state.root_scores);
}

void MeanFieldEncoder::RunHeadsFirst(const Call& call, State& state, InferenceTrace* trace) const {
  const bool last_mix = trace != nullptr || config_.probabilities;
  for (int64_t t = 1; t <= config_.iterations; ++t) {
    HeadScores(call, state);
    UpdateHeads(call, state, t == 1, Step(config_.step_heads, t));
    // What is mixed in the next iteration is what was dropped here.
    state.head_probs = Drop(state.head_probs);
    if (state.global_probs.defined()) state.global_probs = Drop(state.global_probs);
    UpdateLabels(call, state);
    Record(call, state, /*heads_too=*/true, trace);
    if (t == config_.iterations && !last_mix) break;
    MixLabels(call, state, Step(config_.step_labels, t));
    Record(call, state, /*heads_too=*/false, trace);
  }
}

void MeanFieldEncoder::RunTogether(const Call& call, State& state, InferenceTrace* trace) const {
  for (int64_t t = 1; t <= config_.iterations; ++t) {
    HeadScores(call, state);
    UpdateLabels(call, state);  // from the heads of the iteration before
    state.head_scores = Drop(state.head_scores);
    if (state.global_scores.defined()) state.global_scores = Drop(state.global_scores);
    if (t == config_.iterations && trace == nullptr && !config_.probabilities) break;
    UpdateHeads(call, state, /*first=*/false, Step(config_.step_heads, t));
    Record(call, state, /*heads_too=*/true, trace);
    MixLabels(call, state, Step(config_.step_labels, t));
    Record(call, state, /*heads_too=*/false, trace);
  }
}

EncodedSentences MeanFieldEncoder::Encode(const Tensor& unary, const Tensor& mask,
                                          InferenceTrace* trace) {
  const Call call = Begin(unary, mask);
  State state = Start(call);
  if (trace != nullptr) trace->label_probs.push_back(state.label_probs);
  if (config_.schedule == "heads_first") {
    RunHeadsFirst(call, state, trace);
  } else {
    RunTogether(call, state, trace);
  }
  EncodedSentences result;
  result.words =
      config_.probabilities ? state.label_probs : Tensor(state.label_scores * call.words);
  if (config_.projection) {
    const Tensor inner = at::linear(result.words, inner_weight_, inner_bias_).relu();
    result.words = (result.words + at::linear(inner, outer_weight_, outer_bias_)) * call.words;
  }
  if (call.root.defined()) {
    result.root = config_.probabilities ? state.root_probs : state.root_scores;
  }
  return result;
}

}  // namespace ckv
