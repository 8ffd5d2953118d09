#pragma once
#include <cstddef>
#include <cstdint>

namespace invconv {

// A hash of `size` bytes, to see whether they changed; `seed` is that of the bytes before them.
std::uint64_t checksum(const unsigned char* bytes, std::size_t size, std::uint64_t seed);

}  // namespace invconv
