// CPU wrapper of include/preprocess.h: the same sums, arranged by rows so that they vectorise.
#include "host.h"

#include <vector>

#include "../include/preprocess.h"
#include "rows.h"

namespace matter {
namespace {

// Taps and weights of a whole axis.
struct Table {
    Axis axis;
    std::vector<Taps> taps;
    std::vector<int> begin;  // where the weights of an output pixel begin
    std::vector<float> weights;

    Table(int source, int output) : axis(make_axis(source, output)) {
        taps.reserve(output);
        begin.reserve(output);
        for (int d = 0; d < output; ++d) {
            taps.push_back(axis_taps(axis, d));
            begin.push_back(int(weights.size()));
            for (int k = 0; k < taps.back().count; ++k)
                weights.push_back(axis_weight(axis, taps.back(), k));
        }
    }
};

// Weighted sum of rows; `stride` bytes lie between them. Sums run from the first row to the last.
MATTER_CLONES void sum1(float* sum, const u8* r0, i64, const float* w, i64 n) {
    const float w0 = w[0];
    for (i64 i = 0; i < n; ++i) sum[i] = w0 * float(r0[i]);
}

MATTER_CLONES void sum2(float* sum, const u8* r0, i64 stride, const float* w, i64 n) {
    const u8* r1 = r0 + stride;
    const float w0 = w[0], w1 = w[1];
    for (i64 i = 0; i < n; ++i) sum[i] = w0 * float(r0[i]) + w1 * float(r1[i]);
}

MATTER_CLONES void sum3(float* sum, const u8* r0, i64 stride, const float* w, i64 n) {
    const u8 *r1 = r0 + stride, *r2 = r1 + stride;
    const float w0 = w[0], w1 = w[1], w2 = w[2];
    for (i64 i = 0; i < n; ++i)
        sum[i] = w0 * float(r0[i]) + w1 * float(r1[i]) + w2 * float(r2[i]);
}

MATTER_CLONES void sum4(float* sum, const u8* r0, i64 stride, const float* w, i64 n) {
    const u8 *r1 = r0 + stride, *r2 = r1 + stride, *r3 = r2 + stride;
    const float w0 = w[0], w1 = w[1], w2 = w[2], w3 = w[3];
    for (i64 i = 0; i < n; ++i)
        sum[i] = w0 * float(r0[i]) + w1 * float(r1[i]) + w2 * float(r2[i]) + w3 * float(r3[i]);
}

MATTER_CLONES void add1(float* sum, const u8* r0, const float* w, i64 n) {
    const float w0 = w[0];
    for (i64 i = 0; i < n; ++i) sum[i] += w0 * float(r0[i]);
}

void sum_rows(float* sum, const u8* row, i64 stride, const float* w, int count, i64 n) {
    switch (std::min(count, 4)) {
        case 1: sum1(sum, row, stride, w, n); break;
        case 2: sum2(sum, row, stride, w, n); break;
        case 3: sum3(sum, row, stride, w, n); break;
        default: sum4(sum, row, stride, w, n);
    }
    for (int k = 4; k < count; ++k) add1(sum, row + k * stride, w + k, n);
}

// The channels of a pixel are summed together, as one vector of four (of three channels the fourth
// lane holds the next pixel's first, which is dropped).
typedef float Four __attribute__((vector_size(16)));

MATTER_PART Four load4(const float* p) {
    Four v;
    __builtin_memcpy(&v, p, sizeof v);
    return v;
}

struct Planes {
    float* out[3];  // row of the plane that takes channel 0, 1, 2 of the frame
    Four mean;
    Four inverse_std;
    float scale;
};

template <int Channels>
MATTER_PART void row_of_pixels(const float* sums, const Taps* taps, const float* w, i64 width,
                          const Planes& planes) {
    float *o0 = planes.out[0], *o1 = planes.out[1], *o2 = planes.out[2];
    const Four mean = planes.mean, inverse_std = planes.inverse_std;
    const float scale = planes.scale;
    for (i64 d = 0; d < width; ++d) {
        const float* p = sums + i64(taps[d].first) * Channels;
        const int count = taps[d].count;
        Four sum = w[0] * load4(p);
        for (int k = 1; k < count; ++k) sum += w[k] * load4(p + k * Channels);
        w += count;
        const Four x = (sum * scale - mean) * inverse_std;  // normalise(), four lanes at once
        o0[d] = x[0];
        o1[d] = x[1];
        o2[d] = x[2];
    }
}

MATTER_CLONES void row3(const float* sums, const Taps* taps, const float* w, i64 width,
                        const Planes& planes) {
    row_of_pixels<3>(sums, taps, w, width, planes);
}

MATTER_CLONES void row4(const float* sums, const Taps* taps, const float* w, i64 width,
                        const Planes& planes) {
    row_of_pixels<4>(sums, taps, w, width, planes);
}

MATTER_CLONES void row1(const float* sums, const Taps* taps, const float* w, i64 width,
                        const Planes& planes) {
    for (i64 d = 0; d < width; ++d) {
        const float* p = sums + taps[d].first;
        float sum = w[0] * p[0];
        for (int k = 1; k < taps[d].count; ++k) sum += w[k] * p[k];
        w += taps[d].count;
        for (int c = 0; c < 3; ++c)
            planes.out[c][d] = normalise(sum, planes.scale, {planes.mean[c], planes.inverse_std[c]});
    }
}

struct Job {
    const u8* frame;
    i64 count, height, width, channels;    // of the frames
    i64 frame_stride, row_stride;          // in bytes
    float* out;
    i64 out_height, out_width;
    int plane[3];                          // output plane of channel 0, 1, 2 of the frame
    Norm norm[3];                          // by output plane
};

void by_rows(const Job& job) {
    const Table ys(int(job.height), int(job.out_height)), xs(int(job.width), int(job.out_width));
    const i64 row_values = job.width * job.channels, area = job.out_height * job.out_width;
    const i64 rows = job.count * job.out_height;
    const float scale = sum_scale(ys.axis, xs.axis);
    const int threads = threads_for(job.count * job.height * job.width);
#pragma omp parallel num_threads(threads) if (threads > 1)
    {
        std::vector<float> sums(row_values + 4);  // four lanes may be read at the last pixel
#pragma omp for schedule(static)
        for (i64 row = 0; row < rows; ++row) {
            const i64 n = row / job.out_height, d = row % job.out_height;
            const Taps& y = ys.taps[d];
            sum_rows(sums.data(), job.frame + n * job.frame_stride + y.first * job.row_stride,
                     job.row_stride, &ys.weights[ys.begin[d]], y.count, row_values);
            Planes planes;
            planes.scale = scale;
            planes.mean = planes.inverse_std = Four{};
            for (int c = 0; c < 3; ++c) {
                const int plane = job.plane[c];
                planes.out[c] = job.out + (n * 3 + plane) * area + d * job.out_width;
                planes.mean[c] = job.norm[plane].mean;
                planes.inverse_std[c] = job.norm[plane].inverse_std;
            }
            const auto write = job.channels == 3 ? row3 : job.channels == 4 ? row4 : row1;
            write(sums.data(), xs.taps.data(), xs.weights.data(), job.out_width, planes);
        }
    }
}

// As the GPU computes it, pixel by pixel: tests hold the two against each other.
void by_pixels(const Job& job) {
    const Axis ys = make_axis(int(job.height), int(job.out_height));
    const Axis xs = make_axis(int(job.width), int(job.out_width));
    const float scale = sum_scale(ys, xs);
    float* out = job.out;
    for (i64 n = 0; n < job.count; ++n)
        for (int plane = 0; plane < 3; ++plane) {
            int channel = 0;
            if (job.channels != 1)
                while (job.plane[channel] != plane) ++channel;
            const u8* pixels = job.frame + n * job.frame_stride + channel;
            for (i64 y = 0; y < job.out_height; ++y)
                for (i64 x = 0; x < job.out_width; ++x)
                    *out++ = normalise(resample(pixels, job.row_stride, job.channels, ys,
                                                axis_taps(ys, int(y)), xs, axis_taps(xs, int(x))),
                                       scale, job.norm[plane]);
        }
}

void preprocess(Bytes frame, Floats out, bool swap, Triple mean, Triple inverse_std, bool plain) {
    Job job;
    job.frame = frame.data();
    job.count = i64(frame.shape(0));
    job.height = i64(frame.shape(1));
    job.width = i64(frame.shape(2));
    job.channels = i64(frame.shape(3));
    job.frame_stride = frame.stride(0);
    job.row_stride = frame.stride(1);
    job.out = out.data();
    job.out_height = i64(out.shape(2));
    job.out_width = i64(out.shape(3));
    for (int c = 0; c < 3; ++c) {
        job.plane[c] = swap ? 2 - c : c;
        job.norm[c] = {mean[c], inverse_std[c]};
    }
    nb::gil_scoped_release release;
    if (plain)
        by_pixels(job);
    else
        by_rows(job);
}

}  // namespace

void bind_preprocess(nb::module_& m) {
    m.def("preprocess", &preprocess, nb::arg("frame").noconvert(), nb::arg("out").noconvert(),
          nb::arg("swap"), nb::arg("mean"), nb::arg("inverse_std"), nb::arg("plain") = false);
}

}  // namespace matter
