// Blur fusion on the CPU, for the two kernels that use it; and pixels as vectors of four lanes.
#pragma once

#include <cstring>

#include "../include/foreground.h"
#include "rows.h"
#include "scratch.h"

namespace matter {

typedef int Int4 __attribute__((vector_size(16)));
typedef float Float4 __attribute__((vector_size(16)));
typedef u8 Bytes4 __attribute__((vector_size(4)));

// Three channels and a 0: nothing beyond the last pixel of a frame is touched.
MATTER_PART Int4 load_pixel(const u8* p) {
    const unsigned int bits = p[0] | unsigned(p[1]) << 8 | unsigned(p[2]) << 16;
    Bytes4 bytes;
    std::memcpy(&bytes, &bits, 4);
    return __builtin_convertvector(bytes, Int4);
}

MATTER_PART void store_pixel(u8* p, Int4 values) {
    const Bytes4 bytes = __builtin_convertvector(values, Bytes4);
    std::memcpy(p, &bytes, 3);
}

MATTER_PART Float4 floats(Int4 v) { return __builtin_convertvector(v, Float4); }

// nearest() for four.
MATTER_PART Int4 nearest4(Float4 v) { return __builtin_convertvector(v + 0.5f, Int4); }

struct Picture {
    i64 height, width;
    const u8* frame;  // three channels
    i64 frame_row;
    const float* alpha;
    i64 alpha_row;
};

// The subject's colours into `out`, height x width x 3.
void blur_fusion(const Picture& picture, u8* out);

// What the solution is made of, three planes of f and three of b: written where alpha is neither 0 nor 1,
// and at the least 8 pixels around.
void blur_estimates(const Picture& picture, u8* out);

}  // namespace matter
