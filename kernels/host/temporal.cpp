// CPU wrapper of include/temporal.h.
#include "host.h"

#include <cstring>
#include <vector>

#include "../include/temporal.h"
#include "rows.h"

namespace matter {
namespace {

using Plane = nb::ndarray<const float, nb::ndim<2>, nb::device::cpu>;
using OutPlane = nb::ndarray<float, nb::ndim<2>, nb::c_contig, nb::device::cpu>;
using Delta = nb::ndarray<const u8, nb::ndim<3>, nb::device::cpu>;

MATTER_CLONES void strongest(const u8* delta, u8* change_of, i64 n) {
    for (i64 i = 0; i < n; ++i) change_of[i] = u8(change(delta + 3 * i, 3));
}

MATTER_CLONES int moved(const u8* change_of, i64 n) {
    int count = 0;
    for (i64 i = 0; i < n; ++i) count += change_of[i] > MOVED;
    return count;
}

// `motion` has room for the row and a pixel on either side. `out` may be one of the alphas: each strip
// is computed apart, so that the loop need not fear it.
MATTER_CLONES void row(const u8* above, const u8* middle, const u8* below, u8* motion,
                       const float* previous, const float* current, float* out, i64 width) {
    motion[0] = motion[width + 1] = 0;
    for (i64 x = 0; x < width; ++x) {
        const u8 most = above[x] > below[x] ? above[x] : below[x];
        motion[x + 1] = middle[x] > most ? middle[x] : most;
    }
    constexpr i64 strip = 512;
    float result[strip];
    for (i64 x = 0; x < width; x += strip) {
        const i64 n = width - x < strip ? width - x : strip;
        for (i64 i = 0; i < n; ++i) {
            const u8* m = motion + x + i;
            const u8 sides = m[0] > m[2] ? m[0] : m[2];
            result[i] = steady(previous[x + i], current[x + i], keep(m[1] > sides ? m[1] : sides));
        }
        std::memcpy(out + x, result, n * sizeof(float));
    }
}

MATTER_CLONES void known_row(const float* current, float* out, i64 width) {
    for (i64 x = 0; x < width; ++x) out[x] = steady(current[x], current[x], 0.0f);
}

void temporal_filter(Plane previous, Plane current, Delta delta, OutPlane out) {
    const i64 height = i64(out.shape(0)), width = i64(out.shape(1));
    const bool coloured = delta.shape(2) == 3;
    const int threads = threads_for(height * width);
    nb::gil_scoped_release release;
    std::vector<u8> strongest_of(coloured ? height * width : 0);
    const u8* changes = coloured ? strongest_of.data() : delta.data();
    const i64 stride = coloured ? width : delta.stride(0);
    i64 count = 0;
#pragma omp parallel for num_threads(threads) if (threads > 1) schedule(static) reduction(+ : count)
    for (i64 y = 0; y < height; ++y) {
        if (coloured) strongest(delta.data() + y * delta.stride(0), &strongest_of[y * width], width);
        count += moved(changes + y * stride, width);
    }
    const bool cut = is_cut(count, height * width);
#pragma omp parallel num_threads(threads) if (threads > 1)
    {
        std::vector<u8> motion(width + 2);
#pragma omp for schedule(static)
        for (i64 y = 0; y < height; ++y) {
            const float* now = current.data() + y * current.stride(0);
            const u8* middle = changes + y * stride;
            if (cut)
                known_row(now, out.data() + y * width, width);
            else
                row(y > 0 ? middle - stride : middle, middle,
                    y + 1 < height ? middle + stride : middle, motion.data(),
                    previous.data() + y * previous.stride(0), now, out.data() + y * width, width);
        }
    }
}

}  // namespace

void bind_temporal(nb::module_& m) {
    m.def("temporal_filter", &temporal_filter, nb::arg("previous").noconvert(),
          nb::arg("current").noconvert(), nb::arg("delta").noconvert(), nb::arg("out").noconvert());
}

}  // namespace matter
