// Keys and values of tokens seen in earlier calls, one store per layer that owns some.
//
// Memory is allocated once, [rows, G, slots, D] a store, and written in place. How many slots a
// store has and which token lies where is its policy (kv/slot_policy.h): everything; the last W
// tokens, where every reader is windowed (sharing/stores.h); or, if asked for, the first and last
// tokens of an endless stream. Rows have lengths of their own, and no padding is stored: the next
// token of row b has stream position lengths[b], which is also the position of its rotation.
//
// A call of several tokens goes: Begin, then StageKeys and StageValues as layers compute them
// (again in every pass), Keys and Values for each reader, and Commit. Until Commit the past
// stays as it is. A step of one token goes: BeginStep, StageKeys and StageValues (which write the
// token's slot), KeySlots, ValueSlots and Span for each reader, and Commit.
//
// Sinks (StreamingLLM, Xiao et al. 2023): positions count within what is kept. Scores depend on
// differences of positions only, so recent keys and queries stay at their stream positions, and
// only the few sink keys are turned anew, from their originals, to follow: a step costs the same
// whatever the length, and no rounding piles up.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <tuple>
#include <vector>

#include <ATen/core/Tensor.h>
#include <c10/core/TensorOptions.h>

#include "kv/slot_policy.h"
#include "nn/attention.h"
#include "nn/rope.h"
#include "nn/step_attention.h"
#include "sharing/spec.h"

namespace ckv {

using at::Tensor;

struct SinkWindow {
  int64_t num_sinks = 4;         // s: the first tokens, which stay
  int64_t window_length = 1024;  // w: tokens kept between calls, sinks included; > s
};

struct KvCacheShape {
  int64_t rows = 1;               // B
  int64_t kv_heads = 1;           // G
  int64_t head_dim = 1;           // D
  int64_t max_tokens = 0;         // of a row, in a store that keeps everything
  std::optional<int64_t> window;  // W of the windowed layers; unset: they see everything
  std::optional<SinkWindow> sinks;
};

class KvCache {
 public:
  // `rope` turns sink keys; needed with sinks only.
  KvCache(const KvSharingSpec& spec, const KvCacheShape& shape, const at::TensorOptions& options,
          std::optional<Rope> rope = std::nullopt);

  int64_t rows() const { return shape_.rows; }
  int64_t max_tokens() const { return shape_.max_tokens; }
  // Tokens that each row has seen: int64 [B] on the device of the stores, and on the host. The
  // tensor keeps its memory while the number of rows stays.
  const Tensor& lengths() const { return lengths_; }
  const std::vector<int64_t>& host_lengths() const { return host_lengths_; }
  int64_t length() const;                            // of the longest row
  bool even() const;                                 // all rows have the same length
  bool past_empty() const { return length() == 0; }  // no row has seen a token

  // Memory of all tensors, and of the stores alone.
  int64_t bytes() const;
  int64_t store_bytes() const;

  // What the store of an owning layer keeps of a row, oldest first: [G, n, D]. Sink caches give
  // keys as rotated at their place among the kept tokens.
  Tensor HeldKeys(int layer, int64_t row) const;
  Tensor HeldValues(int layer, int64_t row) const;

  // Opens a call of `num_tokens` columns. Row b has `counts[b]` tokens, in the first columns; empty
  // = all rows have all. Requires that some row has all. Throws InternalError beyond the capacity.
  void Begin(int64_t num_tokens, std::vector<int64_t> counts = {});

  // Opens a step of one token a row. Rows with count 0 have none: they compute something
  // meaningless and keep their past.
  void BeginStep(std::vector<int64_t> counts = {});

  // Stream positions of the call's columns: [T], or [B, T] where rows differ.
  Tensor Positions() const;

  // [B, G, T, D]: this call's keys or values of an owning layer; replaces what was staged before.
  void StageKeys(int layer, const Tensor& keys) { Stage(keys_[Index(layer)], keys); }
  void StageValues(int layer, const Tensor& values) { Stage(values_[Index(layer)], values); }

  // In a call: [B, G, T, D], the place where this call's keys or values of a layer will lie, which
  // may be written and then staged instead of a copy; undefined if there is none before Commit.
  Tensor KeyTarget(int layer) const { return StageTarget(Used(keys_, layer)); }
  Tensor ValueTarget(int layer) const { return StageTarget(Used(values_, layer)); }

  // In a call: [B, G, S, D], what the store holds of the past and what the call has staged (zeros
  // where nothing was). Scopes say who sees which: one for each policy, numbered by PolicyOf.
  Tensor Keys(int layer) { return Read(keys_[Index(layer)]); }
  Tensor Values(int layer) { return Read(values_[Index(layer)]); }
  std::vector<AttentionScope> Scopes() const;
  int PolicyOf(int layer) const { return Used(keys_, layer).policy; }  // of its keys

  // In a step: whole stores [B, G, slots, D], and what a reader of the layer's store sees of it.
  const Tensor& KeySlots(int layer) const { return Used(keys_, layer).memory; }
  const Tensor& ValueSlots(int layer) const { return Used(values_, layer).memory; }
  const SlotSpan& Span(int layer, bool strict, std::optional<int64_t> window);

  // Ends the call or step: its tokens belong to the past.
  void Commit();

  // Steps use nothing that only the host knows, so that a recorded one (CUDA graph) can be
  // replayed. After a replay, FollowReplay brings the host's lengths up to date.
  void set_replayable(bool replayable) { replayable_ = replayable; }
  void FollowReplay();

  // Rows become copies of the rows named: drops, reorders and duplicates. The memory stays if their
  // number does.
  void SelectRows(const std::vector<int64_t>& rows);
  // Adds the rows of another cache of the same model, whose rows fit in `max_tokens`.
  void AppendRows(const KvCache& other);
  // Puts row `from[i]` of another cache in the place of row `to[i]`, in place.
  void ReplaceRows(const std::vector<int64_t>& to, const KvCache& other,
                   const std::vector<int64_t>& from);
  // Rows become copies of the rows named, which take the first places; the others become empty.
  // The memory stays, and only rows that change places are copied.
  void CompactRows(const std::vector<int64_t>& rows);
  // The first `rows` rows have `tokens` tokens more: somebody else has put their keys and values
  // into their slots.
  void CountTokens(int64_t rows, int64_t tokens);
  // Forgets all tokens.
  void Clear();

 private:
  struct Store {
    bool used = false;
    int policy = 0;
    Tensor memory;  // [B, G, slots, D]
    Tensor sinks;   // keys with sinks: the sink keys as they came, [B, G, s, D]
    Tensor staged;  // of this call, if it cannot be written before Commit
    bool written = false;
  };
  // Where tokens of a call go: row, column and slot of each, int64 [N].
  struct Target {
    Tensor rows;
    Tensor columns;
    Tensor slots;
  };

  static size_t Index(int layer) { return static_cast<size_t>(layer); }
  template <typename Use>
  void ForEachStore(Use use);
  const Store& Used(const std::vector<Store>& stores, int layer) const;
  const SlotPolicy& Policy(const Store& store) const {
    return policies_[static_cast<size_t>(store.policy)];
  }
  Store MakeStore(bool windowed, bool keys);

  void Open(int64_t num_tokens, std::vector<int64_t> counts);
  bool InOrder(const SlotPolicy& policy) const { return even_ && policy.full(); }
  int64_t PastSlots(const SlotPolicy& policy) const;
  Tensor StageTarget(const Store& store) const;
  void Stage(Store& store, const Tensor& fresh);
  void WriteSlot(Store& store, const Tensor& fresh) const;
  Tensor Read(Store& store) const;
  Target MakeTarget(const SlotPolicy& policy) const;
  void WriteStaged();
  void TurnSinks();
  void KeepSinks();
  Tensor Dropped() const;
  Tensor Held(const Store& store, int64_t row) const;
  void CheckLike(const KvCache& other) const;

  KvCacheShape shape_;
  at::TensorOptions options_;
  std::optional<Rope> rope_;
  std::vector<SlotPolicy> policies_;
  std::vector<Store> keys_;  // by layer
  std::vector<Store> values_;
  Tensor lengths_;
  std::vector<int64_t> host_lengths_;
  bool replayable_ = false;

  // The open call.
  int64_t call_tokens_ = 0;  // 0 = none
  bool step_ = false;
  bool even_ = true;             // lengths at its start
  std::vector<int64_t> counts_;  // tokens of each row
  bool all_count_ = true;        // every row has a token in every column
  Tensor device_counts_;         // [B]; undefined if all_count_
  std::map<std::tuple<int, bool, int64_t>, SlotSpan> spans_;
};

}  // namespace ckv
