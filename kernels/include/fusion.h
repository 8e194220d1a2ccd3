// Collaborative matting: glance and focus -> alpha (Glance and Focus Matting, IJCV 2022, section 3.4;
// Deep Automatic Natural Image Matting, IJCAI 2021, for the unified semantic representation).
#pragma once

#include "half.h"
#include "resample.h"

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

// Class 1 is the plain foreground, and focus is the alpha of the rest, to be added. (ft: foreground and
// transition)
MATTER_HD float add_focus(float foreground, float focus) {
    const float alpha = foreground + focus;
    return alpha > 1.0f ? 1.0f : alpha;
}

// Class 1 is all but the plain background, and focus is what is to be taken off it in the transition:
// 1 - alpha there. (bt: background and transition)
MATTER_HD float take_focus(float visible, float focus) {
    const float alpha = visible - focus;
    return alpha < 0.0f ? 0.0f : alpha;
}

// One pixel: `glance` points at its class 0, the classes lie `plane` elements apart.
template <typename G, typename T>
MATTER_HD T fuse(const G* glance, i64 plane, T focus, int rosta) {
    const float g0 = to_float(glance[0]), g1 = to_float(glance[plane]), f = to_float(focus);
    if (rosta == ROSTA_TT) return from_float<T>(fuse_tt(g0, g1, to_float(glance[2 * plane]), f));
    const float mask = float(arg_max(g0, g1));
    return from_float<T>(rosta == ROSTA_FT ? add_focus(mask, f) : take_focus(mask, f));
}

// ---- heads of two sizes: GFM's hybrid-resolution test takes them from passes at two scales.
//
// The classes are told at the glance's own size, and their map is brought to the output's. For tt it is
// enough to know which classes meet in an output pixel: only background is 0, only foreground is 1, and
// all between takes the focus. Every tap has a weight above zero, so that is exact at every size.

// A set of classes: bit c for class c.
constexpr int BACKGROUND_ONLY = 1, FOREGROUND_ONLY = 4;

MATTER_HD float fuse_met(int classes, float focus) {
    return classes == BACKGROUND_ONLY ? 0.0f : (classes == FOREGROUND_ONLY ? 1.0f : focus);
}

// Where an output pixel lies on an input.
struct Place {
    Axis y, x;
    Taps rows, columns;
};

MATTER_HD Place place_of(const Axis& y, const Axis& x, int row, int column) {
    return {y, x, axis_taps(y, row), axis_taps(x, column)};
}

// Between two neighbours, `share` of the way, which is below 1: never outside of the two.
MATTER_HD float between(float a, float b, float share) { return a + share * (b - a); }

// How far the second of two taps counts.
MATTER_HD float share_of(const Axis& axis, const Taps& taps) {
    return float(taps.offset) / float(axis.total);
}

// The mean of an output pixel's taps, which come one by one. A mean of ones is exactly 1 at every size, and
// none comes above.
struct Mean {
    float sum = 0.0f;
    MATTER_HD void add(const Axis& axis, const Taps& taps, int k, float value) {
        if (axis.area) {
            const float weighted = axis_weight(axis, taps, k) * value;
            sum = k == 0 ? weighted : sum + weighted;
        } else {
            sum = k == 0 ? value : between(sum, value, share_of(axis, taps));
        }
    }
    MATTER_HD float of(const Axis& axis) const { return axis.area ? sum / float(axis.total) : sum; }
};

// A plane of values.
template <typename T>
struct ValueAt {
    const T* plane;
    int width;
    MATTER_HD float operator()(int row, int column) const {
        return to_float(plane[i64(row) * width + column]);
    }
};

// The mask of a two-class glance, and the classes of one with three.
template <typename T>
struct ClassAt {
    const T* glance;
    i64 plane;
    int width;
    bool three;
    MATTER_HD int operator()(int row, int column) const {
        const T* at = glance + i64(row) * width + column;
        const float g0 = to_float(at[0]), g1 = to_float(at[plane]);
        return three ? arg_max(g0, g1, to_float(at[2 * plane])) : arg_max(g0, g1);
    }
};

// The same of a glance that is told at its own size, which is no smaller than the one it lies at: each
// class's values are interpolated before they are compared. Along rows first, as the host's loops.
template <typename T>
struct EnlargedClassAt {
    const T* glance;
    i64 plane;
    Axis y, x;  // from the size that it lies at to its own
    bool three;
    MATTER_HD int operator()(int row, int column) const {
        const Place place = place_of(y, x, row, column);
        const float down = place.rows.count == 1 ? 0.0f : share_of(y, place.rows);
        const float across = place.columns.count == 1 ? 0.0f : share_of(x, place.columns);
        const T* at = glance + i64(place.rows.first) * x.length + place.columns.first;
        const float g0 = value(at, place, down, across);
        const float g1 = value(at + plane, place, down, across);
        return three ? arg_max(g0, g1, value(at + 2 * plane, place, down, across)) : arg_max(g0, g1);
    }
    MATTER_HD float value(const T* at, const Place& place, float down, float across) const {
        const float first = along(at, place, across);
        return place.rows.count == 1 ? first : between(first, along(at + x.length, place, across), down);
    }
    MATTER_HD float along(const T* at, const Place& place, float across) const {
        const float first = to_float(at[0]);
        return place.columns.count == 1 ? first : between(first, to_float(at[1]), across);
    }
};

// One pixel of the output; `classes` and `detail` tell where it lies on the two heads. Columns first, as the
// host's loops. None of these is unrolled: a GPU's threads mostly have one tap.
template <typename T, typename Classes>
MATTER_HD T fuse_at_size(const Classes& glance, const Place& classes, const ValueAt<T>& focus,
                         const Place& detail, int rosta) {
    Mean detailed;
    MATTER_ROLLED
    for (int j = 0; j < detail.columns.count; ++j) {
        Mean column;
        MATTER_ROLLED
        for (int i = 0; i < detail.rows.count; ++i)
            column.add(detail.y, detail.rows, i, focus(detail.rows.first + i, detail.columns.first + j));
        detailed.add(detail.x, detail.columns, j, column.of(detail.y));
    }
    const float f = detailed.of(detail.x);
    int met = 0;
    Mean mask;
    MATTER_ROLLED
    for (int j = 0; j < classes.columns.count; ++j) {
        Mean column;
        MATTER_ROLLED
        for (int i = 0; i < classes.rows.count; ++i) {
            const int told = glance(classes.rows.first + i, classes.columns.first + j);
            met |= 1 << told;
            if (rosta != ROSTA_TT) column.add(classes.y, classes.rows, i, float(told));
        }
        if (rosta != ROSTA_TT) mask.add(classes.x, classes.columns, j, column.of(classes.y));
    }
    if (rosta == ROSTA_TT) return from_float<T>(fuse_met(met, f));
    const float share = mask.of(classes.x);
    return from_float<T>(rosta == ROSTA_FT ? add_focus(share, f) : take_focus(share, f));
}

}  // namespace matter
