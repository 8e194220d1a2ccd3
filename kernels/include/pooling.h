// Max-pooling that keeps for each window the offset of its maximum, and max-unpooling as a gather.
//
// window 3: 3x3 pixels, stride 2, padding 1, so that neighbours overlap; unpooling is 2x2, stride 2.
// window 2: 2x2 pixels, stride 2, no padding.
// The offset counts the window's pixels in row-major order, those outside of the picture too.
// (Deep Automatic Natural Image Matting, IJCAI 2021, pools with window 3.)
#pragma once

#include "half.h"

namespace matter {

using u16 = unsigned short;  // float16 by its bits
using u32 = unsigned int;

constexpr u8 no_window = 255;  // an offset that no output pixel looks for

// What is compared in place of a value: values that are equal have equal ranks, and NaN is told by it.
template <typename T>
struct Ranked;

template <>
struct Ranked<float> {
    using Rank = float;
    using Index = int;  // as wide as the value: the host's loops then have lanes of one width
    static MATTER_HD float lowest() {
        FloatBits infinity;
        infinity.bits = 0xff800000u;
        return infinity.value;
    }
};

// As integers with a sign, halves stand in the order of their numbers. Both zeros are 0.
template <>
struct Ranked<u16> {
    using Rank = short;
    using Index = short;
    static constexpr short nan = 0x7fff;
    static MATTER_HD u16 lowest() { return 0xfc00; }
};

MATTER_HD float rank_of(float value) { return value; }

MATTER_HD short rank_of(u16 half) {
    const short magnitude = short(half & 0x7fff), sign = short(short(half) >> 15);
    const short rank = short((magnitude ^ sign) - sign);
    return magnitude > 0x7c00 ? Ranked<u16>::nan : rank;
}

// PyTorch's rule: the first of equals stays, NaN takes the place of everything, NaN too.
MATTER_HD bool beats(float rank, float best) { return (rank > best) | (rank != rank); }
MATTER_HD bool beats(short rank, short best) { return (rank > best) | (rank == Ranked<u16>::nan); }

template <typename T>
struct Peak {
    T value;
    typename Ranked<T>::Rank rank;
    typename Ranked<T>::Index offset;
};

// `first`: the window's first pixel inside of the picture, which is chosen where all are minus infinity.
template <typename T>
MATTER_HD Peak<T> no_peak(int first) {
    const T lowest = Ranked<T>::lowest();
    return {lowest, rank_of(lowest), typename Ranked<T>::Index(first)};
}

template <typename T>
MATTER_HD void take(Peak<T>& peak, T value, typename Ranked<T>::Rank rank, int offset) {
    const bool wins = beats(rank, peak.rank);
    peak.value = wins ? value : peak.value;
    peak.rank = wins ? rank : peak.rank;
    peak.offset = wins ? typename Ranked<T>::Index(offset) : peak.offset;
}

// Row i, column j of the pooled plane.
template <int Window, typename T>
MATTER_HD Peak<T> pool(const T* plane, i64 height, i64 width, i64 i, i64 j) {
    const i64 top = 2 * i - (Window == 3), left = 2 * j - (Window == 3);
    Peak<T> peak = no_peak<T>((top < 0 ? Window : 0) + (left < 0 ? 1 : 0));
    for (int y = 0; y < Window; ++y)
        for (int x = 0; x < Window; ++x)
            if (top + y >= 0 && top + y < height && left + x >= 0 && left + x < width) {
                const T value = plane[(top + y) * width + left + x];
                take(peak, value, rank_of(value), y * Window + x);
            }
    return peak;
}

// Without a branch, so that the host's loops vectorise.
template <typename T>
MATTER_HD T choose(bool condition, T yes, T no) {
    const T mask = T(-T(condition));
    return T((yes & mask) | (no & T(~mask)));
}

// Output pixels (2i, 2j), (2i, 2j + 1), (2i + 1, 2j), (2i + 1, 2j + 1).
template <typename T>
struct Square {
    T top_left, top_right, bottom_left, bottom_right;
};

// Window 3. x00, o00 are value and offset of window (i, j), x01, o01 of (i, j + 1) and so on. Only these
// reach the square; where several chose one pixel, the latest of them in row-major order wins.
template <typename T, typename Offset>
MATTER_HD Square<T> unpool(T x00, Offset o00, T x01, Offset o01, T x10, Offset o10, T x11, Offset o11) {
    const T zero = 0;
    return {
        choose(o00 == 4, x00, zero),
        choose(o01 == 3, x01, choose(o00 == 5, x00, zero)),
        choose(o10 == 1, x10, choose(o00 == 7, x00, zero)),
        choose(o11 == 0, x11,
               choose(o10 == 2, x10, choose(o01 == 6, x01, choose(o00 == 8, x00, zero)))),
    };
}

// Window 2.
template <typename T, typename Offset>
MATTER_HD Square<T> unpool(T x, Offset o) {
    const T zero = 0;
    return {choose(o == 0, x, zero), choose(o == 1, x, zero), choose(o == 2, x, zero),
            choose(o == 3, x, zero)};
}

}  // namespace matter
