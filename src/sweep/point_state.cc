#include "sweep/point_state.h"

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/file.h"
#include "base/hash.h"

namespace ckv {
namespace {

constexpr char kStateFile[] = "point.json";

struct StatusRow {
  StageStatus status;
  const char* name;
  bool retried;
};

constexpr StatusRow kStatusRows[] = {
    {StageStatus::kWaiting, "waiting", true},
    {StageStatus::kRunning, "running", true},
    {StageStatus::kDone, "done", false},
    {StageStatus::kDiverged, "diverged", false},
    {StageStatus::kOutOfMemory, "out of memory", false},
    {StageStatus::kTimedOut, "timed out", false},
    {StageStatus::kKilled, "killed", true},
    {StageStatus::kInterrupted, "interrupted", true},
    {StageStatus::kFailed, "failed", true},
};

const StatusRow& RowOf(StageStatus status) {
  for (const StatusRow& row : kStatusRows) {
    if (row.status == status) return row;
  }
  throw InternalError("a stage's status has no name");
}

StageStatus StatusOf(const std::string& name, const std::string& path) {
  for (const StatusRow& row : kStatusRows) {
    if (row.name == name) return row.status;
  }
  throw FormatError(path, "stages", Str("'", name, "' is no status"));
}

}  // namespace

const char* StageStatusName(StageStatus status) { return RowOf(status).name; }
bool IsRetried(StageStatus status) { return RowOf(status).retried; }

std::string PointState::FullLabel() const {
  std::string text = label;
  for (const std::string& alias : aliases)
    text += Str(&alias == &aliases[0] ? " (= " : ", ", alias);
  return text + (aliases.empty() ? "" : ")");
}

StageState& PointState::Stage(const std::string& name) {
  for (StageState& stage : stages) {
    if (stage.name == name) return stage;
  }
  stages.push_back({});
  stages.back().name = name;
  return stages.back();
}

const StageState* PointState::FindStage(const std::string& name) const {
  for (const StageState& stage : stages) {
    if (stage.name == name) return &stage;
  }
  return nullptr;
}

PointState NewPointState(const SweepPoint& point) {
  PointState state;
  state.id = point.id;
  state.label = point.label;
  state.aliases = point.aliases;
  state.seed = point.seed;
  state.hash = HashHex(point.hash);
  state.choices = point.choices;
  state.sets = point.sets;
  state.kv_sharing = point.facts.kv_sharing;
  state.parameters = point.facts.parameters;
  state.tokens = point.facts.tokens;
  state.train_flops = point.facts.train_flops;
  state.kv_resident_bytes = point.facts.kv_resident_bytes;
  state.kv_written_bytes = point.facts.kv_written_bytes;
  state.kv_read_bytes = point.facts.kv_read_bytes;
  return state;
}

std::optional<PointState> ReadPointState(const std::string& folder) {
  const std::string path = JoinPath(folder, kStateFile);
  if (!FileExists(path)) return std::nullopt;
  const Json json = ReadJsonFile(path);
  PointState state;
  try {
    state.id = json.at("id").get<std::string>();
    state.label = json.at("label").get<std::string>();
    state.aliases = json.value("aliases", std::vector<std::string>());
    state.seed = json.at("seed").get<int64_t>();
    state.hash = json.at("hash").get<std::string>();
    for (const Json& choice : json.at("choices")) {
      state.choices.emplace_back(choice.at(0).get<std::string>(), choice.at(1).get<std::string>());
    }
    state.sets = json.at("sets").get<std::vector<std::string>>();
    state.kv_sharing = json.at("kv_sharing").get<std::string>();
    state.parameters = json.at("parameters").get<double>();
    state.tokens = json.at("tokens").get<double>();
    state.train_flops = json.at("train_flops").get<double>();
    state.kv_resident_bytes = json.at("kv_resident_bytes").get<double>();
    state.kv_written_bytes = json.at("kv_written_bytes").get<double>();
    state.kv_read_bytes = json.at("kv_read_bytes").get<double>();
    for (const Json& item : json.at("stages")) {
      StageState stage;
      stage.name = item.at("name").get<std::string>();
      stage.hash = item.at("hash").get<std::string>();
      stage.status = StatusOf(item.at("status").get<std::string>(), path);
      stage.exit_code = item.at("exit_code").get<int>();
      stage.seconds = item.at("seconds").get<double>();
      stage.message = item.at("message").get<std::string>();
      state.stages.push_back(std::move(stage));
    }
  } catch (const Json::exception& error) {
    throw FormatError(path, "", Str("is not what 'ckv sweep' writes: ", error.what()));
  }
  return state;
}

void WritePointState(const std::string& folder, const PointState& state) {
  OrderedJson json;
  json["id"] = state.id;
  json["label"] = state.label;
  json["aliases"] = state.aliases;
  json["seed"] = state.seed;
  json["hash"] = state.hash;
  json["choices"] = OrderedJson::array();
  for (const auto& [axis, choice] : state.choices) {
    json["choices"].push_back(OrderedJson::array({axis, choice}));
  }
  json["sets"] = state.sets;
  json["kv_sharing"] = state.kv_sharing;
  json["parameters"] = state.parameters;
  json["tokens"] = state.tokens;
  json["train_flops"] = state.train_flops;
  json["kv_resident_bytes"] = state.kv_resident_bytes;
  json["kv_written_bytes"] = state.kv_written_bytes;
  json["kv_read_bytes"] = state.kv_read_bytes;
  json["stages"] = OrderedJson::array();
  for (const StageState& stage : state.stages) {
    json["stages"].push_back({{"name", stage.name},
                              {"hash", stage.hash},
                              {"status", StageStatusName(stage.status)},
                              {"exit_code", stage.exit_code},
                              {"seconds", stage.seconds},
                              {"message", stage.message}});
  }
  WriteFileAtomically(JoinPath(folder, kStateFile),
                      json.dump(2, ' ', false, OrderedJson::error_handler_t::replace) + "\n");
}

}  // namespace ckv
