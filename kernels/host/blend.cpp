// CPU wrapper of include/blend.h.
#include "host.h"

#include <nanobind/stl/vector.h>

#include <cstring>

#include "../include/blend.h"
#include "rows.h"

namespace matter {
namespace {

template <class T>
using Images = nb::ndarray<const T, nb::ndim<4>, nb::device::cpu>;
template <class T>
using OutImages = nb::ndarray<T, nb::ndim<4>, nb::c_contig, nb::device::cpu>;

// Pixels that are worked on together: small enough to stay in the first cache, and for a matte's large
// plain areas to be met as whole strips. Even, so that no 2x2 block of a colour sample is cut.
constexpr i64 strip = 128;

// Most of a matte is plainly background or plainly foreground. Blending is exact there, so a copy is
// the same; one look at the first alpha tells whether the others are worth reading.
MATTER_PART bool all_background(const float* alpha, i64 n) {
    if (alpha[0] > 0.0f) return false;
    int shown = 0;
    for (i64 i = 0; i < n; ++i) shown |= alpha[i] > 0.0f;
    return shown == 0;
}

MATTER_PART bool all_foreground(const float* alpha, i64 n) {
    if (!(alpha[0] >= 1.0f)) return false;
    int whole = 1;
    for (i64 i = 0; i < n; ++i) whole &= alpha[i] >= 1.0f;
    return whole == 1;
}

template <class T>
MATTER_PART void copy(T* out, const T* from, i64 n) {
    if (out != from) std::memmove(out, from, n * sizeof(T));
}

MATTER_PART void units_of(const float* alpha, float* units, i64 n) {
    for (i64 i = 0; i < n; ++i) units[i] = unit(alpha[i]);
}

MATTER_PART void weights_of(const float* alpha, short* weights, i64 n) {
    float units[strip];
    units_of(alpha, units, n);
    for (i64 i = 0; i < n; ++i) weights[i] = weight(units[i]);
}

// blend() in three loops: the compiler finds the 16-bit multiplication only where it stands alone.
// `out` may be one of the inputs, which MATTER_IVDEP lets be: a value depends on those in its own place.
MATTER_PART void mix(const u8* foreground, const u8* background, const short* weights, u8* out, i64 n) {
    short part[3 * strip];
    for (i64 i = 0; i < n; ++i) part[i] = short(background[i] - foreground[i]);
    for (i64 i = 0; i < n; ++i) part[i] = share(part[i], weights[i]);
    MATTER_IVDEP
    for (i64 i = 0; i < n; ++i) out[i] = u8(background[i] + part[i]);
}

// What is done with a strip of n pixels in three samples that is not plain.
struct Straight {
    static constexpr bool background_is_plain = true;

    MATTER_PART void operator()(const u8* foreground, const u8* background, const float* alpha,
                                u8* out, i64 n) const {
        short one[strip], three[3 * strip];
        weights_of(alpha, one, n);
        repeat<3>(one, three, n);
        mix(foreground, background, three, out, 3 * n);
    }

    MATTER_PART void operator()(const float* foreground, const float* background, const float* alpha,
                                float* out, i64 n) const {
        float one[strip], three[3 * strip];
        units_of(alpha, one, n);
        repeat<3>(one, three, n);
        MATTER_IVDEP
        for (i64 i = 0; i < 3 * n; ++i) out[i] = blend(foreground[i], background[i], three[i]);
    }
};

struct Premultiplied {
    static constexpr bool background_is_plain = false;  // a foreground may shine where alpha is 0

    MATTER_PART void operator()(const u8* foreground, const u8* background, const float* alpha,
                                u8* out, i64 n) const {
        short one[strip], three[3 * strip], part[3 * strip];
        weights_of(alpha, one, n);
        repeat<3>(one, three, n);
        for (i64 i = 0; i < 3 * n; ++i) part[i] = background[i];
        for (i64 i = 0; i < 3 * n; ++i) part[i] = share(part[i], three[i]);
        for (i64 i = 0; i < 3 * n; ++i) part[i] = short(part[i] + background[i] + foreground[i]);
        for (i64 i = 0; i < 3 * n; ++i) out[i] = u8(smaller(part[i], 255));
    }

    MATTER_PART void operator()(const float* foreground, const float* background, const float* alpha,
                                float* out, i64 n) const {
        float one[strip], three[3 * strip];
        units_of(alpha, one, n);
        repeat<3>(one, three, n);
        MATTER_IVDEP
        for (i64 i = 0; i < 3 * n; ++i)
            out[i] = blend_premultiplied(foreground[i], background[i], three[i]);
    }
};

struct Linear {
    static constexpr bool background_is_plain = true;
    Curve curve;

    MATTER_PART void operator()(const u8* foreground, const u8* background, const float* alpha,
                                u8* out, i64 n) const {
        float one[strip], light[3 * strip];
        units_of(alpha, one, n);
        repeat<3>(one, light, n);
        for (i64 i = 0; i < 3 * n; ++i)
            light[i] = blend_light(foreground[i], background[i], light[i], curve);
        for (i64 i = 0; i < 3 * n; ++i) out[i] = encode(light[i], curve);
    }
};

template <class T, class Mix>
MATTER_PART void blend_row(const T* foreground, const T* background, const float* alpha, T* out,
                           i64 width, const Mix& mixed) {
    for (i64 x = 0; x < width; x += strip) {
        const i64 n = std::min(strip, width - x);
        if (Mix::background_is_plain && all_background(alpha + x, n))
            copy(out + 3 * x, background + 3 * x, 3 * n);
        else if (all_foreground(alpha + x, n))
            copy(out + 3 * x, foreground + 3 * x, 3 * n);
        else if (n == strip)  // a number that the compiler knows: a quarter of the time
            mixed(foreground + 3 * x, background + 3 * x, alpha + x, out + 3 * x, strip);
        else
            mixed(foreground + 3 * x, background + 3 * x, alpha + x, out + 3 * x, n);
    }
}

MATTER_CLONES void row(const u8* foreground, const u8* background, const float* alpha, u8* out,
                       i64 width, Straight mixed) {
    blend_row(foreground, background, alpha, out, width, mixed);
}

MATTER_CLONES void row(const u8* foreground, const u8* background, const float* alpha, u8* out,
                       i64 width, Premultiplied mixed) {
    blend_row(foreground, background, alpha, out, width, mixed);
}

MATTER_CLONES void row(const u8* foreground, const u8* background, const float* alpha, u8* out,
                       i64 width, Linear mixed) {
    blend_row(foreground, background, alpha, out, width, mixed);
}

MATTER_CLONES void row(const float* foreground, const float* background, const float* alpha,
                       float* out, i64 width, Straight mixed) {
    blend_row(foreground, background, alpha, out, width, mixed);
}

MATTER_CLONES void row(const float* foreground, const float* background, const float* alpha,
                       float* out, i64 width, Premultiplied mixed) {
    blend_row(foreground, background, alpha, out, width, mixed);
}

// The background may be one image for the whole batch, and its stride of rows 0: a row of a colour.
template <class T, class Mix>
void each_row(const Images<T>& foreground, const Images<T>& background, const Alphas& alpha,
              const OutImages<T>& out, const Mix& mixed) {
    const i64 count = i64(out.shape(0)), height = i64(out.shape(1)), width = i64(out.shape(2));
    const i64 background_frame = background.shape(0) == 1 ? 0 : background.stride(0);
    const int threads = threads_for(count * height * width);
    nb::gil_scoped_release release;
#pragma omp parallel for num_threads(threads) if (threads > 1) schedule(static)
    for (i64 line = 0; line < count * height; ++line) {
        const i64 n = line / height, y = line % height;
        row(foreground.data() + n * foreground.stride(0) + y * foreground.stride(1),
            background.data() + n * background_frame + y * background.stride(1),
            alpha.data() + n * alpha.stride(0) + y * alpha.stride(1), out.data() + line * width * 3,
            width, mixed);
    }
}

template <class T>
void alpha_blend(Images<T> foreground, Images<T> background, Alphas alpha, OutImages<T> out,
                 bool premultiplied) {
    if (premultiplied)
        each_row<T>(foreground, background, alpha, out, Premultiplied());
    else
        each_row<T>(foreground, background, alpha, out, Straight());
}

using Table = nb::ndarray<const float, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using Codes = nb::ndarray<const std::uint8_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;

void alpha_blend_linear(Bytes foreground, Bytes background, Alphas alpha, OutBytes out, Table light,
                        Codes codes, Table steps) {
    each_row<u8>(foreground, background, alpha, out,
                 Linear{{light.data(), codes.data(), steps.data()}});
}

// Two rows of luminance and the row of colour samples between them; of a last odd row, `rows` is 1.
// Planes: luminance, then U and V with one sample each, or both in one plane with two.
struct Pair {
    const u8* foreground[3];  // by plane, where the pair begins
    const u8* background[3];
    u8* out[3];
    i64 row[3];               // to the second row of luminance: foreground, background, out
    const float* alpha[2];    // of a single row twice the same
    int rows, planes;
    i64 width;
};

MATTER_PART void copy_strip(const Pair& pair, const u8* const* from, i64 row, i64 x, i64 n) {
    for (int y = 0; y < pair.rows; ++y)
        copy(pair.out[0] + y * pair.row[2] + x, from[0] + y * row + x, n);
    const i64 samples = pair.planes == 2 ? 2 : 1;
    for (int p = 1; p < pair.planes; ++p)
        copy(pair.out[p] + samples * (x / 2), from[p] + samples * (x / 2), samples * ((n + 1) / 2));
}

MATTER_PART void mix_strip(const Pair& pair, i64 x, i64 n) {
    short weights[2][strip + 1], halves[strip / 2], each[strip];
    for (int y = 0; y < 2; ++y) {
        weights_of(pair.alpha[y] + x, weights[y], n);
        weights[y][n] = weights[y][n - 1];  // an odd width ends in half a block: its pixel counts twice
        if (y < pair.rows)
            mix(pair.foreground[0] + y * pair.row[0] + x, pair.background[0] + y * pair.row[1] + x,
                weights[y], pair.out[0] + y * pair.row[2] + x, n);
    }
    const i64 blocks = (n + 1) / 2;
    for (i64 i = 0; i < blocks; ++i)
        halves[i] = mean(weights[0][2 * i], weights[0][2 * i + 1], weights[1][2 * i],
                         weights[1][2 * i + 1]);
    if (pair.planes == 2) {
        repeat<2>(halves, each, blocks);
        mix(pair.foreground[1] + x, pair.background[1] + x, each, pair.out[1] + x, 2 * blocks);
    } else {
        for (int p = 1; p < 3; ++p)
            mix(pair.foreground[p] + x / 2, pair.background[p] + x / 2, halves, pair.out[p] + x / 2,
                blocks);
    }
}

MATTER_CLONES void rows_of_planes(const Pair& pair) {
    for (i64 x = 0; x < pair.width; x += strip) {
        const i64 n = std::min(strip, pair.width - x);
        const float *above = pair.alpha[0] + x, *below = pair.alpha[1] + x;
        if (all_background(above, n) && all_background(below, n))
            copy_strip(pair, pair.background, pair.row[1], x, n);
        else if (all_foreground(above, n) && all_foreground(below, n))
            copy_strip(pair, pair.foreground, pair.row[0], x, n);
        else if (n == strip)
            mix_strip(pair, x, strip);
        else
            mix_strip(pair, x, n);
    }
}

void alpha_blend_planes(Planes foreground, Planes background, Alphas alpha, OutPlanes out) {
    const i64 height = i64(out[0].shape(0)), width = i64(out[0].shape(1));
    const int planes = int(out.size()), threads = threads_for(height * width);
    nb::gil_scoped_release release;
#pragma omp parallel for num_threads(threads) if (threads > 1) schedule(static)
    for (i64 y = 0; y < height; y += 2) {
        Pair pair;
        for (int p = 0; p < planes; ++p) {
            const i64 line = p == 0 ? y : y / 2;
            pair.foreground[p] = foreground[p].data() + line * foreground[p].stride(0);
            pair.background[p] = background[p].data() + line * background[p].stride(0);
            pair.out[p] = out[p].data() + line * out[p].stride(0);
        }
        pair.row[0] = foreground[0].stride(0);
        pair.row[1] = background[0].stride(0);
        pair.row[2] = width;
        pair.rows = int(std::min<i64>(2, height - y));
        pair.planes = planes;
        pair.width = width;
        pair.alpha[0] = alpha.data() + y * alpha.stride(1);
        pair.alpha[1] = pair.alpha[0] + (pair.rows - 1) * alpha.stride(1);
        rows_of_planes(pair);
    }
}

}  // namespace

void bind_blend(nb::module_& m) {
    m.def("alpha_blend_bytes", &alpha_blend<u8>, nb::arg("foreground").noconvert(),
          nb::arg("background").noconvert(), nb::arg("alpha").noconvert(),
          nb::arg("out").noconvert(), nb::arg("premultiplied"));
    m.def("alpha_blend_floats", &alpha_blend<float>, nb::arg("foreground").noconvert(),
          nb::arg("background").noconvert(), nb::arg("alpha").noconvert(),
          nb::arg("out").noconvert(), nb::arg("premultiplied"));
    m.def("alpha_blend_linear", &alpha_blend_linear, nb::arg("foreground").noconvert(),
          nb::arg("background").noconvert(), nb::arg("alpha").noconvert(),
          nb::arg("out").noconvert(), nb::arg("light").noconvert(), nb::arg("codes").noconvert(),
          nb::arg("steps").noconvert());
    m.def("alpha_blend_planes", &alpha_blend_planes, nb::arg("foreground").noconvert(),
          nb::arg("background").noconvert(), nb::arg("alpha").noconvert(),
          nb::arg("out").noconvert());
}

}  // namespace matter
