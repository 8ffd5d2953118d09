// What every kernel is told: shapes, strides, corners and the packed taps.
//
// Included by files that are compiled for different instruction sets: what is inline here must be
// inlined, or the linker keeps the copy of any one of them.
#pragma once

#include <cstddef>
#include <cstdint>

namespace invconv {

using Index = std::ptrdiff_t;

struct Strides {
    Index batch, channel, row, column;
};

struct Geometry {
    Index batch, groups, channels, height, width;  // channels of one group
    Index kernel_height, kernel_width;
    Index anchor_row, anchor_column;
    bool upper;

    [[gnu::always_inline]] Index taps() const {
        return anchor_row * kernel_width + anchor_column + 1;
    }
};

// Output channels that share accumulators.
struct Block {
    Index first, size;
};

// One call as the kernels see it. Taps are packed as
// [group][block][tap in raster order, the anchor last][input channel][output channel of the block],
// channels reversed where the anchor is upper triangular, so that kernels only know lower ones.
template <class T>
struct Work {
    Geometry geometry;
    const T* input;
    Strides input_strides;
    T* output;
    Strides output_strides;
    const unsigned char* corners;  // bit 0: from the right, bit 1: from the bottom
    const T* packed;
    const unsigned char* identity;  // per group: the folded anchor is the unit matrix
    const Block* blocks;
    Index block_count;
    Index band;   // rows that are brought in at once
    Index slots;  // rows that the ring holds
    const std::int32_t* offsets[4];  // per corner: where a pixel lies in the ring

    [[gnu::always_inline]] Index row_size(Index lanes) const {
        return (geometry.width + geometry.kernel_width - 1) * geometry.channels * lanes;
    }
};

// What the weight's gradient is told: an input and the gradient of the output.
template <class T>
struct GradientWork {
    Geometry geometry;
    const T* input;
    Strides input_strides;
    const T* grad;
    Strides grad_strides;
    const unsigned char* corners;
};

// One call of FInC's algorithm 1: contiguous (B, C, H, W), corner anchors, lower triangles.
template <class T>
struct Loop {
    Geometry geometry;
    const T* z;
    const T* weight;
    const unsigned char* corners;
    T* x;  // may be z
};

// Multiplies rows of the given length by the inverse of a lower triangular matrix.
using Substitute = void (*)(const double* a0, Index channels, double* rows, Index length);

// The code of one instruction set. Sizes are counted in elements of T.
template <class T>
struct Kernels {
    const char* name;
    Index lanes;
    Index wide_block;  // used where it divides the channels
    Index max_block;   // otherwise blocks are even and at most this large

    Substitute substitute;

    Index (*batch_scratch)(const Work<T>&);
    void (*solve_batch)(const Work<T>&, Index lane_block, Index group, T* scratch);
    void (*convolve_batch)(const Work<T>&, Index lane_block, Index group, T* scratch);

    Index (*diagonal_scratch)(const Work<T>&);
    void (*solve_diagonal)(const Work<T>&, Index sample, Index group, T* scratch);

    Index (*channels_scratch)(const Work<T>&);
    void (*solve_channels)(const Work<T>&, Index sample, Index group, T* scratch);

    // scratch: one group of as many images as there are lanes, aligned to a vector
    void (*solve_lanes)(const Loop<T>&, Index lane_block, Index group, T* scratch);

    Index (*plane_scratch)(const Work<T>&);
    void (*convolve_plane)(const Work<T>&, Index sample, Index group, T* scratch);

    Index (*gradient_scratch)(const Geometry&);
    // Adds one sample to sums, (C', C', taps, lanes).
    void (*gradient)(const GradientWork<T>&, Index sample, Index group, T* scratch, T* sums);
};

}  // namespace invconv
