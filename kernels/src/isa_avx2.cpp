// Compiled with AVX2 and FMA: 16 registers of 32 bytes.
#define INVCONV_ISA avx2
#define INVCONV_BYTES 32
#define INVCONV_ACCUMULATORS 12
#define INVCONV_WIDE_BLOCK 6
#define INVCONV_MAX_BLOCK 6
#define INVCONV_CARRIED 2
#include "kernels.h"
