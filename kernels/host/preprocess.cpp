// CPU wrapper of include/preprocess.h: an output row at a time, all its channels.
#include <nanobind/stl/optional.h>
#include <nanobind/stl/vector.h>

#include <optional>

#include "../include/preprocess.h"
#include "host.h"
#include "resample.h"
#include "rows.h"

namespace matter {
namespace {

MATTER_CLONES void write(float* out, const float* sums, float scale, Norm norm, i64 n) {
    for (i64 i = 0; i < n; ++i) out[i] = normalise(sums[i] * scale, norm);
}

MATTER_CLONES void write(Half* out, const float* sums, float scale, Norm norm, i64 n) {
    for (i64 i = 0; i < n; ++i) out[i] = from_float<Half>(normalise(sums[i] * scale, norm));
}

MATTER_CLONES void write(u8* out, const float* sums, float scale, Norm norm, i64 n) {
    for (i64 i = 0; i < n; ++i) out[i] = from_float<u8>(normalise(sums[i] * scale, norm));
}

// Sums of luminance and colour into red, green and blue, in place.
MATTER_CLONES void convert(float* y, float* u, float* v, float scale, float colour_scale,
                           const Matrix& given, i64 n) {
    const Matrix matrix = given;
    for (i64 i = 0; i < n; ++i) {
        const Rgb rgb = to_rgb(y[i] * scale, u[i] * colour_scale, v[i] * colour_scale, matrix);
        y[i] = rgb.red;
        u[i] = rgb.green;
        v[i] = rgb.blue;
    }
}

// Interleaved channels of the frames: all of them, or those of one plane of YUV.
struct Plane {
    const u8* pixels;
    i64 height, width, channels;
    i64 frame_stride, row_stride;  // in bytes
    int bias;                      // what is taken from the samples
};

struct Job {
    std::vector<Plane> planes;
    bool linear;
    bool swap;  // output plane 0 is channel 2
    std::optional<Matrix> matrix;
    Norm norm[3];  // by output plane
    i64 count, height, width;  // of the output
};

template <typename Out>
void by_rows(const Job& job, Out* out) {
    std::vector<Resampler> planes;
    i64 pixels = 0;
    for (const Plane& plane : job.planes) {
        planes.emplace_back(int(plane.height), int(plane.width), int(plane.channels), int(job.height),
                            int(job.width), job.linear);
        // Bilinear reads four pixels for each of the output at most, however large the frame.
        const i64 read = plane.height * plane.width, most = 4 * job.height * job.width;
        pixels = std::max(pixels, job.count * (job.linear ? std::min(read, most) : read));
    }
    const float scale = job.matrix ? 1.0f : planes[0].scale();
    const i64 padded = Resampler::padded(int(job.width)), rows = job.count * job.height;
    const bool grey = !job.matrix && job.planes[0].channels == 1;
    const int threads = threads_for(pixels);
#pragma omp parallel num_threads(threads) if (threads > 1)
    {
        std::vector<float> room(3 * padded);
        float* const sums[3] = {&room[0], &room[padded], &room[2 * padded]};
        std::vector<Resampler::Buffer> buffers;
        for (const Resampler& plane : planes) buffers.push_back(plane.buffer());
#pragma omp for schedule(static)
        for (i64 row = 0; row < rows; ++row) {
            const i64 n = row / job.height, d = row % job.height;
            int channel = 0;
            for (std::size_t p = 0; p < planes.size(); ++p) {
                const Plane& plane = job.planes[p];
                planes[p].row(plane.pixels + n * plane.frame_stride, plane.row_stride, int(d),
                              plane.bias, sums + channel, buffers[p]);
                channel += int(plane.channels);
            }
            if (job.matrix)
                convert(sums[0], sums[1], sums[2], planes[0].scale(), planes[1].scale(), *job.matrix,
                        job.width);
            for (int c = 0; c < 3; ++c) {
                const float* from = sums[grey ? 0 : (job.swap ? 2 - c : c)];
                write(out + ((n * 3 + c) * job.height + d) * job.width, from, scale, job.norm[c],
                      job.width);
            }
        }
    }
}

// As the GPU computes it, pixel by pixel: tests hold the two against each other.
template <typename Out>
void by_pixels(const Job& job, Out* out) {
    struct Channel {
        const u8* pixels;
        i64 frame_stride, row_stride, pixel_stride;
        Axis ys, xs;
        int bias;
    };
    std::vector<Channel> channels;
    for (const Plane& plane : job.planes)
        for (i64 c = 0; c < plane.channels; ++c)
            channels.push_back({plane.pixels + c, plane.frame_stride, plane.row_stride, plane.channels,
                                make_axis(int(plane.height), int(job.height), job.linear),
                                make_axis(int(plane.width), int(job.width), job.linear), plane.bias});
    const i64 area = job.height * job.width;
    for (i64 n = 0; n < job.count; ++n, out += 3 * area)
        for (i64 at = 0; at < area; ++at) {
            float value[3];
            for (int c = 0; c < 3; ++c) {
                const Channel& from = channels[channels.size() == 1 ? 0 : c];
                value[c] = resample(from.pixels + n * from.frame_stride, from.row_stride,
                                    from.pixel_stride, from.ys,
                                    axis_taps(from.ys, int(at / job.width)), from.xs,
                                    axis_taps(from.xs, int(at % job.width)), from.bias) *
                           sum_scale(from.ys, from.xs);
            }
            if (job.matrix) {
                const Rgb rgb = to_rgb(value[0], value[1], value[2], *job.matrix);
                value[0] = rgb.red, value[1] = rgb.green, value[2] = rgb.blue;
            }
            for (int c = 0; c < 3; ++c)
                out[c * area + at] =
                    from_float<Out>(normalise(value[job.swap ? 2 - c : c], job.norm[c]));
        }
}

template <typename Out>
void run(const Job& job, void* out, bool plain) {
    nb::gil_scoped_release release;
    if (plain)
        by_pixels(job, static_cast<Out*>(out));
    else
        by_rows(job, static_cast<Out*>(out));
}

// `planes` is one frame or batch, or the planes of YUV, luminance first; the latter come with
// `colour`: the values of Matrix in their order.
void preprocess(const std::vector<Bytes>& planes,
                nb::ndarray<nb::ndim<4>, nb::c_contig, nb::device::cpu> out, bool linear, bool swap,
                std::optional<std::array<float, 6>> colour, Triple mean, Triple inverse_std,
                bool plain) {
    Job job;
    if (colour) {
        const auto& c = *colour;
        job.matrix = Matrix{int(c[0]), c[1], c[2], c[3], c[4], c[5]};
    }
    for (const Bytes& plane : planes)
        job.planes.push_back({plane.data(), i64(plane.shape(1)), i64(plane.shape(2)),
                              i64(plane.shape(3)), plane.stride(0), plane.stride(1),
                              !colour ? 0 : (job.planes.empty() ? job.matrix->black : GREY)});
    job.linear = linear;
    job.swap = swap;
    for (int c = 0; c < 3; ++c) job.norm[c] = {mean[c], inverse_std[c]};
    job.count = i64(out.shape(0));
    job.height = i64(out.shape(2));
    job.width = i64(out.shape(3));
    switch (out.itemsize()) {  // float32, float16 or uint8: _cpu.py has seen to it
        case 4: run<float>(job, out.data(), plain); break;
        case 2: run<Half>(job, out.data(), plain); break;
        default: run<u8>(job, out.data(), plain);
    }
}

}  // namespace

void bind_preprocess(nb::module_& m) {
    m.def("preprocess", &preprocess, nb::arg("planes"), nb::arg("out").noconvert(), nb::arg("linear"),
          nb::arg("swap"), nb::arg("colour").none(), nb::arg("mean"), nb::arg("inverse_std"),
          nb::arg("plain") = false);
}

}  // namespace matter
