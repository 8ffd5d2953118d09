// Few images with many channels, the inverse: the lanes of a vector are output channels.
//
// The padded image is laid out as [row][column][channel], channels padded to whole vectors. Taps
// are packed as one block of that many output channels, so that one vector holds what an input
// channel adds to them.
#pragma once

#include "micro.h"

namespace invconv::INVCONV_ISA {

template <class T>
struct Interleaved {
    static constexpr Index L = kLanes<T>;
    const Geometry& g;
    Index padded = (g.channels + L - 1) / L * L;
    Index row_size = (g.width + g.kernel_width - 1) * padded;
    Index size = (g.anchor_row + g.height) * row_size;
};

template <class T>
Index channels_scratch(const Work<T>& work) {
    return Interleaved<T>{work.geometry}.size;
}

// Adds the taps [from, end) of one tap row for `Pixels` pixels; x is the first pixel at tap 0.
template <class T, int Pixels>
INVCONV_INLINE void add_taps(Vec<T> (&sum)[Pixels], const Interleaved<T>& image, const T* x,
                             const T* taps, Index from, Index end) {
    const Index channels = image.g.channels, padded = image.padded;
    taps += from * channels * padded;
    for (Index j = from; j < end; ++j)
        for (Index d = 0; d < channels; ++d, taps += padded) {
            Vec<T> in = load(taps);
            keep(in);
#pragma GCC unroll 16
            for (int p = 0; p < Pixels; ++p) sum[p] += x[(p + j) * padded + d] * in;
        }
}

// A0^-1 z - (the rows above) for `Pixels` pixels from column w on; the last channels first, since
// they read z of the ones before.
template <class T, int Pixels>
INVCONV_INLINE void interleaved_above(const Interleaved<T>& image, bool identity, const T* packed,
                                      T* row, Index w) {
    const Geometry& g = image.g;
    const Index padded = image.padded, tap = g.channels * padded;
    T* here = row + (w + g.anchor_column) * padded;
    for (Index c = padded - image.L; c >= 0; c -= image.L) {
        Vec<T> sum[Pixels];
#pragma GCC unroll 16
        for (int p = 0; p < Pixels; ++p) {
            sum[p] = Vec<T>{};
            if (identity) sum[p] = load(here + p * padded + c);
        }
        if (!identity)
            for (Index d = 0; d < least(g.channels, c + image.L); ++d) {
                const Vec<T> in = load(packed + (g.taps() - 1) * tap + d * padded + c);
#pragma GCC unroll 16
                for (int p = 0; p < Pixels; ++p) sum[p] += here[p * padded + d] * in;
            }
        for (Index i = 0; i < g.anchor_row; ++i)
            add_taps(sum, image, row - (g.anchor_row - i) * image.row_size + w * padded,
                     packed + i * g.kernel_width * tap + c, 0, g.kernel_width);
#pragma GCC unroll 16
        for (int p = 0; p < Pixels; ++p) store(here + p * padded + c, sum[p]);
    }
}

// The recursion along the row; four sums shorten the chain from pixel to pixel.
template <class T>
INVCONV_INLINE void interleaved_left(const Interleaved<T>& image, const T* packed, T* row,
                                     Index w) {
    const Geometry& g = image.g;
    const Index padded = image.padded, tap = g.channels * padded;
    T* here = row + (w + g.anchor_column) * padded;
    for (Index c = 0; c < padded; c += image.L) {
        const T* taps = packed + g.anchor_row * g.kernel_width * tap + c;
        Vec<T> sum[4] = {load(here + c)};
        for (Index j = 0; j < g.anchor_column; ++j) {
            const T* x = row + (w + j) * padded;
            Index d = 0;
            for (; d + 4 <= g.channels; d += 4, taps += 4 * padded)
#pragma GCC unroll 4
                for (int s = 0; s < 4; ++s) sum[s] += x[d + s] * load(taps + s * padded);
            for (; d < g.channels; ++d, taps += padded) sum[0] += x[d] * load(taps);
        }
        store(here + c, (sum[0] + sum[1]) + (sum[2] + sum[3]));
    }
}

template <class T, int Pixels>
INVCONV_INLINE void interleaved_row(const Interleaved<T>& image, bool identity, const T* packed,
                                    T* row, Index& w) {
    for (; w + Pixels <= image.g.width; w += Pixels) {
        interleaved_above<T, Pixels>(image, identity, packed, row, w);
        if (image.g.anchor_column)
            for (int p = 0; p < Pixels; ++p) interleaved_left(image, packed, row, w + p);
    }
}

template <class T>
void solve_channels(const Work<T>& work, Index sample, Index group, T* scratch) {
    const Geometry& g = work.geometry;
    const Interleaved<T> image{g};
    const bool right = work.corners[group] & 1, bottom = work.corners[group] & 2;
    const T* packed = work.packed + group * g.taps() * g.channels * image.padded;
    const auto visit = [&](const Strides& s, auto&& f) {
        for (Index c = 0; c < g.channels; ++c)
            for (Index r = 0; r < g.height; ++r) {
                const Index channel = group * g.channels + (g.upper ? g.channels - 1 - c : c);
                f((g.anchor_row + r) * image.row_size + g.anchor_column * image.padded + c,
                  sample * s.batch + channel * s.channel +
                      (bottom ? g.height - 1 - r : r) * s.row +
                      (right ? g.width - 1 : 0) * s.column,
                  right ? -s.column : s.column);
            }
    };
    for (Index n = 0; n < image.size; ++n) scratch[n] = 0;
    visit(work.input_strides, [&](Index there, Index here, Index move) {
        copy_pixels(scratch + there, image.padded, work.input + here, move, g.width);
    });
    for (Index h = 0; h < g.height; ++h) {
        T* row = scratch + (g.anchor_row + h) * image.row_size;
        Index w = 0;
        interleaved_row<T, 8>(image, work.identity[group], packed, row, w);
        interleaved_row<T, 4>(image, work.identity[group], packed, row, w);
        interleaved_row<T, 2>(image, work.identity[group], packed, row, w);
        interleaved_row<T, 1>(image, work.identity[group], packed, row, w);
    }
    visit(work.output_strides, [&](Index there, Index here, Index move) {
        copy_pixels(work.output + here, move, scratch + there, image.padded, g.width);
    });
}

}  // namespace invconv::INVCONV_ISA
