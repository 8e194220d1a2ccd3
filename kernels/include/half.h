// float16 by its bits, for compilers without the type: the header cuda_fp16.h is not at hand for NVRTC
// on every machine, and g++ knows no half before version 13.
#pragma once

#include "matter.h"

namespace matter {

struct Half {
    unsigned short bits;
};

union FloatBits {
    float value;
    unsigned int bits;
};

MATTER_HD float to_float(float value) { return value; }

MATTER_HD float to_float(Half half) {
    const unsigned int sign = (half.bits & 0x8000u) << 16;
    const unsigned int exponent = (half.bits >> 10) & 0x1fu;
    const unsigned int fraction = half.bits & 0x3ffu;
    FloatBits result;
    if (exponent == 0) {  // zero and subnormals: fraction * 2^-24, exact in float32
        result.value = float(fraction) * 5.9604644775390625e-8f;
        result.bits |= sign;
    } else if (exponent == 31) {  // infinity and NaN
        result.bits = sign | 0x7f800000u | (fraction << 13);
    } else {
        result.bits = sign | ((exponent + 112) << 23) | (fraction << 13);
    }
    return result.value;
}

// Rounded to nearest, ties to even, as the hardware does. Every case is computed and one is chosen: a
// loop over it vectorises.
MATTER_HD Half to_half(float value) {
    FloatBits input, tiny;
    input.value = value;
    const unsigned int sign = (input.bits >> 16) & 0x8000u;
    const unsigned int magnitude = input.bits & 0x7fffffffu;
    const unsigned int odd = (magnitude >> 13) & 1u;
    const unsigned int normal = (magnitude - 0x38000000u + 0xfffu + odd) >> 13;
    // Subnormal: adding 0.5 makes float32 round at 2^-24, and leaves the fraction in the low bits.
    tiny.bits = magnitude;
    tiny.value += 0.5f;
    const unsigned int subnormal = tiny.bits - 0x3f000000u;
    unsigned int bits = magnitude >= 0x38800000u ? normal : subnormal;
    bits = magnitude >= 0x477ff000u ? 0x7c00u : bits;  // 65520 and above round to infinity
    bits = magnitude > 0x7f800000u ? 0x7e00u : bits;   // NaN
    Half half;
    half.bits = (unsigned short)(sign | bits);
    return half;
}

template <typename T>
MATTER_HD T from_float(float value);
template <>
MATTER_HD float from_float<float>(float value) {
    return value;
}
template <>
MATTER_HD Half from_float<Half>(float value) {
    return to_half(value);
}

}  // namespace matter
