// The triangular convolution itself: all samples, groups and corners in one launch.
//
// A block computes CHUNK channels of one tile of `samples` images; a thread OUTPUTS channels of
// ROWS neighboring rows at one column, lanes along the row. The tile with what its taps reach
// is in shared memory, and so are the taps.
//
//   OUTPUTS, ROWS, CHUNK   of one thread; of one block, a multiple of OUTPUTS
//   TAPS_IN                1 shared memory, 2 global memory
//   WINDOW_IN_SHARED       0: pixels are read from the input, for kernels too large for a window
//   THREADS                the largest block

constexpr int OUTPUT_BLOCKS = CHUNK / OUTPUTS;
constexpr int CHUNKS = (CHANNELS + CHUNK - 1) / CHUNK;
constexpr Index TAPS_SIZE = TAPS_IN == 1 ? (static_cast<Index>(TAPS + 1) * DEPTH * CHUNK + 3) / 4 * 4 : 0;

struct alignas(sizeof(Real) * OUTPUTS < 16 ? sizeof(Real) * OUTPUTS : 16) Outputs {
    Real at[OUTPUTS];
};

// What takes channel d to channel c, zero where nothing may be read.
__device__ __forceinline__ Real weight_at(const Arguments& a, int group, int c, int d, int tap) {
    const bool read = c < CHANNELS && d < CHANNELS &&
                      (tap < TAPS || (UPPER ? d >= c : d <= c));
    return read ? load(entry(a, group, c, d, tap)) : Real(0);
}

extern "C" __global__ void __launch_bounds__(THREADS, 1)
    convolve(const __grid_constant__ Arguments a) {
    SHARED_MEMORY(memory);
    const Element* input = static_cast<const Element*>(a.input);
    Element* output = static_cast<Element*>(a.output);

    Index block = blockIdx.x;
    const int chunk = static_cast<int>(block % CHUNKS);
    block /= CHUNKS;
    const int tile_columns = (a.width + a.tile_width - 1) / a.tile_width;
    const int w0 = static_cast<int>(block % tile_columns) * a.tile_width;
    block /= tile_columns;
    const int tile_rows = (a.height + a.tile_height - 1) / a.tile_height;
    const int h0 = static_cast<int>(block % tile_rows) * a.tile_height;
    block /= tile_rows;
    const int group = a.first_group + static_cast<int>(block % a.groups);
    const Index first_sample = block / a.groups * a.samples;

    [[maybe_unused]] Real* taps = reinterpret_cast<Real*>(memory);
#if TAPS_IN == 1
    for (int n = threadIdx.x; n < (TAPS + 1) * DEPTH * CHUNK; n += blockDim.x)
        taps[n] = weight_at(a, group, chunk * CHUNK + n % CHUNK, n / CHUNK % DEPTH,
                            n / CHUNK / DEPTH);
#endif

#if WINDOW_IN_SHARED
    Real* window = taps + TAPS_SIZE;
    const int window_area = (a.tile_height + ANCHOR_ROW) * a.pitch;
    for (int n = threadIdx.x; n < a.samples * window_area; n += blockDim.x) {
        const int s = n / window_area, place = n % window_area;
        const int h = h0 + place / a.pitch - ANCHOR_ROW, w = w0 + place % a.pitch - ANCHOR_COLUMN;
        const bool inside =
            first_sample + s < a.batch && h >= 0 && h < a.height && w >= 0 && w < a.width;
        const Image from = image(a, inside ? first_sample + s : 0, group);
        const Element* pixel = input + (inside ? from.at(h, w) : 0);
#pragma unroll 4
        for (int v = 0; v < VECTORS; ++v) {
            Vector x;
#pragma unroll
            for (int e = 0; e < WIDE; ++e)
                x.at[e] = inside && v * WIDE + e < CHANNELS
                              ? load(pixel + (v * WIDE + e) * from.plane)
                              : Real(0);
            reinterpret_cast<Vector*>(window + static_cast<Index>(n) * STRIDE)[v] = x;
        }
    }
#endif
    __syncthreads();

    const int slots = (a.tile_height + ROWS - 1) / ROWS;
    const int items = a.samples * OUTPUT_BLOCKS * slots * a.tile_width;
    for (int n = threadIdx.x; n < items; n += blockDim.x) {
        const int column = n % a.tile_width, slot = n / a.tile_width % slots;
        const int output_block = n / a.tile_width / slots % OUTPUT_BLOCKS;
        const int s = n / a.tile_width / slots / OUTPUT_BLOCKS;
        const int first_channel = chunk * CHUNK + output_block * OUTPUTS;
        const int w = w0 + column, top = h0 + slot * ROWS;
        if (first_sample + s >= a.batch || w >= a.width || top >= a.height) continue;
        const Image at = image(a, first_sample + s, group);
#if WINDOW_IN_SHARED
        const int row = s * (a.tile_height + ANCHOR_ROW) + slot * ROWS;
        const Real* corner = window + (static_cast<Index>(row) * a.pitch + column) * STRIDE;
        const int last_row = a.tile_height + ANCHOR_ROW - 1 - slot * ROWS;
#endif
        Real sums[ROWS][OUTPUTS];
#pragma unroll
        for (int p = 0; p < ROWS; ++p)
#pragma unroll
            for (int o = 0; o < OUTPUTS; ++o) sums[p][o] = 0;
#pragma unroll 1
        for (int tap = 0; tap <= TAPS; ++tap) {
            const int i = tap / KERNEL_WIDTH, j = tap % KERNEL_WIDTH;
#pragma unroll 1
            for (int d = 0; d < CHANNELS; d += WIDE) {
                Vector x[ROWS];
#pragma unroll
                for (int p = 0; p < ROWS; ++p) {
#if WINDOW_IN_SHARED
                    const int down = min(p + i, last_row);
                    x[p] = *reinterpret_cast<const Vector*>(
                        corner + (static_cast<Index>(down) * a.pitch + j) * STRIDE + d);
#else
                    const int h = top + p + i - ANCHOR_ROW, ww = w + j - ANCHOR_COLUMN;
                    const bool inside = h >= 0 && h < a.height && ww >= 0 && ww < a.width;
#pragma unroll
                    for (int e = 0; e < WIDE; ++e)
                        x[p].at[e] = inside && d + e < CHANNELS
                                         ? load(input + at.at(h, ww) + (d + e) * at.plane)
                                         : Real(0);
#endif
                }
#pragma unroll
                for (int e = 0; e < WIDE; ++e) {
                    Outputs weight;
#if TAPS_IN == 1
                    const int place = (tap * DEPTH + d + e) * CHUNK + output_block * OUTPUTS;
                    weight = *reinterpret_cast<const Outputs*>(taps + place);
#else
#pragma unroll
                    for (int o = 0; o < OUTPUTS; ++o)
                        weight.at[o] = weight_at(a, group, first_channel + o, d + e, tap);
#endif
#pragma unroll
                    for (int p = 0; p < ROWS; ++p)
#pragma unroll
                        for (int o = 0; o < OUTPUTS; ++o)
                            sums[p][o] += weight.at[o] * x[p].at[e];
                }
            }
        }
#pragma unroll
        for (int p = 0; p < ROWS; ++p)
#pragma unroll
            for (int o = 0; o < OUTPUTS; ++o) {
                const int c = first_channel + o;
                if (slot * ROWS + p < a.tile_height && top + p < a.height && c < CHANNELS)
                    store(output + at.at(top + p, w) + c * at.plane, sums[p][o]);
            }
    }
}
