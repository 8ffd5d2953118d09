#include "checksum.h"

#include <bit>
#include <cstring>

namespace invconv {
namespace {

using Word = std::uint64_t;
constexpr int Lanes = 8;  // independent of each other: a multiplication takes longer than a step
constexpr std::size_t Block = Lanes * sizeof(Word);
constexpr Word Odd = 0x9E3779B97F4A7C15;

// Odd, a rotation and exclusive or can be undone: two states never meet for one and the same word.
Word mix(Word state, Word word) { return std::rotl(state ^ word, 29) * Odd; }

void mix_block(Word (&state)[Lanes], const unsigned char* bytes) {
    Word words[Lanes];
    std::memcpy(words, bytes, Block);
    for (int i = 0; i < Lanes; ++i) state[i] = mix(state[i], words[i]);
}

Word finish(Word h) {
    h = (h ^ (h >> 32)) * Odd;
    return h ^ (h >> 29);
}

}  // namespace

Word checksum(const unsigned char* bytes, std::size_t size, Word seed) {
    Word state[Lanes];
    for (int i = 0; i < Lanes; ++i) state[i] = finish(seed + (i + 1) * Odd);
    std::size_t done = 0;
    for (; done + Block <= size; done += Block) mix_block(state, bytes + done);
    unsigned char rest[Block] = {};
    if (done < size) std::memcpy(rest, bytes + done, size - done);
    mix_block(state, rest);
    Word h = mix(seed, size);
    for (const Word one : state) h = mix(h, finish(one));
    return finish(h);
}

}  // namespace invconv
