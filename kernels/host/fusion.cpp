// CPU wrapper of include/fusion.h.
#include "host.h"

#include <vector>

#include "../include/fusion.h"
#include "rows.h"

namespace matter {
namespace {

// `rosta` is a constant in each call, so that the branch on it leaves the loop.
template <typename G, typename T>
MATTER_PART void row(const G* glance, i64 plane, const T* focus, T* alpha, i64 n, int rosta) {
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

template <typename G>
void row_any(const G* glance, i64 plane, const Half* focus, Half* alpha, i64 n, int rosta) {
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

// ---- heads of two sizes

// The glance as one byte a pixel: for tt the set with its class alone, else the mask of class 1.
template <typename T>
MATTER_PART void classes_of(const T* glance, i64 plane, u8* map, i64 n, bool three) {
    if (three)
        for (i64 i = 0; i < n; ++i) map[i] = u8(1 << ClassAt<T>{glance, plane, int(n), true}(0, i));
    else
        for (i64 i = 0; i < n; ++i) map[i] = u8(ClassAt<T>{glance, plane, int(n), false}(0, i));
}

MATTER_CLONES void classes_row(const float* glance, i64 plane, u8* map, i64 n, bool three) {
    classes_of(glance, plane, map, n, three);
}

void classes_row(const Half* glance, i64 plane, u8* map, i64 n, bool three) {
    classes_of(glance, plane, map, n, three);
}

// The columns of an output row on an input row: two where it enlarges, which may be one and the same.
struct Columns {
    Axis axis;
    std::vector<int> first, second;
    std::vector<float> share;

    Columns(i64 source, i64 output) : axis(make_axis(int(source), int(output))) {
        if (axis.area) return;
        for (int d = 0; d < int(output); ++d) {
            const Taps taps = axis_taps(axis, d);
            first.push_back(taps.first);
            second.push_back(taps.first + taps.count - 1);
            share.push_back(taps.count == 1 ? 0.0f : share_of(axis, taps));
        }
    }
};

MATTER_CLONES void enlarge(const float* row, const int* first, const int* second, const float* share,
                           float* out, i64 n) {
    for (i64 d = 0; d < n; ++d) {
        const float a = row[first[d]], mixed = between(a, row[second[d]], share[d]);
        out[d] = share[d] > 0.0f ? mixed : a;
    }
}

MATTER_CLONES void mix(const float* a, const float* b, float share, float* out, i64 n) {
    for (i64 i = 0; i < n; ++i) out[i] = between(a[i], b[i], share);
}

MATTER_CLONES void enlarge_met(const int* row, const int* first, const int* second, int* out, i64 n) {
    for (i64 d = 0; d < n; ++d) out[d] = row[first[d]] | row[second[d]];
}

void mean_columns(const float* row, const Columns& columns, float* out, i64 n) {
    const Axis& axis = columns.axis;
    if (!axis.area) {
        enlarge(row, columns.first.data(), columns.second.data(), columns.share.data(), out, n);
        return;
    }
    for (i64 d = 0; d < n; ++d) {
        const Taps taps = axis_taps(axis, int(d));
        float sum = axis_weight(axis, taps, 0) * row[taps.first];
        for (int k = 1; k < taps.count; ++k)
            sum += axis_weight(axis, taps, k) * row[taps.first + k];
        out[d] = sum / float(axis.total);
    }
}

void met_columns(const int* row, const Columns& columns, int* out, i64 n) {
    const Axis& axis = columns.axis;
    if (!axis.area) {
        enlarge_met(row, columns.first.data(), columns.second.data(), out, n);
        return;
    }
    for (i64 d = 0; d < n; ++d) {
        const Taps taps = axis_taps(axis, int(d));
        out[d] = 0;
        for (int k = 0; k < taps.count; ++k) out[d] |= row[taps.first + k];
    }
}

MATTER_PART float value_of(u8 mask) { return float(mask); }
MATTER_PART float value_of(float focus) { return focus; }
MATTER_PART float value_of(Half focus) { return to_float(focus); }

// The mean of `rows` of a head whose first is `row`, in the order of mean_on().
template <typename T>
MATTER_PART void mean_rows_of(const T* row, i64 n, const Axis& axis, const Taps& rows, float* mean) {
    if (rows.count == 1) {
        for (i64 i = 0; i < n; ++i) mean[i] = value_of(row[i]);
        return;
    }
    if (!axis.area) {
        const float share = share_of(axis, rows);
        for (i64 i = 0; i < n; ++i) mean[i] = between(value_of(row[i]), value_of(row[n + i]), share);
        return;
    }
    const float first = axis_weight(axis, rows, 0), total = float(axis.total);
    for (i64 i = 0; i < n; ++i) mean[i] = first * value_of(row[i]);
    for (int k = 1; k < rows.count; ++k) {
        const float weight = axis_weight(axis, rows, k);
        for (i64 i = 0; i < n; ++i) mean[i] += weight * value_of(row[k * n + i]);
    }
    for (i64 i = 0; i < n; ++i) mean[i] /= total;
}

MATTER_CLONES void mean_rows(const float* row, i64 n, const Axis& axis, const Taps& rows, float* mean) {
    mean_rows_of(row, n, axis, rows, mean);
}

MATTER_CLONES void mean_rows(const u8* row, i64 n, const Axis& axis, const Taps& rows, float* mean) {
    mean_rows_of(row, n, axis, rows, mean);
}

void mean_rows(const Half* row, i64 n, const Axis& axis, const Taps& rows, float* mean) {
    mean_rows_of(row, n, axis, rows, mean);
}

MATTER_CLONES void add_met(const u8* row, int* met, i64 n) {
    for (i64 i = 0; i < n; ++i) met[i] |= row[i];
}

// One output row of a head: the mean of its rows into `sum`, then that of its columns into `out`. Where the
// columns stay as they are, that is `sum`.
template <typename T>
const float* mean_row(const T* head, i64 width, const Axis& axis, const Taps& rows,
                      const Columns& columns, float* sum, float* out, i64 out_width) {
    mean_rows(head + i64(rows.first) * width, width, axis, rows, sum);
    if (columns.axis.total == 1) return sum;
    mean_columns(sum, columns, out, out_width);
    return out;
}

template <typename T>
MATTER_PART void join(const float* mask, const int* met, const float* focus, T* alpha, i64 n,
                      int rosta) {
    if (rosta == ROSTA_TT)
        for (i64 i = 0; i < n; ++i) alpha[i] = from_float<T>(fuse_met(met[i], focus[i]));
    else if (rosta == ROSTA_FT)
        for (i64 i = 0; i < n; ++i) alpha[i] = from_float<T>(add_focus(mask[i], focus[i]));
    else
        for (i64 i = 0; i < n; ++i) alpha[i] = from_float<T>(take_focus(mask[i], focus[i]));
}

MATTER_CLONES void join_row(const float* mask, const int* met, const float* focus, float* alpha, i64 n,
                            int rosta) {
    join(mask, met, focus, alpha, n, rosta);
}

void join_row(const float* mask, const int* met, const float* focus, Half* alpha, i64 n, int rosta) {
    join(mask, met, focus, alpha, n, rosta);
}

struct Size {
    i64 height, width;
};

bool operator==(Size a, Size b) { return a.height == b.height && a.width == b.width; }

// A glance that lies at one size and is told at its own, which is no smaller: its values are interpolated,
// then compared. Rows are enlarged once, and kept while output rows lie between them.
template <typename T>
class Enlarged {
  public:
    Enlarged(const T* glance, i64 classes, Size given, Size own)
        : glance_(glance), classes_(classes), given_(given), width_(own.width),
          rows_(make_axis(int(given.height), int(own.height))), columns_(given.width, own.width),
          values_(given.width), kept_{std::vector<float>(classes * own.width),
                                      std::vector<float>(classes * own.width)} {}

    // Row `y` of frame `n`, class after class.
    void row(i64 n, i64 y, float* out) {
        const Taps taps = axis_taps(rows_, int(y));
        const float* first = given_row(n, taps.first);
        const i64 count = classes_ * width_;
        if (taps.count == 1)
            std::copy(first, first + count, out);
        else
            mix(first, given_row(n, taps.first + 1), share_of(rows_, taps), out, count);
    }

  private:
    const float* given_row(i64 n, i64 y) {
        std::vector<float>& kept = kept_[y % 2];
        if (which_[y % 2] != n * given_.height + y) {
            which_[y % 2] = n * given_.height + y;
            for (i64 c = 0; c < classes_; ++c) {
                const T* row = glance_ + ((n * classes_ + c) * given_.height + y) * given_.width;
                for (i64 i = 0; i < given_.width; ++i) values_[i] = value_of(row[i]);
                mean_columns(values_.data(), columns_, &kept[c * width_], width_);
            }
        }
        return kept.data();
    }

    const T* glance_;
    i64 classes_;
    Size given_;
    i64 width_;
    Axis rows_;
    Columns columns_;
    std::vector<float> values_, kept_[2];
    i64 which_[2] = {-1, -1};
};

// The focus lies at the glance's own size, and alpha is wanted there.
template <typename T>
void planes_enlarged(const T* glance, i64 classes, Size given, const T* focus, T* alpha, i64 count,
                     Size size, int rosta) {
    const int threads = threads_for(count * size.height * size.width);
#pragma omp parallel num_threads(threads) if (threads > 1)
    {
        Enlarged<T> enlarged(glance, classes, given, size);
        std::vector<float> row(classes * size.width);
#pragma omp for schedule(static)
        for (i64 line = 0; line < count * size.height; ++line) {
            const i64 at = line * size.width;
            enlarged.row(line / size.height, line % size.height, row.data());
            row_any(row.data(), size.width, focus + at, alpha + at, size.width, rosta);
        }
    }
}

template <typename T>
void planes_at_size(const T* glance, i64 classes, Size given, Size coarse, const T* focus, Size fine,
                    T* alpha, i64 count, Size size, int rosta) {
    const bool three = rosta == ROSTA_TT;
    const Axis coarse_y = make_axis(int(coarse.height), int(size.height));
    const Axis fine_y = make_axis(int(fine.height), int(size.height));
    const Columns coarse_x(coarse.width, size.width), fine_x(fine.width, size.width);
    const i64 coarse_plane = coarse.height * coarse.width;
    std::vector<u8> map(count * coarse_plane);
    Enlarged<T> enlarged(glance, classes, given, coarse);
    std::vector<float> enlarged_row(classes * coarse.width);
    for (i64 line = 0; line < count * coarse.height; ++line) {
        const i64 n = line / coarse.height, y = line % coarse.height;
        u8* of_line = &map[line * coarse.width];
        if (given == coarse) {
            classes_row(glance + n * classes * coarse_plane + y * coarse.width, coarse_plane, of_line,
                        coarse.width, three);
        } else {
            enlarged.row(n, y, enlarged_row.data());
            classes_row(enlarged_row.data(), coarse.width, of_line, coarse.width, three);
        }
    }
    const int threads = threads_for(count * size.height * size.width);
#pragma omp parallel num_threads(threads) if (threads > 1)
    {
        std::vector<float> coarse_sum(coarse.width), coarse_row(size.width);
        std::vector<float> sum(fine.width), row(size.width);
        std::vector<int> seen(coarse.width), met(size.width);
        const float* mask = nullptr;
        i64 of_first = -1, of_last = -1;  // the rows of the map that `met` is made of
#pragma omp for schedule(static)
        for (i64 line = 0; line < count * size.height; ++line) {
            const i64 n = line / size.height;
            const int y = int(line % size.height);
            const u8* plane = &map[n * coarse_plane];
            const Taps rows = axis_taps(coarse_y, y);
            if (three) {
                // Where it enlarges, several output rows meet the same classes.
                const i64 first = n * coarse.height + rows.first, last = first + rows.count - 1;
                if (first != of_first || last != of_last) {
                    std::fill(seen.begin(), seen.end(), 0);
                    for (int k = 0; k < rows.count; ++k)
                        add_met(plane + (rows.first + k) * coarse.width, seen.data(), coarse.width);
                    met_columns(seen.data(), coarse_x, met.data(), size.width);
                    of_first = first;
                    of_last = last;
                }
            } else {
                mask = mean_row(plane, coarse.width, coarse_y, rows, coarse_x, coarse_sum.data(),
                                coarse_row.data(), size.width);
            }
            const float* detail =
                mean_row(focus + n * fine.height * fine.width, fine.width, fine_y,
                         axis_taps(fine_y, y), fine_x, sum.data(), row.data(), size.width);
            join_row(mask, met.data(), detail, alpha + line * size.width, size.width, rosta);
        }
    }
}

template <typename Array>
Size size_of(const Array& array) {
    return {i64(array.shape(2)), i64(array.shape(3))};
}

template <typename T>
void fuse_heads(const T* glance, i64 count, i64 classes, Size given, Size own, const T* focus,
                Size fine, T* alpha, Size size, int rosta) {
    if (own == fine && own == size)
        planes_enlarged(glance, classes, given, focus, alpha, count, size, rosta);
    else
        planes_at_size(glance, classes, given, own, focus, fine, alpha, count, size, rosta);
}

// `height` and `width` are the glance's own.
void fuse_float_at_size(ConstFloats glance, ConstFloats focus, Floats alpha, int rosta, i64 height,
                        i64 width) {
    nb::gil_scoped_release release;
    fuse_heads(glance.data(), i64(glance.shape(0)), i64(glance.shape(1)), size_of(glance),
               {height, width}, focus.data(), size_of(focus), alpha.data(), size_of(alpha), rosta);
}

void fuse_half_at_size(ConstShorts glance, ConstShorts focus, Shorts alpha, int rosta, i64 height,
                       i64 width) {
    nb::gil_scoped_release release;
    fuse_heads(reinterpret_cast<const Half*>(glance.data()), i64(glance.shape(0)),
               i64(glance.shape(1)), size_of(glance), {height, width},
               reinterpret_cast<const Half*>(focus.data()), size_of(focus),
               reinterpret_cast<Half*>(alpha.data()), size_of(alpha), rosta);
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
    m.def("fuse_float_at_size", &fuse_float_at_size, nb::arg("glance").noconvert(),
          nb::arg("focus").noconvert(), nb::arg("alpha").noconvert(), nb::arg("rosta"),
          nb::arg("height"), nb::arg("width"));
    m.def("fuse_half_at_size", &fuse_half_at_size, nb::arg("glance").noconvert(),
          nb::arg("focus").noconvert(), nb::arg("alpha").noconvert(), nb::arg("rosta"),
          nb::arg("height"), nb::arg("width"));
    m.def("floats_to_halves", &floats_to_halves, nb::arg("values").noconvert(),
          nb::arg("bits").noconvert());
}

}  // namespace matter
