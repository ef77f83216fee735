#include "nn/profile.h"

#include <set>

#include <torch/csrc/autograd/profiler_kineto.h>

#include "base/error.h"
#include "base/file.h"
#include "nn/device.h"

namespace ckv {

namespace profiler = torch::profiler::impl;

Profile::Profile(const at::Device& device) : device_(device) {
  const profiler::ProfilerConfig config(profiler::ProfilerState::KINETO);
  std::set<profiler::ActivityType> activities = {profiler::ActivityType::CPU};
  if (device.is_cuda()) activities.insert(profiler::ActivityType::CUDA);
  Synchronize(device_);
  torch::autograd::profiler::prepareProfiler(config, activities);
  torch::autograd::profiler::enableProfiler(config, activities);
}

Profile::~Profile() {
  if (running_) torch::autograd::profiler::disableProfiler();
}

void Profile::Write(const std::string& path) {
  CKV_CHECK(running_, "a profile is written once");
  Synchronize(device_);
  running_ = false;
  const auto result = torch::autograd::profiler::disableProfiler();
  { FileWriter probe(path); }  // says why, where it cannot be written
  result->save(path);
}

}  // namespace ckv
