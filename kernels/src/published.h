#pragma once

#include "geometry.h"

namespace invconv {

// The papers' own inverses, as they stand on a CPU, in double. z and x are contiguous
// (B, C, H, W) and may be the same.

// FInC's algorithm 1 (arXiv 2301.09266, section 3.3): image after image, corner after corner,
// anti-diagonal by anti-diagonal, channel by channel, on one thread, for corner anchors and lower
// triangles.
void diagonal_channel(const Geometry&, const double* z, const double* weight,
                      const unsigned char* corners, double* x);

// The loop of Emerging and CInC (arXiv 1901.11137, section 3.1; arXiv 2107.01358): pixel by pixel
// in raster order, output channel by output channel, input channel by input channel, tap by tap.
// The images of a batch are shared among threads, as in both releases; the zeros of a mask, which
// Emerging's release multiplies, too, are left out.
void raster_serial(const Geometry&, const double* z, const double* weight,
                   const unsigned char* corners, double* x, int threads);

}  // namespace invconv
