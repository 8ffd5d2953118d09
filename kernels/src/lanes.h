// The paper's loop with images as the lanes of a vector, and nothing else changed.
#pragma once

#include "diagonal_loop.h"
#include "tiles.h"

namespace invconv::INVCONV_ISA {

// z of one group is turned to (C', H, W, lanes) in scratch, solved in place, and turned back.
template <class T>
void solve_lanes(const Loop<T>& loop, Index lane_block, Index group, T* scratch) {
    constexpr Index L = kLanes<T>;
    const Geometry& g = loop.geometry;
    const Index size = g.channels * g.height * g.width, sample = g.groups * size;
    const Index samples = least(L, g.batch - lane_block * L);
    const Index start = lane_block * L * sample + group * size;
    const T* z = loop.z + start;
    T* x = loop.x + start;
    Vec<T>* images = reinterpret_cast<Vec<T>*>(scratch);
    if (size < L)
        for (Index n = 0; n < size; ++n)
            for (Index l = 0; l < L; ++l) images[n][l] = z[least(l, samples - 1) * sample + n];
    else
        for (Index n = 0; n < size; n += L) {
            const Index q = least(n, size - L);
            Vec<T> v[L];
            load_tile<T>(v, z + q, sample, samples, 0);
            for (Index l = 0; l < L; ++l) images[q + l] = v[l];
        }
    const Index kernel = g.channels * g.channels * g.kernel_height * g.kernel_width;
    solve_by_diagonals(g, images, loop.weight + group * kernel, loop.corners[group], images);
    if (size < L)
        for (Index n = 0; n < size; ++n)
            for (Index l = 0; l < samples; ++l) x[l * sample + n] = images[n][l];
    else
        for (Index n = 0; n < size; n += L) {
            const Index q = least(n, size - L);
            Vec<T> v[L];
            for (Index l = 0; l < L; ++l) v[l] = images[q + l];
            store_tile<T>(v, x + q, sample, samples, 0);
        }
}

}  // namespace invconv::INVCONV_ISA
