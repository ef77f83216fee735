// The best dependency tree over scored arcs.
#pragma once

#include <cstdint>
#include <vector>

namespace ckv {

// Maximum spanning arborescence (Chu and Liu 1965, Edmonds 1967) of `n` words below one root.
//
// scores[i][j]: of word j as the head of word i; i == j is not used. root_scores[i]: of the root as
// the head of word i. Exactly one word hangs on the root. Scores are finite; higher is better.
// Returns each word's head, -1 for the root. O(n^3).
std::vector<int64_t> MaximumSpanningTree(const std::vector<std::vector<double>>& scores,
                                         const std::vector<double>& root_scores);

}  // namespace ckv
