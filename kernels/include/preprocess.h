// uint8 frame -> resized, normalised float32 plane.
#pragma once

#include "resample.h"

namespace matter {

// What the network subtracts and divides by, in 0..255 units, for one channel.
struct Norm {
    float mean;
    float inverse_std;
};

// `sum` is weighted by integers that sum to 1 / `scale`.
MATTER_HD float normalise(float sum, float scale, Norm norm) {
    return (sum * scale - norm.mean) * norm.inverse_std;
}

MATTER_HD float sum_scale(const Axis& y, const Axis& x) {
    return float(1.0 / (double(y.total) * double(x.total)));
}

// One output value of one channel: `pixels` points at that channel of the top left source pixel.
// Columns are summed first, then the row of sums; the host's row-wise loops keep this order.
MATTER_HD float resample(const u8* pixels, i64 row_stride, i64 pixel_stride, const Axis& axis_y,
                         const Taps& y, const Axis& axis_x, const Taps& x) {
    float sum = 0.0f;
    for (int j = 0; j < x.count; ++j) {
        const u8* column = pixels + (x.first + j) * pixel_stride;
        float below = 0.0f;
        for (int i = 0; i < y.count; ++i)
            below += axis_weight(axis_y, y, i) * float(column[(y.first + i) * row_stride]);
        sum += axis_weight(axis_x, x, j) * below;
    }
    return sum;
}

}  // namespace matter
