#include "kv/cache.h"

#include <algorithm>
#include <utility>

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include "base/error.h"
#include "sharing/stores.h"

namespace ckv {

KvCache::KvCache(const KvSharingSpec& spec, const KvCacheShape& shape,
                 const at::TensorOptions& options, std::optional<Rope> rope)
    : shape_(shape), options_(options), rope_(std::move(rope)) {
  CKV_CHECK(!shape.sinks.has_value() || rope_.has_value(), "sinks need the rotary embedding");
  const WindowedStores windowed = FindWindowedStores(spec);
  for (int layer = 0; layer < spec.num_layers(); ++layer) {
    const size_t i = Index(layer);
    keys_.push_back(spec.computes_k(layer) ? MakeStore(windowed.keys[i], true) : Store());
    values_.push_back(spec.computes_v(layer) ? MakeStore(windowed.values[i], false) : Store());
  }
  host_lengths_.assign(static_cast<size_t>(shape.rows), 0);
  lengths_ = at::zeros({shape.rows}, options.dtype(at::kLong));
}

KvCache::Store KvCache::MakeStore(bool windowed, bool keys) {
  SlotPolicy policy = SlotPolicy::Full(shape_.max_tokens);
  if (shape_.sinks.has_value()) {
    policy = SlotPolicy::Sink(shape_.sinks->num_sinks, shape_.sinks->window_length);
  } else if (windowed && shape_.window.has_value() && *shape_.window < shape_.max_tokens) {
    policy = SlotPolicy::Ring(*shape_.window);
  }
  auto known = std::find(policies_.begin(), policies_.end(), policy);
  if (known == policies_.end()) known = policies_.insert(known, policy);
  Store store;
  store.used = true;
  store.policy = static_cast<int>(known - policies_.begin());
  // Zeros: a slot behind a mask weighs 0, and 0 times a stray NaN would be NaN.
  const auto make = [&](int64_t slots) {
    return at::zeros({shape_.rows, shape_.kv_heads, slots, shape_.head_dim}, options_);
  };
  store.memory = make(policy.slots());
  if (keys && !policy.full() && policy.num_fixed() > 0) store.sinks = make(policy.num_fixed());
  return store;
}

template <typename Use>
void KvCache::ForEachStore(Use use) {
  for (std::vector<Store>* stores : {&keys_, &values_}) {
    for (Store& store : *stores) {
      if (store.used) use(store);
    }
  }
}

const KvCache::Store& KvCache::Used(const std::vector<Store>& stores, int layer) const {
  const Store& store = stores[Index(layer)];
  CKV_CHECK(store.used, "layer ", layer, " has no store of what is asked for");
  return store;
}

int64_t KvCache::length() const {
  return *std::max_element(host_lengths_.begin(), host_lengths_.end());
}

bool KvCache::even() const {
  return std::all_of(host_lengths_.begin(), host_lengths_.end(),
                     [&](int64_t length) { return length == host_lengths_.front(); });
}

int64_t KvCache::store_bytes() const {
  int64_t total = 0;
  for (const std::vector<Store>* stores : {&keys_, &values_}) {
    for (const Store& store : *stores) {
      for (const Tensor& tensor : {store.memory, store.sinks}) {
        if (tensor.defined()) total += static_cast<int64_t>(tensor.nbytes());
      }
    }
  }
  return total;
}

int64_t KvCache::bytes() const { return store_bytes() + static_cast<int64_t>(lengths_.nbytes()); }

void KvCache::Open(int64_t num_tokens, std::vector<int64_t> counts) {
  CKV_CHECK(counts.empty() || counts.size() == host_lengths_.size(), counts.size(), " counts for ",
            host_lengths_.size(), " rows");
  all_count_ =
      std::all_of(counts.begin(), counts.end(), [&](int64_t count) { return count == num_tokens; });
  counts_ = std::move(counts);
  if (counts_.empty()) counts_.assign(host_lengths_.size(), num_tokens);
  const bool bounded = std::any_of(policies_.begin(), policies_.end(),
                                   [](const SlotPolicy& policy) { return policy.full(); });
  for (size_t row = 0; row < counts_.size(); ++row) {
    CKV_CHECK(counts_[row] >= 0 && counts_[row] <= num_tokens, "a row has ", counts_[row], " of ",
              num_tokens, " tokens");
    CKV_CHECK(!bounded || host_lengths_[row] + counts_[row] <= shape_.max_tokens, "cache of ",
              shape_.max_tokens, " tokens holds ", host_lengths_[row], " and was asked to take ",
              counts_[row]);
  }
  call_tokens_ = num_tokens;
  even_ = even();
  device_counts_.reset();
  if (!all_count_) device_counts_ = at::tensor(counts_, at::kLong).to(lengths_.device());
  spans_.clear();
  ForEachStore([](Store& store) {
    store.staged.reset();
    store.written = false;
  });
  TurnSinks();
}

void KvCache::Begin(int64_t num_tokens, std::vector<int64_t> counts) {
  CKV_CHECK(counts.empty() || *std::max_element(counts.begin(), counts.end()) == num_tokens,
            "no row has a token in the last column");
  step_ = false;
  Open(num_tokens, std::move(counts));
}

void KvCache::BeginStep(std::vector<int64_t> counts) {
  step_ = true;
  Open(1, std::move(counts));
}

Tensor KvCache::Positions() const {
  const auto options = lengths_.options();
  if (even_ && !(step_ && replayable_)) {
    return at::arange(host_lengths_.front(), host_lengths_.front() + call_tokens_, options);
  }
  return lengths_.unsqueeze(1) + at::arange(call_tokens_, options);
}

// Slots that hold something of the past.
int64_t KvCache::PastSlots(const SlotPolicy& policy) const {
  return std::min(length(), policy.slots());
}

std::vector<AttentionScope> KvCache::Scopes() const {
  const auto two_dims = [](const Tensor& x) { return x.dim() == 1 ? x.unsqueeze(0) : x; };
  std::vector<AttentionScope> scopes;
  for (const SlotPolicy& policy : policies_) {
    AttentionScope scope;
    scope.num_queries = call_tokens_;
    scope.past = PastSlots(policy);
    scope.device = lengths_.device();
    if (!InOrder(policy)) {
      const Tensor lengths = even_ ? lengths_.narrow(0, 0, 1) : lengths_;
      const Tensor past = policy.SlotPositions(lengths).narrow(1, 0, scope.past);
      scope.query_positions = two_dims(Positions());
      scope.key_positions = at::cat({past, scope.query_positions}, 1);
    }
    scopes.push_back(scope);
  }
  return scopes;
}

Tensor KvCache::StageTarget(const Store& store) const {
  if (step_ || !InOrder(Policy(store))) return {};
  return store.memory.narrow(2, host_lengths_.front(), call_tokens_);
}

void KvCache::Stage(Store& store, const Tensor& fresh) {
  CKV_CHECK(store.used, "a layer without readers staged keys or values");
  at::NoGradGuard no_grad;
  store.written = true;
  if (step_) {
    WriteSlot(store, fresh);
  } else if (InOrder(Policy(store))) {
    const Tensor target = StageTarget(store);
    if (fresh.data_ptr() != target.data_ptr()) target.copy_(fresh);
  } else {
    store.staged = fresh.detach();
  }
}

void KvCache::WriteSlot(Store& store, const Tensor& fresh) const {
  const SlotPolicy& policy = Policy(store);
  if (even_ && all_count_ && !replayable_) {
    store.memory.narrow(2, policy.SlotOf(host_lengths_.front()), 1).copy_(fresh);
    return;
  }
  const Tensor slots = policy.SlotOf(lengths_).view({-1, 1, 1, 1}).expand(fresh.sizes());
  Tensor values = fresh.to(store.memory.scalar_type());
  if (!all_count_) {
    const Tensor takes_part = device_counts_.view({-1, 1, 1, 1}).to(at::kBool);
    values = at::where(takes_part, values, store.memory.gather(2, slots));
  }
  store.memory.scatter_(2, slots, values);
}

Tensor KvCache::Read(Store& store) const {
  CKV_CHECK(store.used, "a layer reads keys or values that nobody computes");
  CKV_CHECK(!step_, "a step reads slots");
  at::NoGradGuard no_grad;
  if (InOrder(Policy(store))) {
    const int64_t past = host_lengths_.front();
    if (!store.written) store.memory.narrow(2, past, call_tokens_).zero_();
    return store.memory.narrow(2, 0, past + call_tokens_);
  }
  const Tensor past = store.memory.narrow(2, 0, PastSlots(Policy(store)));
  const Tensor staged =
      store.staged.defined()
          ? store.staged
          : at::zeros({shape_.rows, shape_.kv_heads, call_tokens_, shape_.head_dim}, options_);
  return at::cat({past, staged}, 2);
}

const SlotSpan& KvCache::Span(int layer, bool strict, std::optional<int64_t> window) {
  CKV_CHECK(step_, "only a step reads slots");
  const int index = PolicyOf(layer);
  const std::tuple<int, bool, int64_t> kind(index, strict, window.value_or(-1));
  const auto made = spans_.find(kind);
  if (made != spans_.end()) return made->second;
  at::NoGradGuard no_grad;
  const SlotPolicy& policy = policies_[static_cast<size_t>(index)];
  // A ring's readers all have its window, which it holds exactly.
  const bool cut = window.has_value() && policy.full();
  Tensor begin = cut ? (lengths_ - (*window - 1)).clamp_min(0) : at::zeros_like(lengths_);
  Tensor end = (lengths_ + 1).clamp_max(policy.slots());
  Tensor skip = strict ? policy.SlotOf(lengths_) : at::full_like(lengths_, -1);
  const int64_t past = host_lengths_.front();
  std::optional<SlotSpan::Range> same;
  if (even_ && !replayable_) {
    same = SlotSpan::Range{cut ? std::max<int64_t>(past - *window + 1, 0) : 0,
                           std::min(past + 1, policy.slots()), strict ? policy.SlotOf(past) : -1};
  }
  const int64_t most = replayable_ ? policy.slots() : std::min(length() + 1, policy.slots());
  SlotSpan span(std::move(begin), std::move(end), std::move(skip), most, same);
  return spans_.emplace(kind, std::move(span)).first->second;
}

void KvCache::Commit() {
  CKV_CHECK(call_tokens_ > 0, "no call is open");
  at::NoGradGuard no_grad;
  if (!step_) WriteStaged();
  ForEachStore([](Store& store) {
    CKV_CHECK(store.written, "a call ended without the keys or values of an owner");
    store.staged.reset();
  });
  KeepSinks();
  for (size_t row = 0; row < counts_.size(); ++row) host_lengths_[row] += counts_[row];
  if (all_count_) {
    lengths_.add_(call_tokens_);
  } else {
    lengths_.add_(device_counts_);
  }
  call_tokens_ = 0;
}

void KvCache::FollowReplay() {
  CKV_CHECK(replayable_ && call_tokens_ == 0, "no recorded step can have run");
  for (int64_t& length : host_lengths_) ++length;
}

KvCache::Target KvCache::MakeTarget(const SlotPolicy& policy) const {
  std::vector<int64_t> rows;
  std::vector<int64_t> columns;
  std::vector<int64_t> slots;
  for (size_t row = 0; row < counts_.size(); ++row) {
    const int64_t past = host_lengths_[row];
    for (const int64_t position : policy.KeptPositions(past + counts_[row], past)) {
      rows.push_back(static_cast<int64_t>(row));
      columns.push_back(position - past);
      slots.push_back(policy.SlotOf(position));
    }
  }
  const auto on_device = [&](const std::vector<int64_t>& values) {
    return at::tensor(values, at::kLong).to(lengths_.device());
  };
  return {on_device(rows), on_device(columns), on_device(slots)};
}

void KvCache::WriteStaged() {
  std::vector<std::optional<Target>> targets(policies_.size());
  ForEachStore([&](Store& store) {
    if (!store.staged.defined()) return;
    std::optional<Target>& target = targets[static_cast<size_t>(store.policy)];
    if (!target.has_value()) target = MakeTarget(Policy(store));
    const Tensor fresh = store.staged
                             .transpose(1, 2)  // [B, T, G, D]
                             .index({target->rows, target->columns})
                             .to(store.memory.scalar_type());  // [N, G, D]
    store.memory.transpose(1, 2).index_put_({target->rows, target->slots}, fresh);
  });
}

}  // namespace ckv
