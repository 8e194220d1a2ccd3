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

MATTER_HD Place place_of(int height, int width, int out_height, int out_width, int y, int x) {
    Place place;
    place.y = make_axis(height, out_height);
    place.x = make_axis(width, out_width);
    place.rows = axis_taps(place.y, y);
    place.columns = axis_taps(place.x, x);
    return place;
}

// Between two neighbours, `share` of the way, which is below 1: never outside of the two.
MATTER_HD float between(float a, float b, float share) { return a + share * (b - a); }

// How far the second of two taps counts.
MATTER_HD float share_of(const Axis& axis, const Taps& taps) {
    return float(taps.offset) / float(axis.total);
}

// The mean of value(0) .. value(count - 1). A mean of ones is exactly 1 at every size, and none comes above.
template <typename Value>
MATTER_HD float mean_on(const Axis& axis, const Taps& taps, const Value& value) {
    if (!axis.area)
        return taps.count == 1 ? value(0) : between(value(0), value(1), share_of(axis, taps));
    float sum = axis_weight(axis, taps, 0) * value(0);
    for (int k = 1; k < taps.count; ++k) sum += axis_weight(axis, taps, k) * value(k);
    return sum / float(axis.total);
}

// The mean of a column of value(row, column), and that of all columns. Columns first, as the host's loops.
template <typename Value>
struct ColumnMean {
    const Place& place;
    const Value& value;
    MATTER_HD float operator()(int j) const {
        const OfColumn column = {place.rows.first, place.columns.first + j, value};
        return mean_on(place.y, place.rows, column);
    }
    struct OfColumn {
        i64 row, column;
        const Value& value;
        MATTER_HD float operator()(int i) const { return float(value(row + i, column)); }
    };
};

template <typename Value>
MATTER_HD float mean_of(const Place& place, const Value& value) {
    return mean_on(place.x, place.columns, ColumnMean<Value>{place, value});
}

template <typename T>
struct ValueAt {
    const T* plane;
    i64 width;
    MATTER_HD float operator()(i64 row, i64 column) const {
        return to_float(plane[row * width + column]);
    }
};

// The mask of a two-class glance, and the classes of one with three.
template <typename T>
struct ClassAt {
    const T* glance;
    i64 plane, width;
    bool three;
    MATTER_HD int operator()(i64 row, i64 column) const {
        const T* at = glance + row * width + column;
        const float g0 = to_float(at[0]), g1 = to_float(at[plane]);
        return three ? arg_max(g0, g1, to_float(at[2 * plane])) : arg_max(g0, g1);
    }
};

// The same of a glance that lies at height×width and is told at its own size, which is no smaller: each
// class's values are interpolated before they are compared. Along rows first, as the host's loops.
template <typename T>
struct EnlargedClassAt {
    const T* glance;
    int height, width, own_height, own_width;
    bool three;
    MATTER_HD int operator()(i64 row, i64 column) const {
        const Place place = place_of(height, width, own_height, own_width, int(row), int(column));
        const float g0 = value(place, 0), g1 = value(place, 1);
        return three ? arg_max(g0, g1, value(place, 2)) : arg_max(g0, g1);
    }
    MATTER_HD float value(const Place& place, i64 c) const {
        const float first = value(place, c, place.rows.first);
        if (place.rows.count == 1) return first;
        return between(first, value(place, c, place.rows.first + 1), share_of(place.y, place.rows));
    }
    MATTER_HD float value(const Place& place, i64 c, i64 row) const {
        const T* at = glance + (c * height + row) * width + place.columns.first;
        const float first = to_float(at[0]);
        if (place.columns.count == 1) return first;
        return between(first, to_float(at[1]), share_of(place.x, place.columns));
    }
};

// One pixel of the output; `classes` and `detail` tell where it lies on the two heads.
template <typename T, typename Classes>
MATTER_HD T fuse_at_size(const Classes& glance, const Place& classes, const ValueAt<T>& focus,
                         const Place& detail, int rosta) {
    const float f = mean_of(detail, focus);
    if (rosta != ROSTA_TT) {
        const float mask = mean_of(classes, glance);
        return from_float<T>(rosta == ROSTA_FT ? add_focus(mask, f) : take_focus(mask, f));
    }
    int met = 0;
    for (int i = 0; i < classes.rows.count; ++i)
        for (int j = 0; j < classes.columns.count; ++j)
            met |= 1 << glance(classes.rows.first + i, classes.columns.first + j);
    return from_float<T>(fuse_met(met, f));
}

}  // namespace matter
