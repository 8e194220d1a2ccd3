// CUDA wrapper of include/preprocess.h: one thread for one output value, one launch for a batch.
#include "../include/preprocess.h"

using namespace matter;

// `frame` is count x height x width x channels with the given strides in bytes, channels side by side;
// `out` is count x 3 x out_height x out_width. Grid: x over pixels of a plane, y over count * 3 planes.
// `swap`: output plane 0 is the frame's channel 2.
extern "C" __global__ void matter_preprocess(const u8* frame, i64 height, i64 width, i64 channels,
                                             i64 frame_stride, i64 row_stride, float* out,
                                             i64 out_height, i64 out_width, int swap, float mean0,
                                             float mean1, float mean2, float inverse0,
                                             float inverse1, float inverse2) {
    const i64 area = out_height * out_width;
    const i64 at = i64(blockIdx.x) * blockDim.x + threadIdx.x;
    if (at >= area) return;
    const int n = blockIdx.y / 3, plane = blockIdx.y % 3;
    const int channel = channels == 1 ? 0 : (swap ? 2 - plane : plane);
    const Norm norm = {plane == 0 ? mean0 : (plane == 1 ? mean1 : mean2),
                       plane == 0 ? inverse0 : (plane == 1 ? inverse1 : inverse2)};
    const Axis ys = make_axis(int(height), int(out_height));
    const Axis xs = make_axis(int(width), int(out_width));
    const float sum = resample(frame + n * frame_stride + channel, row_stride, channels, ys,
                               axis_taps(ys, int(at / out_width)), xs,
                               axis_taps(xs, int(at % out_width)));
    out[blockIdx.y * area + at] = normalise(sum, sum_scale(ys, xs), norm);
}
