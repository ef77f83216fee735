// The processes of a run and what they do together. All ranks must call the same functions in the
// same order with tensors of equal sizes.
//
// A rank that is gone, hangs or cannot be reached makes the others throw DistError with their rank
// and step, or, where the main thread cannot, end the process (dist/watchdog.h).
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include <ATen/core/Tensor.h>

#include "dist/config.h"
#include "dist/launch.h"

namespace ckv {

using at::Tensor;

class CommGroup {
 public:
  // Joins the others; returns when all have. `device` is where tensors of collectives lie.
  CommGroup(const Launch& launch, const DistConfig& config, const at::Device& device);
  ~CommGroup();
  CommGroup(const CommGroup&) = delete;
  CommGroup& operator=(const CommGroup&) = delete;

  int rank() const { return launch_.rank; }
  int world() const { return launch_.world; }
  bool root() const { return launch_.rank == 0; }
  const Launch& launch() const { return launch_; }
  const at::Device& device() const { return device_; }
  const std::string& backend() const { return backend_name_; }

  // For messages: the optimizer step that is being made, from 0.
  void SetStep(int64_t step);

  // A collective that runs beside other work. Wait() makes its result usable for what follows (on a
  // GPU: for what is enqueued after it) and must be called once.
  class Pending {
   public:
    void Wait();

   private:
    friend class CommGroup;
    struct Work;
    std::shared_ptr<Work> work_;
  };

  // Sum over ranks, in place.
  Pending StartSum(const Tensor& tensor, const char* what);
  // `own` [n] gets the sum over ranks of part `rank` of `all` [n * world]; it may be that part.
  Pending StartReduceScatter(const Tensor& own, const Tensor& all, const char* what);
  // `all` [n * world] gets the `own` [n] of all ranks; own may be part `rank` of it.
  Pending StartAllGather(const Tensor& all, const Tensor& own, const char* what);

  void Sum(const Tensor& tensor, const char* what) { StartSum(tensor, what).Wait(); }
  void Broadcast(const Tensor& tensor, int root);
  void Barrier();

  // A text of each rank, by rank.
  std::vector<std::string> Gather(const std::string& mine);

  // Runs `work`, which must not use the group. If it throws on some rank then all ranks throw: that
  // rank its own error, the others one with the same exit code that names the rank.
  void Together(const std::function<void()>& work);

  // Seconds that this process has waited in Wait() since the last call.
  double TakeWaitSeconds();

  // Bytes of the tensors given to collectives so far, by kind: what went over the wire follows from
  // them (docs/scaling.md).
  struct Traffic {
    int64_t summed = 0;
    int64_t scattered = 0;  // the whole input of reduce-scatters
    int64_t gathered = 0;   // the whole output of all-gathers
  };
  const Traffic& traffic() const { return traffic_; }

 private:
  struct Parts;

  Pending Start(const char* what, const std::function<void(Parts&, Pending::Work&)>& start);

  Launch launch_;
  at::Device device_;
  std::string backend_name_;
  Traffic traffic_;
  std::unique_ptr<Parts> parts_;
};

}  // namespace ckv
