#include "app/prefill_options.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "tests/model/tiny_decoder.h"
#include "tests/temp_dir.h"

namespace ckv {
namespace {

TEST(PrefillArguments, BecomeARun) {
  const DecoderConfig config = TinyConfig("0_3_3_3_4");
  PrefillArguments arguments;
  EXPECT_EQ(arguments.Run(config).order, DecoderRun::Order::kConfig);
  EXPECT_FALSE(arguments.Run(config).forward_passes.has_value());
  arguments.order = "chunked";
  arguments.passes = "12,3";
  arguments.tolerance = 0.5;
  arguments.chunk = 7;
  const DecoderRun run = arguments.Run(config);
  EXPECT_EQ(run.order, DecoderRun::Order::kChunked);
  EXPECT_EQ(run.forward_passes, 12);
  EXPECT_EQ(run.backward_passes, 3);
  EXPECT_EQ(run.tolerance, 0.5);
  EXPECT_EQ(run.chunk_tokens, 7);
  arguments.passes = "9";
  EXPECT_EQ(arguments.Run(config).forward_passes, 8);
  EXPECT_EQ(arguments.Run(config).backward_passes, 1);
}

TEST(PrefillArguments, RefuseWhatMeansNothing) {
  const auto error = [](const char* sharing, auto change) {
    PrefillArguments arguments;
    change(arguments);
    return ErrorOf([&] { arguments.Run(TinyConfig(sharing)); });
  };
  const char* const cyclic = "0_3_3_3_4";
  for (const char* passes : {"7,", ",2", "7,2,1", "-1,2", "0", "7,0", "x,2", "7, 2"}) {
    EXPECT_EQ(error(cyclic, [&](PrefillArguments& a) { a.passes = passes; }),
              Str("2: --passes: '", passes,
                  "' is not N passes in all (N >= 1) nor M,B (M >= 0, B >= 1)"));
  }
  EXPECT_EQ(error(cyclic, [](PrefillArguments& a) { a.passes = "5000,1"; }),
            "2: --passes: '5000,1' is more than 4096");
  EXPECT_EQ(error(cyclic, [](PrefillArguments& a) { a.tolerance = -0.5; }),
            "2: --tolerance: -0.5, but must be >= 0");
  EXPECT_EQ(error(cyclic, [](PrefillArguments& a) { a.chunk = 0; }),
            "2: --chunk: 0, but must be >= 1");
  EXPECT_EQ(error(cyclic, [](PrefillArguments& a) { a.chunk = 5; }),
            "2: --chunk: belongs to --prefill chunked");
  EXPECT_EQ(error("0_1_1_1", [](PrefillArguments& a) { a.passes = "7,2"; }),
            "2: --passes: no layer of this model reads a layer above it, so one pass is exact");
}

}  // namespace
}  // namespace ckv
