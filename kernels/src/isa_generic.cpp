// Compiled for the baseline of any machine: 16-byte vectors, which are SSE2 or NEON.
#define INVCONV_ISA generic
#define INVCONV_BYTES 16
#define INVCONV_ACCUMULATORS 8
#define INVCONV_WIDE_BLOCK 4
#define INVCONV_MAX_BLOCK 4
#define INVCONV_CARRIED 2
#include "kernels.h"
