// Many images: the lanes of a vector are samples; a ring of rows stays in the nearest cache.
#pragma once

#include "rows.h"
#include "tiles.h"

namespace invconv::INVCONV_ISA {

// Ring, a second one for what a convolution puts out, and the pointers to the tap rows.
template <class T>
Index batch_scratch(const Work<T>& work) {
    const Index pointers = (work.geometry.anchor_row + 1) * Index(1 + sizeof(void*) / sizeof(T));
    return 2 * work.slots * work.row_size(kLanes<T>) + pointers;
}

template <class T>
void clear_padding(const Work<T>& work, T* ring) {
    const Geometry& g = work.geometry;
    const Index step = g.channels * kLanes<T>, row_size = work.row_size(kLanes<T>);
    for (Index slot = 0; slot < work.slots; ++slot, ring += row_size) {
        for (Index n = 0; n < g.anchor_column * step; ++n) ring[n] = 0;
        for (Index n = (g.anchor_column + g.width) * step; n < row_size; ++n) ring[n] = 0;
    }
}

template <bool Solve, class T>
INVCONV_INLINE void run_batch(const Work<T>& work, Index lane_block, Index group, T* scratch) {
    const Geometry& g = work.geometry;
    const Index row_size = work.row_size(kLanes<T>);
    T* ring = scratch;
    T* result = Solve ? ring : ring + work.slots * row_size;
    const T** rows = reinterpret_cast<const T**>(scratch + 2 * work.slots * row_size);
    const T* packed = work.packed + group * g.taps() * g.channels * g.channels;
    clear_padding(work, ring);
    for (Index first = 0; first < g.height; first += work.band) {
        const Band<T> band{work, lane_block, group, first, least(work.band, g.height - first)};
        load_band(band, ring);
        for (Index h = first; h < first + band.rows; ++h) {
            for (Index i = 0; i <= g.anchor_row; ++i) {
                const Index above = h - g.anchor_row + i;
                rows[i] = above < 0 ? nullptr : ring + above % work.slots * row_size;
            }
            const Index here = h % work.slots * row_size;
            const Row<T> row{work,         packed,          bool(work.identity[group]), rows,
                             ring + here, result + here};
            if constexpr (Solve)
                solve_row(row);
            else
                convolve_row(row);
        }
        store_band(band, result);
    }
}

template <class T>
void solve_batch(const Work<T>& work, Index lane_block, Index group, T* scratch) {
    run_batch<true>(work, lane_block, group, scratch);
}

template <class T>
void convolve_batch(const Work<T>& work, Index lane_block, Index group, T* scratch) {
    run_batch<false>(work, lane_block, group, scratch);
}

}  // namespace invconv::INVCONV_ISA
