// Collaborative matting: glance and focus -> alpha (Glance and Focus Matting, IJCV 2022, section 3.4;
// Deep Automatic Natural Image Matting, IJCAI 2021, for the unified semantic representation).
#pragma once

#include "half.h"

namespace matter {

enum Rosta { ROSTA_TT = 0, ROSTA_FT = 1, ROSTA_BT = 2 };  // unified is fused as tt

// Ties go to the lowest class. A comparison with NaN is false, so a NaN never wins either: what the
// network could not tell is background, and nothing of the room is shown.
MATTER_HD int arg_max(float g0, float g1) { return g1 > g0 ? 1 : 0; }

MATTER_HD int arg_max(float g0, float g1, float g2) {
    const bool first = g1 > g0;
    const float best = first ? g1 : g0;
    return g2 > best ? 2 : (first ? 1 : 0);
}

// Class 0 background, 1 transition, 2 foreground. (tt: trimap)
MATTER_HD float fuse_tt(float g0, float g1, float g2, float focus) {
    const int winner = arg_max(g0, g1, g2);
    return winner == 1 ? focus : (winner == 2 ? 1.0f : 0.0f);
}

// Class 1 is foreground, and focus is added outside of it. (ft: foreground and transition)
MATTER_HD float fuse_ft(float g0, float g1, float focus) {
    const float alpha = float(arg_max(g0, g1)) + focus;
    return alpha > 1.0f ? 1.0f : alpha;
}

// Class 0 is background, and focus is taken off the rest. (bt: background and transition)
MATTER_HD float fuse_bt(float g0, float g1, float focus) {
    const float alpha = float(arg_max(g0, g1)) - focus;
    return alpha < 0.0f ? 0.0f : alpha;
}

// One pixel: `glance` points at its class 0, the classes lie `plane` elements apart.
template <typename T>
MATTER_HD T fuse(const T* glance, i64 plane, T focus, int rosta) {
    const float g0 = to_float(glance[0]), g1 = to_float(glance[plane]), f = to_float(focus);
    if (rosta == ROSTA_TT) return from_float<T>(fuse_tt(g0, g1, to_float(glance[2 * plane]), f));
    if (rosta == ROSTA_FT) return from_float<T>(fuse_ft(g0, g1, f));
    return from_float<T>(fuse_bt(g0, g1, f));
}

}  // namespace matter
