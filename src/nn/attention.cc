#include "nn/attention.h"

#include <cmath>

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <ATen/detail/CUDAHooksInterface.h>

#include "base/error.h"

namespace ckv {
namespace {

// [B, G, S, D] -> [B, H, S, D]: every KV head serves H / G neighbouring query heads.
Tensor RepeatHeads(const Tensor& kv, int64_t heads) {
  const int64_t groups = kv.size(1);
  if (groups == heads) return kv;
  return kv.repeat_interleave(heads / groups, /*dim=*/1);
}

Tensor ReferenceAttention(const Tensor& q, const Tensor& k, const Tensor& v,
                          const Visibility& visibility, double dropout) {
  const int64_t heads = q.size(1);
  const auto maths = q.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
  const double scale = 1.0 / std::sqrt(static_cast<double>(q.size(3)));
  const Tensor keys = RepeatHeads(k, heads).to(maths);
  Tensor scores = at::matmul(q.to(maths) * scale, keys.transpose(2, 3));  // [B, H, T, S]
  scores =
      scores.masked_fill(visibility.mask().logical_not(), -std::numeric_limits<double>::infinity());
  Tensor weights = at::softmax(scores, -1);
  if (dropout > 0.0) weights = at::dropout(weights, dropout, /*train=*/true);
  const Tensor out = at::matmul(weights, RepeatHeads(v, heads).to(maths));
  return visibility.HideBlindRows(out).to(q.scalar_type());
}

Tensor Fused(const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& mask, double dropout,
             bool causal) {
  const bool grouped = q.size(1) != k.size(1);
  return at::scaled_dot_product_attention(
      q, k, v, mask.defined() ? std::optional<Tensor>(mask) : std::nullopt, dropout, causal,
      /*scale=*/std::nullopt, /*enable_gqa=*/grouped);
}

// Whether LibTorch's flash kernel serves; without gradient, for its own operation has none.
bool FlashFits(const Tensor& q, const Visibility& visibility, double dropout) {
  return q.is_cuda() && (q.scalar_type() == at::kHalf || q.scalar_type() == at::kBFloat16) &&
         !at::GradMode::is_enabled() && dropout == 0.0 && q.size(3) % 8 == 0 && q.size(3) <= 256 &&
         visibility.order_and_window();
}

// Tokens of a call from which on cuDNN's kernel, which is faster on Hopper, makes up for what it
// takes to be set up for a shape.
constexpr int64_t kCudnnTokens = 8192;
constexpr int64_t kCudnnLength = 256;

bool CudnnFits(const Tensor& q, const Visibility& visibility) {
  return visibility.only_order() && visibility.past() == 0 && q.size(2) >= kCudnnLength &&
         q.size(0) * q.size(2) >= kCudnnTokens && q.size(3) <= 128 &&
         at::detail::getCUDAHooks().hasCuDNN();
}

Tensor CudnnAttention(const Tensor& q, const Tensor& k, const Tensor& v) {
  return std::get<0>(at::_scaled_dot_product_cudnn_attention(
      q, k, v, /*attn_bias=*/{}, /*compute_log_sumexp=*/false, /*dropout_p=*/0.0,
      /*is_causal=*/true));
}

// The flash kernel counts its causal order from the last key, so that a past, hidden own positions
// and windows need no mask. Queries that see nothing get 0.
Tensor FlashAttention(const Tensor& q, const Tensor& k, const Tensor& v,
                      const Visibility& visibility) {
  // Without its last key, each query sees one less of the causal order.
  const int64_t keys = visibility.num_keys() - (visibility.strict() ? 1 : 0);
  std::optional<int64_t> before;  // keys seen in front of the last one
  if (visibility.window().has_value()) {
    before = *visibility.window() - (visibility.strict() ? 2 : 1);
  }
  if (keys == 0 || before.value_or(0) < 0) return at::zeros_like(q);
  const Tensor out = std::get<0>(at::_flash_attention_forward(
      q.transpose(1, 2), k.narrow(2, 0, keys).transpose(1, 2), v.narrow(2, 0, keys).transpose(1, 2),
      {}, {}, q.size(2), keys, /*dropout_p=*/0.0,
      /*is_causal=*/true, /*return_debug_mask=*/false, /*scale=*/std::nullopt, before,
      before.has_value() ? std::optional<int64_t>(0) : std::nullopt));
  return out.transpose(1, 2);
}

Tensor SdpaAttention(const Tensor& q, const Tensor& k, const Tensor& v,
                     const Visibility& visibility, double dropout) {
  const int64_t num_queries = visibility.num_queries();
  const int64_t past = visibility.past();
  if (FlashFits(q, visibility, dropout) && !CudnnFits(q, visibility)) {
    return FlashAttention(q, k, v, visibility);
  }
  const bool cudnn = FlashFits(q, visibility, dropout);
  if (visibility.only_order() && num_queries == 1) {
    // One query at the end: its keys are simply the first ones.
    const int64_t visible = visibility.strict() ? past : past + 1;
    if (visible == 0) return at::zeros_like(q);
    return Fused(q, k.narrow(2, 0, visible), v.narrow(2, 0, visible), {}, dropout, false);
  }
  if (visibility.only_order() && past == 0) {
    const auto causal = [&](const Tensor& queries, const Tensor& keys, const Tensor& values) {
      return cudnn ? CudnnAttention(queries, keys, values)
                   : Fused(queries, keys, values, {}, dropout, true);
    };
    if (!visibility.strict()) return causal(q, k, v);
    // Strict causal = causal with the queries moved up by one: no mask, and the fast kernels apply.
    const int64_t rest = num_queries - 1;
    const Tensor out = causal(q.narrow(2, 1, rest), k.narrow(2, 0, rest), v.narrow(2, 0, rest));
    return at::constant_pad_nd(out, {0, 0, 1, 0});
  }
  return visibility.HideBlindRows(Fused(q, k, v, visibility.mask(), dropout, false));
}

struct AttentionRow {
  const char* name;
  AttentionFn function;
};

constexpr AttentionRow kAttentions[] = {
    {"sdpa", SdpaAttention},
    {"reference", ReferenceAttention},
};

}  // namespace

Visibility::Visibility(const AttentionScope& scope, bool strict, std::optional<int64_t> window)
    : scope_(scope), strict_(strict), window_(window) {
  const bool indices = !scope_.key_positions.defined();
  // The first key lies num_keys - 1 before the last query.
  if (indices && window_.has_value() && *window_ >= scope_.num_keys()) window_.reset();
  order_and_window_ = indices && !scope_.key_mask.defined() && !scope_.query_segments.defined();
  only_order_ = order_and_window_ && !window_.has_value();
}

const Tensor& Visibility::mask() const {
  if (!mask_.defined()) Build();
  return mask_;
}

Tensor Visibility::HideBlindRows(const Tensor& output) const {
  if (!mask_.defined()) Build();
  return sighted_.defined() ? output.masked_fill(sighted_.logical_not(), 0.0) : output;
}

void Visibility::Build() const {
  at::NoGradGuard no_grad;
  const bool indices = !scope_.key_positions.defined();
  const auto options = at::TensorOptions().device(scope_.device).dtype(at::kLong);
  const Tensor key = indices ? at::arange(scope_.num_keys(), options).view({1, 1, 1, -1})
                             : scope_.key_positions.unsqueeze(1).unsqueeze(1);
  const Tensor query = indices
                           ? at::arange(scope_.past, scope_.num_keys(), options).view({1, 1, -1, 1})
                           : scope_.query_positions.unsqueeze(1).unsqueeze(3);
  Tensor visible = strict_ ? key < query : key <= query;  // [1 or B, 1, T, S]
  if (window_.has_value()) visible = visible & (key > query - *window_);
  if (!indices) visible = visible & (key >= 0);
  if (scope_.key_mask.defined()) {
    visible = visible & scope_.key_mask.unsqueeze(1).unsqueeze(1);
  }
  if (scope_.query_segments.defined()) {
    visible = visible &
              (scope_.query_segments.unsqueeze(2) == scope_.key_segments.unsqueeze(1)).unsqueeze(1);
  }
  // Only these make empty rows: a hidden own position, or padding before the first real token.
  if (strict_ || scope_.key_mask.defined()) {
    sighted_ = visible.any(-1, /*keepdim=*/true);
    visible = visible | sighted_.logical_not();
  }
  mask_ = visible;
}

AttentionScope OneQueryScope(const AttentionScope& scope, const Tensor& columns) {
  AttentionScope one = scope;
  one.num_queries = 1;
  one.past = scope.num_keys() - 1;
  const auto pick = [&](const Tensor& x) {  // [1 or B, T] -> [1 or B, 1]
    if (!columns.defined()) return x.narrow(1, scope.num_queries - 1, 1);
    return x.expand({columns.size(0), x.size(1)}).gather(1, columns.unsqueeze(1));
  };
  if (scope.query_segments.defined()) one.query_segments = pick(scope.query_segments);
  if (scope.key_positions.defined()) {
    one.query_positions = pick(scope.query_positions);
  } else if (columns.defined()) {
    one.query_positions = columns.unsqueeze(1) + scope.past;
    one.key_positions = at::arange(scope.num_keys(), columns.options()).unsqueeze(0);
  }
  return one;
}

const Visibility& VisibilitySet::Get(bool strict, std::optional<int64_t> window) {
  const std::pair<bool, int64_t> kind(strict, window.value_or(-1));
  auto found = made_.find(kind);
  if (found == made_.end()) {
    found = made_.emplace(kind, Visibility(scope_, strict, window)).first;
  }
  return found->second;
}

Tensor CausalSdpa(const Tensor& q, const Tensor& k, const Tensor& v, double dropout) {
  return Fused(q, k, v, {}, dropout, /*causal=*/true);
}

Tensor AttentionBehindTheFirst(const Tensor& q, const Tensor& k, const Tensor& v,
                               const Visibility& visibility) {
  if (!visibility.strict() || !FlashFits(q, visibility, 0.0) || !CudnnFits(q, visibility))
    return {};
  const int64_t rest = q.size(2) - 1;
  return CudnnAttention(q.narrow(2, 1, rest), k.narrow(2, 0, rest), v.narrow(2, 0, rest));
}

AttentionFn FindAttention(const std::string& name) {
  for (const AttentionRow& row : kAttentions) {
    if (name == row.name) return row.function;
  }
  std::string known;
  for (const AttentionRow& row : kAttentions) known += Str(known.empty() ? "" : ", ", row.name);
  throw ConfigError("", Str("attention kernel '", name, "' is not one of ", known));
}

std::vector<std::string> AttentionNames() {
  std::vector<std::string> names;
  for (const AttentionRow& row : kAttentions) names.emplace_back(row.name);
  return names;
}

}  // namespace ckv
