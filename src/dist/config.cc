#include "dist/config.h"

namespace ckv {

void DistConfig::Visit(ConfigVisitor& v) {
  v.Choice("backend", backend, {"auto", "nccl", "gloo"},
           "library of the collectives; auto = nccl on GPUs, gloo on CPUs");
  v.Field("zero", zero,
          "what each rank keeps a part of (Rajbhandari et al. 2020): 1 = optimizer state, 2 = and "
          "gradients, 3 = and weights; 0 = nothing");
  v.Require(zero >= 0 && zero <= 3, "must be from 0 to 3");
  v.Choice("reduce", reduce, {"fp32", "bf16"},
           "number format in which gradients are summed over ranks (fp64 runs: fp64)");
  v.Field("bucket_mb", bucket_mb, "gradients that are summed together, in MB of 1e6 bytes");
  v.Require(bucket_mb > 0.0 && bucket_mb <= 1e6, "must be above 0 and at most 1e6");
  v.Field("timeout_s", timeout_s, "seconds to wait for other ranks before the run ends");
  v.Require(timeout_s > 0.0 && timeout_s <= 1e7, "must be above 0 and at most 1e7");
}

}  // namespace ckv
