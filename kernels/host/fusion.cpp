// CPU wrapper of include/fusion.h.
#include "host.h"

#include "../include/fusion.h"
#include "rows.h"

namespace matter {
namespace {

// `rosta` is a constant in each call, so that the branch on it leaves the loop.
template <typename T>
MATTER_PART void row(const T* glance, i64 plane, const T* focus, T* alpha, i64 n, int rosta) {
    for (i64 i = 0; i < n; ++i) alpha[i] = fuse(glance + i, plane, focus[i], rosta);
}

MATTER_CLONES void row_float(const float* glance, i64 plane, const float* focus, float* alpha, i64 n,
                             int rosta) {
    if (rosta == ROSTA_TT)
        row(glance, plane, focus, alpha, n, ROSTA_TT);
    else if (rosta == ROSTA_FT)
        row(glance, plane, focus, alpha, n, ROSTA_FT);
    else
        row(glance, plane, focus, alpha, n, ROSTA_BT);
}

inline void row_any(const float* glance, i64 plane, const float* focus, float* alpha, i64 n,
                    int rosta) {
    row_float(glance, plane, focus, alpha, n, rosta);
}

inline void row_any(const Half* glance, i64 plane, const Half* focus, Half* alpha, i64 n, int rosta) {
    row(glance, plane, focus, alpha, n, rosta);
}

template <typename T>
void planes(const T* glance, const T* focus, T* alpha, i64 count, i64 classes, i64 height, i64 width,
            int rosta) {
    const i64 plane = height * width;
    const int threads = threads_for(count * plane);
#pragma omp parallel for num_threads(threads) if (threads > 1) schedule(static)
    for (i64 line = 0; line < count * height; ++line) {
        const i64 n = line / height, y = line % height, at = n * plane + y * width;
        row_any(glance + n * classes * plane + y * width, plane, focus + at, alpha + at, width, rosta);
    }
}

void fuse_float(ConstFloats glance, ConstFloats focus, Floats alpha, int rosta) {
    nb::gil_scoped_release release;
    planes(glance.data(), focus.data(), alpha.data(), i64(glance.shape(0)), i64(glance.shape(1)),
           i64(glance.shape(2)), i64(glance.shape(3)), rosta);
}

// float16 comes as its bits (a uint16 view).
void fuse_half(ConstShorts glance, ConstShorts focus, Shorts alpha, int rosta) {
    nb::gil_scoped_release release;
    planes(reinterpret_cast<const Half*>(glance.data()), reinterpret_cast<const Half*>(focus.data()),
           reinterpret_cast<Half*>(alpha.data()), i64(glance.shape(0)), i64(glance.shape(1)),
           i64(glance.shape(2)), i64(glance.shape(3)), rosta);
}

void floats_to_halves(nb::ndarray<const float, nb::ndim<1>, nb::c_contig, nb::device::cpu> values,
                      nb::ndarray<std::uint16_t, nb::ndim<1>, nb::c_contig, nb::device::cpu> bits) {
    for (std::size_t i = 0; i < values.shape(0); ++i) bits(i) = to_half(values(i)).bits;
}

}  // namespace

void bind_fusion(nb::module_& m) {
    m.def("fuse_float", &fuse_float, nb::arg("glance").noconvert(), nb::arg("focus").noconvert(),
          nb::arg("alpha").noconvert(), nb::arg("rosta"));
    m.def("fuse_half", &fuse_half, nb::arg("glance").noconvert(), nb::arg("focus").noconvert(),
          nb::arg("alpha").noconvert(), nb::arg("rosta"));
    m.def("floats_to_halves", &floats_to_halves, nb::arg("values").noconvert(),
          nb::arg("bits").noconvert());
}

}  // namespace matter
