// The folded taps of the inverse: how they lie in memory, and the kernel that computes them. Compiled
// in front of push.cuh and wavefront.cuh, which says what the macros mean.

constexpr int OUTPUT_BLOCKS = (CHANNELS + OUTPUTS - 1) / OUTPUTS;
constexpr int OUTPUT_STRIDE = OUTPUT_BLOCKS * OUTPUTS;
constexpr int SPAN = ANCHOR_ROW ? KERNEL_WIDTH : ANCHOR_COLUMN > 1 ? ANCHOR_COLUMN : 1;
constexpr Index TAPS_SIZE = (static_cast<Index>(TAPS) * DEPTH * OUTPUT_STRIDE + 3) / 4 * 4;
constexpr int ANCHOR_SIZE = (CHANNELS * DEPTH + 3) / 4 * 4;

constexpr int OUTPUTS_SIZE = sizeof(Real) * OUTPUTS;

// Aligned where that is possible: three of them are no vector.
struct alignas(OUTPUTS & (OUTPUTS - 1) ? sizeof(Real) : OUTPUTS_SIZE < 16 ? OUTPUTS_SIZE : 16) Outputs {
    Real at[OUTPUTS];
};

// One column of -A0^-1 W, or of A0^-1 for tap == TAPS: forward substitution in double. Beyond 8
// channels the column is in local memory, or its registers would push out those of the taps.
__device__ __forceinline__ void fold_column(const Arguments& a, int group, int tap, int d,
                                            Real* taps, Real* anchor) {
    double value[CHANNELS];
#pragma unroll(CHANNELS <= 8 ? CHANNELS : 1)
    for (int s = 0; s < CHANNELS; ++s) {
        const int c = UPPER ? CHANNELS - 1 - s : s;
        double sum = tap == TAPS ? (c == d ? 1.0 : 0.0) : -double(load(entry(a, group, c, d, tap)));
#pragma unroll(CHANNELS <= 8 ? CHANNELS : 4)
        for (int r = 0; r < s; ++r)
            sum -= double(load(entry(a, group, c, UPPER ? CHANNELS - 1 - r : r, TAPS))) * value[r];
        value[s] = sum / double(load(entry(a, group, c, c, TAPS)));
        if (tap == TAPS)
            anchor[c * DEPTH + d] = Real(value[s]);
        else
            taps[(static_cast<Index>(tap) * DEPTH + d) * OUTPUT_STRIDE + c] = Real(value[s]);
    }
}

// All columns, shared out among `count` threads; what only pads is zero.
__device__ __forceinline__ void fold_columns(const Arguments& a, int group, Index first,
                                             Index count, Real* taps, Real* anchor) {
    for (Index n = first; n < static_cast<Index>(TAPS + 1) * DEPTH; n += count) {
        const int tap = static_cast<int>(n / DEPTH), d = static_cast<int>(n % DEPTH);
        if (d < CHANNELS) fold_column(a, group, tap, d, taps, anchor);
        for (int c = d < CHANNELS ? CHANNELS : 0; tap < TAPS && c < OUTPUT_STRIDE; ++c)
            taps[n * OUTPUT_STRIDE + c] = 0;
        for (int c = 0; tap == TAPS && d >= CHANNELS && c < CHANNELS; ++c)
            anchor[c * DEPTH + d] = 0;
    }
}

#if FOLDED
// Fills `folded` with the taps and the inverse anchor of every group.
extern "C" __global__ void __launch_bounds__(64) fold(const __grid_constant__ Arguments a) {
    const int columns = (TAPS + 1) * DEPTH;
    const int blocks = (columns + 63) / 64;
    const int local = blockIdx.x / blocks;
    Real* taps = static_cast<Real*>(a.folded) + (TAPS_SIZE + ANCHOR_SIZE) * local;
    const Index first = static_cast<Index>(blockIdx.x % blocks) * 64 + threadIdx.x;
    fold_columns(a, a.first_group + local, first, static_cast<Index>(blocks) * 64, taps,
                 taps + TAPS_SIZE);
}
#endif
