// Runs a piece of a test as several ranks, each a process of its own, joined by Gloo or NCCL.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "dist/group.h"

namespace ckv {

#ifdef CKV_HAVE_GLOO
constexpr bool kTestsHaveGloo = true;
#else
constexpr bool kTestsHaveGloo = false;
#endif

#define CKV_NEEDS_GLOO() \
  if (!kTestsHaveGloo) GTEST_SKIP() << "this build has no Gloo (libgloo-dev)"

struct RankEnd {
  int exit_code = -1;   // 128 + the signal that ended it
  std::string message;  // of the exception that ended it
};

struct RanksOptions {
  DistConfig config;
  double limit_s = 120.0;  // then all are killed
  bool gpus = false;       // rank N on GPU N, over NCCL; else all on the CPU, over Gloo
};

// A TCP port that nobody uses now.
int FreePort();

// Runs `work` on `world` ranks and waits for all. With world = 0 it is run in one process without a
// group, for which nullptr is given.
std::vector<RankEnd> RunRanks(int world, const std::function<void(CommGroup*)>& work,
                              const RanksOptions& options = {});

// The same, expecting that all end well.
void ExpectRanks(int world, const std::function<void(CommGroup*)>& work,
                 const RanksOptions& options = {});

// In a rank: throws with the text of the condition.
#define CKV_EXPECT_IN_RANK(condition) CKV_CHECK(condition, "in a rank of the test")

}  // namespace ckv
