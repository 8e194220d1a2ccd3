// Foreground over background by alpha: the compositing equation I = alpha F + (1 - alpha) B.
//
// Bytes are blended in integers. Alpha becomes a whole number A of 32768ths, and
//     out = B + floor(((F - B) A + 16384) / 32768),
// halves up: within 0.504 of the real value, and the background and the foreground themselves where
// alpha is 0 and 1. Floats are blended as they are, bytes in linear light through tables.
#pragma once

#include "matter.h"

namespace matter {

// Alpha is clamped to 0..1. NaN becomes 0, background: `NaN > 0` is false.
MATTER_HD float unit(float alpha) {
    const float low = alpha > 0.0f ? alpha : 0.0f;
    return low < 1.0f ? low : 1.0f;
}

// -A, for alpha in 0..1: below zero, 32768 fits into 16 bits.
MATTER_HD short weight(float alpha) { return short(-int(alpha * 32768.0f + 0.5f)); }

// `value` * A, given -`value` or -A: rounded, halves up. Compilers know this shape as a single
// instruction for many 16-bit lanes (pmulhrsw on x86, sqrdmulh on ARM).
MATTER_HD short share(short value, short weight) {
    return short(((int(value) * weight >> 14) + 1) >> 1);
}

MATTER_HD u8 blend(u8 foreground, u8 background, short weight) {
    return u8(background + share(short(background - foreground), weight));
}

// F + (1 - alpha) B for a foreground that was multiplied by alpha before.
MATTER_HD u8 blend_premultiplied(u8 foreground, u8 background, short weight) {
    return u8(smaller(foreground + background + share(background, weight), 255));
}

// `alpha` in 0..1. The last step keeps alpha 1 exact, and alpha 0 too where F is no number.
MATTER_HD float blend(float foreground, float background, float alpha) {
    const float mixed = background + alpha * (foreground - background);
    return alpha > 0.0f ? (alpha < 1.0f ? mixed : foreground) : background;
}

MATTER_HD float blend_premultiplied(float foreground, float background, float alpha) {
    const float mixed = foreground + (1.0f - alpha) * background;
    return alpha < 1.0f ? mixed : foreground;
}

// The sRGB curve in tables, which kernels/_srgb.py makes.
struct Curve {
    const float* light;  // of each of the 256 codes, 0..1
    const u8* codes;     // of light i / 4096, rounded; 4097 of them
    const float* steps;  // light from which on a code becomes the next one; 256, the last never
};

// Two steps lie more than 1/4096 apart, so that at most one is above the table's entry.
MATTER_HD u8 encode(float light, Curve curve) {
    const int code = curve.codes[int(light * 4096.0f)];
    return u8(code + (light >= curve.steps[code]));
}

// `alpha` in 0..1.
MATTER_HD float blend_light(u8 foreground, u8 background, float alpha, Curve curve) {
    const float below = curve.light[background];
    return below + alpha * (curve.light[foreground] - below);
}

// The weight of a colour sample that four pixels share: rounded once more, so that the sample is within
// 0.508 of the real value.
MATTER_HD short mean(short a, short b, short c, short d) {
    return short((int(a) + b + c + d + 2) >> 2);
}

}  // namespace matter
