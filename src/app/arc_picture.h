// Dependency arcs over a sentence as an SVG picture.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace ckv {

struct ArcPicture {
  std::vector<std::string> words;
  std::vector<int64_t> heads;  // index of each word's head; -1 = the root; -2 = no arc
  // Of each word's arc, which its line shows by its darkness; below 0: it has none, and the line is
  // dashed.
  std::vector<double> probability;
  std::string title;
};

// `text` as it must stand between the tags of an SVG document.
std::string EscapeXml(const std::string& text);

// One <g> for each picture, below each other, in one SVG document.
std::string DrawArcs(const std::vector<ArcPicture>& pictures);

}  // namespace ckv
