// The subject's own colours: blur fusion (M. Forte, "Approximate Fast Foreground Colour Estimation",
// ICIP 2021) in two passes. With I = alpha F + (1 - alpha) B, smooth estimates f and b of the two are made
// in a window, and F = f + share (I - alpha f - (1 - alpha) b).
//
// What differs from the paper takes more than half off the error (tests/kernels/test_foreground.py):
//   - The wide pass is the least-squares solution for one f and one b in a window. An average of colours
//     weighted by alpha keeps the tint of the other side wherever few pixels are plain.
//   - The rest I - alpha f - (1 - alpha) b goes to F and B by the shares that change them least, and
//     pixels in the narrow pass weigh by the cube of alpha: one that is half background says little.
//   - The wide pass works on sums of blocks and is interpolated; b is smooth already, so the narrow pass
//     renews only f. Neither can be told from the full form.
//   - Alpha is taken at 8 bits and sums are integers: they come out the same in any order, and a running
//     sum never drifts.
#pragma once

#include "blend.h"

namespace matter {

constexpr int wide_reach = 2;  // the wide window is 5 blocks, about 40 pixels for a megapixel
constexpr int max_block = 32;  // (5 * 32)^2 pixels of 255 * 255 stay below 2^31
constexpr float ridge = 0.01f;

struct Windows {
    int block;          // side of a block in pixels; the last ones may be cut off
    int radius;         // the narrow window is 2 * radius + 1 pixels
    int rows, columns;  // of blocks
};

MATTER_HD Windows make_windows(int height, int width) {
    Windows w;
    w.block = smaller(larger((height + width + 128) / 256, 1), max_block);
    w.radius = larger(w.block / 2, 1);
    w.rows = (height + w.block - 1) / w.block;
    w.columns = (width + w.block - 1) / w.block;
    return w;
}

MATTER_HD int level_of(float alpha) { return int(unit(alpha) * 255.0f + 0.5f); }

MATTER_HD float alpha_of(int level) { return float(level) * (1.0f / 255.0f); }

// How much of the rest is F's: alpha / (alpha^2 + (1 - alpha)^2).
MATTER_HD float share_of(int level) {
    const int other = 255 - level;
    return float(255 * level) / float(level * level + other * other);
}

// The cube on a scale to 254, rounded up: nothing that is there weighs nothing.
MATTER_HD int weight_of(int level) { return (level * level * level + 65535) >> 16; }

// Sums over a block: alpha times each channel and itself, and likewise 1 - alpha.
MATTER_HD void sum_block(const u8* frame, i64 frame_row, const float* alpha, i64 alpha_row, int rows,
                         int columns, int* sums) {
    for (int lane = 0; lane < 8; ++lane) sums[lane] = 0;
    for (int y = 0; y < rows; ++y)
        for (int x = 0; x < columns; ++x) {
            const int level = level_of(alpha[y * alpha_row + x]), other = 255 - level;
            for (int c = 0; c < 3; ++c) {
                const int value = frame[y * frame_row + 3 * x + c];
                sums[c] += level * value;
                sums[4 + c] += other * value;
            }
            sums[3] += level * level;
            sums[7] += other * other;
        }
}

// The functions of V are for float, and on the CPU for vectors of them.
template <typename V>
MATTER_HD V in_bytes(V value) {
    const V low = value > 0.0f ? value : V();
    const V high = V() + 255.0f;
    return low < 255.0f ? low : high;
}

// The normal equations of f and b in a window of `count` pixels, held to the weighted averages by a ridge
// where alpha hardly varies:
//     (ff + ridge (ff + fb)) f + fb b = (1 + ridge) sum(alpha I)
//     fb f + (bb + ridge (bb + fb)) b = (1 + ridge) sum((1 - alpha) I)
// with ff = sum(alpha^2), fb = sum(alpha (1 - alpha)), bb = sum((1 - alpha)^2).
struct Solver {
    float own_f, own_b, other;  // what the right-hand sides are multiplied by
    MATTER_HD Solver(int sum_ff, int sum_bb, int count) {
        const float unit = 1.0f / (65025.0f * float(count));
        const float ff = float(sum_ff) * unit, bb = float(sum_bb) * unit;
        const float fb = float((65025 * count - sum_ff - sum_bb) / 2) * unit;
        const float a = ff + ridge * (ff + fb), b = bb + ridge * (bb + fb);
        const float determinant = a * b - fb * fb;
        // Without one of the two there is nothing to tell apart: the other is the average, and what the
        // first is does not matter.
        const bool both = determinant > 0.0f;
        const float scale = (1.0f + ridge) * 255.0f * unit;
        own_f = both ? scale * b / determinant : (ff > 0.0f ? scale / a : 0.0f);
        own_b = both ? scale * a / determinant : (bb > 0.0f ? scale / b : 0.0f);
        other = both ? scale * fb / determinant : 0.0f;
    }
};

template <typename V>
MATTER_HD V solve_window(V own, V other, float own_factor, float other_factor) {
    return in_bytes(own * own_factor - other * other_factor);
}

// Where a wide window begins and ends on an axis of blocks.
MATTER_HD int window_first(int block) { return larger(block - wide_reach, 0); }
MATTER_HD int window_last(int block, int count) { return smaller(block + wide_reach, count - 1); }

// How many of `length` pixels it holds.
MATTER_HD int window_length(int index, int block, int count, int length) {
    return smaller((window_last(index, count) + 1) * block, length) - window_first(index) * block;
}

// The wide estimate of one block: f in lanes 0..2, b in lanes 4..6.
MATTER_HD void estimate_block(const int* sums, const Windows& w, int height, int width, int row,
                              int column, float* wide) {
    int total[8] = {0, 0, 0, 0, 0, 0, 0, 0};
    for (int y = window_first(row); y <= window_last(row, w.rows); ++y)
        for (int x = window_first(column); x <= window_last(column, w.columns); ++x)
            for (int lane = 0; lane < 8; ++lane) total[lane] += sums[(i64(y) * w.columns + x) * 8 + lane];
    const Solver solver(total[3], total[7],
                        window_length(row, w.block, w.rows, height) *
                            window_length(column, w.block, w.columns, width));
    for (int c = 0; c < 3; ++c) {
        const float f = float(total[c]), b = float(total[4 + c]);
        wide[c] = solve_window(f, b, solver.own_f, solver.other);
        wide[4 + c] = solve_window(b, f, solver.own_b, solver.other);
    }
}

// A pixel lies `part` of the way from the centre of block `first` to that of the next.
struct Between {
    int first;
    int next;
    float part;
};

MATTER_HD Between between_blocks(int index, int block, int count) {
    const int position = larger(2 * index + 1 - block, 0);  // in half pixels
    Between b;
    b.first = smaller(position / (2 * block), count - 1);
    b.next = smaller(b.first + 1, count - 1);
    b.part = float(position - b.first * 2 * block) / float(2 * block);
    return b;
}

template <typename V>
MATTER_HD V mix(V first, V next, float part) {
    return first + (next - first) * part;
}

// One lane of the wide estimate at a pixel.
MATTER_HD float at_pixel(const float* wide, int columns, Between y, Between x, int lane) {
    const float* upper = wide + i64(y.first) * columns * 8 + lane;
    const float* lower = wide + i64(y.next) * columns * 8 + lane;
    return mix(mix(upper[x.first * 8], lower[x.first * 8], y.part),
               mix(upper[x.next * 8], lower[x.next * 8], y.part), x.part);
}

// F from the estimates, in 0..255.
template <typename V>
MATTER_HD V solve(V f, V b, float alpha, float share, V pixel) {
    return in_bytes(f + share * (pixel - alpha * f - (1.0f - alpha) * b));
}

MATTER_HD int nearest(float value) { return int(value + 0.5f); }

// What the narrow pass sums: F of the wide pass in 8 bits, weighted, and the weight.
MATTER_HD void weigh_pixel(const u8* pixel, int level, const float* wide, int columns, Between y,
                           Between x, unsigned short* products) {
    const int weight = weight_of(level);
    for (int c = 0; c < 3; ++c)
        products[c] = (unsigned short)(weight *
                                       nearest(solve(at_pixel(wide, columns, y, x, c),
                                                     at_pixel(wide, columns, y, x, 4 + c),
                                                     alpha_of(level), share_of(level), float(pixel[c]))));
    products[3] = (unsigned short)weight;
}

// Sums of `products` over the columns of the narrow windows, for rows first .. last - 1.
MATTER_HD void sum_columns(const unsigned short* products, i64 height, i64 width, int radius, i64 x,
                           i64 first, i64 last, int* sums) {
    int total[4] = {0, 0, 0, 0};
    const i64 before = first > radius ? first - radius : 0;
    for (i64 y = before; y < first + radius && y < height; ++y)
        for (int c = 0; c < 4; ++c) total[c] += products[(y * width + x) * 4 + c];
    for (i64 y = first; y < last; ++y) {
        const i64 enters = y + radius, leaves = y - radius - 1;
        for (int c = 0; c < 4; ++c) {
            if (enters < height) total[c] += products[(enters * width + x) * 4 + c];
            if (y > first && leaves >= 0) total[c] -= products[(leaves * width + x) * 4 + c];
            sums[(y * width + x) * 4 + c] = total[c];
        }
    }
}

// Of the row `sums` of such columns, those of one window.
MATTER_HD void sum_window(const int* sums, i64 width, int radius, i64 x, int* total) {
    for (int c = 0; c < 4; ++c) total[c] = 0;
    const i64 last = x + radius < width ? x + radius : width - 1;
    for (i64 i = x > radius ? x - radius : 0; i <= last; ++i)
        for (int c = 0; c < 4; ++c) total[c] += sums[i * 4 + c];
}

MATTER_HD float weighted_mean(int sum, int weight) { return float(sum) / float(weight); }

// Without a foreground in the window, and where alpha is 1, the colour is the frame's.
MATTER_HD u8 foreground_value(u8 pixel, int level, int sum, int weight, float b) {
    if (level == 255 || weight == 0) return pixel;
    return u8(nearest(solve(weighted_mean(sum, weight), b, alpha_of(level), share_of(level),
                            float(pixel))));
}

// What the solution is made of, in 8 bits, for a picture that is enlarged before it is solved.
MATTER_HD void estimate_values(const u8* pixel, const int* total, const float* wide, int columns,
                               Between y, Between x, u8* estimates) {
    for (int c = 0; c < 3; ++c) {
        estimates[c] = total[3] == 0 ? pixel[c] : u8(nearest(weighted_mean(total[c], total[3])));
        estimates[4 + c] = u8(nearest(at_pixel(wide, columns, y, x, 4 + c)));
    }
}

}  // namespace matter
