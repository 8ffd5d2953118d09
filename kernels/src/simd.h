// Vectors of the instruction set for which the including file is compiled.
//
// Included once per instruction set with INVCONV_ISA (a namespace) and INVCONV_BYTES set. No
// standard library templates here or in the kernels: an inline function that two files compile
// with different flags is kept once by the linker, and could be the one this machine lacks.
#pragma once

#include "geometry.h"

#define INVCONV_INLINE [[gnu::always_inline]] inline

namespace invconv::INVCONV_ISA {

template <class T>
struct VectorOf {
    typedef T type __attribute__((vector_size(INVCONV_BYTES)));
};
template <class T>
using Vec = typename VectorOf<T>::type;

template <class T>
inline constexpr Index kLanes = INVCONV_BYTES / sizeof(T);

INVCONV_INLINE constexpr Index least(Index a, Index b) { return a < b ? a : b; }
INVCONV_INLINE constexpr Index most(Index a, Index b) { return a > b ? a : b; }

template <class T>
INVCONV_INLINE Vec<T> load(const T* p) {
    Vec<T> v;
    __builtin_memcpy(&v, p, sizeof v);
    return v;
}

template <class T>
INVCONV_INLINE void store(T* p, Vec<T> v) {
    __builtin_memcpy(p, &v, sizeof v);
}


template <int... I>
struct Sequence {};

template <int N, int... I>
struct Count : Count<N - 1, N - 1, I...> {};
template <int... I>
struct Count<0, I...> {
    using type = Sequence<I...>;

    // Exchanges the odd units of a with the even units of b, a unit being `Unit` lanes.
    template <int Unit, class V>
    INVCONV_INLINE static void exchange(V& a, V& b) {
        constexpr int L = sizeof...(I);
        V even = __builtin_shufflevector(a, b, ((I & Unit) ? I - Unit + L : I)...);
        V odd = __builtin_shufflevector(a, b, ((I & Unit) ? I + L : I + Unit)...);
        a = even;
        b = odd;
    }
};

template <class T, int Unit>
INVCONV_INLINE void exchange_units(Vec<T> (&v)[kLanes<T>]) {
    if constexpr (Unit < kLanes<T>) {
#pragma GCC unroll 16
        for (int i = 0; i < kLanes<T>; ++i)
            if (!(i & Unit)) Count<kLanes<T>>::template exchange<Unit>(v[i], v[i + Unit]);
        exchange_units<T, 2 * Unit>(v);
    }
}

template <class T>
INVCONV_INLINE void transpose(Vec<T> (&v)[kLanes<T>]) {
    exchange_units<T, 1>(v);
}

// Copies pixels whose neighbors lie the given numbers of elements apart.
template <class T>
INVCONV_INLINE void copy_pixels(T* to, Index to_next, const T* from, Index from_next, Index count) {
    if (to_next == 1 && from_next == 1)
        for (Index n = 0; n < count; ++n) to[n] = from[n];
    else if (to_next == 1 && from_next == -1)
        for (Index n = 0; n < count; ++n) to[n] = from[-n];
    else if (to_next == -1 && from_next == 1)
        for (Index n = 0; n < count; ++n) to[-n] = from[n];
    else
        for (Index n = 0; n < count; ++n) to[n * to_next] = from[n * from_next];
}

}  // namespace invconv::INVCONV_ISA
