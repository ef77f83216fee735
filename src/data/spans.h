// Tags of named entities: from BIO to BIOES, and from tags to spans.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace ckv {

// BIO tags, either with B- at every beginning (IOB2) or only between neighbours of one type (IOB1),
// to B-, I-, E- and S- with O outside. Tags that are BIOES already stay as they are.
std::vector<std::string> ToBioes(const std::vector<std::string>& tags);

struct Span {
  int64_t begin = 0;
  int64_t end = 0;  // one past the last word
  std::string type;

  bool operator==(const Span& other) const {
    return begin == other.begin && end == other.end && type == other.type;
  }
};

// The spans of BIOES tags, which a model may have put together wrongly: a span begins at B- or S-,
// or where a type begins without them, and ends at E- or S-, or where its type ends.
std::vector<Span> SpansOfBioes(const std::vector<std::string>& tags);

// Counts towards precision, recall and F1.
struct SpanCounts {
  int64_t right = 0;
  int64_t found = 0;
  int64_t wanted = 0;

  void Add(const std::vector<std::string>& found_tags, const std::vector<std::string>& wanted_tags);
  double Precision() const;
  double Recall() const;
  double F1() const;
};

}  // namespace ckv
