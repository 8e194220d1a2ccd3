// Resampling of one axis, with weights that are exact integers.
//
// Cut the axis into units so that a source pixel is `source` units long and an output pixel `output`
// units (both reduced by their greatest common divisor). Then
//   area:   an output pixel is the average of the units that it covers, as cv2.INTER_AREA; an axis
//           that stays as long as it is keeps its pixels;
//   linear: it lies between the two nearest source centres, as cv2.INTER_LINEAR (half-pixel centres;
//           beyond the outermost centres the edge pixel is repeated). An axis that grows always is.
// Lengths are at most 32768, so that every product fits 32 bits, which a GPU divides several times faster.
// The weights of an output pixel are integers and sum to `total`: a sum of weighted 8-bit values is
// an integer of at most 255 * total(y) * total(x), the same in whatever order it is added up.
#pragma once

#include "matter.h"

namespace matter {

struct Axis {
    int source;  // units of a source pixel
    int output;  // units of an output pixel
    int length;  // source pixels on the axis
    bool area;   // averages its footprint, else interpolates
    int total;   // what the weights of one output pixel sum to
};

MATTER_HD int common_divisor(int a, int b) {
    while (b != 0) {
        const int rest = a % b;
        a = b;
        b = rest;
    }
    return a;
}

// An axis of `length` source pixels in its units, which a GPU's threads get from the host. `linear`:
// interpolated where it shrinks too.
MATTER_HD Axis axis_of(int source, int output, int length, bool linear = false) {
    Axis axis;
    axis.source = source;
    axis.output = output;
    axis.length = length;
    axis.area = output >= source && !linear;
    axis.total = axis.area ? output : 2 * source;
    return axis;
}

// Such an axis among a kernel's arguments, and what it is there.
#define MATTER_AXIS(name) int name##_source, int name##_output, int name##_length
#define MATTER_AXIS_OF(name, linear) axis_of(name##_source, name##_output, name##_length, linear)

MATTER_HD Axis make_axis(int source_length, int output_length, bool linear = false) {
    const int divisor = common_divisor(source_length, output_length);
    return axis_of(output_length / divisor, source_length / divisor, source_length, linear);
}

// What brings a sum back to the scale of its pixels.
MATTER_HD float sum_scale(const Axis& y, const Axis& x) {
    return 1.0f / (float(y.total) * float(x.total));
}

// The source pixels first .. first + count - 1 that make output pixel `index`.
struct Taps {
    int first;
    int count;
    int offset;  // area: where the output pixel begins; linear: its distance from the first centre
};

MATTER_HD Taps axis_taps(const Axis& axis, int index) {
    Taps taps;
    if (axis.area) {
        taps.offset = index * axis.output;
        taps.first = taps.offset / axis.source;
        taps.count = (taps.offset + axis.output - 1) / axis.source - taps.first + 1;
        return taps;
    }
    // In half units, as centres lie at half pixels.
    const int position = larger((2 * index + 1) * axis.output - axis.source, 0);
    taps.first = position / axis.total;
    taps.offset = position - taps.first * axis.total;
    taps.count = (taps.offset == 0 || taps.first == axis.length - 1) ? 1 : 2;
    return taps;
}

MATTER_HD int tap_weight(const Axis& axis, const Taps& taps, int k) {
    if (axis.area) {
        const int begin = (taps.first + k) * axis.source;
        return smaller(begin + axis.source, taps.offset + axis.output) - larger(begin, taps.offset);
    }
    if (taps.count == 1) return axis.total;
    return k == 0 ? axis.total - taps.offset : taps.offset;
}

MATTER_HD float axis_weight(const Axis& axis, const Taps& taps, int k) {
    return float(tap_weight(axis, taps, k));
}

// Sums of 8-bit values over these axes fit an int: up to 4K whatever the ratio.
MATTER_HD bool fits_int(const Axis& y, const Axis& x) {
    return 255 * i64(y.total) * x.total <= 0x7fffffff;
}

// One output value of one channel, times total(y) * total(x): `pixels` points at that channel of the
// top left source pixel. `Sum` is int, or i64 where that does not fit, and so is `Stride`.
template <typename Sum, typename Stride>
MATTER_HD Sum footprint(const u8* pixels, Stride row_stride, Stride pixel_stride, const Axis& axis_y,
                        const Taps& y, const Axis& axis_x, const Taps& x) {
    pixels += i64(y.first) * row_stride + i64(x.first) * pixel_stride;
    Sum sum = 0;
    for (int i = 0; i < y.count; ++i, pixels += row_stride) {
        Sum row = 0;
        const u8* pixel = pixels;
        for (int j = 0; j < x.count; ++j, pixel += pixel_stride)
            row += Sum(tap_weight(axis_x, x, j)) * *pixel;
        sum += Sum(tap_weight(axis_y, y, i)) * row;
    }
    return sum;
}

// The same, less `bias` on the scale of the pixels, as float: rounded once, where it exceeds 2^24.
template <typename Stride>
MATTER_HD float resample(const u8* pixels, Stride row_stride, Stride pixel_stride, const Axis& axis_y,
                         const Taps& y, const Axis& axis_x, const Taps& x, int bias) {
    if (fits_int(axis_y, axis_x))
        return float(footprint<int>(pixels, row_stride, pixel_stride, axis_y, y, axis_x, x) -
                     bias * axis_y.total * axis_x.total);
    return float(footprint<i64>(pixels, row_stride, pixel_stride, axis_y, y, axis_x, x) -
                 bias * i64(axis_y.total) * axis_x.total);
}

}  // namespace matter
