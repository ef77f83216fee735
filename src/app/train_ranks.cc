#include "app/train_ranks.h"

#include <algorithm>
#include <thread>

#include <nlohmann/json.hpp>
#include <torch/torch.h>

#include "base/error.h"
#include "base/hash.h"
#include "base/json.h"
#include "base/log.h"
#include "config/config.h"
#include "nn/device.h"
#include "record/names.h"
#include "train/training_checkpoint.h"

namespace ckv {
namespace {

constexpr char kRanksTag[] = "train";

// "cuda" and "auto" mean the GPU of the local rank.
std::string DeviceOfRank(const std::string& name, const Launch& launch) {
  const bool gpu = name == "cuda" || (name == "auto" && torch::cuda::is_available());
  return gpu ? Str("cuda:", launch.local_rank) : name;
}

// Latest first, then the newest.
std::vector<int64_t> Candidates(const CheckpointDir& checkpoints) {
  std::vector<int64_t> steps = checkpoints.Steps();
  std::reverse(steps.begin(), steps.end());
  std::optional<int64_t> latest;
  try {
    latest = checkpoints.Latest();
  } catch (const Error& error) {
    if (steps.empty()) throw;
    LogWarn(kRanksTag, error.what());
  }
  if (latest.has_value()) {
    std::stable_partition(steps.begin(), steps.end(),
                          [&](int64_t step) { return step == *latest; });
  }
  return steps;
}

}  // namespace

std::unique_ptr<CommGroup> JoinRanks(const DistConfig& config, int64_t threads,
                                     const std::string& origin, std::string* device) {
  const std::optional<Launch> launch = FindLaunch();
  if (threads > 0) {
    at::set_num_threads(static_cast<int>(threads));
  } else if (launch.has_value() && launch->local_world > 1) {
    // Ranks of one host share its cores; a launcher may have said less.
    const int share = static_cast<int>(std::thread::hardware_concurrency()) / launch->local_world;
    at::set_num_threads(std::max(1, std::min(share, at::get_num_threads())));
  }
  if (!launch.has_value()) return nullptr;
  *device = DeviceOfRank(*device, *launch);
  if (launch->rank != 0) SetLogLevel(LogLevel::kWarn);
  return std::make_unique<CommGroup>(*launch, config, ChooseDevice(*device, origin));
}

std::unique_ptr<CommGroup> JoinRanksForEvaluation(std::string* device) {
  DistConfig config;
  config.timeout_s = 3600.0;
  return JoinRanks(config, 0, "--device", device);
}

std::string DescribeDevices(const at::Device& device, const CommGroup* group) {
  std::string text = DeviceName(device);
  if (group != nullptr) {
    text += Str(", ", group->world(), " ranks over ", group->backend(), " started by ",
                group->launch().launcher);
  }
  return text;
}

void CheckSameOnAllRanks(CommGroup& group, const TrainRun& run) {
  const std::vector<std::string> hashes = group.Gather(HashHex(ConfigHash(FlattenConfig(run))));
  for (size_t rank = 0; rank < hashes.size(); ++rank) {
    if (hashes[rank] == hashes[0]) continue;
    throw ConfigError("", Str("rank ", rank,
                              " has read other settings than rank 0: all must be "
                              "started with the same file and --set"));
  }
}

void DoTogether(CommGroup* group, const std::function<void()>& work) {
  if (group == nullptr) {
    work();
  } else {
    group->Together(work);
  }
}

std::optional<int64_t> FindWholeCheckpoint(const CheckpointDir& checkpoints, CommGroup* group) {
  std::vector<int64_t> steps;
  DoTogether(group, [&] {
    if (group == nullptr || group->root()) steps = Candidates(checkpoints);
  });
  if (group != nullptr) {
    steps = Json::parse(group->Gather(Json(steps).dump())[0]).get<std::vector<int64_t>>();
  }
  std::string first_fault;
  for (const int64_t step : steps) {
    std::string fault;
    try {
      if (group == nullptr) {
        VerifyCheckpoint(checkpoints.PathOf(step));
      } else {
        VerifyCheckpoint(checkpoints.PathOf(step), group->rank(), group->world());
      }
    } catch (const Error& error) {
      fault = error.what();
    }
    if (group != nullptr) {
      for (const std::string& of_rank : group->Gather(fault)) {
        if (fault.empty()) fault = of_rank;
      }
      fault = group->Gather(fault)[0];
    }
    if (fault.empty()) return step;
    if (first_fault.empty()) first_fault = fault;
    if (step != steps.back() && (group == nullptr || group->root())) {
      LogWarn(kRanksTag, Str(fault, "; taking the checkpoint before it"));
    }
  }
  if (!steps.empty()) throw Error(kExitFormat, first_fault);
  return std::nullopt;
}

std::vector<RankFigures> GatherFigures(CommGroup& group, const RankFigures& mine) {
  std::vector<RankFigures> all;
  const Json own = {mine.work_seconds, mine.memory_bytes};
  for (const std::string& text : group.Gather(own.dump())) {
    const Json numbers = Json::parse(text);
    all.push_back({numbers[0].get<double>(), numbers[1].get<double>()});
  }
  return all;
}

void SetRankMetrics(const std::vector<RankFigures>& figures, MetricRow* row) {
  double total = 0.0;
  double most_memory = 0.0;
  size_t slowest = 0;
  for (size_t rank = 0; rank < figures.size(); ++rank) {
    total += figures[rank].work_seconds;
    most_memory = std::max(most_memory, figures[rank].memory_bytes);
    if (figures[rank].work_seconds > figures[slowest].work_seconds) slowest = rank;
  }
  row->Set(kMetricRanks, static_cast<double>(figures.size()));
  row->Set(kMetricSlowestRank, static_cast<double>(slowest));
  row->Set(kMetricSlowestRankSeconds, figures[slowest].work_seconds);
  row->Set(kMetricMeanRankSeconds, total / static_cast<double>(figures.size()));
  row->Set(kMetricMemoryBytes, most_memory);
  if (figures.size() > static_cast<size_t>(kMaxRanksInMetrics)) return;
  for (size_t rank = 0; rank < figures.size(); ++rank) {
    row->Set(Str("rank", rank, "_seconds"), figures[rank].work_seconds);
    row->Set(Str("rank", rank, "_memory_bytes"), figures[rank].memory_bytes);
  }
}

}  // namespace ckv
