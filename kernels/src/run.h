// The two operations on raw memory.
#pragma once

#include <string>

#include "geometry.h"
#include "packed.h"

namespace invconv {

template <class T>
struct Call {
    Geometry geometry;
    const T* input;
    Strides input_strides;
    const T* weight;  // (C, C', kh, kw), contiguous
    T* output;        // may be the input, with the same strides
    Strides output_strides;
    const unsigned char* corners;  // one code per group
    int threads;
    std::string isa;    // "" for the best
    Packed* kept;       // null, or what is kept of this weight
    std::string lanes;  // what the lanes hold: "samples", "pixels", "channels", "" for the fastest
};

template <class T>
void solve(const Call<T>&);

template <class T>
void convolve(const Call<T>&);

// The gradient of <grad, conv(input)> in the weight, (C, C', kh, kw) and contiguous, zero wherever
// a weight is not read.
template <class T>
void weight_gradient(const GradientWork<T>&, T* output, int threads, const std::string& isa);

}  // namespace invconv
