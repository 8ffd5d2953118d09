#include "pack.h"

namespace invconv {

std::vector<Block> split_channels(Index channels, Index wide_block, Index max_block) {
    const bool wide = channels % wide_block == 0;
    const Index count = wide ? channels / wide_block : (channels + max_block - 1) / max_block;
    std::vector<Block> blocks;
    for (Index n = 0, first = 0; n < count; ++n) {
        const Index size = (channels - first) / (count - n);
        blocks.push_back({first, size});
        first += size;
    }
    return blocks;
}

template <class T>
bool pack_group(const Geometry& g, const std::vector<Block>& blocks, Substitute substitute,
                const T* weight, Index group, T* packed) {
    const Index channels = g.channels, taps = g.taps(), anchor = taps - 1;
    const Index area = g.kernel_height * g.kernel_width, length = channels * area;
    const auto original = [&](Index c) { return g.upper ? channels - 1 - c : c; };
    const T* rows = weight + group * channels * length;

    std::vector<double> a0(channels * channels, 0.0), folded;
    for (Index c = 0; c < channels; ++c)
        for (Index d = 0; d <= c; ++d)
            a0[c * channels + d] = rows[original(c) * length + original(d) * area + anchor];

    bool identity = false;
    if (substitute) {
        std::vector<double> inverse(channels * channels, 0.0);
        for (Index c = 0; c < channels; ++c) inverse[c * channels + c] = 1;
        folded.resize(channels * length);
        for (Index c = 0; c < channels; ++c)
            for (Index n = 0; n < length; ++n)
                folded[c * length + n] = -double(rows[original(c) * length + n]);
        substitute(a0.data(), channels, inverse.data(), channels);
        substitute(a0.data(), channels, folded.data(), length);
        a0.swap(inverse);
        identity = true;
        for (Index c = 0; c < channels; ++c)
            for (Index d = 0; d < channels; ++d)
                identity &= a0[c * channels + d] == (c == d ? 1.0 : 0.0);
    }

    const Index next = g.upper ? -area : area, start = g.upper ? length - area : 0;
    const auto lay_out = [&](const auto* from, const auto& row) {
        for (const Block& b : blocks)
            for (Index s = 0; s < b.size; ++s) {
                T* to = packed + b.first * taps * channels + s;
                if (b.first + s >= channels) {
                    for (Index n = 0; n < taps * channels; ++n, to += b.size) *to = 0;
                    continue;
                }
                const auto* at = from + row(b.first + s) * length;
                for (Index tap = 0; tap < anchor; ++tap) {
                    const auto* entry = at + start + tap;
                    for (Index d = 0; d < channels; ++d, to += b.size, entry += next)
                        *to = static_cast<T>(*entry);
                }
                for (Index d = 0; d < channels; ++d, to += b.size)
                    *to = static_cast<T>(a0[(b.first + s) * channels + d]);
            }
    };
    if (substitute)
        lay_out(folded.data(), [](Index c) { return c; });
    else
        lay_out(rows, original);
    return identity;
}

template bool pack_group<float>(const Geometry&, const std::vector<Block>&, Substitute,
                                const float*, Index, float*);
template bool pack_group<double>(const Geometry&, const std::vector<Block>&, Substitute,
                                 const double*, Index, double*);

}  // namespace invconv
