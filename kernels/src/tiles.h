// Between images in memory and the ring, whose lanes are samples: transposed tile by tile.
#pragma once

#include "simd.h"

namespace invconv::INVCONV_ISA {

// One band of one group for one vector of samples. `first` and `rows` count from the corner.
template <class T>
struct Band {
    const Work<T>& work;
    Index lane_block, group, first, rows;

    Index image_row() const {
        return work.corners[group] & 2 ? work.geometry.height - first - rows : first;
    }
    Index samples() const {
        return least(kLanes<T>, work.geometry.batch - lane_block * kLanes<T>);
    }
    // From a pixel of this band to the same one of the next, or nowhere.
    Index ahead(const Strides& s) const {
        if (first + rows >= work.geometry.height) return 0;
        return work.corners[group] & 2 ? -rows * s.row : rows * s.row;
    }
    // Where the band's pixels lie in memory, in runs of neighbors; 0 where none are neighbors.
    Index run(const Strides& s) const {
        const Index width = work.geometry.width;
        if (s.column != 1 && width > 1) return 0;
        return s.row == width ? rows * width : width;
    }
    Index channel(Index c) const {
        return work.geometry.upper ? work.geometry.channels - 1 - c : c;
    }
    const std::int32_t* offsets() const {
        return work.offsets[work.corners[group]] + image_row() * work.geometry.width;
    }
    Index base(const Strides& s, Index c) const {
        return lane_block * kLanes<T> * s.batch +
               (group * work.geometry.channels + channel(c)) * s.channel + image_row() * s.row;
    }
};

// Visits the band's pixels one by one: f(ring offset, memory offset).
template <class T, class F>
INVCONV_INLINE void for_each_pixel(const Band<T>& band, const Strides& s, F&& f) {
    const std::int32_t* offset = band.offsets();
    for (Index h = 0; h < band.rows; ++h)
        for (Index w = 0; w < band.work.geometry.width; ++w)
            f(*offset++, h * s.row + w * s.column);
}

// Loads one tile of L pixels of all samples and turns it. Lanes beyond the last sample repeat it.
// The lines of the next band are asked for meanwhile: so many streams as there are samples are more
// than the processor's own prefetching follows.
template <class T>
INVCONV_INLINE void load_tile(Vec<T> (&v)[kLanes<T>], const T* from, Index sample, Index samples,
                              Index ahead) {
    if (samples == kLanes<T>) {
#pragma GCC unroll 16
        for (Index l = 0; l < kLanes<T>; ++l, from += sample) {
            v[l] = load(from);
            __builtin_prefetch(from + ahead, 0, 2);
        }
    } else {
#pragma GCC unroll 16
        for (Index l = 0; l < kLanes<T>; ++l, from += l < samples ? sample : 0) v[l] = load(from);
    }
    transpose<T>(v);
}

template <class T>
INVCONV_INLINE void store_tile(Vec<T> (&v)[kLanes<T>], T* to, Index sample, Index samples,
                               Index ahead) {
    transpose<T>(v);
    if (samples == kLanes<T>) {
#pragma GCC unroll 16
        for (Index l = 0; l < kLanes<T>; ++l, to += sample) {
            store(to, v[l]);
            __builtin_prefetch(to + ahead, 1, 2);
        }
    } else {
        for (Index l = 0; l < samples; ++l, to += sample) store(to, v[l]);
    }
}

// Visits the band's tiles: f(pixel in the offsets, memory offset). The last tile of a run overlaps
// the one before it.
template <class T, class F>
INVCONV_INLINE void for_each_tile(const Band<T>& band, const Strides& s, Index run, F&& f) {
    const Index width = band.work.geometry.width;
    for (Index start = 0; start < band.rows * width; start += run) {
        const Index memory = start / width * s.row;
        for (Index n = 0; n < run; n += kLanes<T>) {
            const Index q = least(n, run - kLanes<T>);
            f(start + q, memory + q);
        }
    }
}

template <class T>
void load_band(const Band<T>& band, T* ring) {
    constexpr Index L = kLanes<T>;
    const Work<T>& work = band.work;
    const Strides& s = work.input_strides;
    const Index run = band.run(s), samples = band.samples(), ahead = band.ahead(s);
    const std::int32_t* offset = band.offsets();
    for (Index c = 0; c < work.geometry.channels; ++c) {
        const T* from = work.input + band.base(s, c);
        T* to = ring + c * L;
        if (run < L) {
            for_each_pixel(band, s, [&](Index there, Index here) {
                for (Index l = 0; l < L; ++l)
                    to[there + l] = from[here + least(l, samples - 1) * s.batch];
            });
            continue;
        }
        for_each_tile(band, s, run, [&](Index q, Index memory) {
            Vec<T> v[L];
            load_tile<T>(v, from + memory, s.batch, samples, ahead);
#pragma GCC unroll 16
            for (Index l = 0; l < L; ++l) store(to + offset[q + l], v[l]);
        });
    }
}

template <class T>
void store_band(const Band<T>& band, const T* ring) {
    constexpr Index L = kLanes<T>;
    const Work<T>& work = band.work;
    const Strides& s = work.output_strides;
    const Index run = band.run(s), samples = band.samples(), ahead = band.ahead(s);
    const std::int32_t* offset = band.offsets();
    for (Index c = 0; c < work.geometry.channels; ++c) {
        T* to = work.output + band.base(s, c);
        const T* from = ring + c * L;
        if (run < L) {
            for_each_pixel(band, s, [&](Index there, Index here) {
                for (Index l = 0; l < samples; ++l) to[here + l * s.batch] = from[there + l];
            });
            continue;
        }
        for_each_tile(band, s, run, [&](Index q, Index memory) {
            Vec<T> v[L];
#pragma GCC unroll 16
            for (Index l = 0; l < L; ++l) v[l] = load(from + offset[q + l]);
            store_tile<T>(v, to + memory, s.batch, samples, ahead);
        });
    }
}

}  // namespace invconv::INVCONV_ISA
