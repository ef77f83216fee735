// Tests that need a GPU skip with a reason where there is none.
#pragma once

#include <gtest/gtest.h>
#include <torch/cuda.h>

#define CKV_NEEDS_GPU()                                                         \
  do {                                                                          \
    if (!torch::cuda::is_available()) GTEST_SKIP() << "no CUDA device is here"; \
  } while (false)
