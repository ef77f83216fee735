#include "kv/slot_policy.h"

#include <algorithm>

#include <ATen/ATen.h>
#include <gtest/gtest.h>

namespace ckv {
namespace {

const SlotPolicy kPolicies[] = {SlotPolicy::Full(40),   SlotPolicy::Ring(1),
                                SlotPolicy::Ring(7),    SlotPolicy::Sink(0, 5),
                                SlotPolicy::Sink(3, 4), SlotPolicy::Sink(4, 16)};

std::vector<int64_t> Values(const at::Tensor& x) {
  const at::Tensor flat = x.contiguous();
  return {flat.data_ptr<int64_t>(), flat.data_ptr<int64_t>() + flat.numel()};
}

// Plays a stream token by token against an array of slots.
TEST(SlotPolicy, DescribesAnArrayWrittenTokenByToken) {
  for (const SlotPolicy& policy : kPolicies) {
    std::vector<int64_t> slots(static_cast<size_t>(policy.slots()), -1);
    for (int64_t length = 0; length <= 40; ++length) {
      std::vector<int64_t> held;
      const std::vector<int64_t> kept = policy.KeptPositions(length);
      for (const int64_t position : slots) {
        const bool keeps = std::find(kept.begin(), kept.end(), position) != kept.end();
        held.push_back(keeps ? position : -1);
      }
      EXPECT_EQ(static_cast<size_t>(
                    std::count_if(held.begin(), held.end(), [](int64_t p) { return p >= 0; })),
                kept.size());
      const at::Tensor lengths = at::tensor({length}, at::kLong);
      EXPECT_EQ(Values(policy.SlotPositions(lengths)), held) << policy.slots() << " " << length;
      for (int64_t position = 0; position < length; ++position) {
        const at::Tensor one = at::tensor({position}, at::kLong);
        const bool keeps = std::find(kept.begin(), kept.end(), position) != kept.end();
        EXPECT_EQ(policy.Keeps(one, lengths).item<bool>(), keeps);
      }
      if (length == 40) break;
      slots[static_cast<size_t>(policy.SlotOf(length))] = length;
      EXPECT_EQ(policy.SlotOf(at::tensor({length}, at::kLong)).item<int64_t>(),
                policy.SlotOf(length));
    }
  }
}

TEST(SlotPolicy, KeepsWhatItsNameSays) {
  EXPECT_EQ(SlotPolicy::Full(9).KeptPositions(3), (std::vector<int64_t>{0, 1, 2}));
  EXPECT_EQ(SlotPolicy::Ring(3).KeptPositions(8), (std::vector<int64_t>{5, 6, 7}));
  EXPECT_EQ(SlotPolicy::Sink(2, 5).KeptPositions(9), (std::vector<int64_t>{0, 1, 6, 7, 8}));
  EXPECT_EQ(SlotPolicy::Sink(2, 5).KeptPositions(9, 7), (std::vector<int64_t>{7, 8}));
  EXPECT_EQ(SlotPolicy::Sink(2, 5).slots(), 6);
}

}  // namespace
}  // namespace ckv
