// Attention as a table of kernels, and the one place that decides who sees whom.
//
// Key j is visible to the query at index i (both counted from the first key) iff
//   j <= i, or j < i where the own position is hidden (strict);
//   j > i - window, where there is a window;
//   key j is a real token, where there is padding;
//   both belong to the same document, where there are segments.
// A query that sees no key gets the output 0 and sends no gradient, whatever the kernel.
//
// Masks are boolean throughout: under an additive mask of lowest floats a query without visible
// keys averages all values, future ones included.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <ATen/core/Tensor.h>

namespace ckv {

using at::Tensor;

// What one call of the model shares between its layers; each layer asks for its own Visibility.
struct AttentionScope {
  int64_t num_queries = 0;  // T
  int64_t past = 0;         // P: keys before the first query's own
  Tensor key_mask;          // [B, S] bool, true = real token; undefined = no padding
  Tensor query_segments;    // [B, T] document numbers; undefined = one document
  Tensor key_segments;      // [B, S]
  // Where keys are not in the order of time, the positions of queries and keys say who is earlier,
  // in place of their indices: int64 [1 or B, T] and [1 or B, S], -1 = no key. Both or none.
  Tensor query_positions;
  Tensor key_positions;
  at::Device device = at::kCPU;

  int64_t num_keys() const { return past + num_queries; }
};

// The scope of one query a row, that of column `columns[b]` (int64 [B]; undefined = of the last
// column), over the same keys.
AttentionScope OneQueryScope(const AttentionScope& scope, const Tensor& columns);

// Who sees whom in the layers of one kind (strict or not, windowed or not). The mask is built when
// a kernel first asks for it and then shared by all layers of the kind; nobody edits it.
class Visibility {
 public:
  Visibility(const AttentionScope& scope, bool strict, std::optional<int64_t> window);

  int64_t num_queries() const { return scope_.num_queries; }
  int64_t num_keys() const { return scope_.num_keys(); }
  int64_t past() const { return scope_.past; }
  bool strict() const { return strict_; }

  // True if only the order of indices decides: no padding, no documents, no window that bites.
  bool only_order() const { return only_order_; }

  // True if only the order of indices and a window decide. The window is that of the layer, or
  // nullopt where it hides nothing.
  bool order_and_window() const { return order_and_window_; }
  const std::optional<int64_t>& window() const { return window_; }

  // [1 or B, 1, T, S] bool, true = visible. A row without visible keys is all true here, so that no
  // kernel meets an empty row; HideBlindRows repairs the output.
  const Tensor& mask() const;

  // Sets the output rows of queries that see nothing to 0. [B, H, T, D] -> [B, H, T, D]
  Tensor HideBlindRows(const Tensor& output) const;

 private:
  void Build() const;

  AttentionScope scope_;
  bool strict_;
  std::optional<int64_t> window_;
  bool only_order_;
  bool order_and_window_;
  mutable Tensor mask_;
  mutable Tensor sighted_;  // [1 or B, 1, T, 1] bool: sees a key; undefined = every query does
};

// The visibilities of one call, made on demand.
class VisibilitySet {
 public:
  explicit VisibilitySet(AttentionScope scope) : scope_(std::move(scope)) {}
  const Visibility& Get(bool strict, std::optional<int64_t> window);
  const AttentionScope& scope() const { return scope_; }

 private:
  AttentionScope scope_;
  std::map<std::pair<bool, int64_t>, Visibility> made_;
};

// q [B, H, T, D]; k, v [B, G, S, D] with H % G == 0; returns [B, H, T, D] = softmax(q k^T /
// sqrt(D)) v. `dropout` acts on the softmax weights.
using AttentionFn = Tensor (*)(const Tensor& q, const Tensor& k, const Tensor& v,
                               const Visibility& visibility, double dropout);

// Plain causal attention of as many queries as keys by LibTorch's fused kernels; shapes as above.
Tensor CausalSdpa(const Tensor& q, const Tensor& k, const Tensor& v, double dropout);

// Where a prompt without past hides each query's own key in a kernel that sees in causal order: the
// outputs [B, H, T - 1, D] of all queries but the first, which sees nothing. Undefined where no
// such kernel serves. Without gradient; as "sdpa".
Tensor AttentionBehindTheFirst(const Tensor& q, const Tensor& k, const Tensor& v,
                               const Visibility& visibility);

// Kernels by name: "reference" (plain maths, softmax in at least fp32) and "sdpa" (LibTorch's fused
// kernels). Throws ConfigError for another name.
AttentionFn FindAttention(const std::string& name);
std::vector<std::string> AttentionNames();

}  // namespace ckv
