// Pictures of a sharing spec and its plan: who owns KVs, who reads whose, which layers have a
// window, and which groups run how often. Layer 0 is at the bottom.
#pragma once

#include <string>

#include "sharing/plan.h"

namespace ckv {

// For a terminal; lines end in '\n'. `ascii` does without box-drawing characters.
//
//                  layer  KVs  reads
//           1 pass ─   4  K V  itself
//                  ┌   3       2 below  ─┐
//     7 + 2 passes ┤   2  K V  itself   ─●
//                  └   1       2 above  ─┘
//           1 pass ─   0  K V  itself
std::string SharingPicture(const IterationPlan& plan, bool ascii = false);

// A self-contained SVG file for a paper or README. An empty title is left out.
std::string SharingSvg(const IterationPlan& plan, const std::string& title = "");

}  // namespace ckv
