// Alpha steadied over time: a recursive filter whose gate closes where the picture moves.
#pragma once

#include "matter.h"

namespace matter {

// In levels of 0..255 between two frames at the matte's size. Up to STILL the picture stands still, and
// the matte keeps STRENGTH of what it was; from MOVED on, the new matte is taken as it is. Chosen so that
// a camera's noise stays below STILL and a subject of little contrast comes above: kernels/temporal.py.
constexpr int STILL = 4, MOVED = 8;
constexpr float STRENGTH = 0.8f;

// The largest change of a pixel's channels.
MATTER_HD int change(const u8* delta, int channels) {
    if (channels == 1) return delta[0];
    return larger(delta[0], larger(delta[1], delta[2]));
}

// How much of the previous alpha stays.
MATTER_HD float keep(int motion) {
    return float(smaller(larger(MOVED - motion, 0), MOVED - STILL)) * (STRENGTH / (MOVED - STILL));
}

// `keep` below 1, so that the result lies between the two. A NaN counts as background now, and as
// nothing that could be kept later.
MATTER_HD float steady(float previous, float current, float keep) {
    const float known = current == current ? current : 0.0f;
    const float mixed = known + keep * (previous - known);
    return current == current && previous == previous && keep > 0.0f ? mixed : known;
}

// A cut: the picture has moved in more than half of its pixels.
MATTER_HD bool is_cut(i64 moved, i64 pixels) { return 2 * moved > pixels; }

}  // namespace matter
