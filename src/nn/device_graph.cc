#include "nn/device_graph.h"

#include <ATen/ATen.h>

#include "base/error.h"

#ifdef CKV_HAVE_CUDA
#include <ATen/cuda/CUDAGraph.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>
#include <cuda_runtime_api.h>
#endif

namespace ckv {

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

void DeviceGraph::Record(const at::Device& device, const std::function<void()>& work) {
  CKV_CHECK(Works(device), "recording on ", device.str());
#ifdef CKV_HAVE_CUDA
  // The default stream cannot be recorded.
  auto fresh = std::make_unique<Impl>();
  const c10::cuda::CUDAStream stream =
      c10::cuda::getStreamFromPool(/*isHighPriority=*/false, device.index());
  c10::cuda::getCurrentCUDAStream(device.index()).synchronize();
  {
    const c10::cuda::CUDAStreamGuard guard(stream);
    fresh->graph.capture_begin();
    work();
    fresh->graph.capture_end();
  }
  impl_ = std::move(fresh);
#else
  static_cast<void>(work);
#endif
}

void DeviceGraph::Run() {
  CKV_CHECK(recorded(), "nothing is recorded");
#ifdef CKV_HAVE_CUDA
  // Not replay(), which first fills the seeds of random generators, in two kernels.
  const cudaError_t error = cudaGraphLaunch(impl_->graph.raw_cuda_graph_exec(),
                                            c10::cuda::getCurrentCUDAStream().stream());
  CKV_CHECK(error == cudaSuccess, "graph: ", cudaGetErrorString(error));
#endif
}

}  // namespace ckv
