// FInC's algorithm 1 (arXiv 2301.09266, section 3.3), the one source of every program that runs it.
//
// Each file that includes it compiles its own copy with its own flags. Nothing here may have a name
// that the linker sees, and nothing may come from the standard library: two files would share it.
#pragma once

#include "geometry.h"

namespace invconv {

namespace {

// One image and one group; as many images as a Value has lanes where that is a vector. All pixels
// of a diagonal are independent of each other; the channels of a pixel follow one another because
// the anchor tap is triangular.
template <class Value, class Tap>
void solve_by_diagonals(const Geometry& g, const Value* z, const Tap* weight, int corner,
                        Value* x) {
    const Index area = g.height * g.width, kernel = g.kernel_height * g.kernel_width;
    const Index down = corner & 2 ? -g.width : g.width, right = corner & 1 ? -1 : 1;
    const Index start = (corner & 2 ? area - g.width : 0) + (corner & 1 ? g.width - 1 : 0);
    for (Index diagonal = 0; diagonal < g.height + g.width - 1; ++diagonal) {
        const Index first = diagonal < g.width ? 0 : diagonal - g.width + 1;
        const Index last = diagonal < g.height ? diagonal : g.height - 1;
        for (Index c = 0; c < g.channels; ++c) {
            const Tap* row = weight + c * g.channels * kernel + kernel - 1;
            for (Index h = first; h <= last; ++h) {
                const Index w = diagonal - h, here = start + h * down + w * right;
                Value value = z[c * area + here];
                for (Index a = 0; a < g.kernel_height && a <= h; ++a)
                    for (Index b = 0; b < g.kernel_width && b <= w; ++b) {
                        const Tap* tap = row - a * g.kernel_width - b;
                        const Value* known = x + here - a * down - b * right;
                        const Index channels = a || b ? g.channels : c;
                        for (Index d = 0; d < channels; ++d)
                            value -= tap[d * kernel] * known[d * area];
                    }
                x[c * area + here] = value / row[c * kernel];
            }
        }
    }
}

// Image after image, corner after corner.
template <class T>
void solve_images(const Loop<T>& loop) {
    const Geometry& g = loop.geometry;
    const Index image = g.channels * g.height * g.width;
    const Index kernel = g.channels * g.channels * g.kernel_height * g.kernel_width;
    for (Index n = 0; n < g.batch; ++n)
        for (Index group = 0; group < g.groups; ++group) {
            const Index start = (n * g.groups + group) * image;
            solve_by_diagonals(g, loop.z + start, loop.weight + group * kernel,
                               loop.corners[group], loop.x + start);
        }
}

}  // namespace

}  // namespace invconv
