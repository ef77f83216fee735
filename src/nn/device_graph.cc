#include "nn/device_graph.h"

#include <optional>

#include <ATen/ATen.h>

#include "base/error.h"

#ifdef CKV_HAVE_CUDA
#include <ATen/cuda/CUDAGraph.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>
#include <cuda_runtime_api.h>
#endif

namespace ckv {

struct DeviceGraphPool::Impl {
#ifdef CKV_HAVE_CUDA
  at::cuda::MempoolId_t memory = at::cuda::graph_pool_handle();
  std::optional<c10::cuda::CUDAStream> stream;
#endif
};

DeviceGraphPool::DeviceGraphPool() = default;
DeviceGraphPool::~DeviceGraphPool() = default;

struct DeviceGraph::Impl {
#ifdef CKV_HAVE_CUDA
  at::cuda::CUDAGraph graph;
#endif
};

DeviceGraph::DeviceGraph() = default;
DeviceGraph::~DeviceGraph() = default;
DeviceGraph::DeviceGraph(DeviceGraph&&) noexcept = default;
DeviceGraph& DeviceGraph::operator=(DeviceGraph&&) noexcept = default;

bool DeviceGraph::Works(const at::Device& device) {
#ifdef CKV_HAVE_CUDA
  return device.is_cuda();
#else
  static_cast<void>(device);
  return false;
#endif
}

void DeviceGraph::Record(const at::Device& device, const std::function<void()>& work,
                         DeviceGraphPool* pool) {
  CKV_CHECK(Works(device), "recording on ", device.str());
#ifdef CKV_HAVE_CUDA
  // The default stream cannot be recorded.
  auto fresh = std::make_unique<Impl>();
  const auto new_stream = [&] {
    return c10::cuda::getStreamFromPool(/*isHighPriority=*/false, device.index());
  };
  at::cuda::MempoolId_t memory{0, 0};
  std::optional<c10::cuda::CUDAStream> stream;
  if (pool != nullptr) {
    if (pool->impl_ == nullptr) pool->impl_ = std::make_unique<DeviceGraphPool::Impl>();
    if (!pool->impl_->stream.has_value()) pool->impl_->stream = new_stream();
    memory = pool->impl_->memory;
    stream = pool->impl_->stream;
  } else {
    stream = new_stream();
  }
  c10::cuda::getCurrentCUDAStream(device.index()).synchronize();
  {
    const c10::cuda::CUDAStreamGuard guard(*stream);
    fresh->graph.capture_begin(memory);
    work();
    fresh->graph.capture_end();
  }
  impl_ = std::move(fresh);
#else
  static_cast<void>(work);
  static_cast<void>(pool);
#endif
}

void DeviceGraph::Run(bool random) {
  CKV_CHECK(recorded(), "nothing is recorded");
#ifdef CKV_HAVE_CUDA
  if (random) return impl_->graph.replay();  // first fills the generators' seeds, in two kernels
  const cudaError_t error = cudaGraphLaunch(impl_->graph.raw_cuda_graph_exec(),
                                            c10::cuda::getCurrentCUDAStream().stream());
  CKV_CHECK(error == cudaSuccess, "graph: ", cudaGetErrorString(error));
#else
  static_cast<void>(random);
#endif
}

}  // namespace ckv
