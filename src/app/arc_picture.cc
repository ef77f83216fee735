#include "app/arc_picture.h"

#include <algorithm>
#include <cstdlib>

#include "base/str.h"
#include "text/utf8.h"

namespace ckv {
namespace {

constexpr double kCharWidth = 8.5, kGap = 18.0, kMargin = 20.0, kStep = 18.0, kTitle = 22.0,
                 kRootName = 12.0, kTitleCharWidth = 7.3;

// In widths of a character; those of East Asian scripts take two.
int64_t CountColumns(const std::string& text) {
  constexpr char32_t kFirstWide = 0x2E80;
  int64_t count = 0;
  for (size_t at = 0; at < text.size();) {
    const Utf8Step step = NextCodePoint(std::string_view(text).substr(at));
    count += step.code_point >= kFirstWide ? 2 : 1;
    at += step.length;
  }
  return count;
}

struct Placed {
  std::vector<double> centers;
  double width = 0.0;
  int64_t levels = 1;  // heights of arcs
};

Placed Place(const ArcPicture& picture) {
  Placed placed;
  double x = kMargin;
  for (const std::string& word : picture.words) {
    const double width = kCharWidth * static_cast<double>(std::max<int64_t>(CountColumns(word), 1));
    placed.centers.push_back(x + width / 2.0);
    x += width + kGap;
  }
  const double title = kTitleCharWidth * static_cast<double>(CountColumns(picture.title)) + kMargin;
  placed.width = std::max(x, kMargin + title) + kMargin;
  for (size_t i = 0; i < picture.heads.size(); ++i) {
    if (picture.heads[i] < 0) continue;
    const int64_t distance = std::abs(picture.heads[i] - static_cast<int64_t>(i));
    placed.levels = std::max(placed.levels, std::min<int64_t>(distance, 12));
  }
  return placed;
}

std::string DrawOne(const ArcPicture& picture, const Placed& placed, double top) {
  const double base = top + kTitle + kRootName + kStep * static_cast<double>(placed.levels + 1);
  std::string svg = Str("<g>\n<text x=\"", kMargin, "\" y=\"", top + 14.0, "\" class=\"t\">",
                        EscapeXml(picture.title), "</text>\n");
  for (size_t i = 0; i < picture.words.size(); ++i) {
    const double to = placed.centers[i];
    svg += Str("<text x=\"", to, "\" y=\"", base + 18.0, "\" class=\"w\">",
               EscapeXml(picture.words[i]), "</text>\n");
    const int64_t head = picture.heads[i];
    if (head == -2) continue;
    const double probability = picture.probability[i];
    const bool known = probability >= 0.0;
    // For a pointer that rests on the line.
    std::string name = head == -1 ? "ROOT" : picture.words[static_cast<size_t>(head)];
    name = Str("<title>", EscapeXml(Str(name, " \u2192 ", picture.words[i])),
               known ? " " + Fixed(probability, 3) : std::string(), "</title></path>\n");
    const std::string style =
        Str(" opacity=\"", Fixed(known ? 0.2 + 0.8 * probability : 1.0, 3), "\"",
            known ? "" : " stroke-dasharray=\"4 3\"", " marker-end=\"url(#a)\">", name);
    if (head == -1) {
      const double from = top + kTitle + kRootName;
      svg += Str("<text x=\"", to, "\" y=\"", from - 3.0, "\" class=\"r\">ROOT</text>\n",
                 "<path d=\"M", to, " ", from, " L", to, " ", base, "\"", style);
      continue;
    }
    const double head_at = placed.centers[static_cast<size_t>(head)];
    const double from = head_at + (to > head_at ? 4.0 : -4.0);
    const int64_t distance =
        std::min<int64_t>(std::abs(head - static_cast<int64_t>(i)), placed.levels);
    const double peak = base - kStep * static_cast<double>(distance) * 4.0 / 3.0;
    svg += Str("<path d=\"M", from, " ", base, " C", from, " ", peak, " ", to, " ", peak, " ", to,
               " ", base, "\"", style);
  }
  return svg + "</g>\n";
}

}  // namespace

std::string EscapeXml(const std::string& text) {
  std::string out;
  for (const char c : text) {
    if (c == '<') {
      out += "&lt;";
    } else if (c == '>') {
      out += "&gt;";
    } else if (c == '&') {
      out += "&amp;";
    } else if (c == '"') {
      out += "&quot;";
    } else if (static_cast<unsigned char>(c) >= 0x20) {
      out += c;
    }
  }
  return out;
}

std::string DrawArcs(const std::vector<ArcPicture>& pictures) {
  std::string body;
  double width = 200.0, top = 10.0;
  for (const ArcPicture& picture : pictures) {
    const Placed placed = Place(picture);
    body += DrawOne(picture, placed, top);
    width = std::max(width, placed.width);
    top += kTitle + kRootName + kStep * static_cast<double>(placed.levels + 1) + 40.0;
  }
  return Str("<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"", width, "\" height=\"", top,
             "\" viewBox=\"0 0 ", width, " ", top,
             "\">\n<style>text{font-family:monospace;font-size:14px}.w{text-anchor:middle}"
             ".t{font-size:12px;fill:#666}.r{font-size:10px;fill:#666;text-anchor:middle}path{fill:"
             "none;stroke:#1b5e9e;stroke-width:1.5}</style>\n"
             "<defs><marker id=\"a\" markerWidth=\"8\" markerHeight=\"8\" refX=\"6\" refY=\"3\" "
             "orient=\"auto\"><path d=\"M0 0 L6 3 L0 6 z\" style=\"fill:#1b5e9e;stroke:none\"/>"
             "</marker></defs>\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n",
             body, "</svg>\n");
}

}  // namespace ckv
