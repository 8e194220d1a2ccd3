// Planes of 8-bit pixels, resampled row by row: the sums of include/resample.h, arranged so that they
// vectorise. Columns are summed into one row of integers, and its pixels into those of the output.
#pragma once

#include <vector>

#include "../include/resample.h"

namespace matter {

// Taps and weights of a whole axis.
struct Table {
    Axis axis;
    std::vector<Taps> taps;
    int most;                  // taps of the output pixel that has the most
    std::vector<int> weights;  // so many for each output pixel, with zeros after its last

    Table(int source, int output, bool linear);
    const int* of(int index) const { return &weights[std::size_t(index) * most]; }
};

class Resampler {
public:
    // `channels` of a pixel lie side by side: 1 to 4, of which the first three are resampled.
    Resampler(int height, int width, int channels, int out_height, int out_width, bool linear);

    // Room for one thread.
    struct Buffer {
        std::vector<unsigned short> words;
        std::vector<int> ints;
    };
    Buffer buffer() const;

    // Row `index` of the output, a row for each channel, as resample() gives it. The rows of `out`
    // have room for padded(out_width) values.
    void row(const u8* pixels, i64 row_stride, int index, int bias, float* const* out,
             Buffer& buffer) const;

    static int padded(int width) { return (width + 7) / 8 * 8; }
    float scale() const { return sum_scale(ys_.axis, xs_.axis); }
    const Axis& y() const { return ys_.axis; }
    const Axis& x() const { return xs_.axis; }

private:
    // False where sums of 16 bits do not do.
    bool row_of_pairs(const u8* pixels, i64 row_stride, int index, int bias, float* const* out,
                      unsigned short* sums) const;

    Table ys_, xs_;
    int channels_;
    // Where sums and weights fit 16 bits, and the processor multiplies pairs of such:
    bool words_;
    bool sparse_ = false;          // two source rows are summed where they are needed only
    int steps_ = 0;                // vectors of eight words that hold the taps of an output pixel
    std::vector<unsigned> first_;  // word of the row where an output pixel's taps begin
    std::vector<short> pairs_;     // weights, by blocks of eight output pixels
};

}  // namespace matter
