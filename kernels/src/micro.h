// The inner loops: a run of vectors times a run of packed taps, kept in registers.
#pragma once

#include "simd.h"

namespace invconv::INVCONV_ISA {

// Pixels whose accumulators, `Size` each, fill the registers together.
template <int Size>
inline constexpr int kPixels = Size * 8 <= INVCONV_ACCUMULATORS   ? 8
                               : Size * 4 <= INVCONV_ACCUMULATORS ? 4
                               : Size * 2 <= INVCONV_ACCUMULATORS ? 2
                                                                  : 1;

// Keeps a value in its register: left alone, the compiler reads x from memory once per product
// and spends a second load on the tap.
template <class V>
INVCONV_INLINE void keep(V& v) {
#if defined(__x86_64__)
    asm("" : "+v"(v));
#elif defined(__aarch64__)
    asm("" : "+w"(v));
#endif
}

template <class T, int Pixels, int Size>
INVCONV_INLINE void accumulate(Vec<T> (&sum)[Pixels][Size], const T* x, Index pixel, Index vector,
                               const T* taps, Index count) {
    for (Index n = 0; n < count; ++n, x += vector, taps += Size) {
        Vec<T> in[Pixels];
#pragma GCC unroll 16
        for (int p = 0; p < Pixels; ++p) in[p] = load(x + p * pixel);
        if constexpr (Pixels == 1) keep(in[0]);
#pragma GCC unroll 16
        for (int s = 0; s < Size; ++s) {
            const T tap = taps[s];
#pragma GCC unroll 16
            for (int p = 0; p < Pixels; ++p) sum[p][s] += tap * in[p];
        }
    }
}

template <class T, int Pixels, int Size>
INVCONV_INLINE void fetch(Vec<T> (&sum)[Pixels][Size], const T* x, Index pixel, Index vector) {
#pragma GCC unroll 16
    for (int p = 0; p < Pixels; ++p)
#pragma GCC unroll 16
        for (int s = 0; s < Size; ++s) sum[p][s] = load(x + p * pixel + s * vector);
}

template <class T, int Pixels, int Size>
INVCONV_INLINE void clear(Vec<T> (&sum)[Pixels][Size]) {
#pragma GCC unroll 16
    for (int p = 0; p < Pixels; ++p)
#pragma GCC unroll 16
        for (int s = 0; s < Size; ++s) sum[p][s] = Vec<T>{};
}

template <class T, int Pixels, int Size>
INVCONV_INLINE void put(const Vec<T> (&sum)[Pixels][Size], T* x, Index pixel, Index vector) {
#pragma GCC unroll 16
    for (int p = 0; p < Pixels; ++p)
#pragma GCC unroll 16
        for (int s = 0; s < Size; ++s) store(x + p * pixel + s * vector, sum[p][s]);
}

// Calls f with the block's size as a compile-time constant.
template <int N>
struct Constant {
    static constexpr int value = N;
};

template <class F>
INVCONV_INLINE void with_size(Index size, F&& f) {
    switch (size) {
        case 1: f(Constant<1>{}); break;
        case 2: f(Constant<2>{}); break;
        case 3: f(Constant<3>{}); break;
        case 4: f(Constant<4>{}); break;
#if INVCONV_MAX_BLOCK > 4
        case 5: f(Constant<5>{}); break;
        case 6: f(Constant<6>{}); break;
#endif
#if INVCONV_MAX_BLOCK > 6
        case 7: f(Constant<7>{}); break;
        case 8: f(Constant<8>{}); break;
#endif
#if INVCONV_WIDE_BLOCK > INVCONV_MAX_BLOCK
        case INVCONV_WIDE_BLOCK: f(Constant<INVCONV_WIDE_BLOCK>{}); break;
#endif
    }
}

}  // namespace invconv::INVCONV_ISA
