#include "kv/tape.h"

#include <ATen/ATen.h>

namespace ckv {

Tensor KvTape::Read(const Track& track, const Tensor& unstaged) {
  std::vector<Tensor> parts = track.past;
  parts.push_back(track.staged.defined() ? track.staged : unstaged);
  return parts.size() == 1 ? parts.front() : at::cat(parts, 2);
}

void KvTape::Commit() {
  for (std::vector<Track>* tracks : {&keys_, &values_}) {
    for (Track& track : *tracks) {
      if (!track.staged.defined()) continue;
      track.past.push_back(track.staged);
      track.staged.reset();
    }
  }
}

}  // namespace ckv
