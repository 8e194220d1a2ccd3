// Resampling of one axis, with weights that are exact integers.
//
// Cut the axis into units so that a source pixel is `source` units long and an output pixel `output`
// units (both reduced by their greatest common divisor). Then
//   shrinking: an output pixel is the average of the units that it covers, as cv2.INTER_AREA;
//   enlarging: it lies between the two nearest source centres, as cv2.INTER_LINEAR (half-pixel
//              centres; beyond the outermost centres the edge pixel is repeated);
//   unchanged: it is its source pixel.
// Lengths are at most 32768, so that every product fits 32 bits, which a GPU divides several times faster.
// The weights of an output pixel are integers and sum to `total`, so a sum of weighted 8-bit values is
// exact in float32 as long as 255 * total(y) * total(x) < 2^24: 1280x720 -> 512x288 has 255 * 5 * 5.
#pragma once

#include "matter.h"

namespace matter {

struct Axis {
    int source;  // units of a source pixel
    int output;  // units of an output pixel
    int length;  // source pixels on the axis
    bool area;   // averages its footprint (shrinks or stays), else interpolates (enlarges)
    int total;   // what the weights of one output pixel sum to
};

MATTER_HD Axis make_axis(int source_length, int output_length) {
    int a = source_length, b = output_length;
    while (b != 0) {
        const int rest = a % b;
        a = b;
        b = rest;
    }
    Axis axis;
    axis.source = output_length / a;
    axis.output = source_length / a;
    axis.length = source_length;
    axis.area = source_length >= output_length;
    axis.total = axis.area ? axis.output : 2 * axis.source;
    return axis;
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
    const int position = (2 * index + 1) * axis.output - axis.source;
    taps.first = larger(position, 0) / axis.total;
    taps.offset = larger(position, 0) - taps.first * axis.total;
    taps.count = (taps.offset == 0 || taps.first == axis.length - 1) ? 1 : 2;
    return taps;
}

MATTER_HD float axis_weight(const Axis& axis, const Taps& taps, int k) {
    if (axis.area) {
        const int begin = (taps.first + k) * axis.source;
        return float(smaller(begin + axis.source, taps.offset + axis.output) -
                     larger(begin, taps.offset));
    }
    if (taps.count == 1) return float(axis.total);
    return float(k == 0 ? axis.total - taps.offset : taps.offset);
}

}  // namespace matter
