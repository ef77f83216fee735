// Where the work is done: choosing a device, its name, its peak, its memory.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include <c10/core/Device.h>
#include <c10/core/ScalarType.h>

namespace ckv {

// "cpu", "cuda", "cuda:1", or "auto" = the first GPU if there is one. Throws ConfigError(origin,
// ...) for another name and for a GPU that is not there.
at::Device ChooseDevice(const std::string& name, const std::string& origin);

// "NVIDIA H200", "cpu (2 threads)".
std::string DeviceName(const at::Device& device);

// Dense matrix products of the data sheet in FLOP/s; nullopt for devices not in the table.
std::optional<double> PeakFlops(const at::Device& device, const std::string& precision);

// Most memory in use so far: the allocator's on a GPU, the process's on the CPU.
int64_t PeakMemoryBytes(const at::Device& device);
// Starts the peak of a GPU again from what is in use; the CPU's stays.
void ResetPeakMemory(const at::Device& device);

// Memory that a process could still take: on a GPU from the device, besides what LibTorch holds.
int64_t FreeMemoryBytes(const at::Device& device);
// Gives back what LibTorch holds on a GPU and nothing uses.
void ReleaseCachedMemory(const at::Device& device);

// Waits until the device has done all it was given.
void Synchronize(const at::Device& device);

// Numbers of parameters and activations for "fp32", "tf32", "bf16", "fp64".
at::ScalarType WorkingType(const std::string& precision);

// Which fused attention kernels LibTorch may use on GPUs, for the whole process: "auto" = its own
// choice among all, else "flash", "cudnn" or "efficient", and plain maths where that one cannot.
void ChooseSdpa(const std::string& name);

// Lets fp32 products use TF32 or not, for the whole process.
void AllowTf32(bool allowed);

}  // namespace ckv
