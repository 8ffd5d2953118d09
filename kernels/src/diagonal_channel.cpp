#include "diagonal_channel.h"

#include <algorithm>

namespace invconv {

namespace {

// One image, one group. All pixels of a diagonal are independent of each other; the channels of a
// pixel follow one another because the anchor tap is triangular.
void solve_image(const Geometry& g, const double* z, const double* weight, int corner, double* x) {
    const Index area = g.height * g.width, kernel = g.kernel_height * g.kernel_width;
    const auto at = [&](Index h, Index w) {
        const Index row = corner & 2 ? g.height - 1 - h : h;
        const Index column = corner & 1 ? g.width - 1 - w : w;
        return row * g.width + column;
    };
    for (Index diagonal = 0; diagonal < g.height + g.width - 1; ++diagonal)
        for (Index c = 0; c < g.channels; ++c)
            for (Index h = std::max<Index>(0, diagonal - g.width + 1);
                 h <= std::min(diagonal, g.height - 1); ++h) {
                const Index w = diagonal - h, here = at(h, w);
                double value = z[c * area + here];
                for (Index d = 0; d < g.channels; ++d) {
                    const double* taps = weight + (c * g.channels + d) * kernel + kernel - 1;
                    for (Index a = 0; a < g.kernel_height && a <= h; ++a)
                        for (Index b = 0; b < g.kernel_width && b <= w; ++b) {
                            if (a == 0 && b == 0 && d >= c) continue;
                            value -= taps[-(a * g.kernel_width + b)] *
                                     x[d * area + at(h - a, w - b)];
                        }
                }
                x[c * area + here] = value / weight[(c * g.channels + c + 1) * kernel - 1];
            }
}

}  // namespace

void diagonal_channel(const Geometry& g, const double* z, const double* weight,
                      const unsigned char* corners, double* x) {
    const Index image = g.channels * g.height * g.width;
    const Index kernel = g.channels * g.channels * g.kernel_height * g.kernel_width;
    for (Index n = 0; n < g.batch; ++n)
        for (Index group = 0; group < g.groups; ++group) {
            const Index start = (n * g.groups + group) * image;
            solve_image(g, z + start, weight + group * kernel, corners[group], x + start);
        }
}

}  // namespace invconv
