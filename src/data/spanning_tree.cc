#include "data/spanning_tree.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "base/error.h"

namespace ckv {
namespace {

constexpr double kNoArc = -std::numeric_limits<double>::infinity();

// Nodes 0 (the root) to n; weight[to][from].
using ArcWeights = std::vector<std::vector<double>>;

// A node on a cycle of `heads`; 0 if there is none.
size_t NodeOnCycle(const std::vector<size_t>& heads) {
  std::vector<size_t> seen(heads.size(), 0);  // the walk that came by, counted from 1
  for (size_t start = 1; start < heads.size(); ++start) {
    size_t node = start;
    while (node != 0 && seen[node] == 0) {
      seen[node] = start;
      node = heads[node];
    }
    if (node != 0 && seen[node] == start) return node;
  }
  return 0;
}

// Heads of the best arborescence below node 0.
std::vector<size_t> SolveArborescence(const ArcWeights& weight) {
  const size_t n = weight.size();
  std::vector<size_t> heads(n, 0);
  for (size_t to = 1; to < n; ++to) {
    for (size_t from = 1; from < n; ++from) {
      if (from != to && weight[to][from] > weight[to][heads[to]]) heads[to] = from;
    }
  }
  const size_t on_cycle = NodeOnCycle(heads);
  if (on_cycle == 0) return heads;
  std::vector<size_t> cycle = {on_cycle};
  for (size_t at = heads[on_cycle]; at != on_cycle; at = heads[at]) cycle.push_back(at);

  // The cycle becomes one node; an arc into it pays for the arc that it breaks.
  std::vector<bool> in_cycle(n, false);
  for (const size_t node : cycle) in_cycle[node] = true;
  std::vector<size_t> outside, place(n, 0);
  for (size_t node = 0; node < n; ++node) {
    if (in_cycle[node]) continue;
    place[node] = outside.size();
    outside.push_back(node);
  }
  const size_t joint = outside.size();
  ArcWeights small(joint + 1, std::vector<double>(joint + 1, kNoArc));
  std::vector<size_t> enters(joint, 0),
      leaves(joint, 0);  // the node of the cycle, by the other end
  for (size_t a = 0; a < joint; ++a) {
    const size_t node = outside[a];
    for (size_t b = 0; b < joint; ++b) small[a][b] = weight[node][outside[b]];
    for (const size_t member : cycle) {
      const double in = weight[member][node] - weight[member][heads[member]];
      if (in > small[joint][a] || enters[a] == 0) {
        small[joint][a] = in;
        enters[a] = member;
      }
      if (weight[node][member] > small[a][joint] || leaves[a] == 0) {
        small[a][joint] = weight[node][member];
        leaves[a] = member;
      }
    }
  }
  const std::vector<size_t> solved = SolveArborescence(small);
  for (size_t a = 1; a < joint; ++a) {
    heads[outside[a]] = solved[a] == joint ? leaves[a] : outside[solved[a]];
  }
  const size_t from = solved[joint];
  heads[enters[from]] = outside[from];
  return heads;
}

}  // namespace

std::vector<int64_t> MaximumSpanningTree(const std::vector<std::vector<double>>& scores,
                                         const std::vector<double>& root_scores) {
  const size_t n = scores.size();
  CKV_CHECK(root_scores.size() == n, "a root score for each word");
  double low = 0.0, high = 0.0;
  for (size_t i = 0; i < n; ++i) {
    CKV_CHECK(scores[i].size() == n, "a square of scores");
    for (size_t j = 0; j < n; ++j) {
      const double score = i == j ? root_scores[i] : scores[i][j];
      CKV_CHECK(std::isfinite(score), "score of an arc");
      low = std::min(low, score);
      high = std::max(high, score);
    }
  }
  // Dearer than all other arcs together, so that the root is used once.
  const double penalty = (high - low + 1.0) * static_cast<double>(n + 1);
  ArcWeights weight(n + 1, std::vector<double>(n + 1, kNoArc));
  for (size_t i = 0; i < n; ++i) {
    weight[i + 1][0] = root_scores[i] - penalty;
    for (size_t j = 0; j < n; ++j) {
      if (i != j) weight[i + 1][j + 1] = scores[i][j];
    }
  }
  std::vector<int64_t> heads;
  const std::vector<size_t> solved = SolveArborescence(weight);
  for (size_t i = 1; i <= n; ++i) heads.push_back(static_cast<int64_t>(solved[i]) - 1);
  return heads;
}

}  // namespace ckv
