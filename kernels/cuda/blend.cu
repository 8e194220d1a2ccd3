// CUDA wrapper of include/blend.h: one thread for four pixels, or for 8x2 of a frame in planes, so that
// whole words are read and written. Rows that do not lie on word boundaries, and the last pixels of a
// row, go value by value.
#include "../include/blend.h"
#include "../include/wide.h"

using namespace matter;

namespace {

// Three values; those from `first` on are repeated, `samples` by `samples`.
struct Colour {
    float value[3];
};

template <class T, int N>
__device__ void fill(Pack<T, N>& pack, const Colour& colour, int first, int samples) {
    for (int i = 0; i < N; ++i) pack.value[i] = T(colour.value[first + i % samples]);
}

// Frames of rows of pixels with three channels; strides in elements.
template <class T>
struct Images {
    const T* data;  // null: a colour
    i64 frame, row;
};

struct Straight {
    __device__ u8 operator()(u8 foreground, u8 background, float alpha) const {
        return blend(foreground, background, weight(alpha));
    }
    __device__ float operator()(float foreground, float background, float alpha) const {
        return blend(foreground, background, alpha);
    }
};

struct Premultiplied {
    __device__ u8 operator()(u8 foreground, u8 background, float alpha) const {
        return blend_premultiplied(foreground, background, weight(alpha));
    }
    __device__ float operator()(float foreground, float background, float alpha) const {
        return blend_premultiplied(foreground, background, alpha);
    }
};

struct Linear {
    Curve curve;
    __device__ u8 operator()(u8 foreground, u8 background, float alpha) const {
        return encode(blend_light(foreground, background, alpha, curve), curve);
    }
};

// Grid: x over groups of four pixels, y over the batch.
template <class T, class Mix>
__device__ void four_pixels(const Images<T>& foreground, const Images<T>& background,
                            const Colour& colour, const Images<float>& alpha, T* out, i64 height,
                            i64 width, const Mix& mix) {
    const unsigned int groups = (unsigned int)((width + 3) / 4);
    const unsigned int at = blockIdx.x * blockDim.x + threadIdx.x;
    if (at / groups >= height) return;
    const i64 n = blockIdx.y, y = at / groups, x = 4 * i64(at % groups);
    const int count = int(width - x < 4 ? width - x : 4);
    Pack<T, 12> front, back;
    Pack<float, 4> weights;
    load(front, foreground.data + n * foreground.frame + y * foreground.row + 3 * x, 3 * count);
    if (background.data)
        load(back, background.data + n * background.frame + y * background.row + 3 * x, 3 * count);
    else
        fill(back, colour, 0, 3);
    load(weights, alpha.data + n * alpha.frame + y * alpha.row + x, count);
    for (int i = 0; i < 12; ++i)
        front.value[i] = mix(front.value[i], back.value[i], unit(weights.value[i / 3]));
    store(out + ((n * height + y) * width + x) * 3, front, 3 * count);
}

}  // namespace

// The background's frame stride is 0 where one image serves the whole batch; its address is null where
// it is the colour of three values that follow. `out` is contiguous.
extern "C" __global__ void matter_alpha_blend(const u8* foreground, i64 foreground_frame,
                                              i64 foreground_row, const u8* background,
                                              i64 background_frame, i64 background_row, float colour0,
                                              float colour1, float colour2, const float* alpha,
                                              i64 alpha_frame, i64 alpha_row, u8* out, i64 height,
                                              i64 width, int premultiplied) {
    const Images<u8> front = {foreground, foreground_frame, foreground_row};
    const Images<u8> back = {background, background_frame, background_row};
    const Images<float> matte = {alpha, alpha_frame, alpha_row};
    const Colour colour = {{colour0, colour1, colour2}};
    if (premultiplied)
        four_pixels(front, back, colour, matte, out, height, width, Premultiplied());
    else
        four_pixels(front, back, colour, matte, out, height, width, Straight());
}

extern "C" __global__ void matter_alpha_blend_float(
    const float* foreground, i64 foreground_frame, i64 foreground_row, const float* background,
    i64 background_frame, i64 background_row, float colour0, float colour1, float colour2,
    const float* alpha, i64 alpha_frame, i64 alpha_row, float* out, i64 height, i64 width,
    int premultiplied) {
    const Images<float> front = {foreground, foreground_frame, foreground_row};
    const Images<float> back = {background, background_frame, background_row};
    const Images<float> matte = {alpha, alpha_frame, alpha_row};
    const Colour colour = {{colour0, colour1, colour2}};
    if (premultiplied)
        four_pixels(front, back, colour, matte, out, height, width, Premultiplied());
    else
        four_pixels(front, back, colour, matte, out, height, width, Straight());
}

extern "C" __global__ void matter_alpha_blend_linear(
    const u8* foreground, i64 foreground_frame, i64 foreground_row, const u8* background,
    i64 background_frame, i64 background_row, float colour0, float colour1, float colour2,
    const float* alpha, i64 alpha_frame, i64 alpha_row, u8* out, i64 height, i64 width,
    const float* light, const u8* codes, const float* steps) {
    const Images<u8> front = {foreground, foreground_frame, foreground_row};
    const Images<u8> back = {background, background_frame, background_row};
    const Images<float> matte = {alpha, alpha_frame, alpha_row};
    const Colour colour = {{colour0, colour1, colour2}};
    four_pixels(front, back, colour, matte, out, height, width, Linear{{light, codes, steps}});
}

namespace {

// One plane of the frame: where this thread's N samples are, in the foreground, the background (null: a
// colour, from its value `first` on) and the result.
template <int N>
__device__ void plane(const u8* foreground, const u8* background, const Colour& colour, int first,
                      int samples, const short* weights, u8* out, int count) {
    Pack<u8, N> front, back;
    load(front, foreground, count);
    if (background)
        load(back, background, count);
    else
        fill(back, colour, first, samples);
    for (int i = 0; i < N; ++i)
        front.value[i] = blend(front.value[i], back.value[i], weights[i / samples]);
    store(out, front, count);
}

}  // namespace

// Planes y, u, v; or y and uv, with `v` of each null. Rows of the result follow one another. The colour
// is in Y, U and V. Grid: x over groups of 8x2 pixels.
extern "C" __global__ void matter_alpha_blend_planes(
    const u8* foreground_y, int foreground_y_row, const u8* foreground_u, int foreground_u_row,
    const u8* foreground_v, int foreground_v_row, const u8* background_y, int background_y_row,
    const u8* background_u, int background_u_row, const u8* background_v, int background_v_row,
    float colour0, float colour1, float colour2, const float* alpha, i64 alpha_row, u8* out_y,
    u8* out_u, u8* out_v, i64 height, i64 width) {
    const unsigned int groups = (unsigned int)((width + 7) / 8);
    const unsigned int at = blockIdx.x * blockDim.x + threadIdx.x;
    if (at / groups >= (height + 1) / 2) return;
    const i64 pair = at / groups, x = 8 * i64(at % groups);
    const int count = int(width - x < 8 ? width - x : 8), blocks = (count + 1) / 2;
    const Colour colour = {{colour0, colour1, colour2}};
    short weights[2][8], halves[4];
    // Of an odd last row or column, the pixels count twice.
    for (int k = 0; k < 2; ++k) {
        const i64 y = 2 * pair + k < height ? 2 * pair + k : height - 1;
        Pack<float, 8> units;
        load(units, alpha + y * alpha_row + x, count);
        for (int i = 0; i < 8; ++i)
            weights[k][i] = i < count ? weight(unit(units.value[i])) : weights[k][i - 1];
    }
    for (int k = 0; k < 2 && 2 * pair + k < height; ++k) {
        const i64 y = 2 * pair + k;
        plane<8>(foreground_y + y * foreground_y_row + x,
                 background_y ? background_y + y * background_y_row + x : nullptr, colour, 0, 1,
                 weights[k], out_y + y * width + x, count);
    }
    for (int i = 0; i < 4; ++i)
        halves[i] = mean(weights[0][2 * i], weights[0][2 * i + 1], weights[1][2 * i],
                         weights[1][2 * i + 1]);
    const i64 half_width = (width + 1) / 2;
    if (foreground_v == nullptr) {
        plane<8>(foreground_u + pair * foreground_u_row + x,
                 background_u ? background_u + pair * background_u_row + x : nullptr, colour, 1, 2,
                 halves, out_u + 2 * pair * half_width + x, 2 * blocks);
        return;
    }
    plane<4>(foreground_u + pair * foreground_u_row + x / 2,
             background_u ? background_u + pair * background_u_row + x / 2 : nullptr, colour, 1, 1,
             halves, out_u + pair * half_width + x / 2, blocks);
    plane<4>(foreground_v + pair * foreground_v_row + x / 2,
             background_v ? background_v + pair * background_v_row + x / 2 : nullptr, colour, 2, 1,
             halves, out_v + pair * half_width + x / 2, blocks);
}
