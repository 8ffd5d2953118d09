// Few images, the inverse: the lanes of a vector are pixels of one image.
//
// The image is skewed. Lane r of step t holds row r, column t - slope * r, and the lanes moved by a
// rows hold row r - a, so that a tap of the row a above is the vector slope * a steps earlier among
// those: again runs of neighboring vectors. An image is solved in bands of as many rows as there
// are lanes; what moves in from the band before is kept aside.
#pragma once

#include "micro.h"

namespace invconv::INVCONV_ISA {

template <class T>
struct Skew {
    static constexpr Index L = kLanes<T>;
    const Geometry& g;
    Index slope = g.kernel_width - g.anchor_column;
    Index history = slope * g.anchor_row + g.anchor_column;  // steps before the first
    Index steps = slope * (least(g.height, L) - 1) + g.width;
    Index padded = (steps + L - 1) / L * L;
    Index step = g.channels * L;
    Index row_size = (history + padded) * step;  // moved by one more row, [step][channel][lane]
    Index edge_size = (history + steps) * g.channels;
    Index tile_size = L * padded;

    T *rows, *edges, *tile;

    Skew(const Geometry& geometry, T* scratch)
        : g(geometry),
          rows(scratch),
          edges(rows + (g.anchor_row + 1) * row_size + tile_size),
          tile(rows + (g.anchor_row + 1) * row_size) {}

    Index size() const {
        return (g.anchor_row + 1) * row_size + tile_size + g.anchor_row * edge_size;
    }
    T* at(Index moved, Index t) const { return rows + moved * row_size + (history + t) * step; }
    T* edge(Index moved, Index t) const {
        return edges + (moved - 1) * edge_size + (history + t) * g.channels;
    }
};

template <class T>
Index diagonal_scratch(const Work<T>& work) {
    return Skew<T>(work.geometry, nullptr).size();
}

template <class T, int... I>
INVCONV_INLINE Vec<T> move_lanes(Vec<T> v, T first, Sequence<I...>) {
    const Vec<T> edge = first - Vec<T>{};
    return __builtin_shufflevector(v, edge, (I ? I - 1 : int(sizeof...(I)))...);
}

// The copies of step t that are moved by `from`, `from` + 1, ... rows.
template <class T>
INVCONV_INLINE void move_step(const Skew<T>& skew, Index t, Index from) {
    for (Index moved = from; moved <= skew.g.anchor_row; ++moved)
        for (Index c = 0; c < skew.g.channels; ++c)
            store(skew.at(moved, t) + c * skew.L,
                  move_lanes<T>(load(skew.at(moved - 1, t) + c * skew.L), skew.edge(moved, t)[c],
                                typename Count<skew.L>::type{}));
}

// What the last rows of this band are for the next one.
template <class T>
void keep_edges(const Skew<T>& skew) {
    const Index ahead = skew.slope * skew.L;
    for (Index moved = skew.g.anchor_row; moved > 0; --moved)
        for (Index t = -skew.history; t < skew.steps; ++t)
            for (Index c = 0; c < skew.g.channels; ++c)
                skew.edge(moved, t)[c] =
                    t + ahead >= skew.steps ? T(0)
                    : moved <= skew.L
                        ? skew.at(0, t + ahead)[c * skew.L + skew.L - moved]
                        : skew.edge(moved - skew.L, t + ahead)[c];
}

// Calls f(row of the tile, first pixel in memory, how far the next pixel is) for a channel's band.
template <class T, class F>
INVCONV_INLINE void for_each_row(const Work<T>& work, const Skew<T>& skew, const Strides& s,
                                 Index sample, Index group, Index first, Index c, F&& f) {
    const Geometry& g = work.geometry;
    const bool right = work.corners[group] & 1, bottom = work.corners[group] & 2;
    const Index channel = group * g.channels + (g.upper ? g.channels - 1 - c : c);
    const Index rows = least(skew.L, g.height - first);
    for (Index r = 0; r < rows; ++r) {
        const Index h = bottom ? g.height - 1 - first - r : first + r;
        f(skew.tile + r * skew.padded + skew.slope * r,
          sample * s.batch + channel * s.channel + h * s.row + (right ? g.width - 1 : 0) * s.column,
          right ? -s.column : s.column);
    }
}

template <class T>
void load_skewed(const Work<T>& work, const Skew<T>& skew, Index sample, Index group, Index first) {
    for (Index c = 0; c < work.geometry.channels; ++c) {
        for_each_row(work, skew, work.input_strides, sample, group, first, c,
                     [&](T* to, Index here, Index move) {
                         copy_pixels(to, 1, work.input + here, move, work.geometry.width);
                     });
        for (Index t = 0; t < skew.padded; t += skew.L) {
            Vec<T> v[skew.L];
#pragma GCC unroll 16
            for (Index l = 0; l < skew.L; ++l) v[l] = load(skew.tile + l * skew.padded + t);
            transpose<T>(v);
#pragma GCC unroll 16
            for (Index l = 0; l < skew.L; ++l) store(skew.at(0, t + l) + c * skew.L, v[l]);
        }
    }
}

// Leaves the tile zero again outside the image.
template <class T>
void store_skewed(const Work<T>& work, const Skew<T>& skew, Index sample, Index group,
                  Index first) {
    for (Index c = 0; c < work.geometry.channels; ++c) {
        for (Index t = 0; t < skew.padded; t += skew.L) {
            Vec<T> v[skew.L];
#pragma GCC unroll 16
            for (Index l = 0; l < skew.L; ++l) v[l] = load(skew.at(0, t + l) + c * skew.L);
            transpose<T>(v);
#pragma GCC unroll 16
            for (Index l = 0; l < skew.L; ++l) store(skew.tile + l * skew.padded + t, v[l]);
        }
        for_each_row(work, skew, work.output_strides, sample, group, first, c,
                     [&](const T* from, Index here, Index move) {
                         copy_pixels(work.output + here, move, from, 1, work.geometry.width);
                     });
    }
}

// The two taps that touch the step just done come last, each with sums of its own: they alone
// bound how fast steps can follow one another.
template <class T, int Size>
INVCONV_INLINE void solve_step(const Skew<T>& skew, const Block& b, bool identity, const T* taps,
                               Index t, Vec<T> lane) {
    const Geometry& g = skew.g;
    T* here = skew.at(0, t);
    const auto add = [&](auto& to, Index above, Index from, Index end) {
        const T* x = skew.at(above, t - skew.slope * above) + (from - g.anchor_column) * skew.step;
        const Index tap = (g.anchor_row - above) * g.kernel_width + from;
        accumulate(to, x, 0, skew.L, taps + tap * g.channels * Size, (end - from) * g.channels);
    };
    Vec<T> sum[1][Size], late[1][Size];
    clear<T>(late);
    if (identity) {
        fetch(sum, here + b.first * skew.L, 0, skew.L);
    } else {
        clear<T>(sum);
        accumulate(sum, here, 0, skew.L, taps + (g.taps() - 1) * g.channels * Size,
                   b.first + Size);
    }
    for (Index above = g.anchor_row; above > 1; --above) add(sum, above, 0, g.kernel_width);
    if (g.anchor_row) add(late, 1, 0, g.kernel_width);
    add(sum, 0, 0, g.anchor_column);

    const Vec<T> column = T(t) - lane;
    const auto inside = (column >= T(0)) & (column < T(g.width));
#pragma GCC unroll 16
    for (int s = 0; s < Size; ++s) {
        const Vec<T> x = (Vec<T>)((decltype(inside))(sum[0][s] + late[0][s]) & inside);
        store(here + (b.first + s) * skew.L, x);
        if (g.anchor_row)
            store(skew.at(1, t) + (b.first + s) * skew.L,
                  move_lanes<T>(x, skew.edge(1, t)[b.first + s], typename Count<skew.L>::type{}));
    }
}

template <class T, int Size>
[[gnu::noinline]] void solve_steps(const Skew<T>& skew, const Block& b, bool identity,
                                   const T* packed, Index t, Index end, Vec<T> lane) {
    const Skew<T> copy = skew;
    const T* taps = packed + b.first * copy.g.taps() * copy.g.channels;
    for (; t < end; ++t) {
        solve_step<T, Size>(copy, b, identity, taps, t, lane);
        if (copy.g.channels == Size) move_step(copy, t, 2);
    }
}

template <class T>
void solve_diagonal(const Work<T>& work, Index sample, Index group, T* scratch) {
    const Geometry& g = work.geometry;
    const Skew<T> skew(g, scratch);
    const T* packed = work.packed + group * g.taps() * g.channels * g.channels;
    Vec<T> lane;
    for (Index l = 0; l < skew.L; ++l) lane[l] = static_cast<T>(skew.slope * l);
    for (Index n = 0; n < skew.history * skew.step; ++n) skew.rows[n] = 0;
    for (Index n = 0; n < skew.tile_size + g.anchor_row * skew.edge_size; ++n) skew.tile[n] = 0;
    for (Index first = 0; first < g.height; first += skew.L) {
        load_skewed(work, skew, sample, group, first);
        for (Index t = -skew.history; t < 0; ++t) move_step(skew, t, 1);
        const Index together = work.block_count == 1 ? skew.steps : 1;
        for (Index t = 0; t < skew.steps; t += together) {
            for (Index n = work.block_count; n-- > 0;)
                with_size(work.blocks[n].size, [&](auto size) {
                    solve_steps<T, size.value>(skew, work.blocks[n], work.identity[group], packed,
                                               t, t + together, lane);
                });
            if (work.block_count > 1) move_step(skew, t, 2);
        }
        if (first + skew.L < g.height) keep_edges(skew);
        store_skewed(work, skew, sample, group, first);
    }
}

}  // namespace invconv::INVCONV_ISA
