#include "sharing/lanes.h"

#include <algorithm>
#include <utility>

namespace ckv {

namespace {

void AddLane(int source, bool keys, bool values, std::vector<int> readers,
             std::vector<Lane>* lanes) {
  if (readers.empty()) return;
  Lane lane;
  lane.source = source;
  lane.keys = keys;
  lane.values = values;
  lane.low = std::min(source, readers.front());
  lane.high = std::max(source, readers.back());
  lane.readers = std::move(readers);
  lanes->push_back(std::move(lane));
}

}  // namespace

std::vector<Lane> LayOutLanes(const KvSharingSpec& spec) {
  std::vector<Lane> lanes;
  for (const int source : spec.kv_layers()) {
    std::vector<int> both;
    std::vector<int> only_keys;
    std::vector<int> only_values;
    for (const int reader : spec.k_readers(source)) {
      if (reader == source) continue;
      (spec.v_source(reader) == source ? both : only_keys).push_back(reader);
    }
    for (const int reader : spec.v_readers(source)) {
      if (reader != source && spec.k_source(reader) != source) only_values.push_back(reader);
    }
    AddLane(source, true, true, std::move(both), &lanes);
    AddLane(source, true, false, std::move(only_keys), &lanes);
    AddLane(source, false, true, std::move(only_values), &lanes);
  }
  std::stable_sort(lanes.begin(), lanes.end(),
                   [](const Lane& a, const Lane& b) { return a.high - a.low < b.high - b.low; });

  std::vector<std::vector<bool>> taken;  // [column][layer]
  for (Lane& lane : lanes) {
    const auto is_free = [&](const std::vector<bool>& column) {
      return std::none_of(column.begin() + lane.low, column.begin() + lane.high + 1,
                          [](bool used) { return used; });
    };
    const auto column = std::find_if(taken.begin(), taken.end(), is_free);
    lane.column = static_cast<int>(column - taken.begin());
    if (column == taken.end()) taken.emplace_back(static_cast<size_t>(spec.num_layers()));
    std::vector<bool>& used = taken[static_cast<size_t>(lane.column)];
    std::fill(used.begin() + lane.low, used.begin() + lane.high + 1, true);
  }
  return lanes;
}

int NumColumns(const std::vector<Lane>& lanes) {
  int columns = 0;
  for (const Lane& lane : lanes) columns = std::max(columns, lane.column + 1);
  return columns;
}

}  // namespace ckv
