// Where the lines of a picture go that connect the readers of KVs with their owner: one vertical
// lane an owner, in columns beside the layers such that no two lanes overlap.
#pragma once

#include <vector>

#include "sharing/spec.h"

namespace ckv {

struct Lane {
  int source = 0;
  bool keys = true;  // what the readers take
  bool values = true;
  std::vector<int> readers;  // ascending, without the source
  int low = 0;               // lowest and highest layer it touches
  int high = 0;
  int column = 0;  // 0 is next to the layers
};

// Readers that take both from an owner have a lane of their own beside those of readers that take
// only keys or only values. Short lanes are nearest to the layers.
std::vector<Lane> LayOutLanes(const KvSharingSpec& spec);

// Columns in use.
int NumColumns(const std::vector<Lane>& lanes);

}  // namespace ckv
