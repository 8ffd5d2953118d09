// What a thread of the inverse keeps between steps, its sums and its taps, and the work of a step:
// the newest pixels are multiplied by every tap that will need them. A `Place` says where a row is:
// whether it is `active`, and by `newest(above, d)` channels d, d + 1, ... of the newest pixel that
// the taps `above` rows up need.

// The tap that takes the newest pixel, `above` rows up, to the pixel `ahead` columns further.
__device__ __forceinline__ constexpr int tap_of(int above, int ahead) {
    return above ? (ANCHOR_ROW - above) * KERNEL_WIDTH + KERNEL_WIDTH - 1 - ahead
                 : TAPS - 1 - ahead;
}

struct Sums {
    Real of[ROWS][SPAN][OUTPUTS];
};

#if TAPS_IN == 0
struct Taps {
    Real at[TAPS ? TAPS : 1][CHANNELS][OUTPUTS];

    __device__ __forceinline__ void fetch(const Real* from) {
#pragma unroll
        for (int tap = 0; tap < TAPS; ++tap)
#pragma unroll
            for (int d = 0; d < CHANNELS; ++d)
#pragma unroll
                for (int o = 0; o < OUTPUTS; ++o)
                    at[tap][d][o] = from[(tap * DEPTH + d) * OUTPUT_STRIDE + o];
    }
};

template <class Place>
__device__ __forceinline__ void push(Sums& sums, const Place (&places)[ROWS], const Taps& taps) {
#pragma unroll
    for (int p = 0; p < ROWS; ++p) {
        if (!places[p].active) continue;
#pragma unroll
        for (int above = ANCHOR_COLUMN ? 0 : 1; above <= ANCHOR_ROW; ++above)
#pragma unroll
            for (int d = 0; d < CHANNELS; d += WIDE) {
                const Vector x = places[p].newest(above, d);
#pragma unroll
                for (int e = 0; e < WIDE && d + e < CHANNELS; ++e)
#pragma unroll
                    for (int m = 0; m < (above ? SPAN : ANCHOR_COLUMN); ++m)
#pragma unroll
                        for (int o = 0; o < OUTPUTS; ++o)
                            sums.of[p][m][o] += taps.at[tap_of(above, m)][d + e][o] * x.at[e];
            }
    }
}
#else
struct Taps {
    const Real* at;
    __device__ __forceinline__ void fetch(const Real* from) { at = from; }
};

template <class Place>
__device__ __forceinline__ void push(Sums& sums, const Place (&places)[ROWS], const Taps& taps) {
#pragma unroll 1
    for (int above = ANCHOR_COLUMN ? 0 : 1; above <= ANCHOR_ROW; ++above)
#pragma unroll 1
        for (int d = 0; d < CHANNELS; d += WIDE) {
            Vector x[ROWS];
#pragma unroll
            for (int p = 0; p < ROWS; ++p) x[p] = places[p].newest(above, d);
#pragma unroll
            for (int e = 0; e < WIDE; ++e)
#pragma unroll
                for (int m = 0; m < SPAN; ++m) {
                    if (!above && m >= ANCHOR_COLUMN) continue;
                    const Index row = static_cast<Index>(tap_of(above, m)) * DEPTH + d + e;
                    const Outputs tap =
                        *reinterpret_cast<const Outputs*>(taps.at + row * OUTPUT_STRIDE);
#pragma unroll
                    for (int p = 0; p < ROWS; ++p)
#pragma unroll
                        for (int o = 0; o < OUTPUTS; ++o)
                            sums.of[p][m][o] += tap.at[o] * x[p].at[e];
                }
        }
}
#endif

__device__ __forceinline__ void shift(Sums& sums, int p) {
#pragma unroll
    for (int m = 0; m < SPAN; ++m)
#pragma unroll
        for (int o = 0; o < OUTPUTS; ++o)
            sums.of[p][m][o] = m + 1 < SPAN ? sums.of[p][m + 1 < SPAN ? m + 1 : 0][o] : Real(0);
}

// Puts the inverse anchor into shared memory, and the taps where TAPS_IN says: folded before, or by
// this block. Ends with a barrier where what follows may use the memory behind the anchor.
__device__ __forceinline__ void take_taps(const Arguments& a, int group, int first_channel,
                                          Real* anchor, Taps& taps) {
    [[maybe_unused]] Real* after_anchor = anchor + ANCHOR_SIZE;
#if FOLDED
    const Real* folded = static_cast<const Real*>(a.folded) +
                         (TAPS_SIZE + ANCHOR_SIZE) * (group - a.first_group);
    for (int n = threadIdx.x; n < ANCHOR_SIZE; n += blockDim.x) anchor[n] = folded[TAPS_SIZE + n];
#if TAPS_IN == 1
    for (Index n = threadIdx.x; n < TAPS_SIZE; n += blockDim.x) after_anchor[n] = folded[n];
    __syncthreads();
    taps.fetch(after_anchor + first_channel);
#else
    taps.fetch(folded + first_channel);
    __syncthreads();
#endif
#else
    fold_columns(a, group, threadIdx.x, blockDim.x, after_anchor, anchor);
    __syncthreads();
    taps.fetch(after_anchor + first_channel);
#if TAPS_IN == 0
    __syncthreads();
#endif
#endif
}
