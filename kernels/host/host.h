// The arrays that cross from Python. kernels/_cpu.py has checked dtypes, shapes and strides: values of a
// row lie side by side, rows and frames may be apart.
#pragma once

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/array.h>

#include <array>
#include <cstdint>
#include <vector>

namespace matter {

namespace nb = nanobind;

using Bytes = nb::ndarray<const std::uint8_t, nb::ndim<4>, nb::device::cpu>;
using OutBytes = nb::ndarray<std::uint8_t, nb::ndim<4>, nb::c_contig, nb::device::cpu>;
using Alphas = nb::ndarray<const float, nb::ndim<3>, nb::device::cpu>;
using Floats = nb::ndarray<float, nb::ndim<4>, nb::c_contig, nb::device::cpu>;
using ConstFloats = nb::ndarray<const float, nb::ndim<4>, nb::c_contig, nb::device::cpu>;
using Shorts = nb::ndarray<std::uint16_t, nb::ndim<4>, nb::c_contig, nb::device::cpu>;
using ConstShorts = nb::ndarray<const std::uint16_t, nb::ndim<4>, nb::c_contig, nb::device::cpu>;
using Words = nb::ndarray<std::uint32_t, nb::ndim<4>, nb::c_contig, nb::device::cpu>;
using ConstWords = nb::ndarray<const std::uint32_t, nb::ndim<4>, nb::c_contig, nb::device::cpu>;
// Of a frame: luminance, then colour with one or two samples.
using Planes = std::vector<nb::ndarray<const std::uint8_t, nb::ndim<3>, nb::device::cpu>>;
using OutPlanes = std::vector<nb::ndarray<std::uint8_t, nb::ndim<3>, nb::c_contig, nb::device::cpu>>;
using Triple = std::array<float, 3>;

void bind_preprocess(nb::module_& m);
void bind_fusion(nb::module_& m);
void bind_blend(nb::module_& m);
void bind_pooling(nb::module_& m);
void bind_foreground(nb::module_& m);
void bind_composite(nb::module_& m);
void bind_temporal(nb::module_& m);

}  // namespace matter
