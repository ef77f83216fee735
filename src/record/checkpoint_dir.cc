#include "record/checkpoint_dir.h"

#include <algorithm>
#include <cstdio>

#include "base/error.h"
#include "base/file.h"

namespace ckv {
namespace {

constexpr char kPrefix[] = "step-";
constexpr char kTemporarySuffix[] = ".tmp";
constexpr char kRemovedSuffix[] = ".removed";
constexpr char kLatestFile[] = "latest";
constexpr char kBestFile[] = "best";

bool EndsWith(const std::string& text, const std::string& end) {
  return text.size() >= end.size() && text.compare(text.size() - end.size(), end.size(), end) == 0;
}

// The name in a file of one line; nullopt: no such file.
std::optional<std::string> ReadName(const std::string& path) {
  constexpr uint64_t kMaxBytes = 4096;
  if (!FileExists(path)) return std::nullopt;
  std::string name = ReadFile(path, kMaxBytes);
  while (!name.empty() && (name.back() == '\n' || name.back() == '\r')) name.pop_back();
  return name;
}

}  // namespace

std::string CheckpointName(int64_t step) {
  CKV_CHECK(step >= 0, "checkpoint of step ", step);
  char text[64];
  std::snprintf(text, sizeof(text), "%s%08lld", kPrefix, static_cast<long long>(step));
  return text;
}

std::optional<int64_t> ParseCheckpointName(const std::string& name) {
  constexpr size_t kPrefixSize = sizeof(kPrefix) - 1;
  constexpr size_t kMaxDigits = 18;  // below 2^63 whatever they are
  if (name.compare(0, kPrefixSize, kPrefix) != 0) return std::nullopt;
  const std::string digits = name.substr(kPrefixSize);
  if (digits.empty() || digits.size() > kMaxDigits) return std::nullopt;
  int64_t step = 0;
  for (const char c : digits) {
    if (c < '0' || c > '9') return std::nullopt;
    step = step * 10 + (c - '0');
  }
  return CheckpointName(step) == name ? std::optional<int64_t>(step) : std::nullopt;
}

CheckpointDir::CheckpointDir(const std::string& run_dir)
    : path_(JoinPath(run_dir, "checkpoints")) {}

std::string CheckpointDir::PathOf(int64_t step) const {
  return JoinPath(path_, CheckpointName(step));
}

std::string CheckpointDir::TemporaryPathOf(int64_t step) const {
  return PathOf(step) + kTemporarySuffix;
}

std::vector<int64_t> CheckpointDir::Steps() const {
  std::vector<int64_t> steps;
  if (!IsDirectory(path_)) return steps;
  for (const std::string& name : ListDir(path_)) {
    const std::optional<int64_t> step = ParseCheckpointName(name);
    if (step && IsDirectory(PathOf(*step))) steps.push_back(*step);
  }
  std::sort(steps.begin(), steps.end());
  return steps;
}

std::optional<int64_t> CheckpointDir::Latest() const {
  const std::vector<int64_t> steps = Steps();
  const std::string file = JoinPath(path_, kLatestFile);
  const std::optional<std::string> name = ReadName(file);
  if (!name) return steps.empty() ? std::nullopt : std::optional<int64_t>(steps.back());
  const std::optional<int64_t> step = ParseCheckpointName(*name);
  if (step && std::binary_search(steps.begin(), steps.end(), *step)) return step;
  throw FormatError(
      file, "",
      Str("names '", *name, "', which is not a checkpoint here; ",
          steps.empty() ? "there are none" : "the newest one is " + CheckpointName(steps.back())));
}

std::optional<int64_t> CheckpointDir::Best() const {
  const std::optional<std::string> name = ReadName(JoinPath(path_, kBestFile));
  if (!name) return std::nullopt;
  const std::optional<int64_t> step = ParseCheckpointName(*name);
  return step && IsDirectory(PathOf(*step)) ? step : std::nullopt;
}

void CheckpointDir::Publish(int64_t step) {
  SyncDir(TemporaryPathOf(step));
  Remove(step);
  RenameDurably(TemporaryPathOf(step), PathOf(step));
  SetLatest(step);
}

void CheckpointDir::SetLatest(int64_t step) {
  CKV_CHECK(IsDirectory(PathOf(step)), "no checkpoint ", PathOf(step));
  WriteFileAtomically(JoinPath(path_, kLatestFile), CheckpointName(step) + "\n");
}

void CheckpointDir::SetBest(int64_t step) {
  CKV_CHECK(IsDirectory(PathOf(step)), "no checkpoint ", PathOf(step));
  WriteFileAtomically(JoinPath(path_, kBestFile), CheckpointName(step) + "\n");
}

void CheckpointDir::Remove(int64_t step) {
  if (!FileExists(PathOf(step))) return;
  const std::string removed = PathOf(step) + kRemovedSuffix;
  RemoveAll(removed);
  RenameDurably(PathOf(step), removed);
  RemoveAll(removed);
}

std::vector<int64_t> CheckpointDir::Prune(int64_t keep) {
  CKV_CHECK(keep >= 1, "keep ", keep, " checkpoints");
  const std::optional<int64_t> latest = Latest();
  const std::optional<int64_t> best = Best();
  std::vector<int64_t> steps = Steps();
  const int64_t surplus = static_cast<int64_t>(steps.size()) - keep;
  steps.resize(static_cast<size_t>(std::max<int64_t>(surplus, 0)));
  const auto kept = [&](int64_t step) { return step == latest || step == best; };
  steps.erase(std::remove_if(steps.begin(), steps.end(), kept), steps.end());
  for (const int64_t step : steps) Remove(step);
  return steps;
}

void CheckpointDir::RemoveLeftovers() {
  if (!IsDirectory(path_)) return;
  for (const std::string& name : ListDir(path_)) {
    // Of WriteFileAtomically, killed.
    for (const char* file : {kLatestFile, kBestFile}) {
      const std::string start = Str(file, ".tmp.");
      if (name.compare(0, start.size(), start) == 0) RemoveAll(JoinPath(path_, name));
    }
    for (const char* suffix : {kTemporarySuffix, kRemovedSuffix}) {
      if (!EndsWith(name, suffix)) continue;
      if (ParseCheckpointName(name.substr(0, name.size() - std::string(suffix).size()))) {
        RemoveAll(JoinPath(path_, name));
      }
    }
  }
}

}  // namespace ckv
