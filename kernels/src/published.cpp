#include "published.h"

#include <vector>

#include "diagonal_loop.h"

namespace invconv {

namespace {

// One image, one group. The channels of a pixel lie side by side, and the loops are nested and the
// borders tested as in the releases; known is (H, W, C').
void solve_by_pixels(const Geometry& g, const double* z, const double* weight, int corner,
                     double* known, double* x) {
    const Index down = corner & 2 ? -1 : 1, right = corner & 1 ? -1 : 1, area = g.height * g.width;
    const Index kernel = g.kernel_height * g.kernel_width, anchor = g.taps() - 1;
    for (Index row = 0; row < g.height; ++row)
        for (Index column = 0; column < g.width; ++column) {
            const Index h = down > 0 ? row : g.height - 1 - row;
            const Index w = right > 0 ? column : g.width - 1 - column, here = h * g.width + w;
            for (Index position = 0; position < g.channels; ++position) {
                const Index c = g.upper ? g.channels - 1 - position : position;
                const double* own = weight + c * g.channels * kernel;
                double value = z[c * area + here];
                for (Index d = 0; d < g.channels; ++d)
                    for (Index i = 0; i <= g.anchor_row; ++i)
                        for (Index j = 0; j < g.kernel_width; ++j) {
                            const Index tap = i * g.kernel_width + j;
                            if (tap > anchor || (tap == anchor && (g.upper ? d <= c : d >= c)))
                                continue;
                            const Index hh = h + down * (i - g.anchor_row);
                            const Index ww = w + right * (j - g.anchor_column);
                            if (hh < 0 || hh >= g.height || ww < 0 || ww >= g.width) continue;
                            value -= own[d * kernel + tap] *
                                     known[(hh * g.width + ww) * g.channels + d];
                        }
                x[c * area + here] = known[here * g.channels + c] =
                    value / own[c * kernel + anchor];
            }
        }
}

}  // namespace

void diagonal_channel(const Geometry& g, const double* z, const double* weight,
                      const unsigned char* corners, double* x) {
    solve_images(Loop<double>{g, z, weight, corners, x});
}

void raster_serial(const Geometry& g, const double* z, const double* weight,
                   const unsigned char* corners, double* x, [[maybe_unused]] int threads) {
    const Index image = g.channels * g.height * g.width;
    const Index kernel = g.channels * g.channels * g.kernel_height * g.kernel_width;
#pragma omp parallel num_threads(threads)
    {
        std::vector<double> known(image);
#pragma omp for
        for (Index n = 0; n < g.batch; ++n)
            for (Index group = 0; group < g.groups; ++group) {
                const Index start = (n * g.groups + group) * image;
                solve_by_pixels(g, z + start, weight + group * kernel, corners[group], known.data(),
                                x + start);
            }
    }
}

}  // namespace invconv
