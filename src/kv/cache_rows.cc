// Rows that come, go and change places.
#include <algorithm>

#include <ATen/ATen.h>

#include "base/error.h"
#include "kv/cache.h"

namespace ckv {
namespace {

Tensor RowIndex(const std::vector<int64_t>& rows, const Tensor& like) {
  return at::tensor(rows, at::kLong).to(like.device());
}

void CheckRows(const std::vector<int64_t>& rows, int64_t count) {
  for (const int64_t row : rows) {
    CKV_CHECK(row >= 0 && row < count, "row ", row, " of ", count);
  }
}

}  // namespace

void KvCache::SelectRows(const std::vector<int64_t>& rows) {
  CKV_CHECK(call_tokens_ == 0, "rows change between calls");
  CKV_CHECK(!rows.empty(), "no rows are left");
  CheckRows(rows, shape_.rows);
  at::NoGradGuard no_grad;
  const Tensor index = RowIndex(rows, lengths_);
  const bool in_place = static_cast<int64_t>(rows.size()) == shape_.rows;
  const auto select = [&](Tensor& tensor, int64_t used) {
    // Only what is filled is copied.
    const Tensor chosen = tensor.narrow(2, 0, used).index_select(0, index);
    if (!in_place) {
      std::vector<int64_t> sizes = tensor.sizes().vec();
      sizes[0] = static_cast<int64_t>(rows.size());
      tensor = at::zeros(sizes, tensor.options());
    }
    tensor.narrow(2, 0, used).copy_(chosen);
  };
  for (std::vector<Store>* stores : {&keys_, &values_}) {
    for (Store& store : *stores) {
      if (!store.used) continue;
      select(store.memory, PastSlots(Policy(store)));
      if (store.sinks.defined()) select(store.sinks, store.sinks.size(2));
    }
  }
  std::vector<int64_t> lengths;
  for (const int64_t row : rows) lengths.push_back(host_lengths_[static_cast<size_t>(row)]);
  host_lengths_ = std::move(lengths);
  if (in_place) {
    lengths_.copy_(lengths_.index_select(0, index));
  } else {
    lengths_ = lengths_.index_select(0, index);
  }
  shape_.rows = static_cast<int64_t>(rows.size());
}

void KvCache::CheckLike(const KvCache& other) const {
  CKV_CHECK(call_tokens_ == 0 && other.call_tokens_ == 0, "rows change between calls");
  bool alike = keys_.size() == other.keys_.size() && shape_.kv_heads == other.shape_.kv_heads &&
               shape_.head_dim == other.shape_.head_dim &&
               shape_.sinks.has_value() == other.shape_.sinks.has_value();
  const auto fits = [&](const std::vector<Store>& mine, const std::vector<Store>& theirs) {
    for (size_t i = 0; alike && i < mine.size(); ++i) {
      alike = mine[i].used == theirs[i].used;
      if (!alike || !mine[i].used) continue;
      const SlotPolicy& policy = Policy(mine[i]);
      const SlotPolicy& other_policy = other.Policy(theirs[i]);
      // Slots mean the same in two stores that keep everything, whatever their size, and in one
      // that has no more of them than a ring.
      const bool as_ring =
          policy.num_fixed() == 0 && other_policy.full() && other_policy.slots() <= policy.slots();
      alike = policy == other_policy || (policy.full() && other_policy.full()) || as_ring;
    }
  };
  fits(keys_, other.keys_);
  fits(values_, other.values_);
  CKV_CHECK(alike, "rows of a cache of another kind");
  for (const SlotPolicy& policy : policies_) {
    CKV_CHECK(!policy.full() || other.length() <= policy.slots(), "rows of ", other.length(),
              " tokens for a cache of ", policy.slots());
  }
}

void KvCache::AppendRows(const KvCache& other) {
  CheckLike(other);
  at::NoGradGuard no_grad;
  const int64_t total = shape_.rows + other.shape_.rows;
  const auto append = [&](Tensor& mine, const Tensor& theirs, int64_t own, int64_t added) {
    std::vector<int64_t> sizes = mine.sizes().vec();
    sizes[0] = total;
    const Tensor both = at::zeros(sizes, mine.options());
    both.narrow(0, 0, shape_.rows).narrow(2, 0, own).copy_(mine.narrow(2, 0, own));
    both.narrow(0, shape_.rows, other.shape_.rows)
        .narrow(2, 0, added)
        .copy_(theirs.narrow(2, 0, added));
    mine = both;
  };
  const auto append_all = [&](std::vector<Store>& mine, const std::vector<Store>& theirs) {
    for (size_t i = 0; i < mine.size(); ++i) {
      if (!mine[i].used) continue;
      append(mine[i].memory, theirs[i].memory, PastSlots(Policy(mine[i])),
             other.PastSlots(other.Policy(theirs[i])));
      if (!mine[i].sinks.defined()) continue;
      const int64_t sinks = mine[i].sinks.size(2);
      append(mine[i].sinks, theirs[i].sinks, sinks, sinks);
    }
  };
  append_all(keys_, other.keys_);
  append_all(values_, other.values_);
  host_lengths_.insert(host_lengths_.end(), other.host_lengths_.begin(), other.host_lengths_.end());
  lengths_ = at::cat({lengths_, other.lengths_});
  shape_.rows = total;
}

void KvCache::ReplaceRows(const std::vector<int64_t>& to, const KvCache& other,
                          const std::vector<int64_t>& from) {
  CheckLike(other);
  CKV_CHECK(to.size() == from.size(), to.size(), " rows take the place of ", from.size());
  CheckRows(to, shape_.rows);
  CheckRows(from, other.shape_.rows);
  at::NoGradGuard no_grad;
  const Tensor target = RowIndex(to, lengths_);
  const Tensor source = RowIndex(from, lengths_);
  const auto replace = [&](std::vector<Store>& mine, const std::vector<Store>& theirs) {
    for (size_t i = 0; i < mine.size(); ++i) {
      if (!mine[i].used) continue;
      const int64_t used = other.PastSlots(other.Policy(theirs[i]));
      const Tensor rows = theirs[i].memory.narrow(2, 0, used).index_select(0, source);
      mine[i].memory.narrow(2, 0, used).index_copy_(0, target, rows);
      if (!mine[i].sinks.defined()) continue;
      mine[i].sinks.index_copy_(0, target, theirs[i].sinks.index_select(0, source));
    }
  };
  replace(keys_, other.keys_);
  replace(values_, other.values_);
  lengths_.index_copy_(0, target, other.lengths_.index_select(0, source));
  const std::vector<int64_t> lengths = other.host_lengths_;  // which may be this cache's own
  for (size_t i = 0; i < to.size(); ++i) {
    host_lengths_[static_cast<size_t>(to[i])] = lengths[static_cast<size_t>(from[i])];
  }
}

void KvCache::CompactRows(const std::vector<int64_t>& rows) {
  std::vector<int64_t> to;
  std::vector<int64_t> from;
  for (size_t i = 0; i < rows.size(); ++i) {
    if (rows[i] == static_cast<int64_t>(i)) continue;
    to.push_back(static_cast<int64_t>(i));
    from.push_back(rows[i]);
  }
  CKV_CHECK(static_cast<int64_t>(rows.size()) <= shape_.rows, rows.size(), " rows of ",
            shape_.rows);
  if (!to.empty()) ReplaceRows(to, *this, from);
  const auto kept = static_cast<int64_t>(rows.size());
  at::NoGradGuard no_grad;
  lengths_.narrow(0, kept, shape_.rows - kept).zero_();
  std::fill(host_lengths_.begin() + static_cast<std::ptrdiff_t>(kept), host_lengths_.end(), 0);
}

void KvCache::CountTokens(int64_t rows, int64_t tokens) {
  CKV_CHECK(call_tokens_ == 0, "a call is open");
  CKV_CHECK(rows >= 0 && rows <= shape_.rows && tokens >= 0, rows, " rows of ", shape_.rows);
  at::NoGradGuard no_grad;
  lengths_.narrow(0, 0, rows).add_(tokens);
  for (int64_t row = 0; row < rows; ++row) host_lengths_[static_cast<size_t>(row)] += tokens;
}

void KvCache::Clear() {
  CKV_CHECK(call_tokens_ == 0, "a call is open");
  std::fill(host_lengths_.begin(), host_lengths_.end(), 0);
  lengths_.zero_();
}

}  // namespace ckv
