#include "eval/score_rows.h"

#include <algorithm>
#include <map>
#include <tuple>

namespace ckv {
namespace {

// Shared starts are cut to a multiple of this, so that more groups fit into a batch.
constexpr int64_t kGranule = 8;
// A shorter start is not worth a call of its own.
constexpr int64_t kLeastShared = 16;
// Keys and values of a batch take at most so many times the tokens of a call.
constexpr int64_t kCacheFactor = 4;

int64_t CommonLength(const std::vector<int32_t>& a, const std::vector<int32_t>& b, int64_t most) {
  const auto end = static_cast<size_t>(
      std::min({most, static_cast<int64_t>(a.size()), static_cast<int64_t>(b.size())}));
  size_t at = 0;
  while (at < end && a[at] == b[at]) ++at;
  return static_cast<int64_t>(at);
}

}  // namespace

int64_t ScoreRow::FirstScored() const {
  int64_t most = 0;
  for (const RowTarget& target : targets) most = std::max(most, target.count);
  return length() - most;
}

std::vector<ScoreRow> MakeRows(const std::vector<ScoreRequest>& requests, int64_t max_length,
                               bool merge) {
  std::vector<ScoreRow> rows;
  std::map<std::vector<int32_t>, size_t> known;
  for (size_t i = 0; i < requests.size(); ++i) {
    const RequestTokens& tokens = requests[i].tokens;
    if (tokens.continuation.empty()) continue;
    std::vector<int32_t> input = tokens.context;
    input.insert(input.end(), tokens.continuation.begin(), tokens.continuation.end() - 1);
    if (static_cast<int64_t>(input.size()) > max_length) {
      input.erase(input.begin(), input.end() - static_cast<std::ptrdiff_t>(max_length));
    }
    const auto size = static_cast<int64_t>(tokens.continuation.size());
    const RowTarget target = {i, std::min(size, static_cast<int64_t>(input.size()))};
    if (!merge) {
      rows.push_back({std::move(input), {target}, requests[i].group});
      continue;
    }
    const auto [place, fresh] = known.emplace(std::move(input), rows.size());
    if (fresh) rows.push_back({place->first, {}, requests[i].group});
    rows[place->second].targets.push_back(target);
  }
  return rows;
}

int64_t CommonStart(const std::vector<ScoreRow>& rows) {
  if (rows.size() < 2) return 0;
  int64_t common = rows.front().FirstScored();
  for (const ScoreRow& row : rows) {
    common = CommonLength(rows.front().input, row.input, std::min(common, row.FirstScored()));
  }
  return common < kLeastShared ? 0 : common;
}

std::vector<RowGroup> MakeGroups(const std::vector<ScoreRow>& rows, bool share, int64_t common) {
  std::map<int64_t, std::vector<size_t>> by_group;
  for (size_t i = 0; i < rows.size(); ++i) {
    by_group[share ? rows[i].group : static_cast<int64_t>(i)].push_back(i);
  }
  std::vector<RowGroup> groups;
  for (auto& [number, members] : by_group) {
    RowGroup group;
    const ScoreRow& first = rows[members.front()];
    int64_t shared = members.size() > 1 ? first.FirstScored() : 0;
    for (const size_t row : members) {
      group.longest = std::max(group.longest, rows[row].length());
      shared =
          CommonLength(first.input, rows[row].input, std::min(shared, rows[row].FirstScored()));
    }
    shared -= shared % kGranule;
    group.shared = shared - common < kLeastShared ? common : shared;
    group.rows = std::move(members);
    groups.push_back(std::move(group));
  }
  std::stable_sort(groups.begin(), groups.end(), [](const RowGroup& a, const RowGroup& b) {
    return std::tuple(a.shared, a.longest) > std::tuple(b.shared, b.longest);
  });
  return groups;
}

std::vector<std::pair<size_t, size_t>> MakeBatches(const std::vector<RowGroup>& groups,
                                                   int64_t batch_tokens, int64_t common) {
  std::vector<std::pair<size_t, size_t>> batches;
  size_t begin = 0;
  int64_t rows = 0;
  for (size_t i = 0; i < groups.size(); ++i) {
    const auto more = static_cast<int64_t>(groups[i].rows.size());
    // Groups come with the longest first.
    const RowGroup& first = groups[begin];
    const bool fits =
        groups[i].shared == first.shared && (rows + more) * first.tail() <= batch_tokens &&
        static_cast<int64_t>(i - begin + 1) * (first.shared - common) <= batch_tokens &&
        (first.shared == 0 || (rows + more) * first.longest <= kCacheFactor * batch_tokens);
    if (i > begin && !fits) {
      batches.emplace_back(begin, i);
      begin = i;
      rows = 0;
    }
    rows += more;
  }
  if (begin < groups.size()) batches.emplace_back(begin, groups.size());
  return batches;
}

}  // namespace ckv
