// What the CUDA kernels of pairs of words are given; nn/pair_terms.h says what they compute.
#pragma once

#include <cstdint>

struct CUstream_st;

namespace ckv::kernels {

// A side of pairs: the vector of bin k and channel c of word i of sentence b begins at
// data + b * batch + i * word + k * bin + c * channel, and its numbers lie side by side.
struct PairSideView {
  const float* data;
  int64_t batch, word, bin, channel;
};

struct PairScoresParams {
  PairSideView child, head;
  const int* bin_of;  // [2 words - 1], by offset; -1 = no pair
  float* out;         // [batch, channels, words, words]
  int batch, words, channels, rank;
};
void PairScores(const PairScoresParams& params, CUstream_st* stream);

struct PairSumsParams {
  const float* probs;  // [batch, channels, words, words]
  PairSideView from;
  const int* ranges;  // [bins, 2]: offsets of heads, first and last
  float* out;         // [batch, words, out_bins, out_channels, rank]
  int batch, words, bins, channels, rank;
  int out_bins, out_channels;  // those of `bins` and `channels`, or 1: summed
  int own_is_child;            // the words of `out` are children, those of `from` heads
};
void PairSums(const PairSumsParams& params, CUstream_st* stream);

}  // namespace ckv::kernels
