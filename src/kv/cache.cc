#include "kv/cache.h"

#include <ATen/ATen.h>

#include "base/error.h"

namespace ckv {

KvCache::KvCache(const KvSharingSpec& spec, const KvCacheShape& shape,
                 const at::TensorOptions& options, bool differentiable)
    : shape_(shape), options_(options), differentiable_(differentiable) {
  const auto num_layers = static_cast<size_t>(spec.num_layers());
  keys_.resize(num_layers);
  values_.resize(num_layers);
  for (int layer = 0; layer < spec.num_layers(); ++layer) {
    keys_[Index(layer)].used = spec.computes_k(layer);
    values_[Index(layer)].used = spec.computes_v(layer);
  }
  if (differentiable_) return;
  for (std::vector<Store>* stores : {&keys_, &values_}) {
    for (Store& store : *stores) {
      if (!store.used) continue;
      store.memory =
          at::empty({shape.batch, shape.kv_heads, shape.max_tokens, shape.head_dim}, options_);
    }
  }
}

void KvCache::Begin(int64_t num_tokens, const Tensor& key_mask) {
  CKV_CHECK(length_ + num_tokens <= shape_.max_tokens, "cache of ", shape_.max_tokens,
            " tokens holds ", length_, " and was asked to take ", num_tokens);
  call_tokens_ = num_tokens;
  for (std::vector<Store>* stores : {&keys_, &values_}) {
    for (Store& store : *stores) {
      store.staged.reset();
      if (store.memory.defined()) store.memory.narrow(2, length_, num_tokens).zero_();
    }
  }
  if (!key_mask.defined() && !key_mask_.defined()) return;
  const auto bools = options_.dtype(at::kBool);
  const Tensor old = key_mask_.defined() ? key_mask_ : at::ones({shape_.batch, length_}, bools);
  const Tensor fresh = key_mask.defined() ? key_mask : at::ones({shape_.batch, num_tokens}, bools);
  key_mask_ = at::cat({old, fresh}, 1);
}

void KvCache::Stage(Store& store, const Tensor& fresh) {
  CKV_CHECK(store.used, "a layer without readers staged keys or values");
  if (differentiable_) {
    store.staged = fresh;
  } else {
    store.memory.narrow(2, length_, call_tokens_).copy_(fresh.detach());
  }
}

Tensor KvCache::Read(const Store& store) const {
  CKV_CHECK(store.used, "a layer reads keys or values that nobody computes");
  if (!differentiable_) return store.memory.narrow(2, 0, length_ + call_tokens_);
  std::vector<Tensor> parts = store.past;
  parts.push_back(
      store.staged.defined()
          ? store.staged
          : at::zeros({shape_.batch, shape_.kv_heads, call_tokens_, shape_.head_dim}, options_));
  return parts.size() == 1 ? parts.front() : at::cat(parts, 2);
}

void KvCache::Commit() {
  if (differentiable_) {
    for (std::vector<Store>* stores : {&keys_, &values_}) {
      for (Store& store : *stores) {
        if (!store.used) continue;
        CKV_CHECK(store.staged.defined(), "a call ended without the keys or values of an owner");
        store.past.push_back(store.staged);
        store.staged.reset();
      }
    }
  }
  length_ += call_tokens_;
  call_tokens_ = 0;
}

void KvCache::SelectRows(const std::vector<int64_t>& rows) {
  CKV_CHECK(call_tokens_ == 0 && !differentiable_, "rows of a cache in use were to change");
  const Tensor index = at::tensor(rows, at::kLong).to(options_.device());
  for (std::vector<Store>* stores : {&keys_, &values_}) {
    for (Store& store : *stores) {
      if (store.memory.defined()) store.memory = store.memory.index_select(0, index);
    }
  }
  if (key_mask_.defined()) key_mask_ = key_mask_.index_select(0, index);
  shape_.batch = index.size(0);
}

int64_t KvCache::bytes() const {
  int64_t total = 0;
  for (const std::vector<Store>* stores : {&keys_, &values_}) {
    for (const Store& store : *stores) {
      if (store.memory.defined()) total += static_cast<int64_t>(store.memory.nbytes());
      for (const Tensor& part : store.past) total += static_cast<int64_t>(part.nbytes());
    }
  }
  return total;
}

}  // namespace ckv
