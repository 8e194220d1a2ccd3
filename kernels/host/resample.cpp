#include "resample.h"

#include "rows.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace matter {

Table::Table(int source, int output, bool linear) : axis(make_axis(source, output, linear)), most(0) {
    taps.reserve(output);
    begin.reserve(output);
    for (int d = 0; d < output; ++d) {
        taps.push_back(axis_taps(axis, d));
        begin.push_back(int(weights.size()));
        for (int k = 0; k < taps.back().count; ++k)
            weights.push_back(tap_weight(axis, taps.back(), k));
        most = std::max(most, taps.back().count);
    }
}

namespace {

using u16 = unsigned short;

// ---- columns: weighted sum of rows that lie `stride` bytes apart

template <int Rows, bool Add, typename Sum>
MATTER_PART void sum_group(Sum* sum, const u8* row, i64 stride, const int* w, i64 n) {
    for (i64 i = 0; i < n; ++i) {
        Sum total = Add ? sum[i] : Sum(0);
        for (int k = 0; k < Rows; ++k) total = Sum(total + Sum(Sum(w[k]) * row[k * stride + i]));
        sum[i] = total;
    }
}

template <bool Add, typename Sum>
MATTER_PART void sum_some(Sum* sum, const u8* row, i64 stride, const int* w, int count, i64 n) {
    switch (count) {
        case 1: sum_group<1, Add>(sum, row, stride, w, n); break;
        case 2: sum_group<2, Add>(sum, row, stride, w, n); break;
        case 3: sum_group<3, Add>(sum, row, stride, w, n); break;
        case 4: sum_group<4, Add>(sum, row, stride, w, n); break;
        default: sum_group<5, Add>(sum, row, stride, w, n);
    }
}

template <typename Sum>
MATTER_PART void sum_all(Sum* sum, const u8* row, i64 stride, const int* w, int count, i64 n) {
    sum_some<false>(sum, row, stride, w, std::min(count, 5), n);
    for (int k = 5; k < count; k += 5)
        sum_some<true>(sum, row + k * stride, stride, w + k, std::min(count - k, 5), n);
}

MATTER_CLONES void sum_rows(u16* sum, const u8* row, i64 stride, const int* w, int count, i64 n) {
    sum_all(sum, row, stride, w, count, n);
}

MATTER_CLONES void sum_rows(int* sum, const u8* row, i64 stride, const int* w, int count, i64 n) {
    sum_all(sum, row, stride, w, count, n);
}

// ---- pixels of a row of int sums

// The channels of a pixel are summed together, as one vector of four; what the lanes beyond the
// last channel hold is dropped.
template <int Channels, typename Sum>
MATTER_PART void ints(const int* sums, const Table& xs, Sum bias, float* const* out) {
    typedef int Ints __attribute__((vector_size(16)));
    typedef Sum Sums __attribute__((vector_size(4 * sizeof(Sum))));
    const int* w = xs.weights.data();
    const i64 width = i64(xs.taps.size());
    for (i64 d = 0; d < width; ++d) {
        const int* p = sums + i64(xs.taps[d].first) * Channels;
        const int count = xs.taps[d].count;
        Sums sum = {};
        for (int k = 0; k < count; ++k) {
            Ints pixel;
            __builtin_memcpy(&pixel, p + k * Channels, sizeof pixel);
            sum += Sum(w[k]) * __builtin_convertvector(pixel, Sums);
        }
        w += count;
        for (int c = 0; c < (Channels < 3 ? Channels : 3); ++c) out[c][d] = float(sum[c] - bias);
    }
}

template <typename Sum>
MATTER_PART void ints_of(int channels, const int* sums, const Table& xs, Sum bias, float* const* out) {
    switch (channels) {
        case 1: ints<1>(sums, xs, bias, out); break;
        case 2: ints<2>(sums, xs, bias, out); break;
        case 3: ints<3>(sums, xs, bias, out); break;
        default: ints<4>(sums, xs, bias, out);
    }
}

MATTER_CLONES void ints_row(int channels, const int* sums, const Table& xs, int bias,
                            float* const* out) {
    ints_of(channels, sums, xs, bias, out);
}

MATTER_CLONES void wide_row(int channels, const int* sums, const Table& xs, i64 bias,
                            float* const* out) {
    ints_of(channels, sums, xs, bias, out);
}

// ---- pixels of a row of 16-bit sums

// A vector of eight words holds a pair of taps in each of its four lanes: lane `pair * channels + c`
// has taps 2 * pair and 2 * pair + 1 of channel c. (Of three channels the fourth lane is dropped.)
constexpr int lanes_of(int channels) { return channels == 3 ? 4 : channels; }
constexpr int taps_of(int channels) { return 8 / lanes_of(channels); }

#if defined(__x86_64__)
#define MATTER_AVX2 __attribute__((target("avx2")))

const bool has_pairs = __builtin_cpu_supports("avx2");

template <int Channels>
MATTER_AVX2 MATTER_PART __m256i word_order() {
    alignas(32) signed char order[32];
    for (int i = 0; i < 16; ++i) {
        const int lane = i / 4, pair = lane / lanes_of(Channels), c = lane % lanes_of(Channels);
        const int word = (2 * pair + i / 2 % 2) * Channels + c;
        order[i] = order[i + 16] = c < Channels ? (signed char)(2 * word + i % 2) : -1;
    }
    return _mm256_load_si256((const __m256i*)order);
}

template <int Channels, int Steps>
MATTER_AVX2 MATTER_PART void pairs_steps(const u16* sums, const unsigned* first, const short* weights, int some,
                           int width, int bias, float* const* out) {
    const __m256i shuffle = word_order<Channels>();
    const __m256i below = _mm256_set1_epi32(bias);
    const int steps = Steps ? Steps : some;
    float *o0 = out[0], *o1 = Channels > 1 ? out[1] : nullptr, *o2 = Channels > 2 ? out[2] : nullptr;
    for (int d = 0; d < width; d += 8, first += 8) {
        __m256i sum[4];
#pragma GCC unroll 4
        for (int k = 0; k < 4; ++k) {  // pixels d + k and d + 4 + k
            const u16 *p = sums + first[k], *q = sums + first[4 + k];
            __m256i total = _mm256_setzero_si256();
#pragma GCC unroll 4
            for (int s = 0; s < steps; ++s, weights += 16) {
                __m256i words = _mm256_inserti128_si256(
                    _mm256_castsi128_si256(_mm_loadu_si128((const __m128i*)p)),
                    _mm_loadu_si128((const __m128i*)q), 1);
                if (Channels > 1) words = _mm256_shuffle_epi8(words, shuffle);
                const __m256i products = _mm256_madd_epi16(words, _mm256_loadu_si256((const __m256i*)weights));
                total = s == 0 ? products : _mm256_add_epi32(total, products);
                p += taps_of(Channels) * Channels;
                q += taps_of(Channels) * Channels;
            }
            sum[k] = total;
        }
        // Transposed: one vector for each lane, with the pixels in their order.
        const __m256i a = _mm256_unpacklo_epi32(sum[0], sum[1]);
        const __m256i b = _mm256_unpacklo_epi32(sum[2], sum[3]);
        const __m256i e = _mm256_unpackhi_epi32(sum[0], sum[1]);
        const __m256i f = _mm256_unpackhi_epi32(sum[2], sum[3]);
        __m256i lane[4] = {_mm256_unpacklo_epi64(a, b), _mm256_unpackhi_epi64(a, b),
                           _mm256_unpacklo_epi64(e, f), _mm256_unpackhi_epi64(e, f)};
        if (Channels < 3) {
            lane[0] = _mm256_add_epi32(lane[0], lane[2]);
            lane[1] = _mm256_add_epi32(lane[1], lane[3]);
        }
        if (Channels < 2) lane[0] = _mm256_add_epi32(lane[0], lane[1]);
        _mm256_storeu_ps(o0 + d, _mm256_cvtepi32_ps(_mm256_sub_epi32(lane[0], below)));
        if (Channels > 1) _mm256_storeu_ps(o1 + d, _mm256_cvtepi32_ps(_mm256_sub_epi32(lane[1], below)));
        if (Channels > 2) _mm256_storeu_ps(o2 + d, _mm256_cvtepi32_ps(_mm256_sub_epi32(lane[2], below)));
    }
}
template <int Channels>
MATTER_AVX2 void pairs_row(const u16* sums, const unsigned* first, const short* weights, int steps,
                           int width, int bias, float* const* out) {
 switch(steps){
  case 1: pairs_steps<Channels,1>(sums,first,weights,steps,width,bias,out); break;
  case 2: pairs_steps<Channels,2>(sums,first,weights,steps,width,bias,out); break;
  case 3: pairs_steps<Channels,3>(sums,first,weights,steps,width,bias,out); break;
  default: pairs_steps<Channels,0>(sums,first,weights,steps,width,bias,out); break;
}
}
#else
const bool has_pairs = false;
#endif

}  // namespace

Resampler::Resampler(int height, int width, int channels, int out_height, int out_width, bool linear)
    : ys_(height, out_height, linear), xs_(width, out_width, linear), channels_(channels) {
    words_ = has_pairs && 255 * ys_.axis.total <= 32767 && xs_.axis.total <= 32767 &&
             fits_int(ys_.axis, xs_.axis);
    if (!words_) return;
    const int taps = taps_of(channels), lanes = lanes_of(channels), pixels = padded(out_width);
    steps_ = (xs_.most + taps - 1) / taps;
    first_.assign(pixels, 0);
    pairs_.assign(std::size_t(pixels) * steps_ * 8, 0);
    for (int d = 0; d < out_width; ++d) {
        first_[d] = xs_.taps[d].first * channels;
        const int place = d / 8 * 8 + d % 4 * 2 + d / 4 % 2;  // pixels d and d + 4 share a vector
        for (int j = 0; j < xs_.taps[d].count; ++j) {
            const int step = j / taps, pair = j % taps / 2;
            short* vector =
                &pairs_[((std::size_t(place / 2) * steps_ + step) * 2 + place % 2) * 8];
            for (int c = 0; c < lanes; ++c)
                vector[2 * (pair * lanes + c) + j % 2] = short(xs_.weights[xs_.begin[d] + j]);
        }
    }
}

// Beyond the last pixel whole vectors are read: of padding, with weights of zero.
Resampler::Buffer Resampler::buffer() const {
    const std::size_t values = std::size_t(xs_.axis.length) * channels_ + 8;
    Buffer buffer;
    if (words_)
        buffer.words.resize(values + std::size_t(steps_) * 8);
    else
        buffer.ints.resize(values);
    return buffer;
}

void Resampler::row_of_words(const u16* sums, int bias, float* const* out) const {
#if defined(__x86_64__)
    const auto row = channels_ == 1   ? pairs_row<1>
                     : channels_ == 2 ? pairs_row<2>
                     : channels_ == 3 ? pairs_row<3>
                                      : pairs_row<4>;
    row(sums, first_.data(), pairs_.data(), steps_, int(xs_.taps.size()),
        bias * ys_.axis.total * xs_.axis.total, out);
#else
    (void)sums, (void)bias, (void)out;
#endif
}

void Resampler::row_of_ints(const int* sums, int bias, float* const* out) const {
    if (fits_int(ys_.axis, xs_.axis))
        ints_row(channels_, sums, xs_, bias * ys_.axis.total * xs_.axis.total, out);
    else
        wide_row(channels_, sums, xs_, bias * i64(ys_.axis.total) * xs_.axis.total, out);
}

void Resampler::row(const u8* pixels, i64 row_stride, int index, int bias, float* const* out,
                    Buffer& buffer) const {
    const Taps& y = ys_.taps[index];
    const int* w = &ys_.weights[ys_.begin[index]];
    const u8* top = pixels + y.first * row_stride;
    const i64 values = i64(xs_.axis.length) * channels_;
    if (words_) {
        sum_rows(buffer.words.data(), top, row_stride, w, y.count, values);
        row_of_words(buffer.words.data(), bias, out);
    } else {
        sum_rows(buffer.ints.data(), top, row_stride, w, y.count, values);
        row_of_ints(buffer.ints.data(), bias, out);
    }
}

}  // namespace matter
