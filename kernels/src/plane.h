// Few images, the convolution: it needs no order, so the lanes are neighbors in a padded plane,
// all of whose rows form one long row.
#pragma once

#include "micro.h"

namespace invconv::INVCONV_ISA {

template <class T>
struct Plane {
    const Geometry& g;
    Index width = g.width + g.kernel_width - 1;
    Index pixels = g.height * width;
    Index size = (g.anchor_row + g.height) * width + g.kernel_width + 8 * kLanes<T>;
};

template <class T>
Index plane_scratch(const Work<T>& work) {
    return 2 * Plane<T>{work.geometry}.size * work.geometry.channels;
}

template <class T, int Pixels, int Size>
INVCONV_INLINE void convolve_stretch(const Work<T>& work, const Plane<T>& plane, const Block& b,
                                     const T* packed, const T* x, T* z) {
    const Geometry& g = work.geometry;
    const T* taps = packed + b.first * g.taps() * g.channels;
    Vec<T> sum[Pixels][Size];
    clear<T>(sum);
    for (Index i = 0; i <= g.anchor_row; ++i) {
        const Index end = i < g.anchor_row ? g.kernel_width : g.anchor_column + 1;
        for (Index j = 0; j < end; ++j, taps += g.channels * Size) {
            const bool anchor = i == g.anchor_row && j == g.anchor_column;
            accumulate(sum, x + i * plane.width + j, kLanes<T>, plane.size, taps,
                       anchor ? b.first + Size : g.channels);
        }
    }
    put(sum, z + b.first * plane.size, kLanes<T>, plane.size);
}

template <class T, int Size>
void convolve_block(const Work<T>& work, const Plane<T>& plane, const Block& b, const T* packed,
                    const T* x, T* z) {
    constexpr int P = kPixels<Size>;
    Index q = 0;
    for (; q + (P - 1) * kLanes<T> < plane.pixels; q += P * kLanes<T>)
        convolve_stretch<T, P, Size>(work, plane, b, packed, x + q, z + q);
    for (; q < plane.pixels; q += kLanes<T>)
        convolve_stretch<T, 1, Size>(work, plane, b, packed, x + q, z + q);
}

template <class T>
void convolve_plane(const Work<T>& work, Index sample, Index group, T* scratch) {
    const Geometry& g = work.geometry;
    const Plane<T> plane{g};
    T* x = scratch;
    T* z = scratch + plane.size * g.channels;
    const bool right = work.corners[group] & 1, bottom = work.corners[group] & 2;
    const auto visit = [&](const Strides& s, Index start, auto&& f) {
        for (Index c = 0; c < g.channels; ++c) {
            const Index channel = group * g.channels + (g.upper ? g.channels - 1 - c : c);
            for (Index r = 0; r < g.height; ++r) {
                const Index h = bottom ? g.height - 1 - r : r;
                f(c * plane.size + r * plane.width + start,
                  sample * s.batch + channel * s.channel + h * s.row +
                      (right ? g.width - 1 : 0) * s.column,
                  right ? -s.column : s.column);
            }
        }
    };
    for (Index n = 0; n < plane.size * g.channels; ++n) x[n] = 0;
    visit(work.input_strides, g.anchor_row * plane.width + g.anchor_column,
          [&](Index there, Index here, Index move) {
              copy_pixels(x + there, 1, work.input + here, move, g.width);
          });
    const T* packed = work.packed + group * g.taps() * g.channels * g.channels;
    for (Index n = 0; n < work.block_count; ++n)
        with_size(work.blocks[n].size, [&](auto size) {
            convolve_block<T, size.value>(work, plane, work.blocks[n], packed, x, z);
        });
    visit(work.output_strides, 0, [&](Index there, Index here, Index move) {
        copy_pixels(work.output + here, move, z + there, 1, g.width);
    });
}

}  // namespace invconv::INVCONV_ISA
