// FInC's algorithm 1 in steps from its release towards ours; diagonal_channel is the first one.
#pragma once

#include <string>

#include "geometry.h"

namespace invconv {

// The loop of diagonal_channel at -O3.
template <class T>
void diagonal_loop(const Loop<T>&);

// That loop with images as the lanes of a vector; threads share blocks of images and groups.
template <class T>
void diagonal_lanes(const Loop<T>&, int threads, const std::string& isa);

}  // namespace invconv
