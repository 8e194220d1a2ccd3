// Sums over a frame's pixels -> normalised values of the network's planes.
#pragma once

#include "half.h"
#include "resample.h"

namespace matter {

// What the network subtracts and divides by, in 0..255 units, for one channel.
struct Norm {
    float mean;
    float inverse_std;
};

MATTER_HD float normalise(float value, Norm norm) { return (value - norm.mean) * norm.inverse_std; }

// For networks that take 0..255: rounded to nearest, halves up.
template <>
MATTER_HD u8 from_float<u8>(float value) {
    return u8(int(value + 0.5f));
}

// From planes of 8-bit samples to RGB in 0..255.
struct Matrix {
    int black;  // luminance of black
    float gain;  // 255 over the luminances between black and white
    float red_v, green_u, green_v, blue_u;
};

constexpr int GREY = 128;  // both colour planes of what has no colour

struct Rgb {
    float red, green, blue;
};

MATTER_HD float limited(float value) {
    const float low = value > 0.0f ? value : 0.0f;
    return low < 255.0f ? low : 255.0f;
}

// `y` is counted from black, `u` and `v` from grey.
MATTER_HD Rgb to_rgb(float y, float u, float v, const Matrix& matrix) {
    const float luma = y * matrix.gain;
    return {limited(luma + matrix.red_v * v),
            limited(luma - (matrix.green_u * u + matrix.green_v * v)),
            limited(luma + matrix.blue_u * u)};
}

}  // namespace matter
