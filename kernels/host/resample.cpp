#include "resample.h"

#include "processor.h"
#include "rows.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace matter {

Table::Table(int source, int output, bool linear) : axis(make_axis(source, output, linear)), most(0) {
    taps.reserve(output);
    for (int d = 0; d < output; ++d) {
        taps.push_back(axis_taps(axis, d));
        most = std::max(most, taps.back().count);
    }
    weights.assign(std::size_t(output) * most, 0);
    for (int d = 0; d < output; ++d)
        for (int k = 0; k < taps[d].count; ++k)
            weights[std::size_t(d) * most + k] = tap_weight(axis, taps[d], k);
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

#if defined(__x86_64__)  // for row_of_pairs
MATTER_CLONES void sum_rows(u16* sum, const u8* row, i64 stride, const int* w, int count, i64 n) {
    sum_all(sum, row, stride, w, count, n);
}
#endif

MATTER_CLONES void sum_rows(int* sum, const u8* row, i64 stride, const int* w, int count, i64 n) {
    sum_all(sum, row, stride, w, count, n);
}

// ---- pixels of a row of int sums

// The channels of a pixel are summed together, as one vector of four; what the lanes beyond the
// last channel hold is dropped.
template <int Channels, typename Sum>
MATTER_PART void ints(const int* sums, const Table& xs, Sum bias, float* const* out) {
    typedef int Ints __attribute__((vector_size(16)));
    typedef float Floats __attribute__((vector_size(16)));
    typedef Sum Sums __attribute__((vector_size(4 * sizeof(Sum))));
    const int* w = xs.weights.data();
    const i64 width = i64(xs.taps.size());
    const int most = xs.most;
    float *o0 = out[0], *o1 = Channels > 1 ? out[1] : nullptr, *o2 = Channels > 2 ? out[2] : nullptr;
    for (i64 d = 0; d < width; ++d) {
        const int* p = sums + i64(xs.taps[d].first) * Channels;
        Sums sum = {};
        for (int k = 0; k < most; ++k) {
            Ints pixel;
            __builtin_memcpy(&pixel, p + k * Channels, sizeof pixel);
            sum += Sum(w[k]) * __builtin_convertvector(pixel, Sums);
        }
        w += most;
        const Floats value = __builtin_convertvector(sum - bias, Floats);
        o0[d] = value[0];
        if (Channels > 1) o1[d] = value[1];
        if (Channels > 2) o2[d] = value[2];
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
#define MATTER_AVX2_PART MATTER_AVX2 MATTER_PART

const bool has_pairs = instructions() & AVX2;

MATTER_AVX2_PART __m256i both(__m128i low, __m128i high) {
    return _mm256_inserti128_si256(_mm256_castsi128_si256(low), high, 1);
}

// The vectors of two output pixels: of a row of sums, their channels in the order of the lanes.
template <int Channels>
struct FromSums {
    const u16* sums;
    __m256i order;

    MATTER_AVX2_PART explicit FromSums(const u16* row) : sums(row) {
        alignas(32) signed char bytes[32];
        for (int i = 0; i < 32; ++i) {
            const int lane = i / 4 % 4, pair = lane / lanes_of(Channels), c = lane % lanes_of(Channels);
            const int word = (2 * pair + i / 2 % 2) * Channels + c;
            bytes[i] = c < Channels ? (signed char)(2 * word + i % 2) : -1;
        }
        order = _mm256_load_si256((const __m256i*)bytes);
    }

    MATTER_AVX2_PART void fetch(unsigned) const {}

    MATTER_AVX2_PART __m256i words(unsigned first, unsigned second) const {
        const __m256i words = both(_mm_loadu_si128((const __m128i*)(sums + first)),
                                   _mm_loadu_si128((const __m128i*)(sums + second)));
        return Channels == 1 ? words : _mm256_shuffle_epi8(words, order);
    }
};

// The same of two source rows, which are summed where the output needs them. It reads eight bytes from
// a pixel on, at the last one into the row that follows.
template <int Channels>
struct FromRows {
    const u8 *upper, *lower;
    i64 ahead;  // to the rows that the next row of the output needs
    __m256i order, weights;

    MATTER_AVX2_PART FromRows(const u8* top, const u8* bottom, const int* w, i64 next)
        : upper(top), lower(bottom), ahead(next), weights(_mm256_set1_epi16(short(w[0] | w[1] << 8))) {
        alignas(32) signed char bytes[32];
        for (int i = 0; i < 32; ++i) {
            const int c = i / 4 % 4, byte = i / 2 % 2 * Channels + c;
            bytes[i] = c < Channels ? (signed char)(byte + i % 2 * 8) : -1;
        }
        order = _mm256_load_si256((const __m256i*)bytes);
    }

    MATTER_AVX2_PART __m128i bytes(unsigned at) const {
        const __m128i low = _mm_loadl_epi64((const __m128i*)(upper + at));
        return _mm_castps_si128(_mm_loadh_pi(_mm_castsi128_ps(low), (const __m64*)(lower + at)));
    }

    MATTER_AVX2_PART void fetch(unsigned at) const {
        __builtin_prefetch(upper + ahead + at);
        __builtin_prefetch(lower + ahead + at);
    }

    MATTER_AVX2_PART __m256i words(unsigned first, unsigned second) const {
        const __m256i pairs = _mm256_shuffle_epi8(both(bytes(first), bytes(second)), order);
        return _mm256_maddubs_epi16(pairs, weights);
    }
};

// What pairs() needs besides the row: see Resampler.
struct Pairs {
    const unsigned* first;
    const short* weights;
    int steps, width, bias;
};

// Steps is `given.steps`, or 0 for any number.
template <int Channels, int Steps, typename Row>
MATTER_AVX2_PART void pairs(const Row& row, const Pairs& given, float* const* out) {
    constexpr int kept = Channels < 3 ? Channels : 3;
    float* const planes[3] = {out[0], out[kept > 1 ? 1 : 0], out[kept > 2 ? 2 : 0]};
    const __m256i bias = _mm256_set1_epi32(given.bias);
    const unsigned* first = given.first;
    const short* weights = given.weights;
    const int steps = Steps ? Steps : given.steps;
    for (int d = 0; d < given.width; d += 8, first += 8) {
        __m256i sum[4];
#pragma GCC unroll 4
        for (int k = 0; k < 4; ++k) {  // pixels d + k and d + 4 + k
            unsigned low = first[k], high = first[4 + k];
            if (k % 2 == 0) row.fetch(low), row.fetch(high);
            sum[k] = _mm256_setzero_si256();
#pragma GCC unroll 3
            for (int s = 0; s < steps; ++s, weights += 16) {
                const __m256i w = _mm256_loadu_si256((const __m256i*)weights);
                sum[k] = _mm256_add_epi32(sum[k], _mm256_madd_epi16(row.words(low, high), w));
                low += taps_of(Channels) * Channels;
                high += taps_of(Channels) * Channels;
            }
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
#pragma GCC unroll 3
        for (int c = 0; c < kept; ++c)
            _mm256_storeu_ps(planes[c] + d, _mm256_cvtepi32_ps(_mm256_sub_epi32(lane[c], bias)));
    }
}

template <int Channels>
MATTER_AVX2 void pairs_of_sums(const u16* sums, const Pairs& given, float* const* out) {
    const FromSums<Channels> row(sums);
    switch (given.steps) {
        case 1: pairs<Channels, 1>(row, given, out); break;
        case 2: pairs<Channels, 2>(row, given, out); break;
        case 3: pairs<Channels, 3>(row, given, out); break;
        default: pairs<Channels, 0>(row, given, out);
    }
}

template <int Channels>
MATTER_AVX2 void pairs_of_rows(const u8* upper, const u8* lower, const int* w, i64 next,
                               const Pairs& given, float* const* out) {
    pairs<Channels, 1>(FromRows<Channels>(upper, lower, w, next), given, out);
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
    // Where whole rows would be summed for less than half of their pixels; weights fit 8 bits.
    sparse_ = channels >= 3 && linear && xs_.axis.output > 2 * xs_.axis.source &&
              ys_.axis.total < 128 && width * channels >= 8;
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
                vector[2 * (pair * lanes + c) + j % 2] = short(xs_.of(d)[j]);
        }
    }
}

// Beyond the last pixel is padding, which is read with weights of zero.
Resampler::Buffer Resampler::buffer() const {
    const std::size_t values = (std::size_t(xs_.axis.length) + xs_.most) * channels_ + 16;
    Buffer buffer;
    if (words_)
        buffer.words.resize(values);
    else
        buffer.ints.resize(values);
    return buffer;
}

#if defined(__x86_64__)
bool Resampler::row_of_pairs(const u8* pixels, i64 row_stride, int index, int bias, float* const* out,
                             u16* sums) const {
    if (!words_) return false;
    const Taps& y = ys_.taps[index];
    const int* w = ys_.of(index);
    const u8* top = pixels + y.first * row_stride;
    const i64 values = i64(xs_.axis.length) * channels_;
    const Pairs given = {first_.data(), pairs_.data(), steps_, int(xs_.taps.size()),
                         bias * ys_.axis.total * xs_.axis.total};
    // Rows with another row on both sides, one of which follows in memory.
    const bool inside = y.first > 0 && y.first + y.count < ys_.axis.length &&
                        (row_stride >= values || row_stride <= -values);
    if (sparse_ && inside) {
        const int two[2] = {w[0], y.count > 1 ? w[1] : 0};
        const u8* bottom = y.count > 1 ? top + row_stride : top;
        const int below = std::min(index + 1, int(ys_.taps.size()) - 1);
        const i64 next = (ys_.taps[below].first - y.first) * row_stride;
        (channels_ == 3 ? pairs_of_rows<3> : pairs_of_rows<4>)(top, bottom, two, next, given, out);
        return true;
    }
    sum_rows(sums, top, row_stride, w, y.count, values);
    switch (channels_) {
        case 1: pairs_of_sums<1>(sums, given, out); break;
        case 2: pairs_of_sums<2>(sums, given, out); break;
        case 3: pairs_of_sums<3>(sums, given, out); break;
        default: pairs_of_sums<4>(sums, given, out);
    }
    return true;
}
#else
bool Resampler::row_of_pairs(const u8*, i64, int, int, float* const*, u16*) const { return false; }
#endif

void Resampler::row(const u8* pixels, i64 row_stride, int index, int bias, float* const* out,
                    Buffer& buffer) const {
    if (row_of_pairs(pixels, row_stride, index, bias, out, buffer.words.data())) return;
    const Taps& y = ys_.taps[index];
    int* sums = buffer.ints.data();
    sum_rows(sums, pixels + y.first * row_stride, row_stride, ys_.of(index), y.count,
             i64(xs_.axis.length) * channels_);
    if (fits_int(ys_.axis, xs_.axis))
        ints_row(channels_, sums, xs_, bias * ys_.axis.total * xs_.axis.total, out);
    else
        wide_row(channels_, sums, xs_, bias * i64(ys_.axis.total) * xs_.axis.total, out);
}

}  // namespace matter
