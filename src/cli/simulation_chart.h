// Curves of what was granted against what was asked for, as an SVG document. Pure function.
#pragma once

#include <string>
#include <vector>

namespace kiboko::cli {

struct Curve {
  std::string name;
  std::vector<double> percent;  // granted when 0, 1, 2, … percent were asked for
  bool changed = false;         // of the changed cluster: dashed
};

// The mean of curves, as far as all of them go.
std::vector<double> mean_curve(const std::vector<const std::vector<double>*>& curves);

// From `from` percent asked for on; what is before is left out. The words are for the two axes.
std::string draw_curves(const std::vector<Curve>& curves, std::size_t from, std::string_view title,
                        std::string_view asked);

}  // namespace kiboko::cli
