#include "sharing/picture.h"

#include <algorithm>
#include <vector>

#include "sharing/lanes.h"

namespace ckv {

namespace {

// The signs lines are made of, in UTF-8 or ASCII.
struct Glyphs {
  const char* horizontal;
  const char* vertical;
  const char* top;  // of a lane, seen from the left
  const char* middle;
  const char* bottom;
  const char* top_on;  // the same where the line from the left goes on to another lane
  const char* middle_on;
  const char* bottom_on;
  const char* owner;
  const char* bracket_top;
  const char* bracket_bottom;
};

constexpr Glyphs kBoxGlyphs = {"─", "│", "┐", "┤", "┘", "┬", "┼", "┴", "●", "┌", "└"};
constexpr Glyphs kAsciiGlyphs = {"-", "|", "+", "+", "+", "+", "+", "+", "*", "+", "+"};

std::string PadLeft(const std::string& text, size_t width) {
  return std::string(width - std::min(width, text.size()), ' ') + text;
}

std::string PadRight(const std::string& text, size_t width) {
  return text + std::string(width - std::min(width, text.size()), ' ');
}

std::string SourceText(int reader, int source) {
  if (source == reader) return "itself";
  return Str(source, source > reader ? " above" : " below");
}

std::string ReadsText(const KvSharingSpec& spec, int layer) {
  const std::string keys = SourceText(layer, spec.k_source(layer));
  if (spec.k_source(layer) == spec.v_source(layer)) return keys;
  return Str("K ", keys, ", V ", SourceText(layer, spec.v_source(layer)));
}

std::string OwnsText(const KvSharingSpec& spec, int layer) {
  return Str(spec.computes_k(layer) ? "K " : "  ", spec.computes_v(layer) ? "V" : " ");
}

// The lines beside one layer.
std::string LanesText(const std::vector<Lane>& lanes, int layer, const Glyphs& glyphs) {
  std::vector<const Lane*> here(static_cast<size_t>(NumColumns(lanes)));
  const auto joins = [&](const Lane& lane) {
    return lane.source == layer ||
           std::binary_search(lane.readers.begin(), lane.readers.end(), layer);
  };
  int last_joint = -1;
  for (const Lane& lane : lanes) {
    if (layer < lane.low || layer > lane.high) continue;
    here[static_cast<size_t>(lane.column)] = &lane;
    if (joins(lane)) last_joint = std::max(last_joint, lane.column);
  }
  std::string text;
  for (int column = 0; column < static_cast<int>(here.size()); ++column) {
    const Lane* lane = here[static_cast<size_t>(column)];
    const bool goes_on = column < last_joint;
    text += column <= last_joint ? glyphs.horizontal : " ";
    if (lane == nullptr) {
      text += goes_on ? glyphs.horizontal : " ";
    } else if (!joins(*lane)) {
      text += glyphs.vertical;
    } else if (lane->source == layer) {
      text += lane->keys && lane->values ? glyphs.owner : lane->keys ? "K" : "V";
    } else if (layer == lane->high) {
      text += goes_on ? glyphs.top_on : glyphs.top;
    } else if (layer == lane->low) {
      text += goes_on ? glyphs.bottom_on : glyphs.bottom;
    } else {
      text += goes_on ? glyphs.middle_on : glyphs.middle;
    }
  }
  return text;
}

std::string PassesText(const LayerGroup& group) {
  if (!group.iterative) return "1 pass";
  return Str(group.forward_only_passes, " + ", group.gradient_passes, " passes");
}

std::string BracketText(const LayerGroup& group, int layer, const Glyphs& glyphs) {
  if (group.size() == 1) return glyphs.horizontal;
  if (layer == group.stop - 1) return glyphs.bracket_top;
  if (layer == group.start) return glyphs.bracket_bottom;
  return layer == (group.start + group.stop) / 2 ? glyphs.middle : glyphs.vertical;
}

void TrimRight(std::string* text) { text->erase(text->find_last_not_of(' ') + 1); }

}  // namespace

std::string SharingPicture(const IterationPlan& plan, bool ascii) {
  const KvSharingSpec& spec = plan.spec();
  const Glyphs& glyphs = ascii ? kAsciiGlyphs : kBoxGlyphs;
  const std::vector<Lane> lanes = LayOutLanes(spec);

  size_t label_width = 0;
  for (const LayerGroup& group : plan.groups()) {
    label_width = std::max(label_width, PassesText(group).size());
  }
  size_t reads_width = 5;
  bool windows = false;
  for (int i = 0; i < spec.num_layers(); ++i) {
    reads_width = std::max(reads_width, ReadsText(spec, i).size());
    windows = windows || spec.windowed(i);
  }

  std::string picture = Str(PadLeft("", label_width), "   layer  KVs  ",
                            windows ? PadRight("reads", reads_width) + "  sees" : "reads", '\n');
  for (auto group = plan.groups().rbegin(); group != plan.groups().rend(); ++group) {
    for (int i = group->stop - 1; i >= group->start; --i) {
      const bool labelled = i == (group->start + group->stop) / 2;
      std::string line =
          Str(PadLeft(labelled ? PassesText(*group) : "", label_width), ' ',
              BracketText(*group, i, glyphs), PadLeft(std::to_string(i), 6), "  ",
              OwnsText(spec, i), "  ", PadRight(ReadsText(spec, i), reads_width), "  ");
      if (windows) line += spec.windowed(i) ? "window  " : "all     ";
      line += LanesText(lanes, i, glyphs);
      TrimRight(&line);
      picture += line + '\n';
    }
  }
  return picture;
}

}  // namespace ckv
