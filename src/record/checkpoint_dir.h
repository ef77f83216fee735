// Where a run keeps its checkpoints:
//
//   <run>/checkpoints/step-00001000/  complete: the folder gets this name by rename, when all is in
//   <run>/checkpoints/latest          name of the newest complete one, written last
//   <run>/checkpoints/best            name of the one with the lowest validation loss
//
// Names with anything behind the digits are work in progress or being removed. Reading needs no
// lock; only the process that holds the RunDir may write.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace ckv {

// 1000 -> "step-00001000" and back; nullopt for any other name.
std::string CheckpointName(int64_t step);
std::optional<int64_t> ParseCheckpointName(const std::string& name);

class CheckpointDir {
 public:
  explicit CheckpointDir(const std::string& run_dir);

  const std::string& path() const { return path_; }
  std::string PathOf(int64_t step) const;
  // Where to write the checkpoint of `step` before Publish(step) gives it its name.
  std::string TemporaryPathOf(int64_t step) const;

  // Steps of the complete checkpoints, ascending.
  std::vector<int64_t> Steps() const;

  // The step that `latest` names; without that file the newest complete one, if any. Throws
  // FormatError if `latest` names a checkpoint that is not there.
  std::optional<int64_t> Latest() const;
  std::optional<int64_t> Best() const;  // nullopt also if it has gone

  // Renames TemporaryPathOf(step), whose files are synced, to its name, replacing a checkpoint of
  // that step; then makes it the latest.
  void Publish(int64_t step);
  void SetLatest(int64_t step);
  void SetBest(int64_t step);

  // Removes a checkpoint: first renamed, so that it is never seen half there.
  void Remove(int64_t step);

  // Keeps the newest `keep` checkpoints, the latest and the best; returns the steps removed.
  // Requires keep >= 1.
  std::vector<int64_t> Prune(int64_t keep);

  // Removes unfinished and half-removed checkpoints that an earlier process left.
  void RemoveLeftovers();

 private:
  std::string path_;
};

}  // namespace ckv
