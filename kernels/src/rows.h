// One row of pixels for one vector of samples: the lanes are samples, so a row needs no wavefront.
#pragma once

#include "micro.h"

namespace invconv::INVCONV_ISA {

// A row of the ring and the rows above it, each laid out as [padded column][channel][lane].
template <class T>
struct Row {
    const Work<T>& work;
    const T* packed;       // the group's taps
    bool identity;         // the group's anchor needs no product
    const T* const* rows;  // one per tap row, the last one this row; null above the image
    T* here;               // rows[anchor_row], z on entry and x on return when solving
    T* out;                // where a convolution goes

    Index step() const { return work.geometry.channels * kLanes<T>; }
    const T* taps(const Block& b) const {
        return packed + b.first * work.geometry.taps() * work.geometry.channels;
    }
};

// Adds the taps of all rows above, for `Pixels` pixels from column w on.
template <class T, int Pixels, int Size>
INVCONV_INLINE void add_above(Vec<T> (&sum)[Pixels][Size], const Row<T>& row, const T* taps,
                              Index w) {
    const Geometry& g = row.work.geometry;
    const Index from = most(0, g.anchor_column - (w + Pixels - 1));
    const Index to = least(g.kernel_width, g.width - w + g.anchor_column);
    for (Index i = 0; i < g.anchor_row; ++i)
        if (row.rows[i])
            accumulate(sum, row.rows[i] + (w + from) * row.step(), row.step(), kLanes<T>,
                       taps + (i * g.kernel_width + from) * g.channels * Size,
                       (to - from) * g.channels);
}

// Everything but the taps to the left: here <- A0^-1 z - (the rows above).
template <class T, int Pixels, int Size>
INVCONV_INLINE void solve_above(const Row<T>& row, const Block& b, Index w) {
    const Geometry& g = row.work.geometry;
    const T* taps = row.taps(b);
    T* at = row.here + (w + g.anchor_column) * row.step();
    Vec<T> sum[Pixels][Size];
    if (row.identity) {
        fetch(sum, at + b.first * kLanes<T>, row.step(), kLanes<T>);
    } else {
        clear<T>(sum);
        accumulate(sum, at, row.step(), kLanes<T>, taps + (g.taps() - 1) * g.channels * Size,
                   b.first + Size);
    }
    add_above(sum, row, taps, w);
    put(sum, at + b.first * kLanes<T>, row.step(), kLanes<T>);
}

// The recursion along the row, one pixel.
template <class T, int Size>
INVCONV_INLINE void solve_left(const Row<T>& row, const Block& b, Index w) {
    const Geometry& g = row.work.geometry;
    const Index from = most(0, g.anchor_column - w);
    T* at = row.here + (w + g.anchor_column) * row.step() + b.first * kLanes<T>;
    Vec<T> sum[1][Size];
    fetch(sum, at, 0, kLanes<T>);
    accumulate(sum, row.here + (w + from) * row.step(), 0, kLanes<T>,
               row.taps(b) + (g.anchor_row * g.kernel_width + from) * g.channels * Size,
               (g.anchor_column - from) * g.channels);
    put(sum, at, 0, kLanes<T>);
}

template <class T, int Pixels, int Size>
INVCONV_INLINE void convolve_pixels(const Row<T>& row, const Block& b, Index w) {
    const Geometry& g = row.work.geometry;
    const T* taps = row.taps(b);
    const Index from = most(0, g.anchor_column - (w + Pixels - 1));
    Vec<T> sum[Pixels][Size];
    clear<T>(sum);
    add_above(sum, row, taps, w);
    accumulate(sum, row.here + (w + from) * row.step(), row.step(), kLanes<T>,
               taps + (g.anchor_row * g.kernel_width + from) * g.channels * Size,
               (g.anchor_column - from) * g.channels + b.first + Size);
    put(sum, row.out + (w + g.anchor_column) * row.step() + b.first * kLanes<T>, row.step(),
        kLanes<T>);
}

// Walks the row in steps of `Pixels`, the rest in halves of that.
template <int Pixels, class F>
INVCONV_INLINE void for_pixels(Index w, Index width, F&& f) {
    for (; w + Pixels <= width; w += Pixels) f(Constant<Pixels>{}, w);
    if constexpr (Pixels > 1) for_pixels<Pixels / 2>(w, width, f);
}

// The same for few channels, where waiting for the neighbor just stored would take longer than
// the arithmetic: the last `Reach` pixels stay in registers.
template <class T, int Reach, int Size>
INVCONV_INLINE void solve_left_carried(const Row<T>& row, const Block& b,
                                       Vec<T> (&last)[Reach][Size], Index w) {
    const Geometry& g = row.work.geometry;
    const T* taps = row.taps(b) + g.anchor_row * g.kernel_width * Size * Size;
    T* at = row.here + (w + g.anchor_column) * row.step();
    Vec<T> sum[1][Size];
    fetch(sum, at, 0, kLanes<T>);
#pragma GCC unroll 4
    for (int r = 0; r < Reach; ++r)
#pragma GCC unroll 4
        for (int d = 0; d < Size; ++d)
#pragma GCC unroll 4
            for (int s = 0; s < Size; ++s)
                sum[0][s] += taps[(r * Size + d) * Size + s] * last[r][d];
    put(sum, at, 0, kLanes<T>);
#pragma GCC unroll 4
    for (int s = 0; s < Size; ++s) {
#pragma GCC unroll 4
        for (int r = 0; r + 1 < Reach; ++r) last[r][s] = last[r + 1][s];
        last[Reach - 1][s] = sum[0][s];
    }
}

// Alternating the two stages lets the processor overlap the recursion of one stretch, bound by
// latency, with the independent sums of the next. `Reach` is the number of taps to the left, 0 for
// any.
template <class T, int Size, int Reach>
void solve_row_one_block(const Row<T>& row) {
    constexpr int stretch = kPixels<Size> > 4 ? 4 : kPixels<Size>;
    const Block b = row.work.blocks[0];
    Vec<T> last[Reach ? Reach : 1][Size];
    clear<T>(last);
    const auto solve_stretch = [&](auto pixels, Index w) __attribute__((always_inline)) {
        solve_above<T, pixels.value, Size>(row, b, w);
        for (int p = 0; p < pixels.value; ++p) {
            if constexpr (Reach > 0)
                solve_left_carried(row, b, last, w + p);
            else
                solve_left<T, Size>(row, b, w + p);
        }
    };
    for_pixels<stretch>(0, row.work.geometry.width, solve_stretch);
}

template <class T, int Size>
void solve_row_one_block(const Row<T>& row) {
    if constexpr (Size <= INVCONV_CARRIED) {
        switch (row.work.geometry.anchor_column) {
            case 1: return solve_row_one_block<T, Size, 1>(row);
            case 2: return solve_row_one_block<T, Size, 2>(row);
            case 4: return solve_row_one_block<T, Size, 4>(row);
        }
    }
    solve_row_one_block<T, Size, 0>(row);
}

template <class T, int Size>
void solve_above_row(const Row<T>& row, const Block& b) {
    for_pixels<kPixels<Size>>(0, row.work.geometry.width, [&](auto pixels, Index w) {
        solve_above<T, pixels.value, Size>(row, b, w);
    });
}

template <class T, int Size>
void solve_left_pixel(const Row<T>& row, const Block& b, Index w) {
    solve_left<T, Size>(row, b, w);
}

template <class T>
void solve_row(const Row<T>& row) {
    const Work<T>& work = row.work;
    if (work.block_count == 1) {
        with_size(work.blocks[0].size,
                  [&](auto size) { solve_row_one_block<T, size.value>(row); });
        return;
    }
    // The last block first: the anchor reads z of the blocks before it.
    for (Index n = work.block_count; n-- > 0;)
        with_size(work.blocks[n].size,
                  [&](auto size) { solve_above_row<T, size.value>(row, work.blocks[n]); });
    if (work.geometry.anchor_column)
        for (Index w = 0; w < work.geometry.width; ++w)
            for (Index n = 0; n < work.block_count; ++n)
                with_size(work.blocks[n].size, [&](auto size) {
                    solve_left_pixel<T, size.value>(row, work.blocks[n], w);
                });
}

template <class T, int Size>
void convolve_row_block(const Row<T>& row, const Block& b) {
    for_pixels<kPixels<Size>>(0, row.work.geometry.width, [&](auto pixels, Index w) {
        convolve_pixels<T, pixels.value, Size>(row, b, w);
    });
}

template <class T>
void convolve_row(const Row<T>& row) {
    for (Index n = 0; n < row.work.block_count; ++n)
        with_size(row.work.blocks[n].size, [&](auto size) {
            convolve_row_block<T, size.value>(row, row.work.blocks[n]);
        });
}

}  // namespace invconv::INVCONV_ISA
