// What `ckv train` does when it is one of several ranks, and what it does alone as well.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "app/train_run.h"
#include "dist/group.h"
#include "record/checkpoint_dir.h"
#include "record/metrics.h"

namespace ckv {

// The group that the launcher's variables name; nullptr without a launcher. `device`, a name as for
// ChooseDevice (`origin` for its faults), becomes that of this rank: "auto" and "cuda" mean the GPU
// of its local rank. Sets the number of CPU threads; 0 = this rank's share of the host's cores.
std::unique_ptr<CommGroup> JoinRanks(const DistConfig& config, int64_t threads,
                                     const std::string& origin, std::string* device);

// The same for evaluations, whose parts may take very different times: ranks wait for an hour.
std::unique_ptr<CommGroup> JoinRanksForEvaluation(std::string* device);

// "NVIDIA H200, 2 ranks over nccl started by torchrun"; without a group the device alone.
std::string DescribeDevices(const at::Device& device, const CommGroup* group);

// Throws ConfigError on all ranks unless all read the same settings.
void CheckSameOnAllRanks(CommGroup& group, const TrainRun& run);

// group->Together(work), or just work() without one.
void DoTogether(CommGroup* group, const std::function<void()>& work);

// The newest checkpoint whose files are whole; nullopt: there is none at all. Warns of each that it
// passes over, and throws FormatError if all are broken. Collective.
std::optional<int64_t> FindWholeCheckpoint(const CheckpointDir& checkpoints, CommGroup* group);

// Figures of each rank since the last row of metrics.
struct RankFigures {
  double work_seconds = 0.0;  // a step, without waiting for other ranks
  double memory_bytes = 0.0;
};
std::vector<RankFigures> GatherFigures(CommGroup& group, const RankFigures& mine);

// Adds what tells of stragglers and memory; each rank alone up to kMaxRanksInMetrics.
inline constexpr int kMaxRanksInMetrics = 64;
void SetRankMetrics(const std::vector<RankFigures>& figures, MetricRow* row);

}  // namespace ckv
