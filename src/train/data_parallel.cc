#include "train/data_parallel.h"

#include <csignal>
#include <utility>

#include <c10/core/Event.h>
#include <c10/core/impl/VirtualGuardImpl.h>
#include <torch/torch.h>

#include "base/error.h"

namespace ckv {
namespace {

constexpr int kSignals[] = {SIGTERM, SIGINT, SIGUSR1};
constexpr int64_t kReportSize = 5;
// Buckets under way at a time from stage 2 on, where each holds gradients that nobody keeps.
constexpr size_t kMostUnderWay = 2;

}  // namespace

struct DataParallel::Bucket {
  FlatBucket layout;
  Tensor weights;            // [size] working weights; stage >= 1
  Tensor part;               // [size / world] this rank's; stage >= 1
  Tensor sums;               // [size] gradients of this rank
  Tensor part_sums;          // [size / world] of all ranks; stage >= 1
  std::vector<bool> filled;  // pieces whose gradient is in `sums`
  std::vector<bool> ready;   // pieces that got one in this micro-batch
  size_t num_ready = 0;
  bool sent = false;       // in this micro-batch
  bool under_way = false;  // sent and not yet received
  bool summed = false;     // part_sums holds something of this step
  bool gathered = true;
  bool coming = false;  // being gathered
  CommGroup::Pending weights_pending;
  Tensor wire;
  Tensor part_wire;
  CommGroup::Pending pending;

  int64_t bytes() const { return static_cast<int64_t>(weights.numel()) * weights.element_size(); }
};

// Called by autograd when a parameter's gradient of a backward step is complete.
class DataParallel::GradHook : public torch::autograd::PostAccumulateGradHook {
 public:
  GradHook(DataParallel& owner, size_t parameter) : owner_(owner), parameter_(parameter) {}
  void operator()(const torch::autograd::Variable&) override { owner_.TakeGradient(parameter_); }

 private:
  DataParallel& owner_;
  size_t parameter_;
};

DataParallel::DataParallel(CommGroup& group, Named parameters, const Options& options)
    : group_(group),
      stage_(options.config.zero),
      type_(options.type),
      reduce_bf16_(options.config.reduce == "bf16"),
      parameters_(std::move(parameters)),
      places_(parameters_.size()),
      views_(parameters_.size()) {
  at::NoGradGuard no_grad;
  CKV_CHECK(!parameters_.empty(), "nothing to train");
  for (const auto& item : parameters_) shapes_.push_back(item.second.sizes().vec());
  MakeBuckets(options);
  for (size_t i = 0; i < slices_.size(); ++i) {
    const OwnedSlice& slice = slices_[i];
    owned_.emplace_back(parameters_[slice.parameter].first,
                        buckets_[slice.bucket]->part.narrow(0, slice.in_part, slice.size));
  }
  if (stage_ == 0) owned_ = parameters_;
  CKV_CHECK(!owned_.empty(), "rank ", group_.rank(), " owns no weights: too many ranks");

  std::vector<std::vector<size_t>> slices_of(parameters_.size());
  for (size_t i = 0; i < owned_.size(); ++i) slices_of[ParameterOf(i)].push_back(i);
  const bool narrows = at::elementSize(options.type) <
                       static_cast<size_t>(parameters_.front().second.element_size());
  if (narrows) exact_.resize(owned_.size());
  for (size_t i = 0; i < parameters_.size(); ++i) {
    if (options.fill) options.fill(i);
    TakeWeights(i, slices_of[i]);
    torch::autograd::impl::set_post_acc_grad_hooks(parameters_[i].second,
                                                   std::make_unique<GradHook>(*this, i));
  }
  views_.clear();
}

// Their memory without values; of stage 3 that of all units but the root is given back at once.
void DataParallel::MakeBuckets(const Options& options) {
  FlatLayoutOptions layout_options;
  layout_options.world = group_.world();
  layout_options.by_unit = stage_ == 3;
  std::vector<int64_t> sizes;
  for (const auto& [name, parameter] : parameters_) {
    sizes.push_back(parameter.numel());
    const int layer = LayerOfParameter(name);
    layout_options.units.push_back(
        layer < 0 ? -1 : options.unit_of_layer.at(static_cast<size_t>(layer)));
  }
  sum_type_ = options.type == at::kDouble ? at::kDouble : at::kFloat;
  const auto wire_size =
      static_cast<double>(reduce_bf16_ ? 2 : static_cast<int64_t>(at::elementSize(sum_type_)));
  layout_options.bucket_elements = static_cast<int64_t>(options.config.bucket_mb * 1e6 / wire_size);
  const std::vector<FlatBucket> layout = LayOut(sizes, layout_options);
  if (stage_ >= 1) slices_ = SlicesOf(layout, group_.rank(), group_.world());

  root_bucket_ = layout.size() - 1;
  current_ = root_bucket_;
  const at::TensorOptions plain = at::TensorOptions().device(group_.device());
  for (size_t b = 0; b < layout.size(); ++b) {
    buckets_.push_back(std::make_unique<Bucket>());
    Bucket& bucket = *buckets_.back();
    bucket.layout = layout[b];
    bucket.filled.resize(layout[b].pieces.size());
    bucket.ready.resize(layout[b].pieces.size());
    for (size_t i = 0; i < layout[b].pieces.size(); ++i) {
      places_[layout[b].pieces[i].parameter] = {b, i};
    }
    if (stage_ == 0) continue;
    const int64_t part_size = layout[b].part_size(group_.world());
    bucket.weights = at::zeros({layout[b].size}, plain.dtype(options.type));
    bucket.part_sums = at::zeros({part_size}, plain.dtype(sum_type_));
    bucket.part = bucket.weights.narrow(0, part_size * group_.rank(), part_size);
    if (stage_ == 3) bucket.part = bucket.part.clone();
    for (const FlatPiece& piece : layout[b].pieces) {
      views_[piece.parameter] =
          bucket.weights.narrow(0, piece.begin, piece.size).view(shapes_[piece.parameter]);
    }
    gathered_bytes_ += bucket.bytes();
    if (stage_ == 3 && b != root_bucket_) ReleaseUnit(b);
  }
  if (stage_ < 3) return;
  CKV_CHECK(layout_options.units[layout.back().pieces.front().parameter] == -1, "no embedding");
  bucket_of_layer_.resize(options.unit_of_layer.size(), root_bucket_);
  for (size_t i = 0; i < parameters_.size(); ++i) {
    const int layer = LayerOfParameter(parameters_[i].first);
    if (layer >= 0) bucket_of_layer_[static_cast<size_t>(layer)] = places_[i].first;
  }
}

// Moves a parameter's value to where it belongs; `slices` are those of owned_ that are parts of it.
void DataParallel::TakeWeights(size_t parameter, const std::vector<size_t>& slices) {
  Tensor& whole = parameters_[parameter].second;
  const Tensor value = whole.detach();
  if (stage_ == 0) {
    if (!exact_.empty()) exact_[parameter] = value;
    whole.set_data(value.to(group_.device(), type_));
    return;
  }
  if (buckets_[places_[parameter].first]->gathered) views_[parameter].copy_(value);
  for (const size_t i : slices) {
    const Tensor mine = SliceOfWhole(i, value);
    owned_[i].second.copy_(mine);
    // A copy, so that the whole can go.
    if (!exact_.empty()) exact_[i] = mine.clone();
  }
  whole.set_data(views_[parameter]);
}

std::vector<Tensor> DataParallel::TakeExact() { return std::exchange(exact_, {}); }

DataParallel::~DataParallel() {
  for (auto& [name, parameter] : parameters_) {
    torch::autograd::impl::post_acc_grad_hooks(parameter) = nullptr;
  }
}

std::vector<bool> DataParallel::decays() const {
  std::vector<bool> result;
  for (size_t i = 0; i < owned_.size(); ++i) {
    result.push_back(shapes_[ParameterOf(i)].size() >= 2);
  }
  return result;
}

size_t DataParallel::ParameterOf(size_t i) const { return stage_ == 0 ? i : slices_[i].parameter; }

Tensor DataParallel::SliceOfWhole(size_t i, const Tensor& whole) const {
  if (stage_ == 0) return whole;
  return whole.reshape({-1}).narrow(0, slices_[i].in_parameter, slices_[i].size);
}

Tensor DataParallel::BeginStep(int64_t step, const Report& mine) {
  at::NoGradGuard no_grad;
  group_.SetStep(step);
  for (const auto& bucket : buckets_) {
    bucket->filled.assign(bucket->filled.size(), false);
    bucket->summed = false;
  }
  Tensor numbers = at::zeros({kReportSize}, at::kLong);
  numbers[0] = mine.targets;
  for (int i = 0; i < 3; ++i) numbers[1 + i] = mine.signal == kSignals[i] ? 1 : 0;
  numbers[4] = mine.saves_done;
  numbers = numbers.to(group_.device());
  group_.Sum(numbers, "the agreement before the step");
  const auto read = [this](const Tensor& host) {
    const auto* value = host.data_ptr<int64_t>();
    agreed_ = Report();
    agreed_.targets = value[0];
    for (int i = 2; i >= 0; --i) {
      if (value[1 + i] > 0) agreed_.signal = kSignals[i];
    }
    agreed_.saves_done = value[4];
  };
  if (numbers.is_cpu()) {
    read(numbers);
  } else {
    // The sums of the step before have long arrived when this one begins.
    if (report_.defined()) read(report_.to(at::kCPU));
    report_ = numbers;
  }
  return numbers[0].to(at::kDouble);
}

void DataParallel::BeginMicroBatch(bool last) {
  last_ = last;
  sends_ = last || stage_ >= 2;
  next_send_ = 0;
  backward_ = false;
  for (const auto& bucket : buckets_) {
    bucket->ready.assign(bucket->ready.size(), false);
    bucket->num_ready = 0;
    bucket->sent = false;
  }
}

void DataParallel::BeginBackward() { backward_ = true; }

Tensor DataParallel::NewSums(const Bucket& bucket) const {
  return at::zeros({bucket.layout.size},
                   at::TensorOptions().device(group_.device()).dtype(sum_type_));
}

void DataParallel::TakeGradient(size_t parameter) {
  at::NoGradGuard no_grad;
  const auto [b, p] = places_[parameter];
  Bucket& bucket = *buckets_[b];
  CKV_CHECK(!bucket.ready[p], "a second gradient of ", parameters_[parameter].first);
  Tensor& grad = parameters_[parameter].second.mutable_grad();
  if (!bucket.sums.defined()) {
    bucket.sums = NewSums(bucket);
  }
  const FlatPiece& piece = bucket.layout.pieces[p];
  const Tensor sum = bucket.sums.narrow(0, piece.begin, piece.size).view(shapes_[parameter]);
  if (bucket.filled[p]) {
    sum.add_(grad);
  } else {
    sum.copy_(grad);
  }
  grad = Tensor();
  bucket.filled[p] = true;
  bucket.ready[p] = true;
  ++bucket.num_ready;
  if (sends_) SendReady();
}

void DataParallel::SendReady() {
  while (next_send_ < buckets_.size() &&
         buckets_[next_send_]->num_ready == buckets_[next_send_]->layout.pieces.size()) {
    Send(*buckets_[next_send_]);
    if (stage_ >= 2 && next_send_ >= kMostUnderWay) Receive(*buckets_[next_send_ - kMostUnderWay]);
    if (stage_ == 3 && next_send_ != root_bucket_) ReleaseUnit(next_send_);
    ++next_send_;
  }
}

void DataParallel::Send(Bucket& bucket) {
  if (!bucket.sums.defined()) {
    bucket.sums = NewSums(bucket);
  }
  for (size_t p = 0; p < bucket.filled.size(); ++p) {
    const FlatPiece& piece = bucket.layout.pieces[p];
    if (!bucket.filled[p]) bucket.sums.narrow(0, piece.begin, piece.size).zero_();
  }
  const bool narrow = reduce_bf16_ && bucket.sums.scalar_type() == at::kFloat;
  bucket.wire = narrow ? bucket.sums.to(at::kBFloat16) : bucket.sums;
  if (stage_ == 0) {
    bucket.pending = group_.StartSum(bucket.wire, "the sum of gradients");
  } else {
    bucket.part_wire = at::empty({bucket.part_sums.numel()}, bucket.wire.options());
    bucket.pending =
        group_.StartReduceScatter(bucket.part_wire, bucket.wire, "the sum of gradients");
  }
  bucket.sent = true;
  bucket.under_way = true;
}

void DataParallel::Receive(Bucket& bucket) {
  if (!bucket.under_way) return;
  bucket.pending.Wait();
  bucket.under_way = false;
  if (stage_ == 0) {
    if (!bucket.wire.is_same(bucket.sums)) bucket.sums.copy_(bucket.wire);
  } else if (bucket.summed) {
    bucket.part_sums.add_(bucket.part_wire);
  } else {
    bucket.part_sums.copy_(bucket.part_wire);
    bucket.summed = true;
  }
  bucket.wire = Tensor();
  bucket.part_wire = Tensor();
  if (stage_ >= 2) {
    bucket.sums = Tensor();
    bucket.filled.assign(bucket.filled.size(), false);
  }
}

void DataParallel::EndMicroBatch() {
  at::NoGradGuard no_grad;
  backward_ = false;
  if (!sends_) return;
  // What got no gradient counts as zeros.
  for (const auto& bucket : buckets_) bucket->num_ready = bucket->layout.pieces.size();
  SendReady();
  for (const auto& bucket : buckets_) Receive(*bucket);
  if (!last_) return;
  for (size_t i = 0; i < owned_.size(); ++i) {
    Tensor sum;
    if (stage_ == 0) {
      const auto [b, p] = places_[i];
      const FlatPiece& piece = buckets_[b]->layout.pieces[p];
      sum = buckets_[b]->sums.narrow(0, piece.begin, piece.size).view(shapes_[i]);
    } else {
      sum = buckets_[slices_[i].bucket]->part_sums.narrow(0, slices_[i].in_part, slices_[i].size);
    }
    owned_[i].second.mutable_grad() = sum;
  }
}

Tensor DataParallel::SumScalar(const Tensor& mine) {
  at::NoGradGuard no_grad;
  const Tensor sum = mine.detach().clone();
  group_.Sum(sum, "the sum of losses");
  return sum;
}

Tensor DataParallel::CombineNorm(const Tensor& mine) {
  if (stage_ == 0) return mine;
  const Tensor square = mine.to(at::kDouble).square();
  group_.Sum(square, "the norm of gradients");
  return square.sqrt().to(mine.scalar_type());
}

void DataParallel::SpreadWeights() {
  at::NoGradGuard no_grad;
  if (stage_ == 0) return;
  if (stage_ == 3) {
    ReleaseAll();
    ReleaseUnit(root_bucket_);
    GatherUnit(root_bucket_);
    return;
  }
  std::vector<CommGroup::Pending> pending;
  for (const auto& bucket : buckets_) {
    pending.push_back(group_.StartAllGather(bucket->weights, bucket->part, "the new weights"));
  }
  for (CommGroup::Pending& one : pending) one.Wait();
}

void DataParallel::ForWhole(const std::vector<Tensor>& slices,
                            const std::function<bool(size_t)>& wanted,
                            const std::function<void(size_t, const Tensor&)>& receive) {
  at::NoGradGuard no_grad;
  CKV_CHECK(slices.size() == owned_.size(), slices.size(), " slices");
  if (stage_ == 0) {
    for (size_t i = 0; i < slices.size(); ++i) {
      if (wanted(i)) receive(i, slices[i]);
    }
    return;
  }
  for (size_t b = 0; b < buckets_.size(); ++b) {
    const FlatBucket& layout = buckets_[b]->layout;
    const Tensor part = at::zeros({layout.part_size(group_.world())}, slices.front().options());
    for (size_t i = 0; i < slices.size(); ++i) {
      if (slices_[i].bucket == b) {
        part.narrow(0, slices_[i].in_part, slices_[i].size).copy_(slices[i]);
      }
    }
    const Tensor all = at::empty({layout.size}, part.options());
    group_.StartAllGather(all, part, "gathering for a checkpoint").Wait();
    for (const FlatPiece& piece : layout.pieces) {
      if (!wanted(piece.parameter)) continue;
      receive(piece.parameter,
              all.narrow(0, piece.begin, piece.size).view(shapes_[piece.parameter]));
    }
  }
}

void DataParallel::BeforeLayer(int layer) {
  if (stage_ < 3) return;
  const size_t bucket = bucket_of_layer_[static_cast<size_t>(layer)];
  // In a backward step a unit is dropped when its gradients are sent.
  if (bucket != current_ && current_ != root_bucket_ && !backward_) ReleaseUnit(current_);
  GatherUnit(bucket);
  current_ = bucket;
  // Buckets go from the topmost unit down.
  if (!backward_ && bucket > 0) StartGather(bucket - 1);
}

void DataParallel::AfterLayer(int layer, const Tensor& output) {
  if (stage_ < 3) return;
  const size_t bucket = bucket_of_layer_[static_cast<size_t>(layer)];
  output.register_hook([this, bucket](const Tensor& grad) {
    GatherUnit(bucket);
    if (bucket + 1 != root_bucket_) StartGather(bucket + 1);
    return grad;
  });
}

void DataParallel::StartGather(size_t b) {
  Bucket& bucket = *buckets_[b];
  if (bucket.gathered || bucket.coming) return;
  at::NoGradGuard no_grad;
  const c10::Storage& storage = bucket.weights.storage();
  c10::StorageImpl* memory = storage.unsafeGetStorageImpl();
  const auto bytes = static_cast<size_t>(bucket.bytes());
  memory->set_data_ptr_noswap(c10::GetAllocator(storage.device_type())->allocate(bytes));
  memory->set_nbytes(bytes);
  bucket.weights_pending = group_.StartAllGather(bucket.weights, bucket.part, "gathering weights");
  bucket.coming = true;
  ++num_gathers_;
  gathered_bytes_ += bucket.bytes();
  gathered_peak_ = std::max(gathered_peak_, gathered_bytes_);
}

void DataParallel::GatherUnit(size_t b) {
  StartGather(b);
  Bucket& bucket = *buckets_[b];
  if (!bucket.coming) return;
  bucket.weights_pending.Wait();
  bucket.coming = false;
  bucket.gathered = true;
}

// Tensors that share the memory stay; it comes back before anybody reads them.
void DataParallel::ReleaseUnit(size_t b) {
  Bucket& bucket = *buckets_[b];
  if (bucket.coming) GatherUnit(b);  // its memory is being written
  if (!bucket.gathered) return;
  const c10::Storage& storage = bucket.weights.storage();
  c10::StorageImpl* memory = storage.unsafeGetStorageImpl();
  memory->set_data_ptr_noswap(c10::DataPtr(nullptr, storage.device()));
  memory->set_nbytes(static_cast<size_t>(0));
  bucket.gathered = false;
  gathered_bytes_ -= bucket.bytes();
}

void DataParallel::ReleaseAll() {
  if (stage_ < 3) return;
  for (size_t b = 0; b < buckets_.size(); ++b) {
    if (b != root_bucket_) ReleaseUnit(b);
  }
  current_ = root_bucket_;
}

std::vector<int> UnitsOfLayers(const std::vector<LayerSpan>& groups) {
  std::vector<int> units;
  int unit = -1;
  for (const LayerSpan& group : groups) {
    for (int layer = group.start; layer < group.stop; ++layer) {
      if (layer == group.start || !group.iterative) ++unit;
      units.push_back(unit);
    }
  }
  return units;
}

int LayerOfParameter(const std::string& name) {
  constexpr char kLayers[] = "model.layers.";
  constexpr size_t kLength = sizeof(kLayers) - 1;
  if (name.compare(0, kLength, kLayers) != 0) return -1;
  return std::stoi(name.substr(kLength));
}

}  // namespace ckv
