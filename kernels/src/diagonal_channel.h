#pragma once

#include "geometry.h"

namespace invconv {

// FInC's published algorithm 1 (arXiv 2301.09266, section 3.3), as it stands on a CPU: image after
// image, corner after corner, anti-diagonal by anti-diagonal, channel by channel, in double on one
// thread. z and x are contiguous (B, C, H, W) and may be the same; the anchor is the last tap.
void diagonal_channel(const Geometry&, const double* z, const double* weight,
                      const unsigned char* corners, double* x);

}  // namespace invconv
