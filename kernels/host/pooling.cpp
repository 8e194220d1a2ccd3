// CPU wrapper of include/pooling.h: the same choices, arranged by rows so that they vectorise.
//
// Rows are worked on in chunks of a constant length, which the compiler turns into whole vectors. The
// last chunk of a row overlaps the one before, and what both of them write is the same; a row shorter
// than a chunk goes through a local copy. Feature maps have many narrow planes, so the ragged end of a
// row would cost more than the row.
#include "host.h"

#include <cstring>
#include <type_traits>
#include <utility>
#include <vector>

#include "../include/pooling.h"
#include "rows.h"

namespace matter {
namespace {

template <typename T>
constexpr i64 chunk = 64 / sizeof(T);

template <typename T>
using Rank = typename Ranked<T>::Rank;

// A float is its own rank.
template <typename T>
constexpr bool own_rank = std::is_same_v<T, Rank<T>>;

// A row of the picture with its even and odd columns apart: window j of size 3 has odd[j - 1], even[j]
// and odd[j]. odd[-1] and what follows the row are outside: they are the lowest value and never win.
template <typename T>
struct SplitRow {
    T *even, *odd;
    Rank<T>*even_rank, *odd_rank;
};

// What one thread needs for planes of one width.
template <typename T>
struct PoolRoom {
    using Index = typename Ranked<T>::Index;
    std::vector<T> values;
    std::vector<Rank<T>> ranks;
    std::vector<Index> first, first_of_top;  // for no_peak(), by column; of the top row of windows
    SplitRow<T> rows[3];

    PoolRoom(int window, i64 out_width) {
        const i64 pitch = out_width + chunk<T> + 1;
        values.assign(6 * pitch, Ranked<T>::lowest());
        ranks.assign(6 * pitch, rank_of(Ranked<T>::lowest()));
        first.assign(pitch, Index(0));
        first_of_top.assign(pitch, Index(window == 3 ? 3 : 0));
        if (window == 3) {
            ++first[0];
            ++first_of_top[0];
        }
        for (int k = 0; k < 3; ++k) {
            T* value = &values[2 * k * pitch];
            Rank<T>* rank = &ranks[2 * k * pitch];
            if constexpr (own_rank<T>) rank = value;
            rows[k] = {value, value + pitch + 1, rank, rank + pitch + 1};
        }
    }
};

template <typename T>
MATTER_PART void split_columns(const T* __restrict row, i64 n, const SplitRow<T>& to, i64 at) {
    T *__restrict even = to.even + at, *__restrict odd = to.odd + at;
    for (i64 k = 0; k < n; ++k) {
        even[k] = row[2 * (at + k)];
        odd[k] = row[2 * (at + k) + 1];
    }
    if constexpr (!own_rank<T>) {
        Rank<T>*__restrict even_rank = to.even_rank + at, *__restrict odd_rank = to.odd_rank + at;
        for (i64 k = 0; k < n; ++k) {
            even_rank[k] = rank_of(row[2 * (at + k)]);
            odd_rank[k] = rank_of(row[2 * (at + k) + 1]);
        }
    }
}

template <typename T>
MATTER_PART void split(const T* row, i64 width, const SplitRow<T>& to) {
    const i64 pairs = width / 2;
    if (pairs < chunk<T>) {
        split_columns(row, pairs, to, 0);
    } else {
        for (i64 at = 0; at < pairs; at += chunk<T>)
            split_columns(row, chunk<T>, to, std::min(at, pairs - chunk<T>));
    }
    if (width % 2 == 1) {
        to.even[pairs] = row[width - 1];
        to.even_rank[pairs] = rank_of(row[width - 1]);
    }
}

template <typename T>
MATTER_PART void outside(i64 columns, const SplitRow<T>& to) {
    std::fill_n(to.even, columns, Ranked<T>::lowest());
    std::fill_n(to.odd, columns, Ranked<T>::lowest());
    std::fill_n(to.even_rank, columns, rank_of(Ranked<T>::lowest()));
    std::fill_n(to.odd_rank, columns, rank_of(Ranked<T>::lowest()));
}

template <typename T>
MATTER_PART void take_from(Peak<T>& peak, const T* values, const Rank<T>* ranks, i64 j, int offset) {
    if constexpr (own_rank<T>)
        take(peak, values[j], values[j], offset);
    else
        take(peak, values[j], ranks[j], offset);
}

template <int Window, typename T>
MATTER_PART void take_row(Peak<T>& peak, const SplitRow<T>& row, i64 j, int offset) {
    if (Window == 3) take_from(peak, row.odd, row.odd_rank, j - 1, offset++);
    take_from(peak, row.even, row.even_rank, j, offset);
    take_from(peak, row.odd, row.odd_rank, j, offset + 1);
}

// The windows at .. at + chunk - 1 of a row of windows.
template <int Window, typename T>
MATTER_PART void pool_chunk(const PoolRoom<T>& room, const typename Ranked<T>::Index* first, i64 at,
                            T* __restrict values, u8* __restrict offsets) {
    const SplitRow<T> above = room.rows[0], middle = room.rows[1], below = room.rows[2];
    typename Ranked<T>::Index chosen[chunk<T>];  // bytes in the same loop would make its vectors short
    for (i64 k = 0; k < chunk<T>; ++k) {
        const i64 j = at + k;
        Peak<T> peak = no_peak<T>(first[j]);
        if (Window == 3) take_row<Window>(peak, above, j, 0);
        take_row<Window>(peak, middle, j, Window == 3 ? 3 : 0);
        take_row<Window>(peak, below, j, Window == 3 ? 6 : 2);
        values[k] = peak.value;
        chosen[k] = peak.offset;
    }
    for (i64 k = 0; k < chunk<T>; ++k) offsets[k] = u8(chosen[k]);
}

template <int Window, typename T>
MATTER_PART void pool_plane(const T* x, i64 height, i64 width, T* values, u8* offsets, i64 out_height,
                            i64 out_width, PoolRoom<T>& room) {
    SplitRow<T>* rows = room.rows;
    outside(out_width, rows[0]);
    for (i64 i = 0; i < out_height; ++i, values += out_width, offsets += out_width) {
        split(x + 2 * i * width, width, rows[1]);
        if (2 * i + 1 < height)
            split(x + (2 * i + 1) * width, width, rows[2]);
        else
            outside(out_width, rows[2]);
        const auto* first = i == 0 ? room.first_of_top.data() : room.first.data();
        if (out_width < chunk<T>) {
            T some_values[chunk<T>];
            u8 some_offsets[chunk<T>];
            pool_chunk<Window>(room, first, 0, some_values, some_offsets);
            std::memcpy(values, some_values, out_width * sizeof(T));
            std::memcpy(offsets, some_offsets, out_width);
        } else {
            for (i64 j = 0; j < out_width; j += chunk<T>) {
                const i64 at = std::min(j, out_width - chunk<T>);
                pool_chunk<Window>(room, first, at, values + at, offsets + at);
            }
        }
        std::swap(rows[0], rows[2]);  // the lower row is the one above the next windows
    }
}

MATTER_CLONES void pool_any(const float* x, i64 height, i64 width, float* values, u8* offsets,
                                    i64 out_height, i64 out_width, PoolRoom<float>& room, int window) {
    if (window == 3)
        pool_plane<3>(x, height, width, values, offsets, out_height, out_width, room);
    else
        pool_plane<2>(x, height, width, values, offsets, out_height, out_width, room);
}

MATTER_CLONES void pool_any(const u16* x, i64 height, i64 width, u16* values, u8* offsets,
                                   i64 out_height, i64 out_width, PoolRoom<u16>& room, int window) {
    if (window == 3)
        pool_plane<3>(x, height, width, values, offsets, out_height, out_width, room);
    else
        pool_plane<2>(x, height, width, values, offsets, out_height, out_width, room);
}

// As the GPU computes it, window by window: tests hold the two against each other.
template <int Window, typename T>
void pool_plainly(const T* x, i64 height, i64 width, T* values, u8* offsets, i64 out_height,
                  i64 out_width) {
    for (i64 i = 0; i < out_height; ++i)
        for (i64 j = 0; j < out_width; ++j) {
            const Peak<T> peak = pool<Window>(x, height, width, i, j);
            *values++ = peak.value;
            *offsets++ = u8(peak.offset);
        }
}

template <typename In, typename Out>
void max_pool(In x, Out values, OutBytes offsets, int window, bool plain) {
    using T = std::remove_const_t<typename In::Scalar>;
    const i64 planes = i64(x.shape(0) * x.shape(1));
    const i64 height = i64(x.shape(2)), width = i64(x.shape(3));
    const i64 out_height = i64(values.shape(2)), out_width = i64(values.shape(3));
    const i64 area = height * width, out_area = out_height * out_width;
    const T* from = x.data();
    T* to = values.data();
    u8* at = offsets.data();
    nb::gil_scoped_release release;
    if (plain) {
        const auto pool_one = window == 3 ? pool_plainly<3, T> : pool_plainly<2, T>;
        for (i64 n = 0; n < planes; ++n)
            pool_one(from + n * area, height, width, to + n * out_area, at + n * out_area, out_height,
                     out_width);
        return;
    }
    const int threads = threads_for(planes * area);
#pragma omp parallel num_threads(threads) if (threads > 1)
    {
        PoolRoom<T> room(window, out_width);
#pragma omp for schedule(static)
        for (i64 n = 0; n < planes; ++n)
            pool_any(from + n * area, height, width, to + n * out_area, at + n * out_area,
                           out_height, out_width, room, window);
    }
}

// ---- unpooling: floats are moved as 32 bits, as no number is computed

// A row of windows, its offsets as wide as its values, followed by windows that choose nothing.
template <typename T>
struct WindowRow {
    std::vector<T> values, offsets;
};

template <typename T>
struct UnpoolRoom {
    WindowRow<T> above, below;
    std::vector<T> row;  // an output row that cannot be written in place

    explicit UnpoolRoom(i64 columns) {
        const i64 room = columns + chunk<T> + 1;
        for (WindowRow<T>* windows : {&above, &below}) {
            windows->values.assign(room, T(0));
            windows->offsets.assign(room, T(no_window));
        }
        row.assign(2 * room, T(0));
    }
};

template <typename T>
MATTER_PART void load_columns(const T* __restrict values, const u8* __restrict offsets, i64 n,
                              WindowRow<T>& to, i64 at) {
    T *__restrict own = to.values.data() + at, *__restrict wide = to.offsets.data() + at;
    for (i64 k = 0; k < n; ++k) own[k] = values[at + k];
    // Bytes in the same loop would make its vectors short.
    for (i64 k = 0; k < n; ++k) wide[k] = T(offsets[at + k]);
}

template <typename T>
MATTER_PART void load(const T* values, const u8* offsets, i64 width, WindowRow<T>& to) {
    if (width < chunk<T>) return load_columns(values, offsets, width, to, 0);
    for (i64 at = 0; at < width; at += chunk<T>)
        load_columns(values, offsets, chunk<T>, to, std::min(at, width - chunk<T>));
}

// The output pixels of the windows at .. at + chunk - 1: their upper row, or their lower one.
template <int Window, bool Lower, typename T>
MATTER_PART void unpool_chunk(const WindowRow<T>& above, const WindowRow<T>& below, i64 at,
                              T* __restrict out) {
    const T *x0 = above.values.data() + at, *o0 = above.offsets.data() + at;
    const T *x1 = below.values.data() + at, *o1 = below.offsets.data() + at;
    for (i64 k = 0; k < chunk<T>; ++k) {
        Square<T> square;
        if constexpr (Window == 3)
            square = unpool(x0[k], o0[k], x0[k + 1], o0[k + 1], x1[k], o1[k], x1[k + 1], o1[k + 1]);
        else
            square = unpool(x0[k], o0[k]);
        out[2 * k] = Lower ? square.bottom_left : square.top_left;
        out[2 * k + 1] = Lower ? square.bottom_right : square.top_right;
    }
}

template <int Window, bool Lower, typename T>
MATTER_PART void unpool_row(UnpoolRoom<T>& room, T* out, i64 out_width) {
    const i64 columns = (out_width + 1) / 2;
    if (out_width == 2 * columns && columns >= chunk<T>) {
        for (i64 j = 0; j < columns; j += chunk<T>) {
            const i64 at = std::min(j, columns - chunk<T>);
            unpool_chunk<Window, Lower>(room.above, room.below, at, out + 2 * at);
        }
    } else {
        for (i64 j = 0; j < columns; j += chunk<T>)
            unpool_chunk<Window, Lower>(room.above, room.below, j, room.row.data() + 2 * j);
        std::memcpy(out, room.row.data(), out_width * sizeof(T));
    }
}

template <int Window, typename T>
MATTER_PART void unpool_plane(const T* x, const u8* offsets, i64 height, i64 width, T* out,
                              i64 out_height, i64 out_width, UnpoolRoom<T>& room) {
    load(x, offsets, width, room.above);
    for (i64 i = 0; 2 * i < out_height; ++i, out += 2 * out_width) {
        if (i + 1 < height)
            load(x + (i + 1) * width, offsets + (i + 1) * width, width, room.below);
        else
            std::fill_n(room.below.offsets.data(), width, T(no_window));
        unpool_row<Window, false>(room, out, out_width);
        if (2 * i + 1 < out_height) unpool_row<Window, true>(room, out + out_width, out_width);
        std::swap(room.above, room.below);
    }
}

MATTER_CLONES void unpool_any(const u32* x, const u8* offsets, i64 height, i64 width, u32* out,
                                      i64 out_height, i64 out_width, UnpoolRoom<u32>& room,
                                      int window) {
    if (window == 3)
        unpool_plane<3>(x, offsets, height, width, out, out_height, out_width, room);
    else
        unpool_plane<2>(x, offsets, height, width, out, out_height, out_width, room);
}

MATTER_CLONES void unpool_any(const u16* x, const u8* offsets, i64 height, i64 width, u16* out,
                                     i64 out_height, i64 out_width, UnpoolRoom<u16>& room, int window) {
    if (window == 3)
        unpool_plane<3>(x, offsets, height, width, out, out_height, out_width, room);
    else
        unpool_plane<2>(x, offsets, height, width, out, out_height, out_width, room);
}

template <typename In, typename Out>
void max_unpool(In x, Bytes offsets, Out out, int window) {
    using T = std::remove_const_t<typename In::Scalar>;
    const i64 planes = i64(x.shape(0) * x.shape(1));
    const i64 height = i64(x.shape(2)), width = i64(x.shape(3));
    const i64 out_height = i64(out.shape(2)), out_width = i64(out.shape(3));
    const i64 area = height * width, out_area = out_height * out_width;
    const T* from = x.data();
    const u8* at = offsets.data();
    T* to = out.data();
    const int threads = threads_for(planes * out_area);
    nb::gil_scoped_release release;
#pragma omp parallel num_threads(threads) if (threads > 1)
    {
        UnpoolRoom<T> room((out_width + 1) / 2);
#pragma omp for schedule(static)
        for (i64 n = 0; n < planes; ++n)
            unpool_any(from + n * area, at + n * area, height, width, to + n * out_area,
                             out_height, out_width, room, window);
    }
}

}  // namespace

void bind_pooling(nb::module_& m) {
    m.def("max_pool_float", &max_pool<ConstFloats, Floats>, nb::arg("x").noconvert(),
          nb::arg("values").noconvert(), nb::arg("offsets").noconvert(), nb::arg("window"),
          nb::arg("plain") = false);
    m.def("max_pool_half", &max_pool<ConstShorts, Shorts>, nb::arg("x").noconvert(),
          nb::arg("values").noconvert(), nb::arg("offsets").noconvert(), nb::arg("window"),
          nb::arg("plain") = false);
    m.def("max_unpool_float", &max_unpool<ConstWords, Words>, nb::arg("x").noconvert(),
          nb::arg("offsets").noconvert(), nb::arg("out").noconvert(), nb::arg("window"));
    m.def("max_unpool_half", &max_unpool<ConstShorts, Shorts>, nb::arg("x").noconvert(),
          nb::arg("offsets").noconvert(), nb::arg("out").noconvert(), nb::arg("window"));
}

}  // namespace matter
