// CPU wrapper of include/composite.h: by rows, with the matte's plain areas copied.
#include <nanobind/stl/optional.h>

#include <memory>
#include <optional>
#include <vector>

#include "../include/composite.h"
#include "blur_fusion.h"
#include "host.h"

namespace matter {
namespace {

constexpr int strip = 32;  // pixels of a row that are looked at together

// ---- the frame at the matte's size

// Weighted sums of rows; the weights sum to 256.
MATTER_CLONES void weigh_rows(const u8* rows, i64 stride, const unsigned short* weights, int count,
                              unsigned short* sums, i64 n) {
    for (i64 i = 0; i < n; ++i) sums[i] = (unsigned short)(weights[0] * rows[i]);
    int k = 1;
    for (; k + 1 < count; k += 2) {
        const u8 *one = rows + k * stride, *two = one + stride;
        for (i64 i = 0; i < n; ++i)
            sums[i] = (unsigned short)(sums[i] + weights[k] * one[i] + weights[k + 1] * two[i]);
    }
    if (k < count) {
        const u8* one = rows + k * stride;
        for (i64 i = 0; i < n; ++i) sums[i] = (unsigned short)(sums[i] + weights[k] * one[i]);
    }
}

typedef unsigned short Short4 __attribute__((vector_size(8)));

MATTER_CLONES void weigh_columns(const unsigned short* sums, const Taps* taps,
                                 const unsigned short* weights, u8* out, i64 n) {
    for (i64 x = 0; x < n; ++x) {
        const unsigned short* at = sums + 3 * i64(taps[x].first);
        Int4 sum = {32768, 32768, 32768, 32768};
        for (int k = 0; k < taps[x].count; ++k) {
            Short4 values;
            std::memcpy(&values, at + 3 * k, sizeof values);
            sum += int(*weights++) * __builtin_convertvector(values, Int4);
        }
        store_pixel(out + 3 * x, sum >> 16);
    }
}

// ---- the guide

// A row of the small frame and the levels of alpha in planes, with an empty pixel at both ends.
struct Planes {
    const short *l, *b, *g, *r;
};

// slopes_at() for n pixels; `columns` are the neighbours() on the row, `rows` those across.
MATTER_CLONES void slope_row(const Planes& planes, i64 stride, const int* columns, int rows, float* b_out,
                             float* g_out, float* r_out, int n) {
    int sums[13][strip + 2];
    for (int x = 0; x < n + 2; ++x) {
        int s[13] = {};
        for (int i = 0; i < 3; ++i) {
            const i64 at = i * stride + x;
            const int l = planes.l[at], b = planes.b[at], g = planes.g[at], r = planes.r[at];
            s[0] += l, s[1] += b, s[2] += g, s[3] += r;
            s[4] += b * b, s[5] += b * g, s[6] += b * r, s[7] += g * g, s[8] += g * r, s[9] += r * r;
            s[10] += l * b, s[11] += l * g, s[12] += l * r;
        }
        for (int k = 0; k < 13; ++k) sums[k][x] = s[k];
    }
    for (int x = 0; x < n; ++x) {
        int s[13];
        for (int k = 0; k < 13; ++k) s[k] = sums[k][x] + sums[k][x + 1] + sums[k][x + 2];
        const Slopes slopes = solve_slopes({rows * columns[x], s[0], s[1], s[2], s[3], s[4], s[5], s[6],
                                            s[7], s[8], s[9], s[10], s[11], s[12]});
        b_out[x] = slopes.b;
        g_out[x] = slopes.g;
        r_out[x] = slopes.r;
    }
}

// mean_slope() for n pixels of a plane with an empty pixel around it.
MATTER_PART void mean_row(const float* slopes, i64 stride, const int* columns, int rows, float* out,
                          int n) {
    float sums[strip + 2];
    for (int x = 0; x < n + 2; ++x)
        sums[x] = slopes[x] + slopes[stride + x] + slopes[2 * stride + x];
    for (int x = 0; x < n; ++x)
        out[x] = (sums[x] + sums[x + 1] + sums[x + 2]) / float(rows * columns[x]);
}

MATTER_CLONES void guide_row(const float* b, const float* g, const float* r, i64 stride,
                             const int* columns, int rows, const float* alpha, const u8* frame,
                             Float4* guide, int n) {
    float means[3][strip];
    mean_row(b, stride, columns, rows, means[0], n);
    mean_row(g, stride, columns, rows, means[1], n);
    mean_row(r, stride, columns, rows, means[2], n);
    for (int x = 0; x < n; ++x)
        guide[x] = Float4{means[0][x], means[1][x], means[2][x],
                          rest_of(alpha[x], means[0][x], means[1][x], means[2][x], frame + 3 * x)};
}

// ---- the picture

struct Both {
    Float4 f, b;
};

MATTER_CLONES void enlarge_guide(const Float4* upper, const Float4* lower, float part, Float4* out,
                                 int n) {
    for (int x = 0; x < n; ++x) out[x] = mix(upper[x], lower[x], part);
}

MATTER_CLONES void enlarge_estimates(const u8* upper, const u8* lower, float part, Both* out, int n) {
    for (int x = 0; x < n; ++x)
        out[x] = {mix(floats(load4(upper + 8 * x)), floats(load4(lower + 8 * x)), part),
                  mix(floats(load4(upper + 8 * x + 4)), floats(load4(lower + 8 * x + 4)), part)};
}

// Pixels of one row: `guide` and `estimates` (or null) are at its height.
MATTER_CLONES void blend_row(const u8* frame, const u8* background, const Float4* guide,
                             const Both* estimates, const Between* places, u8* out, float* alphas,
                             int n) {
    for (int x = 0; x < n; ++x) {
        const Between at = places[x];
        const Float4 pixel = floats(load_pixel(frame + 3 * x));
        const Float4 terms = mix(guide[at.first], guide[at.next], at.part) * (pixel + Float4{0, 0, 0, 1});
        const float alpha = unit(led(terms[0], terms[1], terms[2], terms[3]));
        Float4 colour = pixel;
        if (estimates != nullptr) {
            const Both &first = estimates[at.first], &next = estimates[at.next];
            colour = solve(mix(first.f, next.f, at.part), mix(first.b, next.b, at.part), alpha,
                           share_of(alpha), pixel);
        }
        const Float4 behind = floats(load_pixel(background + 3 * x));
        store_pixel(out + 3 * x, nearest4(over(colour, behind, alpha)));
        if (alphas != nullptr) alphas[x] = alpha;
    }
}

struct Job {
    i64 height, width;
    const u8* frame;
    i64 frame_row;
    const u8* background;
    i64 background_row;
    const float* alpha;
    i64 alpha_height, alpha_width, alpha_row;
    bool guided, clean;
    u8* out;
    float* alpha_out;  // or null
};

class Composite {
public:
    explicit Composite(const Job& job)
        : job_(job), height_(std::min(job.height, job.alpha_height)),
          width_(std::min(job.width, job.alpha_width)),
          guided_(job.guided && (height_ < job.height || width_ < job.width)),
          threads_(threads_for(job.height * job.width)), alpha_(new float[height_ * width_]),
          guide_(new Float4[height_ * width_]) {}

    void run() {
        reduce_alpha();
        if (guided_ || job_.clean) reduce_frame();
        if (job_.clean) {
            estimates_.reset(new u8[height_ * width_ * 8]);
            blur_estimates({height_, width_, frame_.get(), 3 * width_, alpha_.get(), width_},
                           estimates_.get());
        }
        for (i64 i = 0; i < height_ * width_; ++i) guide_[i] = Float4{0, 0, 0, alpha_[i]};
        if (guided_) lead();
        find_plain();
        blend();
    }

private:
    void reduce_alpha() {
        const Axis ys = make_axis(int(job_.alpha_height), int(height_));
        const Axis xs = make_axis(int(job_.alpha_width), int(width_));
        if (ys.output == ys.source && xs.output == xs.source) {
            for (i64 y = 0; y < height_; ++y)
                settle_row(job_.alpha + y * job_.alpha_row, &alpha_[y * width_], width_);
            return;
        }
        for (i64 y = 0; y < height_; ++y)
            for (i64 x = 0; x < width_; ++x)
                alpha_[y * width_ + x] = reduced_alpha(job_.alpha, job_.alpha_row, ys,
                                                       axis_taps(ys, int(y)), xs, axis_taps(xs, int(x)));
    }

    static void settle_row(const float* alpha, float* out, i64 n) {
        for (i64 x = 0; x < n; ++x) out[x] = settled(alpha[x]);
    }

    static std::vector<Taps> taps_of(const Axis& axis, i64 length, std::vector<unsigned short>& weights,
                                     std::vector<i64>& begins) {
        std::vector<Taps> taps;
        for (i64 d = 0; d < length; ++d) {
            taps.push_back(axis_taps(axis, int(d)));
            begins.push_back(i64(weights.size()));
            for (int k = 0; k < taps.back().count; ++k)
                weights.push_back((unsigned short)fine_weight(axis, taps.back(), k));
        }
        return taps;
    }

    void reduce_frame() {
        std::vector<unsigned short> weights_y, weights_x;
        std::vector<i64> begins_y, begins_x;
        const auto ys = taps_of(make_axis(int(job_.height), int(height_)), height_, weights_y, begins_y);
        const auto xs = taps_of(make_axis(int(job_.width), int(width_)), width_, weights_x, begins_x);
        frame_.reset(new u8[height_ * width_ * 3]);
#pragma omp parallel num_threads(threads_) if (threads_ > 1)
        {
            std::vector<unsigned short> sums(3 * job_.width + 1);  // four lanes at the last pixel
#pragma omp for schedule(static)
            for (i64 y = 0; y < height_; ++y) {
                weigh_rows(job_.frame + ys[y].first * job_.frame_row, job_.frame_row,
                           &weights_y[begins_y[y]], ys[y].count, sums.data(), 3 * job_.width);
                weigh_columns(sums.data(), xs.data(), weights_x.data(), &frame_[y * width_ * 3], width_);
            }
        }
    }

    // 1 for the strips of the small matte in which alpha is not plain, or is not as in those around.
    std::vector<u8> busy_strips(i64 strips) const {
        std::vector<u8> first(height_ * strips), busy(height_ * strips);
        for (i64 y = 0; y < height_; ++y)
            for (i64 s = 0; s < strips; ++s) {
                const float* alpha = &alpha_[y * width_ + s * strip];
                const i64 n = std::min<i64>(strip, width_ - s * strip);
                int plain = alpha[0] == 0.0f || alpha[0] == 1.0f;
                for (i64 x = 1; x < n; ++x) plain &= alpha[x] == alpha[0];
                first[y * strips + s] = plain == 0 ? 1 : (alpha[0] == 0.0f ? 0 : 2);
            }
        for (i64 y = 0; y < height_; ++y)
            for (i64 s = 0; s < strips; ++s) {
                const u8 kind = first[y * strips + s];
                bool plain = kind != 1;
                for (i64 i = std::max<i64>(y - 2, 0); i <= std::min(y + 2, height_ - 1); ++i)
                    for (i64 j = std::max<i64>(s - 1, 0); j <= std::min(s + 1, strips - 1); ++j)
                        plain = plain && first[i * strips + j] == kind;
                busy[y * strips + s] = !plain;
            }
        return busy;
    }

    void lead() {
        const i64 strips = (width_ + strip - 1) / strip, stride = width_ + 2;
        const i64 plane = (height_ + 2) * stride;
        const std::vector<u8> busy = busy_strips(strips);
        std::vector<short> bytes(4 * plane, 0);  // l, b, g, r with an empty pixel around each
        std::vector<float> slopes(3 * plane, 0.0f);
        std::vector<int> columns;
        for (i64 x = 0; x < width_; ++x) columns.push_back(neighbours(x, width_));
        for (i64 y = 0; y < height_; ++y) spread_row(y, &bytes[(y + 1) * stride + 1], plane);
        const auto each_strip = [&](const auto& visit) {
            for (i64 y = 0; y < height_; ++y)
                for (i64 s = 0; s < strips; ++s)
                    if (busy[y * strips + s])
                        visit(y, s * strip, int(std::min<i64>(strip, width_ - s * strip)));
        };
        each_strip([&](i64 y, i64 x, int n) {
            const short* at = &bytes[y * stride + x];
            float* to = &slopes[(y + 1) * stride + x + 1];
            slope_row({at, at + plane, at + 2 * plane, at + 3 * plane}, stride, &columns[x],
                      neighbours(y, height_), to, to + plane, to + 2 * plane, n);
        });
        each_strip([&](i64 y, i64 x, int n) {
            const float* at = &slopes[y * stride + x];
            const i64 pixel = y * width_ + x;
            guide_row(at, at + plane, at + 2 * plane, stride, &columns[x], neighbours(y, height_),
                      &alpha_[pixel], &frame_[3 * pixel], &guide_[pixel], n);
        });
    }

    void spread_row(i64 y, short* out, i64 plane) const {
        const float* alpha = &alpha_[y * width_];
        const u8* frame = &frame_[y * width_ * 3];
        for (i64 x = 0; x < width_; ++x) out[x] = short(level_of(alpha[x]));
        for (i64 x = 0; x < width_; ++x) {
            out[plane + x] = frame[3 * x];
            out[2 * plane + x] = frame[3 * x + 1];
            out[3 * plane + x] = frame[3 * x + 2];
        }
    }

    // For each row of the small matte and each strip of the frame: 0 where it comes to nothing but 0, 2
    // where to nothing but 1, else 1.
    void find_plain() {
        const Axis xs = make_axis(int(width_), int(job_.width));
        for (i64 x = 0; x < job_.width; ++x) places_.push_back(between_pixels(xs, int(x)));
        strips_ = (job_.width + strip - 1) / strip;
        kinds_.resize(height_ * strips_);
        for (i64 y = 0; y < height_; ++y)
            for (i64 s = 0; s < strips_; ++s) {
                const Float4* guide = &guide_[y * width_];
                const int first = places_[s * strip].first;
                const int last = places_[std::min(s * strip + strip, job_.width) - 1].next;
                const float value = guide[first][3];
                int plain = value == 0.0f || value == 1.0f;
                for (int x = first; x <= last; ++x)
                    plain &= guide[x][0] == 0.0f && guide[x][1] == 0.0f && guide[x][2] == 0.0f &&
                             guide[x][3] == value;
                kinds_[y * strips_ + s] = plain == 0 ? 1 : (value == 0.0f ? 0 : 2);
            }
    }

    void blend() const {
        const Axis ys = make_axis(int(height_), int(job_.height));
#pragma omp parallel num_threads(threads_) if (threads_ > 1)
        {
            std::vector<Float4> guide(width_);
            std::vector<Both> estimates(job_.clean ? width_ : 0);
#pragma omp for schedule(static)
            for (i64 y = 0; y < job_.height; ++y) {
                const Between at = between_pixels(ys, int(y));
                const u8 *upper = &kinds_[at.first * strips_], *lower = &kinds_[at.next * strips_];
                const auto kind = [&](i64 s) { return upper[s] == lower[s] ? upper[s] : u8(1); };
                for (i64 begin = 0, end; begin < strips_; begin = end) {
                    for (end = begin + 1; end < strips_ && kind(end) == kind(begin);) ++end;
                    blend_run(y, at, begin * strip, std::min(end * strip, job_.width), kind(begin),
                              guide, estimates);
                }
            }
        }
    }

    void blend_run(i64 y, Between at, i64 begin, i64 end, u8 kind, std::vector<Float4>& guide,
                   std::vector<Both>& estimates) const {
        const i64 n = end - begin, pixel = y * job_.width + begin;
        const u8* front = job_.frame + y * job_.frame_row + 3 * begin;
        const u8* back = job_.background + y * job_.background_row + 3 * begin;
        u8* out = job_.out + 3 * pixel;
        float* alphas = job_.alpha_out == nullptr ? nullptr : job_.alpha_out + pixel;
        if (kind != 1) {
            std::memmove(out, kind == 0 ? back : front, 3 * n);  // out may be one of them
            if (alphas != nullptr) std::fill_n(alphas, n, kind == 0 ? 0.0f : 1.0f);
            return;
        }
        const int first = places_[begin].first, count = places_[end - 1].next + 1 - first;
        const i64 upper = at.first * width_ + first, lower = at.next * width_ + first;
        enlarge_guide(&guide_[upper], &guide_[lower], at.part, &guide[first], count);
        if (job_.clean)
            enlarge_estimates(&estimates_[8 * upper], &estimates_[8 * lower], at.part,
                              &estimates[first], count);
        blend_row(front, back, guide.data(), job_.clean ? estimates.data() : nullptr, &places_[begin],
                  out, alphas, int(n));
    }

    const Job& job_;
    const i64 height_, width_;  // of the matte, where it is not larger than the frame
    const bool guided_;
    const int threads_;
    std::unique_ptr<float[]> alpha_;
    std::unique_ptr<u8[]> frame_, estimates_;
    std::unique_ptr<Float4[]> guide_;  // slopes, and the rest of alpha
    std::vector<Between> places_;      // of the frame's columns between the matte's
    std::vector<u8> kinds_;
    i64 strips_ = 0;
};

void composite(nb::ndarray<const std::uint8_t, nb::ndim<3>, nb::device::cpu> frame,
               nb::ndarray<const std::uint8_t, nb::ndim<3>, nb::device::cpu> background,
               nb::ndarray<const float, nb::ndim<2>, nb::device::cpu> alpha, bool guided, bool clean,
               nb::ndarray<std::uint8_t, nb::ndim<3>, nb::c_contig, nb::device::cpu> out,
               std::optional<nb::ndarray<float, nb::ndim<2>, nb::c_contig, nb::device::cpu>> alpha_out) {
    Job job;
    job.height = i64(frame.shape(0));
    job.width = i64(frame.shape(1));
    job.frame = frame.data();
    job.frame_row = frame.stride(0);
    job.background = background.data();
    job.background_row = background.stride(0);
    job.alpha = alpha.data();
    job.alpha_height = i64(alpha.shape(0));
    job.alpha_width = i64(alpha.shape(1));
    job.alpha_row = alpha.stride(0);
    job.guided = guided;
    job.clean = clean;
    job.out = out.data();
    job.alpha_out = alpha_out ? alpha_out->data() : nullptr;
    nb::gil_scoped_release release;
    Composite(job).run();
}

}  // namespace

void bind_composite(nb::module_& m) {
    m.def("composite", &composite, nb::arg("frame").noconvert(), nb::arg("background").noconvert(),
          nb::arg("alpha").noconvert(), nb::arg("guided"), nb::arg("clean"),
          nb::arg("out").noconvert(), nb::arg("alpha_out").noconvert().none());
}

}  // namespace matter
