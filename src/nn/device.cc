#include "nn/device.h"

#include <sys/resource.h>
#include <unistd.h>

#include <torch/torch.h>

#include "base/error.h"

#ifdef CKV_HAVE_CUDA
#include <ATen/cuda/CUDAContext.h>
#include <c10/cuda/CUDACachingAllocator.h>
#include <c10/cuda/CUDAFunctions.h>
#include <c10/cuda/CUDAGuard.h>
#include <cuda_runtime_api.h>
#endif

namespace ckv {
namespace {

struct PeakRow {
  const char* name;  // part of the device's name
  double bf16;
  double tf32;
  double fp32;
  double fp64;
};

// Dense rates of NVIDIA's data sheets (SXM parts), in TFLOP/s.
constexpr PeakRow kPeaks[] = {
    {"H200", 989.0, 494.0, 67.0, 67.0},
    {"H100", 989.0, 494.0, 67.0, 67.0},
    {"A100", 312.0, 156.0, 19.5, 19.5},
};

}  // namespace

at::Device ChooseDevice(const std::string& name, const std::string& origin) {
  if (name == "cpu") return at::kCPU;
  const bool available = torch::cuda::is_available();
  if (name == "auto") return available ? at::Device(at::kCUDA, 0) : at::Device(at::kCPU);
  const bool indexed = name.size() > 5 && name.compare(0, 5, "cuda:") == 0 &&
                       name.find_first_not_of("0123456789", 5) == std::string::npos &&
                       name.size() <= 8;
  if (name != "cuda" && !indexed) {
    throw ConfigError(origin, Str("device '", name, "' is not one of auto, cpu, cuda, cuda:N"));
  }
  const int index = indexed ? std::stoi(name.substr(5)) : 0;
  if (!available || index >= static_cast<int>(torch::cuda::device_count())) {
    throw ConfigError(origin, Str("device '", name,
                                  "' is not there: ", static_cast<int>(torch::cuda::device_count()),
                                  " CUDA devices found"));
  }
  return at::Device(at::kCUDA, static_cast<at::DeviceIndex>(index));
}

std::string DeviceName(const at::Device& device) {
#ifdef CKV_HAVE_CUDA
  if (device.is_cuda()) return at::cuda::getDeviceProperties(device.index())->name;
#endif
  return Str(device.str(), " (", at::get_num_threads(), " threads)");
}

std::optional<double> PeakFlops(const at::Device& device, const std::string& precision) {
  if (!device.is_cuda()) return std::nullopt;
  const std::string name = DeviceName(device);
  for (const PeakRow& row : kPeaks) {
    if (name.find(row.name) == std::string::npos) continue;
    const double tera = precision == "bf16"   ? row.bf16
                        : precision == "tf32" ? row.tf32
                        : precision == "fp64" ? row.fp64
                                              : row.fp32;
    return tera * 1e12;
  }
  return std::nullopt;
}

int64_t PeakMemoryBytes(const at::Device& device) {
#ifdef CKV_HAVE_CUDA
  if (device.is_cuda()) {
    const auto stats = c10::cuda::CUDACachingAllocator::getDeviceStats(device.index());
    return stats.allocated_bytes[0].peak;
  }
#else
  static_cast<void>(device);
#endif
  rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);
  return static_cast<int64_t>(usage.ru_maxrss) * 1024;
}

void ResetPeakMemory(const at::Device& device) {
#ifdef CKV_HAVE_CUDA
  if (device.is_cuda()) c10::cuda::CUDACachingAllocator::resetPeakStats(device.index());
#else
  static_cast<void>(device);
#endif
}

int64_t FreeMemoryBytes(const at::Device& device) {
#ifdef CKV_HAVE_CUDA
  if (device.is_cuda()) {
    const c10::cuda::CUDAGuard guard(device);
    size_t free = 0;
    size_t total = 0;
    CKV_CHECK(cudaMemGetInfo(&free, &total) == cudaSuccess, "memory of ", device.str());
    return static_cast<int64_t>(free);
  }
#else
  static_cast<void>(device);
#endif
  return static_cast<int64_t>(::sysconf(_SC_AVPHYS_PAGES)) * ::sysconf(_SC_PAGESIZE);
}

void ReleaseCachedMemory(const at::Device& device) {
#ifdef CKV_HAVE_CUDA
  if (device.is_cuda()) c10::cuda::CUDACachingAllocator::emptyCache();
#else
  static_cast<void>(device);
#endif
}

void Synchronize(const at::Device& device) {
  if (device.is_cuda()) torch::cuda::synchronize(device.index());
}

at::ScalarType WorkingType(const std::string& precision) {
  if (precision == "bf16") return at::kBFloat16;
  if (precision == "fp64") return at::kDouble;
  return at::kFloat;
}

void ChooseSdpa(const std::string& name) {
  at::Context& context = at::globalContext();
  context.setSDPUseFlash(name == "auto" || name == "flash");
  context.setSDPUseCuDNN(name == "auto" || name == "cudnn");
  context.setSDPUseMemEfficient(name == "auto" || name == "efficient");
}

void AllowTf32(bool allowed) {
  at::globalContext().setAllowTF32CuBLAS(allowed);
  at::globalContext().setAllowTF32CuDNN(allowed);
}

}  // namespace ckv
