// From the network's matte to the finished picture: the matte is enlarged to the frame, led by its
// colours, and the subject blended over another background.
//
// At the matte's size, alpha is taken to be linear in the frame's colour within windows of 3 x 3 (the
// guided filter: K. He et al., "Guided Image Filtering", TPAMI 2013, section 3.6 for colour; enlarged as
// in K. He and J. Sun, "Fast Guided Filter", 2015). Its slopes are averaged over the windows that a pixel
// is in; what the slopes leave of alpha is kept as it is, so that alpha = rest + slopes * colour is the
// network's own matte at the matte's size. Rest and slopes are interpolated, and the colour is that of
// the full frame: an edge of the matte lands on the edge of the picture. Where alpha is plain, slopes are
// exactly 0.
//
// A frame in planes has Y, U and V for blue, green and red. A pixel's colour is its own Y with the U and V of
// its 2 x 2, and what belongs to a colour sample is the mean over its pixels: at an odd edge there is one
// where there would be two, and it counts twice.
#pragma once

#include "foreground.h"
#include "resample.h"

namespace matter {

// Of colours in 0..1: contrasts below 5 %, as noise has, lead little. A step of grey is one of all three
// channels, but in planes of Y alone: its square is a third.
constexpr float guide_epsilon = 3e-3f;
constexpr float guide_epsilon_planes = 1e-3f;

// ---- the frame at the matte's size

// A sum over a pixel's footprint (resample.h), rounded to a byte.
MATTER_HD u8 reduced_value(float sum, float scale) { return u8(nearest(sum * scale)); }

// ---- the matte

// What 8 bits do not tell from 0 or 1 is taken for it: networks rarely answer with exactly that.
MATTER_HD float settled(float alpha) {
    const int level = level_of(alpha);
    return level == 0 ? 0.0f : (level == 255 ? 1.0f : unit(alpha));
}

// A matte that is larger than the frame is averaged first; else each axis has one tap.
MATTER_HD float reduced_alpha(const float* alpha, i64 row, const Axis& axis_y, const Taps& y,
                              const Axis& axis_x, const Taps& x) {
    float sum = 0.0f;
    for (int i = 0; i < y.count; ++i) {
        float across = 0.0f;
        for (int j = 0; j < x.count; ++j)
            across += axis_weight(axis_x, x, j) * unit(alpha[(y.first + i) * row + x.first + j]);
        sum += axis_weight(axis_y, y, i) * across;
    }
    return settled(sum / (float(axis_y.total) * float(axis_x.total)));
}

// ---- the guide

// Sums over a window of at most 3 x 3 pixels: levels of alpha, the three channels, and their products.
struct Moments {
    int count;
    int l, b, g, r;
    int bb, bg, br, gg, gr, rr;
    int lb, lg, lr;
};

struct Slopes {
    float b, g, r;  // of alpha, for a step of 1 in 0..255
};

// Regression of alpha on the colour, with a ridge. Everything up to the solution is an integer below
// 2^24: where alpha or the colour is plain, slopes are exactly 0.
MATTER_HD Slopes solve_slopes(const Moments& m, float epsilon) {
    const int n = m.count;
    const float ridge = epsilon * 65025.0f * float(n * n);
    const float bb = float(n * m.bb - m.b * m.b) + ridge, bg = float(n * m.bg - m.b * m.g);
    const float br = float(n * m.br - m.b * m.r), gg = float(n * m.gg - m.g * m.g) + ridge;
    const float gr = float(n * m.gr - m.g * m.r), rr = float(n * m.rr - m.r * m.r) + ridge;
    const float lb = float(n * m.lb - m.l * m.b), lg = float(n * m.lg - m.l * m.g);
    const float lr = float(n * m.lr - m.l * m.r);
    // L D L^T of the symmetric 3 x 3.
    const float inverse_b = 1.0f / bb, g_b = bg * inverse_b, r_b = br * inverse_b;
    const float inverse_g = 1.0f / (gg - g_b * bg), rest = gr - g_b * br, r_g = rest * inverse_g;
    const float inverse_r = 1.0f / (rr - r_b * br - r_g * rest);
    const float y = lg - g_b * lb, z = lr - r_b * lb - r_g * y;
    Slopes s;
    s.r = z * inverse_r;
    s.g = y * inverse_g - r_g * s.r;
    s.b = lb * inverse_b - g_b * s.g - r_b * s.r;
    s.b *= 1.0f / 255.0f;
    s.g *= 1.0f / 255.0f;
    s.r *= 1.0f / 255.0f;
    return s;
}

// How many of the positions before, at and after `at` are on an axis.
MATTER_HD int neighbours(i64 at, i64 length) { return 1 + (at > 0) + (at + 1 < length); }

// At one pixel of the small `frame` (height x width x 3) and `alpha`.
MATTER_HD Slopes slopes_at(const u8* frame, const float* alpha, i64 height, i64 width, i64 y, i64 x,
                           float epsilon) {
    Moments m = {};
    m.count = neighbours(y, height) * neighbours(x, width);
    for (i64 i = y > 0 ? y - 1 : 0; i <= y + 1 && i < height; ++i)
        for (i64 j = x > 0 ? x - 1 : 0; j <= x + 1 && j < width; ++j) {
            const u8* pixel = frame + (i * width + j) * 3;
            const int l = level_of(alpha[i * width + j]), b = pixel[0], g = pixel[1], r = pixel[2];
            m.l += l, m.b += b, m.g += g, m.r += r;
            m.bb += b * b, m.bg += b * g, m.br += b * r, m.gg += g * g, m.gr += g * r, m.rr += r * r;
            m.lb += l * b, m.lg += l * g, m.lr += l * r;
        }
    return solve_slopes(m, epsilon);
}

// alpha = (slope b * blue + slope g * green) + slope r * red + rest.
MATTER_HD float led(float b, float g, float r, float rest) { return b + g + r + rest; }

// Means of 3 x 3 slopes, columns first; beyond the edges they are 0. `slopes` is one channel, its values
// `step` apart.
MATTER_HD float mean_slope(const float* slopes, i64 step, i64 height, i64 width, i64 y, i64 x) {
    float columns[3] = {0.0f, 0.0f, 0.0f};
    for (int j = 0; j < 3; ++j) {
        const i64 at = x + j - 1;
        if (at < 0 || at >= width) continue;
        const float above = y > 0 ? slopes[((y - 1) * width + at) * step] : 0.0f;
        const float below = y + 1 < height ? slopes[((y + 1) * width + at) * step] : 0.0f;
        columns[j] = above + slopes[(y * width + at) * step] + below;
    }
    return (columns[0] + columns[1] + columns[2]) /
           float(neighbours(y, height) * neighbours(x, width));
}

// What of alpha the slopes do not explain.
MATTER_HD float rest_of(float alpha, float b, float g, float r, const u8* pixel) {
    return alpha - led(b * float(pixel[0]), g * float(pixel[1]), r * float(pixel[2]), 0.0f);
}

// ---- the picture

// A pixel of the frame between two of the matte.
MATTER_HD Between between_pixels(const Axis& axis, int index) {
    const Taps taps = axis_taps(axis, index);
    Between b;
    b.first = taps.first;
    b.next = taps.first + taps.count - 1;
    b.part = taps.count == 1 ? 0.0f : float(taps.offset) / float(axis.total);
    return b;
}

// Lane `lane` of `lanes` values a pixel.
template <typename T>
MATTER_HD float enlarged(const T* values, int lanes, i64 width, Between y, Between x, int lane) {
    const T* upper = values + i64(y.first) * width * lanes + lane;
    const T* lower = values + i64(y.next) * width * lanes + lane;
    return mix(mix(float(upper[x.first * lanes]), float(lower[x.first * lanes]), y.part),
               mix(float(upper[x.next * lanes]), float(lower[x.next * lanes]), y.part), x.part);
}

// Two become a colour sample's: of its rows first, then of its columns.
MATTER_HD float halfway(float first, float second) { return 0.5f * (first + second); }

// The mean of enlarged() over the pixels of a colour sample.
template <typename T>
MATTER_HD float enlarged_mean(const T* values, int lanes, i64 width, const Between (&y)[2],
                              const Between (&x)[2], int lane) {
    float columns[2];
    for (int j = 0; j < 2; ++j) {
        float ends[2];
        for (int end = 0; end < 2; ++end) {
            const T* column = values + i64(end == 0 ? x[j].first : x[j].next) * lanes + lane;
            float rows[2];
            for (int i = 0; i < 2; ++i)
                rows[i] = mix(float(column[i64(y[i].first) * width * lanes]),
                              float(column[i64(y[i].next) * width * lanes]), y[i].part);
            ends[end] = halfway(rows[0], rows[1]);
        }
        columns[j] = mix(ends[0], ends[1], x[j].part);
    }
    return halfway(columns[0], columns[1]);
}

MATTER_HD float share_of(float alpha) {
    const float other = 1.0f - alpha;
    return alpha / (alpha * alpha + other * other);
}

// As in blend(), but of a colour that need not be whole.
template <typename V>
MATTER_HD V over(V foreground, V background, float alpha) {
    return background + alpha * (foreground - background);
}

}  // namespace matter
