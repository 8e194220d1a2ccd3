// CPU wrapper of include/foreground.h: the same sums as running sums by rows, where they are wanted.
#include "blur_fusion.h"
#include "host.h"

#include <memory>
#include <vector>

namespace matter {
namespace {

typedef unsigned short Short4 __attribute__((vector_size(8)));

// Estimates for one block or pixel, three lanes of each.
struct Both {
    Float4 f, b;
};

struct Sums {
    Int4 f, b;  // those without a channel in the fourth lanes
};

// What a level stands for.
struct Levels {
    float alpha[256], share[256];
    int weight[256];
    Levels() {
        for (int level = 0; level < 256; ++level) {
            alpha[level] = alpha_of(level);
            share[level] = share_of(level);
            weight[level] = weight_of(level);
        }
    }
};
const Levels table;

// Levels of a row; `any` and `all` gather their bits over the rows of a tile.
MATTER_CLONES void level_row(const float* alpha, u8* levels, u8* any, u8* all, i64 n) {
    for (i64 x = 0; x < n; ++x) {
        const u8 level = u8(level_of(alpha[x]));
        levels[x] = level;
        any[x] |= level;
        all[x] &= level;
    }
}

MATTER_CLONES void add_row(const u8* row, unsigned short* sums, i64 n) {
    for (i64 i = 0; i < n; ++i) sums[i] = (unsigned short)(sums[i] + row[i]);
}

MATTER_CLONES void add_ints(const int* row, int* sums, i64 n) {
    for (i64 i = 0; i < n; ++i) sums[i] += row[i];
}

MATTER_CLONES void subtract_ints(const int* row, int* sums, i64 n) {
    for (i64 i = 0; i < n; ++i) sums[i] -= row[i];
}

// sum_block(): of pixels in transition, and of plain ones, whose sums over the rows are there.
MATTER_CLONES void sum_mixed(const u8* frame, i64 frame_row, const u8* levels, i64 level_row, int rows,
                             int columns, Sums& sums) {
    Int4 f = {}, b = {};
    for (int y = 0; y < rows; ++y)
        for (int x = 0; x < columns; ++x) {
            const int level = levels[y * level_row + x];
            const Int4 pixel = load_pixel(frame + y * frame_row + 3 * x);
            f += level * (pixel + Int4{0, 0, 0, level});
            b += (255 - level) * (pixel + Int4{0, 0, 0, 255 - level});
        }
    sums = {f, b};
}

MATTER_PART Int4 sum_plain(const unsigned short* column_sums, int rows, int columns) {
    Int4 sum = {0, 0, 0, 255 * rows * columns};
    for (int x = 0; x < columns; ++x)
        sum += Int4{column_sums[3 * x], column_sums[3 * x + 1], column_sums[3 * x + 2], 0};
    return 255 * sum;
}

// estimate_block() along a row of blocks, from sums over its columns; `height` pixels are in the windows.
MATTER_CLONES void estimate_blocks(const Sums* columns, int count, int block, int height, int width,
                                   Both* wide) {
    Sums total = {};
    for (int x = 0; x < smaller(wide_reach, count); ++x) {
        total.f += columns[x].f;
        total.b += columns[x].b;
    }
    for (int x = 0; x < count; ++x) {
        if (x + wide_reach < count) {
            total.f += columns[x + wide_reach].f;
            total.b += columns[x + wide_reach].b;
        }
        if (x > wide_reach) {
            total.f -= columns[x - wide_reach - 1].f;
            total.b -= columns[x - wide_reach - 1].b;
        }
        const Solver solver(total.f[3], total.b[3], height * window_length(x, block, count, width));
        const Float4 f = floats(total.f), b = floats(total.b);
        wide[x] = {solve_window(f, b, solver.own_f, solver.other),
                   solve_window(b, f, solver.own_b, solver.other)};
    }
    wide[count] = wide[count - 1];
}

// The wide estimate at the height of a row of pixels.
MATTER_CLONES void mix_rows(const float* upper, const float* lower, float part, float* out, i64 n) {
    for (i64 i = 0; i < n; ++i) out[i] = mix(upper[i], lower[i], part);
}

// Where a pixel lies between the blocks: the one that follows is always there, the last being doubled.
struct Place {
    int first;
    float part;
};

// weigh_pixel() along a row, added to the sums of the columns while what was in `products` leaves them.
MATTER_CLONES void weigh_row(const u8* frame, const u8* levels, const Both* wide, const Place* places,
                             Short4* products, Int4* sums, int n) {
    for (int x = 0; x < n; ++x) {
        const int level = levels[x];
        const Both &first = wide[places[x].first], &next = wide[places[x].first + 1];
        const float part = places[x].part;
        Int4 value = nearest4(solve(mix(first.f, next.f, part), mix(first.b, next.b, part),
                                    table.alpha[level], table.share[level],
                                    floats(load_pixel(frame + 3 * x))));
        value[3] = 1;
        value *= table.weight[level];
        sums[x] += value - __builtin_convertvector(products[x], Int4);
        products[x] = __builtin_convertvector(value, Short4);
    }
}

// The same where alpha is 1: the frame itself.
MATTER_CLONES void weigh_whole(const u8* frame, Short4* products, Int4* sums, int n) {
    for (int x = 0; x < n; ++x) {
        const Int4 value = table.weight[255] * (load_pixel(frame + 3 * x) + Int4{0, 0, 0, 1});
        sums[x] += value - __builtin_convertvector(products[x], Int4);
        products[x] = __builtin_convertvector(value, Short4);
    }
}

// And where it is 0: nothing.
MATTER_CLONES void weigh_nothing(Short4* products, Int4* sums, int n) {
    for (int x = 0; x < n; ++x) {
        sums[x] -= __builtin_convertvector(products[x], Int4);
        products[x] = Short4{};
    }
}

// foreground_value() along a row. `sums` has `radius` columns and one more before its first.
MATTER_CLONES void finish_row(const u8* frame, const u8* levels, const Both* wide, const Place* places,
                              const Int4* sums, int radius, u8* out, int n) {
    Int4 total = {};
    for (int x = -radius - 1; x < radius; ++x) total += sums[x];
    for (int x = 0; x < n; ++x) {
        total += sums[x + radius] - sums[x - radius - 1];
        const int level = levels[x];
        const Int4 pixel = load_pixel(frame + 3 * x);
        const Both &first = wide[places[x].first], &next = wide[places[x].first + 1];
        const Float4 b = mix(first.b, next.b, places[x].part);
        const Int4 value = nearest4(solve(floats(total) / float(total[3]), b, table.alpha[level],
                                          table.share[level], floats(pixel)));
        store_pixel(out + 3 * x, level == 255 || total[3] == 0 ? pixel : value);
    }
}

// estimate_value() along a row.
MATTER_CLONES void estimate_row(const u8* frame, const Both* wide, const Place* places,
                                const Int4* sums, int radius, u8* out, i64 plane, int n) {
    Int4 total = {};
    for (int x = -radius - 1; x < radius; ++x) total += sums[x];
    for (int x = 0; x < n; ++x) {
        total += sums[x + radius] - sums[x - radius - 1];
        const Both &first = wide[places[x].first], &next = wide[places[x].first + 1];
        const Int4 f = total[3] == 0 ? load_pixel(frame + 3 * x) : nearest4(floats(total) / float(total[3]));
        const Int4 b = nearest4(mix(first.b, next.b, places[x].part));
        for (int c = 0; c < 3; ++c) {
            out[c * plane + x] = u8(f[c]);
            out[(3 + c) * plane + x] = u8(b[c]);
        }
    }
}

// A matte is mostly plain: all 0, or all 1. A tile (of whole blocks) that is as plain as its neighbours
// needs no estimate, and most tiles are.
enum Kind : u8 { behind, mixed, before };

class BlurFusion {
public:
    BlurFusion(const Picture& picture, u8* out, bool estimates)
        : picture_(picture), out_(out), estimates_(estimates),
          windows_(make_windows(int(picture.height), int(picture.width))),
          block_(windows_.block),
          tile_height_(block_ * ((8 + block_ - 1) / block_)),
          tile_width_(block_ * ((32 + block_ - 1) / block_)),
          tile_rows_(int((picture.height + tile_height_ - 1) / tile_height_)),
          tile_columns_(int((picture.width + tile_width_ - 1) / tile_width_)),
          kinds_(tile_rows_ * tile_columns_), work_(kinds_.size()), near_(kinds_.size()),
          levels_(scratch_.take<u8>(picture.height * picture.width)),
          sums_(scratch_.take<Sums>(windows_.rows * windows_.columns)),
          wide_(scratch_.take<Both>(windows_.rows * (windows_.columns + 1))) {
        for (i64 x = 0; x < picture.width; ++x) {
            const Between at = between_blocks(int(x), block_, windows_.columns);
            places_.push_back({at.first, at.part});
        }
    }

    void run() {
        const int threads = smaller(threads_for(colour_work * picture_.height * picture_.width), tile_rows_);
#pragma omp parallel for num_threads(threads) if (threads > 1) schedule(static)
        for (int row = 0; row < tile_rows_; ++row) sum_blocks(row);
        estimate();
        choose();
#pragma omp parallel for num_threads(threads) if (threads > 1) schedule(static)
        for (int part = 0; part < threads; ++part)
            narrow(tile_rows_ * part / threads, tile_rows_ * (part + 1) / threads);
    }

private:
    int columns_of(int tile) const {
        return smaller(tile_width_, int(picture_.width) - tile * tile_width_);
    }

    // Levels, kinds and block sums of one row of tiles.
    void sum_blocks(int row) {
        const i64 width = picture_.width;
        const int top = row * tile_height_;
        const int bottom = smaller(top + tile_height_, int(picture_.height));
        std::vector<u8> any(width, 0), all(width, 255);
        for (int y = top; y < bottom; ++y)
            level_row(picture_.alpha + y * picture_.alpha_row, &levels_[y * width], any.data(),
                      all.data(), width);
        for (int tile = 0; tile < tile_columns_; ++tile) {
            u8 some = 0, every = 255;
            for (int x = 0; x < columns_of(tile); ++x) {
                some |= any[tile * tile_width_ + x];
                every &= all[tile * tile_width_ + x];
            }
            kinds_[row * tile_columns_ + tile] = some == 0 ? behind : every == 255 ? before : mixed;
        }
        std::vector<unsigned short> plain(3 * width);
        for (int y = top; y < bottom; y += block_) {
            const int rows = smaller(block_, bottom - y);
            std::fill(plain.begin(), plain.end(), (unsigned short)0);
            for (int i = 0; i < rows; ++i)
                add_row(picture_.frame + (y + i) * picture_.frame_row, plain.data(), 3 * width);
            Sums* sums = &sums_[i64(y / block_) * windows_.columns];
            for (int column = 0; column < windows_.columns; ++column) {
                const int x = column * block_, columns = smaller(block_, int(width) - x);
                const u8 kind = kinds_[row * tile_columns_ + x / tile_width_];
                if (kind == mixed)
                    sum_mixed(picture_.frame + y * picture_.frame_row + 3 * x, picture_.frame_row,
                              &levels_[y * width + x], width, rows, columns, sums[column]);
                else if (kind == before)
                    sums[column] = {sum_plain(&plain[3 * x], rows, columns), Int4{}};
                else
                    sums[column] = {Int4{}, sum_plain(&plain[3 * x], rows, columns)};
            }
        }
    }

    void estimate() {
        const int rows = windows_.rows, columns = windows_.columns;
        std::unique_ptr<Sums[]> total(new Sums[columns]());
        int* sums = reinterpret_cast<int*>(total.get());
        const auto row_of = [&](int row) { return reinterpret_cast<int*>(&sums_[i64(row) * columns]); };
        for (int row = 0; row < smaller(wide_reach, rows); ++row) add_ints(row_of(row), sums, 8 * columns);
        for (int row = 0; row < rows; ++row) {
            if (row + wide_reach < rows) add_ints(row_of(row + wide_reach), sums, 8 * columns);
            if (row > wide_reach) subtract_ints(row_of(row - wide_reach - 1), sums, 8 * columns);
            estimate_blocks(total.get(), columns, block_,
                            window_length(row, block_, rows, int(picture_.height)),
                            int(picture_.width), &wide_[i64(row) * (columns + 1)]);
        }
    }

    // Calls `visit` with the index of a tile and of each of its neighbours that is there.
    template <typename Visit>
    void around(int row, int column, Visit visit) const {
        for (int y = larger(row - 1, 0); y <= smaller(row + 1, tile_rows_ - 1); ++y)
            for (int x = larger(column - 1, 0); x <= smaller(column + 1, tile_columns_ - 1); ++x)
                visit(y * tile_columns_ + x);
    }

    void choose() {
        for (int row = 0; row < tile_rows_; ++row)
            for (int column = 0; column < tile_columns_; ++column) {
                const int at = row * tile_columns_ + column;
                bool plain = kinds_[at] != mixed;
                around(row, column, [&](int tile) { plain = plain && kinds_[tile] == kinds_[at]; });
                // The colours of a whole tile are the frame's, while estimates reach beyond an edge.
                work_[at] = !plain && (estimates_ || kinds_[at] != before);
                if (work_[at]) around(row, column, [&](int tile) { near_[tile] = 1; });
            }
    }

    // The wide estimate at the height of row `y`.
    void wide_row(i64 y, Both* out) const {
        const i64 count = windows_.columns + 1;
        const Between at = between_blocks(int(y), block_, windows_.rows);
        mix_rows(reinterpret_cast<const float*>(&wide_[at.first * count]),
                 reinterpret_cast<const float*>(&wide_[at.next * count]), at.part,
                 reinterpret_cast<float*>(out), 8 * count);
    }

    // The narrow pass for some rows of tiles. A ring holds the products of the rows in the window, and
    // their sums run down the columns; `radius` empty columns and one more lie on either side.
    void narrow(int first_tile, int last_tile) const {
        const int radius = windows_.radius, size = 2 * radius + 1;
        const i64 height = picture_.height, width = picture_.width, margin = radius + 1;
        const i64 first = i64(first_tile) * tile_height_;
        const i64 last = std::min(i64(last_tile) * tile_height_, height);
        std::vector<Short4> ring(size * width);
        std::vector<Int4> sums(width + 2 * margin);
        std::vector<u8> alive(tile_columns_, 0);
        std::vector<Both> entering(windows_.columns + 1), leaving(windows_.columns + 1);
        for (i64 y = std::max<i64>(first - radius, 0); y < last + radius; ++y) {
            const int row = int(std::min(y, height - 1)) / tile_height_;
            const u8 *kinds = &kinds_[row * tile_columns_], *near = &near_[row * tile_columns_];
            Short4* products = &ring[y % size * width];
            const u8* pixels = picture_.frame + y * picture_.frame_row;
            wide_row(y, entering.data());
            for (int tile = 0; tile < tile_columns_; ++tile) {
                const int x = tile * tile_width_, n = columns_of(tile);
                if (near[tile] && !alive[tile]) {
                    std::fill_n(&sums[margin + x], n, Int4{});
                    for (int i = 0; i < size; ++i) std::fill_n(&ring[i * width + x], n, Short4{});
                }
                alive[tile] = near[tile];
                if (!near[tile]) continue;
                if (y >= height || kinds[tile] == behind)
                    weigh_nothing(products + x, &sums[margin + x], n);
                else if (kinds[tile] == before)
                    weigh_whole(pixels + 3 * x, products + x, &sums[margin + x], n);
                else
                    weigh_row(pixels + 3 * x, &levels_[y * width + x], entering.data(), &places_[x],
                              products + x, &sums[margin + x], n);
            }
            if (y - radius >= first) finish(y - radius, &sums[margin], leaving);
        }
    }

    // Results of one row, run by run of tiles.
    void finish(i64 y, const Int4* sums, std::vector<Both>& wide) const {
        const u8* work = &work_[y / tile_height_ * tile_columns_];
        const u8* pixels = picture_.frame + y * picture_.frame_row;
        const i64 width = picture_.width;
        wide_row(y, wide.data());
        for (int begin = 0, end; begin < tile_columns_; begin = end) {
            for (end = begin + 1; end < tile_columns_ && work[end] == work[begin];) ++end;
            const i64 x = i64(begin) * tile_width_, at = y * width + x;
            const int n = int(std::min(i64(end) * tile_width_, width) - x);
            if (work[begin] && estimates_)
                estimate_row(pixels + 3 * x, wide.data(), &places_[x], sums + x, windows_.radius,
                             out_ + at, picture_.height * width, n);
            else if (work[begin])
                finish_row(pixels + 3 * x, &levels_[at], wide.data(), &places_[x], sums + x,
                           windows_.radius, out_ + 3 * at, n);
            else if (!estimates_)
                std::memcpy(out_ + 3 * at, pixels + 3 * x, 3 * n);
        }
    }

    const Picture& picture_;
    u8* const out_;
    const bool estimates_;
    const Windows windows_;
    const int block_, tile_height_, tile_width_, tile_rows_, tile_columns_;
    std::vector<u8> kinds_;  // of each tile
    std::vector<u8> work_;   // 1: its results are wanted
    std::vector<u8> near_;   // 1: its products are needed
    Scratch scratch_;
    u8* const levels_;
    Sums* const sums_;
    Both* const wide_;  // rows x (columns + 1), the last of a row doubled
    std::vector<Place> places_;  // of each column of pixels
};

void foreground(nb::ndarray<const std::uint8_t, nb::ndim<3>, nb::device::cpu> frame,
                nb::ndarray<const float, nb::ndim<2>, nb::device::cpu> alpha,
                nb::ndarray<std::uint8_t, nb::ndim<3>, nb::c_contig, nb::device::cpu> out) {
    const Picture picture = {i64(frame.shape(0)), i64(frame.shape(1)), frame.data(),
                             frame.stride(0),     alpha.data(),        alpha.stride(0)};
    nb::gil_scoped_release release;
    blur_fusion(picture, out.data());
}

}  // namespace

void blur_fusion(const Picture& picture, u8* out) { BlurFusion(picture, out, false).run(); }

void blur_estimates(const Picture& picture, u8* out) { BlurFusion(picture, out, true).run(); }

void bind_foreground(nb::module_& m) {
    m.def("foreground", &foreground, nb::arg("frame").noconvert(), nb::arg("alpha").noconvert(),
          nb::arg("out").noconvert());
}

}  // namespace matter
