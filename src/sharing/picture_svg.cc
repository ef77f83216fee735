#include <algorithm>
#include <array>
#include <vector>

#include "sharing/lanes.h"
#include "sharing/picture.h"

namespace ckv {

namespace {

constexpr int kMargin = 16;
constexpr int kBracketWidth = 118;  // labels of the passes and the bracket, left of the layers
constexpr int kLayerWidth = 168;
constexpr int kCellWidth = 20;  // of the K and V cells in a layer
constexpr int kFirstLane = 30;  // from the layer's edge
constexpr int kLaneWidth = 18;
constexpr int kTitleHeight = 34;
constexpr int kLegendHeight = 40;

// Colours that people with colour-blindness tell apart (after Okabe and Ito).
constexpr std::array<const char*, 7> kLaneColors = {"#0072b2", "#d55e00", "#009e73", "#cc79a7",
                                                    "#8a6d00", "#56a0d8", "#555555"};
constexpr const char* kOwnerFill = "#dbe9f6";
constexpr const char* kReaderFill = "#f4f4f4";
constexpr const char* kGroupFill = "#fff3d6";
constexpr const char* kLine = "#444444";

std::string EscapeXml(const std::string& text) {
  std::string escaped;
  for (const char c : text) {
    if (c == '&') {
      escaped += "&amp;";
    } else if (c == '<') {
      escaped += "&lt;";
    } else if (c == '>') {
      escaped += "&gt;";
    } else if (static_cast<unsigned char>(c) >= ' ') {
      escaped += c;
    }
  }
  return escaped;
}

class SvgWriter {
 public:
  SvgWriter(const IterationPlan& plan, const std::string& title)
      : plan_(plan),
        spec_(plan.spec()),
        lanes_(LayOutLanes(spec_)),
        title_(title),
        pitch_(spec_.num_layers() <= 16 ? 34 : 26),
        box_height_(pitch_ - 8),
        top_(kMargin + (title.empty() ? 0 : kTitleHeight)) {}

  std::string Write() {
    const int lanes_width =
        NumColumns(lanes_) == 0 ? 0 : kFirstLane + NumColumns(lanes_) * kLaneWidth;
    const int width = std::max(LayerRight() + lanes_width + kMargin, 470);
    const int height = top_ + spec_.num_layers() * pitch_ + kLegendHeight + kMargin;
    Add("<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"", width, "\" height=\"", height,
        "\" viewBox=\"0 0 ", width, " ", height,
        "\" font-family=\"Helvetica, Arial, sans-serif\" font-size=\"13\" fill=\"#222222\">");
    Add("<rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>");
    if (!title_.empty()) {
      // Titles are often a spec, which may be of any length.
      const size_t most = static_cast<size_t>(width - 2 * kMargin) / 10;
      if (title_.size() > most) {
        size_t cut = most - 3;
        while (cut > 0 && (static_cast<unsigned char>(title_[cut]) & 0xc0) == 0x80) --cut;
        title_ = title_.substr(0, cut) + "...";
      }
      Text(kMargin, kMargin + 14, "start", title_, " font-size=\"16\" font-weight=\"bold\"");
    }
    for (const LayerGroup& group : plan_.groups()) DrawGroup(group);
    for (int i = 0; i < spec_.num_layers(); ++i) DrawLayer(i);
    // Long lanes first, so that the short ones in front of them stay whole.
    for (auto lane = lanes_.rbegin(); lane != lanes_.rend(); ++lane) DrawLane(*lane);
    DrawLegend(top_ + spec_.num_layers() * pitch_ + 12);
    Add("</svg>");
    return out_;
  }

 private:
  template <typename... Args>
  void Add(const Args&... args) {
    out_ += Str(args..., '\n');
  }

  void Text(int x, int y, const char* anchor, const std::string& text, const char* style = "") {
    Add("<text x=\"", x, "\" y=\"", y, "\" text-anchor=\"", anchor, "\"", style, ">",
        EscapeXml(text), "</text>");
  }

  void Box(int x, int y, int width, int height, const char* fill, const char* style) {
    Add("<rect x=\"", x, "\" y=\"", y, "\" width=\"", width, "\" height=\"", height, "\" fill=\"",
        fill, "\"", style, "/>");
  }

  static int LayerLeft() { return kMargin + kBracketWidth; }
  static int LayerRight() { return LayerLeft() + kLayerWidth; }
  int RowTop(int layer) const { return top_ + (spec_.num_layers() - 1 - layer) * pitch_ + 4; }
  int RowMiddle(int layer) const { return RowTop(layer) + box_height_ / 2; }

  void DrawGroup(const LayerGroup& group) {
    const int high = RowTop(group.stop - 1);
    const int low = RowTop(group.start) + box_height_;
    const int x = LayerLeft() - 14;
    if (group.iterative) {
      Box(x + 4, high - 3, kLayerWidth + 20, low - high + 6, kGroupFill, " rx=\"5\"");
    }
    Add("<path d=\"M", x, " ", high, " h-6 V", low, " h6\" fill=\"none\" stroke=\"", kLine,
        "\" stroke-width=\"1.4\"/>");
    const std::string passes =
        group.iterative ? Str(group.forward_only_passes, " + ", group.gradient_passes, " passes")
                        : std::string("1 pass");
    Text(x - 12, (high + low) / 2 + 4, "end", passes,
         group.iterative ? " font-weight=\"bold\"" : "");
  }

  void DrawLayer(int i) {
    const int x = LayerLeft();
    const int y = RowTop(i);
    const bool owns_k = spec_.computes_k(i);
    const bool owns_v = spec_.computes_v(i);
    Box(x, y, kLayerWidth, box_height_, owns_k || owns_v ? kOwnerFill : kReaderFill,
        spec_.windowed(i)
            ? " stroke=\"#444444\" stroke-width=\"1.4\" stroke-dasharray=\"4 3\" rx=\"4\""
            : " stroke=\"#444444\" stroke-width=\"1.2\" rx=\"4\"");
    const int baseline = RowMiddle(i) + 5;
    Text(x + 10, baseline, "start", Str("layer ", i));
    if (spec_.windowed(i)) {
      Text(x + 72, baseline, "start", "window", " font-size=\"11\" fill=\"#666666\"");
    }
    if (owns_v) DrawCell(LayerRight() - kCellWidth - 4, y, "V");
    if (owns_k) DrawCell(LayerRight() - 2 * kCellWidth - 6, y, "K");
  }

  void DrawCell(int x, int y, const char* letter) {
    Box(x, y + 3, kCellWidth, box_height_ - 6, "#0072b2", " rx=\"3\"");
    Text(x + kCellWidth / 2, y + box_height_ / 2 + 4, "middle", letter,
         " font-size=\"11\" font-weight=\"bold\" fill=\"#ffffff\"");
  }

  // Lines that meet a layer stand at different heights of its edge.
  int AttachY(int layer, const Lane& lane) const {
    int count = 0;
    int index = 0;
    for (const Lane& other : lanes_) {
      const bool joins = other.source == layer ||
                         std::binary_search(other.readers.begin(), other.readers.end(), layer);
      if (!joins) continue;
      if (&other == &lane) index = count;
      ++count;
    }
    return RowTop(layer) + box_height_ * (index + 1) / (count + 1);
  }

  const char* ColorOf(const Lane& lane) const {
    const std::vector<int>& owners = spec_.kv_layers();
    const auto owner = std::lower_bound(owners.begin(), owners.end(), lane.source);
    return kLaneColors[static_cast<size_t>(owner - owners.begin()) % kLaneColors.size()];
  }

  void DrawLane(const Lane& lane) {
    const char* color = ColorOf(lane);
    const int edge = LayerRight() + 2;
    const int x = LayerRight() + kFirstLane + lane.column * kLaneWidth;
    const int source_y = AttachY(lane.source, lane);
    int high = source_y;
    int low = source_y;
    std::string path;
    for (const int reader : lane.readers) {
      const int y = AttachY(reader, lane);
      high = std::min(high, y);
      low = std::max(low, y);
      path += Str("M", edge, " ", y, " H", x, " ");
    }
    path += Str("M", x, " ", high, " V", low, " M", x, " ", source_y, " H", edge + 7);
    const char* dash = lane.keys && lane.values ? "" : lane.keys ? "6 3" : "2 3";
    Add("<path d=\"", path, "\" fill=\"none\" stroke=\"", color, "\" stroke-width=\"1.6\"",
        *dash == '\0' ? std::string() : Str(" stroke-dasharray=\"", dash, "\""), "/>");
    Add("<path d=\"M", edge, " ", source_y, " l9 -4.5 v9 z\" fill=\"", color, "\"/>");
    if (!lane.keys || !lane.values) {
      Add("<text x=\"", x + 4, "\" y=\"", source_y - 3, "\" font-size=\"11\" fill=\"", color, "\">",
          lane.keys ? "K" : "V", "</text>");
    }
  }

  void DrawLegend(int y) {
    const int baseline = y + 14;
    int x = kMargin;
    Box(x, y + 3, 20, 14, kOwnerFill, " stroke=\"#444444\" rx=\"3\"");
    Text(x + 26, baseline, "start", "owns KVs");
    x += 102;
    Box(x, y + 3, 20, 14, kReaderFill, " stroke=\"#444444\" rx=\"3\"");
    Text(x + 26, baseline, "start", "no KVs");
    x += 88;
    Box(x, y + 3, 20, 14, "#ffffff", " stroke=\"#444444\" stroke-dasharray=\"4 3\" rx=\"3\"");
    Text(x + 26, baseline, "start", "window");
    x += 92;
    Add("<path d=\"M", x + 28, " ", y + 10, " H", x + 8, "\" stroke=\"", kLine,
        "\" stroke-width=\"1.6\"/><path d=\"M", x, " ", y + 10, " l9 -4.5 v9 z\" fill=\"", kLine,
        "\"/>");
    Text(x + 34, baseline, "start", "reads the KVs of");
  }

  const IterationPlan& plan_;
  const KvSharingSpec& spec_;
  std::vector<Lane> lanes_;
  std::string title_;
  int pitch_;
  int box_height_;
  int top_;
  std::string out_;
};

}  // namespace

std::string SharingSvg(const IterationPlan& plan, const std::string& title) {
  return SvgWriter(plan, title).Write();
}

}  // namespace ckv
