#include "diagonal_channel.h"

#include <algorithm>

namespace invconv {

namespace {

// One image, one group. All pixels of a diagonal are independent of each other; the channels of a
// pixel follow one another because the anchor tap is triangular.
void solve_image(const Geometry& g, const double* z, const double* weight, int corner, double* x) {
    const Index area = g.height * g.width, kernel = g.kernel_height * g.kernel_width;
    const Index down = corner & 2 ? -g.width : g.width, right = corner & 1 ? -1 : 1;
    const Index start = (corner & 2 ? area - g.width : 0) + (corner & 1 ? g.width - 1 : 0);
    for (Index diagonal = 0; diagonal < g.height + g.width - 1; ++diagonal)
        for (Index c = 0; c < g.channels; ++c) {
            const double* row = weight + c * g.channels * kernel + kernel - 1;
            for (Index h = std::max<Index>(0, diagonal - g.width + 1);
                 h <= std::min(diagonal, g.height - 1); ++h) {
                const Index w = diagonal - h, here = start + h * down + w * right;
                double value = z[c * area + here];
                for (Index a = 0; a < g.kernel_height && a <= h; ++a)
                    for (Index b = 0; b < g.kernel_width && b <= w; ++b) {
                        const double* tap = row - a * g.kernel_width - b;
                        const double* known = x + here - a * down - b * right;
                        const Index channels = a || b ? g.channels : c;
                        for (Index d = 0; d < channels; ++d)
                            value -= tap[d * kernel] * known[d * area];
                    }
                x[c * area + here] = value / row[c * kernel];
            }
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
