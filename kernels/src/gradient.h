// The weight's gradient: the lanes are neighbors in a padded plane, as in plane.h, and every sum
// over pixels stays a vector until all samples are in.
#pragma once

#include "plane.h"

namespace invconv::INVCONV_ISA {

template <class T>
Index gradient_scratch(const Geometry& g) {
    return 2 * Plane<T>{g}.size * g.channels;
}

// Adds the products of `Size` output channels with one input channel, moved by `Taps` columns.
template <class T, int Size, int Taps>
INVCONV_INLINE void correlate(const T* grad, const T* x, Index plane, Index pixels, T* sums,
                              Index next_channel) {
    Vec<T> sum[Taps][Size];
    fetch(sum, sums, kLanes<T>, next_channel);
    for (Index q = 0; q < pixels; q += kLanes<T>) {
        Vec<T> in[Taps];
#pragma GCC unroll 4
        for (int t = 0; t < Taps; ++t) in[t] = load(x + q + t);
#pragma GCC unroll 4
        for (int s = 0; s < Size; ++s) {
            const Vec<T> out = load(grad + s * plane + q);
#pragma GCC unroll 4
            for (int t = 0; t < Taps; ++t) sum[t][s] += out * in[t];
        }
    }
    put(sum, sums, kLanes<T>, next_channel);
}

template <class T, int Size>
void correlate_block(const Geometry& g, const Plane<T>& plane, const T* grad, const T* x,
                     T* sums) {
    const Index next_channel = g.channels * g.taps() * kLanes<T>;
    for (Index d = 0; d < g.channels; ++d, x += plane.size)
        for (Index i = 0; i <= g.anchor_row; ++i) {
            const Index end = i < g.anchor_row ? g.kernel_width : g.anchor_column + 1;
            for (Index j = 0; j < end;) {
                T* to = sums + (d * g.taps() + i * g.kernel_width + j) * kLanes<T>;
                const T* from = x + i * plane.width + j;
                const auto add = [&](auto taps) __attribute__((always_inline)) {
                    correlate<T, Size, taps.value>(grad, from, plane.size, plane.pixels, to,
                                                   next_channel);
                    j += taps.value;
                };
                switch (least(end - j, 3)) {
                    case 3: add(Constant<3>{}); break;
                    case 2: add(Constant<2>{}); break;
                    default: add(Constant<1>{});
                }
            }
        }
}

template <class T>
void gradient(const GradientWork<T>& work, Index sample, Index group, T* scratch, T* sums) {
    const Geometry& g = work.geometry;
    const Plane<T> plane{g};
    T* x = scratch;
    T* grad = scratch + plane.size * g.channels;
    const bool right = work.corners[group] & 1, bottom = work.corners[group] & 2;
    for (Index n = 0; n < 2 * plane.size * g.channels; ++n) scratch[n] = 0;
    const auto bring = [&](const T* from, const Strides& s, T* to) {
        for (Index c = 0; c < g.channels; ++c)
            for (Index r = 0; r < g.height; ++r)
                copy_pixels(to + c * plane.size + r * plane.width, 1,
                            from + sample * s.batch + (group * g.channels + c) * s.channel +
                                (bottom ? g.height - 1 - r : r) * s.row +
                                (right ? g.width - 1 : 0) * s.column,
                            right ? -s.column : s.column, g.width);
    };
    bring(work.input, work.input_strides, x + g.anchor_row * plane.width + g.anchor_column);
    bring(work.grad, work.grad_strides, grad);
    for (Index c = 0; c < g.channels; c += 4) {
        const auto add = [&](auto size) __attribute__((always_inline)) {
            correlate_block<T, size.value>(g, plane, grad + c * plane.size, x,
                                           sums + c * g.channels * g.taps() * kLanes<T>);
        };
        switch (least(g.channels - c, 4)) {
            case 4: add(Constant<4>{}); break;
            case 3: add(Constant<3>{}); break;
            case 2: add(Constant<2>{}); break;
            default: add(Constant<1>{});
        }
    }
}

}  // namespace invconv::INVCONV_ISA
