// Saves checkpoints beside training: a copy on the CPU is taken at once, files are written and
// synced by another thread, and only when all ranks have written their part does the folder get its
// name and become the latest.
//
// A process that dies at any moment leaves the checkpoints before and at most an unfinished folder,
// which the next start removes.
#pragma once

#include <atomic>
#include <cstdint>
#include <exception>
#include <functional>
#include <optional>
#include <string>
#include <thread>

#include "record/checkpoint_dir.h"
#include "train/training_checkpoint.h"

namespace ckv {

struct CheckpointSaverOptions {
  int64_t keep = 3;
  bool asynchronous = true;
  // Run on rank 0 before a checkpoint gets its name: what must be durable by then.
  std::function<void()> before_publishing;
};

class CheckpointSaver {
 public:
  // `group`: nullptr = one process.
  CheckpointSaver(const CheckpointDir& checkpoints, CommGroup* group,
                  CheckpointSaverOptions options);
  ~CheckpointSaver();
  CheckpointSaver(const CheckpointSaver&) = delete;
  CheckpointSaver& operator=(const CheckpointSaver&) = delete;

  // Begins to save, after the save before has ended; nothing if that step is saved already. `best`:
  // it becomes the best one. Collective. Throws IoError, also on behalf of other ranks.
  void Start(const TrainingParts& parts, const TrainState& state, bool best);

  // After each step: completes a save whose files are all written. With several ranks `report` says
  // how far this one is, and `agreed` what all said.
  void Poll(DataParallel::Report* report, const DataParallel::Report* agreed);

  // Waits until everything is saved. Collective.
  void Finish();

  // A checkpoint that was there before.
  void SetSaved(int64_t step) { last_step_ = step; }

 private:
  void Publish();
  void Together(const std::function<void()>& work);
  bool root() const { return group_ == nullptr || group_->root(); }

  CheckpointDir checkpoints_;
  CommGroup* group_;
  CheckpointSaverOptions options_;
  std::thread thread_;
  std::atomic<bool> written_{false};
  std::exception_ptr error_;
  int64_t num_started_ = 0;
  int64_t last_step_ = -1;
  bool under_way_ = false;
  bool best_ = false;
};

}  // namespace ckv
