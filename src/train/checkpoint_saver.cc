#include "train/checkpoint_saver.h"

#include <utility>

#include "base/error.h"
#include "base/file.h"

namespace ckv {

CheckpointSaver::CheckpointSaver(const CheckpointDir& checkpoints, CommGroup* group,
                                 CheckpointSaverOptions options)
    : checkpoints_(checkpoints), group_(group), options_(std::move(options)) {}

CheckpointSaver::~CheckpointSaver() {
  if (thread_.joinable()) thread_.join();
}

void CheckpointSaver::Together(const std::function<void()>& work) {
  if (group_ == nullptr) {
    work();
  } else {
    group_->Together(work);
  }
}

void CheckpointSaver::Start(const TrainingParts& parts, const TrainState& state, bool best) {
  if (last_step_ == state.step) {
    best_ = best_ || best;
    if (best && !under_way_ && root()) checkpoints_.SetBest(state.step);
    return;
  }
  Finish();
  CheckpointSnapshot snapshot = TakeSnapshot(parts, state);
  const std::string folder = checkpoints_.TemporaryPathOf(state.step);
  Together([&] {
    if (!root()) return;
    RemoveAll(folder);
    MakeDirs(folder);
  });
  ++num_started_;
  last_step_ = state.step;
  best_ = best;
  under_way_ = true;
  written_ = false;
  error_ = nullptr;
  thread_ = std::thread([this, folder, snapshot = std::move(snapshot)] {
    try {
      WriteSnapshot(folder, snapshot);
    } catch (...) {
      error_ = std::current_exception();
    }
    written_ = true;
  });
  if (!options_.asynchronous) Finish();
}

void CheckpointSaver::Poll(DataParallel::Report* report, const DataParallel::Report* agreed) {
  if (group_ == nullptr) {
    if (under_way_ && written_) Finish();
    return;
  }
  // Counts, not flags: on a GPU the agreement is that of the step before.
  report->saves_done = num_started_ - (under_way_ && !written_ ? 1 : 0);
  if (under_way_ && agreed->saves_done == num_started_ * group_->world()) Finish();
}

void CheckpointSaver::Finish() {
  if (!under_way_) return;
  thread_.join();
  under_way_ = false;
  try {
    Together([this] {
      if (error_) std::rethrow_exception(error_);
    });
    Together([this] {
      if (root()) Publish();
    });
  } catch (...) {
    if (root()) RemoveAll(checkpoints_.TemporaryPathOf(last_step_));
    throw;
  }
}

void CheckpointSaver::Publish() {
  if (options_.before_publishing) options_.before_publishing();
  checkpoints_.Publish(last_step_);
  if (best_) checkpoints_.SetBest(last_step_);
  checkpoints_.Prune(options_.keep);
}

}  // namespace ckv
