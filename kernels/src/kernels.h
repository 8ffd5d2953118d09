// The table of one instruction set; included by one source file for each of them.
#pragma once

#include "batch.h"
#include "channels.h"
#include "diagonal.h"
#include "gradient.h"
#include "lanes.h"
#include "plane.h"

namespace invconv::INVCONV_ISA {

#define INVCONV_TEXT_OF(x) #x
#define INVCONV_TEXT(x) INVCONV_TEXT_OF(x)

inline void substitute(const double* a0, Index channels, double* rows, Index length) {
    for (Index c = 0; c < channels; ++c) {
        double* __restrict row = rows + c * length;
        for (Index e = 0; e < c; ++e) {
            const double factor = a0[c * channels + e];
            const double* __restrict known = rows + e * length;
            if (factor != 0)
                for (Index n = 0; n < length; ++n) row[n] -= factor * known[n];
        }
        const double pivot = a0[c * channels + c];
        if (pivot != 1)
            for (Index n = 0; n < length; ++n) row[n] /= pivot;
    }
}

template <class T>
const Kernels<T>& kernels() {
    static constexpr Kernels<T> table{
        INVCONV_TEXT(INVCONV_ISA), kLanes<T>,         INVCONV_WIDE_BLOCK,  INVCONV_MAX_BLOCK,
        substitute,                batch_scratch<T>,  solve_batch<T>,      convolve_batch<T>,
        diagonal_scratch<T>,       solve_diagonal<T>, channels_scratch<T>, solve_channels<T>,
        solve_lanes<T>,            plane_scratch<T>,  convolve_plane<T>,   gradient_scratch<T>,
        gradient<T>,
    };
    return table;
}

template const Kernels<float>& kernels<float>();
template const Kernels<double>& kernels<double>();

}  // namespace invconv::INVCONV_ISA
