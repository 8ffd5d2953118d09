// Compiled with AVX-512: 32 registers of 64 bytes.
#define INVCONV_ISA avx512
#define INVCONV_BYTES 64
#define INVCONV_ACCUMULATORS 24
#define INVCONV_WIDE_BLOCK 12
#define INVCONV_MAX_BLOCK 8
#define INVCONV_CARRIED 4
#include "kernels.h"
