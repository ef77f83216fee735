// Two ranks as threads of one process sum a tensor through Gloo: shows that the installed Gloo
// headers agree with the Gloo inside LibTorch.
//
// Never construct ProcessGroupGloo::GlooStore in our code: its virtual table would follow the
// installed headers, which may be older than the ones LibTorch was built with.
#include <iostream>
#include <thread>
#include <vector>

#include <torch/csrc/distributed/c10d/HashStore.hpp>
#include <torch/csrc/distributed/c10d/ProcessGroupGloo.hpp>
#include <torch/torch.h>

namespace {

constexpr int kRanks = 2;

// Returns the sum over the ranks of [rank + 1, 10 * (rank + 1)].
torch::Tensor SumOverRanks(const c10::intrusive_ptr<c10d::Store>& store, int rank) {
  auto options = c10d::ProcessGroupGloo::Options::create();
  options->devices.push_back(c10d::ProcessGroupGloo::createDeviceForHostname("127.0.0.1"));
  const auto group = c10::make_intrusive<c10d::ProcessGroupGloo>(store, rank, kRanks, options);
  std::vector<torch::Tensor> tensors = {torch::tensor({1.0, 10.0}) * (rank + 1)};
  group->allreduce(tensors)->wait();
  return tensors[0];
}

}  // namespace

int main() {
  const auto store = c10::make_intrusive<c10d::HashStore>();
  std::vector<torch::Tensor> sums(kRanks);
  std::vector<std::thread> threads;
  for (int rank = 0; rank < kRanks; ++rank) {
    threads.emplace_back([&, rank] { sums[rank] = SumOverRanks(store, rank); });
  }
  for (std::thread& thread : threads) thread.join();
  const torch::Tensor expected = torch::tensor({3.0, 30.0});
  for (const torch::Tensor& sum : sums) {
    std::cout << sum << '\n';
    if (!torch::equal(sum, expected)) return 1;
  }
  return 0;
}
