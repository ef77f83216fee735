// The plan of one call as a flat list of operations on numbered slots, so that segments for
// activation checkpointing can be cut anywhere and every value is dropped after its last reader.
#pragma once

#include <cstddef>
#include <vector>

#include "sharing/plan.h"

namespace ckv {

struct ProgramOp {
  enum class Kind {
    kEnterGroup,  // remember the hidden states as the group's input
    kRestart,     // hidden states = the group's input
    kGuess,       // keys and values of a layer from the group's input, before its first pass
    kLayer,
  };

  Kind kind = Kind::kLayer;
  LayerWork work;
  int group = 0;
  int pass = 0;  // of its group, from 0
  bool grad = true;
  bool last_pass = true;
  std::vector<size_t> reads;  // slots
  std::vector<size_t> writes;
  std::vector<size_t> dead;  // slots that nobody reads after this operation
};

// Where a call keeps its values: hidden states, the group's input, keys and values of every layer.
// The hidden states may lack a sum that the next norm takes in; that sum lives and dies with them.
class SlotMap {
 public:
  static constexpr size_t kHidden = 0;
  static constexpr size_t kGroupInput = 1;
  static constexpr size_t kPending = 2;

  explicit SlotMap(int num_layers) : num_layers_(static_cast<size_t>(num_layers)) {}
  size_t Keys(int layer) const { return 3 + static_cast<size_t>(layer); }
  size_t Values(int layer) const { return 3 + num_layers_ + static_cast<size_t>(layer); }
  size_t size() const { return 3 + 2 * num_layers_; }

 private:
  size_t num_layers_;
};

class Program {
 public:
  Program(const KvSharingSpec& spec, const std::vector<PassStep>& steps);

  const SlotMap& slots() const { return slots_; }
  const std::vector<ProgramOp>& ops() const { return ops_; }

  // Slots that operations [begin, end) read before they write them, and slots they write that are
  // read after `end`.
  std::vector<size_t> Inputs(size_t begin, size_t end) const;
  std::vector<size_t> Outputs(size_t begin, size_t end) const;

  // From a kRestart to that of its group's last pass, or first pass with gradient, which may follow
  // at once (sharing/plan.h).
  size_t LastRestart(size_t restart) const;
  size_t FirstGradRestart(size_t restart) const;

 private:
  void AddGuess(const PassStep& step, const LayerWork& work);
  void AddLayer(const KvSharingSpec& spec, const PassStep& step, const LayerWork& work);
  void FindDeadSlots();

  SlotMap slots_;
  std::vector<ProgramOp> ops_;
};

}  // namespace ckv
