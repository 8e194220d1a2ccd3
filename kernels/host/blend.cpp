// CPU wrapper of include/blend.h.
#include "host.h"

#include <cstring>

#include "../include/blend.h"
#include "rows.h"

namespace matter {
namespace {

// Pixels that are worked on together: small enough to stay in the first cache, and for a matte's large
// plain areas to be met as whole strips.
constexpr i64 strip = 128;

// Most of a matte is plainly background or plainly foreground. blend() is exact there, so a copy is the
// same; one look at the first alpha tells whether the others are worth reading.
MATTER_PART bool all_background(const float* alpha, i64 n) {
    int shown = 0;
    for (i64 i = 0; i < n; ++i) shown |= alpha[i] > 0.0f;
    return shown == 0;
}

MATTER_PART bool all_foreground(const float* alpha, i64 n) {
    int whole = 1;
    for (i64 i = 0; i < n; ++i) whole &= alpha[i] >= 1.0f;
    return whole == 1;
}

// Three channels share an alpha. It is written out three times, so that the blend itself is a plain
// loop over bytes, which vectorises.
MATTER_PART void mixed(const u8* foreground, const u8* background, const float* alpha, u8* out, i64 n) {
    float three[3 * strip];
    for (i64 i = 0; i < n; ++i) {
        const float a = unit(alpha[i]);
        three[3 * i] = a;
        three[3 * i + 1] = a;
        three[3 * i + 2] = a;
    }
    for (i64 i = 0; i < 3 * n; ++i) out[i] = blend(foreground[i], background[i], three[i]);
}

MATTER_CLONES void row(const u8* foreground, const u8* background, const float* alpha, u8* out,
                       i64 width) {
    for (i64 x = 0; x < width; x += strip) {
        const i64 n = width - x < strip ? width - x : strip;
        const float* a = alpha + x;
        if (!(a[0] > 0.0f) && all_background(a, n)) {
            std::memmove(out + 3 * x, background + 3 * x, 3 * n);  // out may be one of the inputs
        } else if (a[0] >= 1.0f && all_foreground(a, n)) {
            std::memmove(out + 3 * x, foreground + 3 * x, 3 * n);
        } else {
            mixed(foreground + 3 * x, background + 3 * x, a, out + 3 * x, n);
        }
    }
}

// The background's strides may be 0: one row of a colour, or one image for the whole batch.
void alpha_blend(Bytes foreground, Bytes background, Alphas alpha, OutBytes out) {
    const i64 count = i64(out.shape(0)), height = i64(out.shape(1)), width = i64(out.shape(2));
    const int threads = threads_for(count * height * width);
    nb::gil_scoped_release release;
#pragma omp parallel for num_threads(threads) if (threads > 1) schedule(static)
    for (i64 line = 0; line < count * height; ++line) {
        const i64 n = line / height, y = line % height;
        row(foreground.data() + n * foreground.stride(0) + y * foreground.stride(1),
            background.data() + n * background.stride(0) + y * background.stride(1),
            alpha.data() + n * alpha.stride(0) + y * alpha.stride(1),
            out.data() + line * width * 3, width);
    }
}

}  // namespace

void bind_blend(nb::module_& m) {
    m.def("alpha_blend", &alpha_blend, nb::arg("foreground").noconvert(),
          nb::arg("background").noconvert(), nb::arg("alpha").noconvert(),
          nb::arg("out").noconvert());
}

}  // namespace matter
