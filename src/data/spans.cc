#include "data/spans.h"

#include <algorithm>

namespace ckv {
namespace {

// "B-PER" -> 'B', "PER"; "O" -> 'O', "".
struct SplitTag {
  char prefix = 'O';
  std::string type;
};

SplitTag SplitOf(const std::string& tag) {
  if (tag.size() < 2 || tag[1] != '-') return {};
  return {tag[0], tag.substr(2)};
}

double Share(int64_t part, int64_t whole) {
  return whole == 0 ? 0.0 : static_cast<double>(part) / static_cast<double>(whole);
}

}  // namespace

std::vector<std::string> ToBioes(const std::vector<std::string>& tags) {
  std::vector<SplitTag> split;
  for (const std::string& tag : tags) split.push_back(SplitOf(tag));
  for (const SplitTag& tag : split) {
    if (tag.prefix == 'E' || tag.prefix == 'S') return tags;
  }
  std::vector<std::string> result;
  for (size_t i = 0; i < split.size(); ++i) {
    if (split[i].prefix == 'O') {
      result.push_back("O");
      continue;
    }
    const auto continues = [&](size_t at) {  // word `at` goes on with the span of the word before
      return at > 0 && at < split.size() && split[at].prefix == 'I' &&
             split[at - 1].prefix != 'O' && split[at].type == split[at - 1].type;
    };
    const bool begins = !continues(i), ends = !continues(i + 1);
    const char prefix = begins ? (ends ? 'S' : 'B') : (ends ? 'E' : 'I');
    result.push_back(std::string(1, prefix) + "-" + split[i].type);
  }
  return result;
}

std::vector<Span> SpansOfBioes(const std::vector<std::string>& tags) {
  std::vector<Span> spans;
  bool open = false;
  for (size_t i = 0; i < tags.size(); ++i) {
    const SplitTag tag = SplitOf(tags[i]);
    const auto here = static_cast<int64_t>(i);
    const bool goes_on =
        open && (tag.prefix == 'I' || tag.prefix == 'E') && tag.type == spans.back().type;
    if (tag.prefix == 'O') {
      open = false;
    } else if (goes_on) {
      spans.back().end = here + 1;
      open = tag.prefix == 'I';
    } else {
      spans.push_back({here, here + 1, tag.type});
      open = tag.prefix == 'B' || tag.prefix == 'I';
    }
  }
  return spans;
}

void SpanCounts::Add(const std::vector<std::string>& found_tags,
                     const std::vector<std::string>& wanted_tags) {
  const std::vector<Span> of_model = SpansOfBioes(found_tags);
  const std::vector<Span> of_data = SpansOfBioes(wanted_tags);
  found += static_cast<int64_t>(of_model.size());
  wanted += static_cast<int64_t>(of_data.size());
  for (const Span& span : of_model) right += std::count(of_data.begin(), of_data.end(), span);
}

double SpanCounts::Precision() const { return Share(right, found); }
double SpanCounts::Recall() const { return Share(right, wanted); }
double SpanCounts::F1() const { return Share(2 * right, found + wanted); }

}  // namespace ckv
