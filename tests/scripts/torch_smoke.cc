// The smallest program that uses LibTorch: it must compile, link, load and compute with and without
// CUDA, and load LibTorch's CUDA library exactly in the builds that have CUDA.
#include <dlfcn.h>

#include <iostream>

#include <torch/torch.h>

namespace {

bool IsLoaded(const char* library) { return dlopen(library, RTLD_NOLOAD | RTLD_LAZY) != nullptr; }

}  // namespace

int main() {
  const torch::Tensor ones = torch::ones({2}, torch::requires_grad());
  ones.sum().backward();
  std::cout << ones << '\n';
#ifdef CKV_HAVE_CUDA
  const bool cuda_wanted = true;
#else
  const bool cuda_wanted = false;
#endif
  const bool cuda_loaded = IsLoaded("libtorch_cuda.so");
  std::cout << "libtorch_cuda.so: wanted " << cuda_wanted << ", loaded " << cuda_loaded << '\n';
  const bool right = ones.grad().sum().item<double>() == 2.0;
  return right && cuda_loaded == cuda_wanted ? 0 : 1;
}
