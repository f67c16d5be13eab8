// The chart stands alone: no script, no font of its own, readable in black and white by the names at the lines' ends.
#include "cli/simulation_chart.h"

#include <fmt/core.h>

#include <algorithm>

namespace kiboko::cli {
namespace {

constexpr double kWidth = 860, kHeight = 480;
constexpr double kLeft = 60, kRight = 130, kTop = 48, kBottom = 50;
constexpr std::string_view kColours[] = {"#0b6e4f", "#c44536", "#1f5fa8", "#8a5a00", "#6b3fa0", "#444444"};

// From the data to the drawing.
struct Frame {
  double from_x, to_x, from_y, to_y;
  double x(double demand) const { return kLeft + (kWidth - kLeft - kRight) * (demand - from_x) / (to_x - from_x); }
  double y(double percent) const {
    return kHeight - kBottom - (kHeight - kTop - kBottom) * (percent - from_y) / (to_y - from_y);
  }
};

std::string text(double x, double y, std::string_view anchor, std::string_view words, std::string_view more = "") {
  return fmt::format("<text x=\"{:.1f}\" y=\"{:.1f}\" text-anchor=\"{}\"{}>{}</text>\n", x, y, anchor, more, words);
}

std::string grid(const Frame& frame) {
  std::string svg;
  const double step = frame.to_x - frame.from_x > 200 ? 100 : 10;
  for (double demand = frame.from_x; demand <= frame.to_x; demand += step) {
    svg += fmt::format("<line x1=\"{0:.1f}\" x2=\"{0:.1f}\" y1=\"{1}\" y2=\"{2}\" stroke=\"#ddd\"/>\n", frame.x(demand),
                       kTop, kHeight - kBottom);
    svg += text(frame.x(demand), kHeight - kBottom + 18, "middle", fmt::format("{:.0f} %", demand));
  }
  const double rise = frame.to_y - frame.from_y > 50 ? 10 : 5;
  for (double percent = frame.from_y; percent <= frame.to_y; percent += rise) {
    svg += fmt::format("<line x1=\"{0}\" x2=\"{1}\" y1=\"{2:.1f}\" y2=\"{2:.1f}\" stroke=\"#ddd\"/>\n", kLeft,
                       kWidth - kRight, frame.y(percent));
    svg += text(kLeft - 8, frame.y(percent) + 4, "end", fmt::format("{:.0f} %", percent));
  }
  return svg;
}

}  // namespace

std::vector<double> mean_curve(const std::vector<const std::vector<double>*>& curves) {
  if (curves.empty()) return {};
  std::size_t points = curves.front()->size();
  for (const auto* curve : curves) points = std::min(points, curve->size());
  std::vector<double> mean(points, 0);
  for (const auto* curve : curves)
    for (std::size_t at = 0; at < points; ++at) mean[at] += (*curve)[at] / static_cast<double>(curves.size());
  return mean;
}

std::string draw_curves(const std::vector<Curve>& curves, std::size_t from, std::string_view title,
                        std::string_view asked) {
  const auto first = static_cast<double>(from);
  Frame frame{first, first + 10, 100, 100};
  for (const Curve& curve : curves) {
    frame.to_x = std::max(frame.to_x, static_cast<double>(curve.percent.size()) - 1);
    if (curve.percent.size() > from) frame.from_y = std::min(frame.from_y, curve.percent[from]);
  }
  frame.from_y = std::max(0.0, 5 * static_cast<double>(static_cast<int>(frame.from_y / 5)));
  if (frame.from_y >= frame.to_y) frame.from_y = frame.to_y - 5;

  std::string svg = fmt::format(
      "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {0} {1}\" width=\"{0}\" height=\"{1}\" role=\"img\" "
      "font-family=\"sans-serif\" font-size=\"12\">\n<title>{2}</title>\n"
      "<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n",
      kWidth, kHeight, title);
  svg += text(kLeft, 24, "start", fmt::format("{}, in percent of all", title), " font-size=\"15\"");
  svg += text((kLeft + kWidth - kRight) / 2, kHeight - 10, "middle", asked);
  svg += grid(frame);
  double last_label = kHeight;
  std::vector<std::size_t> order(curves.size());
  for (std::size_t index = 0; index < order.size(); ++index) order[index] = index;
  std::ranges::stable_sort(
      order, {}, [&](std::size_t index) { return curves[index].percent.empty() ? 0 : curves[index].percent.back(); });
  for (const std::size_t index : order) {  // from the lowest, so that names can move up where lines meet
    const std::vector<double>& percent = curves[index].percent;
    if (percent.size() <= from) continue;
    const std::string_view colour = kColours[index % std::size(kColours)];
    std::string points;
    for (std::size_t demand = from; demand < percent.size(); ++demand)
      points += fmt::format("{:.1f},{:.1f} ", frame.x(static_cast<double>(demand)), frame.y(percent[demand]));
    svg += fmt::format("<polyline fill=\"none\" stroke=\"{}\" stroke-width=\"2\"{} points=\"{}\"/>\n", colour,
                       curves[index].changed ? " stroke-dasharray=\"6 3\"" : "", points);
    last_label = std::min(frame.y(percent.back()) + 4, last_label - 14);
    svg += text(frame.x(static_cast<double>(percent.size() - 1)) + 6, last_label, "start",
                fmt::format("{} {:.2f}", curves[index].name, percent.back()), fmt::format(" fill=\"{}\"", colour));
  }
  return svg + "</svg>\n";
}

}  // namespace kiboko::cli
