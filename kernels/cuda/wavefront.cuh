// The inverse of a triangular convolution, x with conv(x) = z, in one launch for all samples,
// groups and corners; in one launch per anti-diagonal of tiles where an image is too large.
//
// The anchor tap A0 is folded into the others (in double), after which
//     x[p] = (A0^-1 z)[p] - sum over taps o of (A0^-1 W_o) x[p + o]
// has no loop over channels, and all pixels with equal t = i + j are independent, for row i and
// column j of a tile in skewed coordinates: column u = w + REACH * h, which turns any anchor's
// problem into one whose taps point up and to the left.
//
// A thread owns OUTPUTS channels of ROWS neighboring rows. As soon as a pixel's x is known, it is
// multiplied by all taps that will ever need it and added to the sums of the next SPAN pixels of
// the thread's rows: each value is read once per row of the kernel, not once per tap. The sums
// live in registers, the window (tile, rows above and columns to the left) in shared memory,
// where x replaces A0^-1 z pixel by pixel.
//
//   OUTPUTS, ROWS      of one thread
//   TAPS_IN            0 registers, 1 shared memory, 2 global memory
//   FOLDED             whether `fold` ran before, or each block folds for itself
//   WINDOW_IN_SHARED   0: earlier pixels are read again from the output, for kernels so large that
//                      no window fits
//   THREADS            the largest block
//
// No block waits for another one of its launch.

// One row of a thread: where its current pixel is.
struct Place {
#if WINDOW_IN_SHARED
    Real* here;
    int row_stride;
#else
    const Element* output;
    Image image;
    int h, w, width;
#endif
    bool active;

    // Channels d, d + 1, ... of the newest pixel that the taps `above` rows up need.
    __device__ __forceinline__ Vector newest(int above, int d) const {
        Vector found;
#pragma unroll
        for (int e = 0; e < WIDE; ++e) found.at[e] = 0;
        if (!active) return found;
#if WINDOW_IN_SHARED
        const int back = above ? above * row_stride + REACH * (above - 1) * STRIDE : STRIDE;
        return *reinterpret_cast<const Vector*>(here - back + d);
#else
        const int row = h - above, column = above ? w + REACH : w - 1;
        if (row < 0 || column < 0 || column >= width) return found;
        const Element* from = output + image.at(row, column);
#pragma unroll
        for (int e = 0; e < WIDE; ++e)
            if (d + e < CHANNELS) found.at[e] = load(from + (d + e) * image.plane);
        return found;
#endif
    }
};

__device__ __forceinline__ constexpr bool below_diagonal(int c, int d) {
    return d < CHANNELS && (UPPER ? d >= c : d <= c);
}

__device__ __forceinline__ Vector load_channels(const Element* from, Index plane, int d) {
    Vector found;
#pragma unroll
    for (int e = 0; e < WIDE; ++e)
        found.at[e] = d + e < CHANNELS ? load(from + (d + e) * plane) : Real(0);
    return found;
}

#if CHANNELS <= 16
// Puts a pixel into the window, its z multiplied by A0^-1 where `apply`. All channels are on their
// way at once; beyond 8 of them one vector of results at a time, to spare registers for the taps.
__device__ __forceinline__ void fetch_pixel(Real* pixel, const Element* from, Index plane,
                                            const Real* anchor, bool apply) {
    Vector z[VECTORS];
#pragma unroll
    for (int v = 0; v < VECTORS; ++v) z[v] = load_channels(from, plane, v * WIDE);
    if (!apply) {
#pragma unroll
        for (int v = 0; v < VECTORS; ++v) reinterpret_cast<Vector*>(pixel)[v] = z[v];
        return;
    }
#pragma unroll(CHANNELS <= 8 ? VECTORS : 1)
    for (int v = 0; v < VECTORS; ++v) {
        Vector y;
#pragma unroll
        for (int e = 0; e < WIDE; ++e) y.at[e] = 0;
#pragma unroll
        for (int u = 0; u < VECTORS; ++u) {
            if (UPPER ? u < v : u > v) continue;
#pragma unroll
            for (int e = 0; e < WIDE; ++e) {
                if (v * WIDE + e >= CHANNELS) continue;
                const Real* row = anchor + (v * WIDE + e) * DEPTH;
                const Vector factor = reinterpret_cast<const Vector*>(row)[u];
#pragma unroll
                for (int f = 0; f < WIDE; ++f) y.at[e] += factor.at[f] * z[u].at[f];
            }
        }
        reinterpret_cast<Vector*>(pixel)[v] = y;
    }
}
#else
// The same in place, in the order in which no channel is overwritten that is still to be read.
__device__ __forceinline__ void fetch_pixel(Real* pixel, const Element* from, Index plane,
                                            const Real* anchor, bool apply) {
#pragma unroll 2
    for (int d = 0; d < DEPTH; d += WIDE)
        *reinterpret_cast<Vector*>(pixel + d) = load_channels(from, plane, d);
    if (!apply) return;
    for (int s = CHANNELS - 1; s >= 0; --s) {
        const int c = UPPER ? CHANNELS - 1 - s : s;
        Real sum = 0;
        for (int d = UPPER ? c / WIDE * WIDE : 0; UPPER ? d < CHANNELS : d <= c; d += WIDE) {
            const Vector row = *reinterpret_cast<const Vector*>(anchor + c * DEPTH + d);
            const Vector z = *reinterpret_cast<const Vector*>(pixel + d);
#pragma unroll
            for (int e = 0; e < WIDE; ++e)
                if (below_diagonal(c, d + e)) sum += row.at[e] * z.at[e];
        }
        pixel[c] = sum;
    }
}
#endif

extern "C" __global__ void __launch_bounds__(THREADS, 1) solve(const __grid_constant__ Arguments a) {
    SHARED_MEMORY(memory);
    const Element* input = static_cast<const Element*>(a.input);
    Element* output = static_cast<Element*>(a.output);

    Index block = blockIdx.x;
    const int tile_row = a.first_tile + static_cast<int>(block % a.tiles);
    block /= a.tiles;
    const int group = a.first_group + static_cast<int>(block % a.groups);
    const Index first_sample = block / a.groups * a.samples;

    const int h0 = tile_row * a.tile_height, u0 = (a.diagonal - tile_row) * a.tile_width;
    const int rows = min(a.tile_height, a.height - h0);
    const int last_h = h0 + rows - 1;
    const int low = max(0, REACH * h0 - REACH - u0);
    const int high = static_cast<int>(
        min(static_cast<Index>(a.tile_width), a.width + static_cast<Index>(REACH) * last_h - u0));
    const int steps = high + rows - 1;
    if (low >= steps) return;

    Real* anchor = reinterpret_cast<Real*>(memory);
#if WINDOW_IN_SHARED && TAPS_IN == 1
    Real* window = anchor + ANCHOR_SIZE + TAPS_SIZE;
#elif WINDOW_IN_SHARED
    Real* window = anchor + ANCHOR_SIZE;  // holds the taps until every thread has its own
#endif

    const int slots = (a.tile_height + ROWS - 1) / ROWS;
    const int output_block = threadIdx.x % OUTPUT_BLOCKS;
    const int slot = threadIdx.x / OUTPUT_BLOCKS % slots;
    const int local_sample = threadIdx.x / OUTPUT_BLOCKS / slots;
    const int first_channel = output_block * OUTPUTS;

    Taps taps;
    take_taps(a, group, first_channel, anchor, taps);

#if WINDOW_IN_SHARED
    const int window_area = (a.tile_height + ANCHOR_ROW) * a.pitch;
    for (int n = threadIdx.x; n < a.samples * window_area; n += blockDim.x) {
        const int s = n / window_area, place = n % window_area;
        const int i = place / a.pitch - ANCHOR_ROW, j = place % a.pitch - a.halo;
        const int h = h0 + i, w = u0 + j - REACH * h;
        const bool own = i >= 0 && j >= 0;
        const bool inside = first_sample + s < a.batch && h >= 0 && h < a.height && w >= 0 &&
                            w < a.width && i < rows && j < a.tile_width;
        Real* pixel = window + static_cast<Index>(n) * STRIDE;
        if (!inside) {
            Vector zero;
#pragma unroll
            for (int e = 0; e < WIDE; ++e) zero.at[e] = 0;
#pragma unroll
            for (int v = 0; v < VECTORS; ++v) reinterpret_cast<Vector*>(pixel)[v] = zero;
            continue;
        }
        const Image at = image(a, first_sample + s, group);
        fetch_pixel(pixel, (own ? input : output) + at.at(h, w), at.plane, anchor, own);
    }
    __syncthreads();
#endif

    Place places[ROWS];
    Sums sums;
    bool valid[ROWS];
#if !WINDOW_IN_SHARED
    const Image own_image = image(a, first_sample + local_sample, group);
#endif
#pragma unroll
    for (int p = 0; p < ROWS; ++p) {
        const int i = slot * ROWS + p;
        valid[p] = i < rows && local_sample < a.samples &&
                   first_sample + local_sample < a.batch;
        places[p].active = valid[p];
#if WINDOW_IN_SHARED
        places[p].row_stride = a.pitch * STRIDE;
        const int row = local_sample * (a.tile_height + ANCHOR_ROW) + ANCHOR_ROW + i;
        places[p].here = window + (static_cast<Index>(row) * a.pitch + a.halo) * STRIDE;
#else
        places[p].output = output;
        places[p].image = own_image;
        places[p].width = a.width;
        places[p].h = h0 + i;
#endif
#pragma unroll
        for (int m = 0; m < SPAN; ++m)
#pragma unroll
            for (int o = 0; o < OUTPUTS; ++o) sums.of[p][m][o] = 0;
    }

#if WINDOW_IN_SHARED
    // What the first pixels of a row take from the columns left of the tile.
    if (u0 > 0)
        for (int j = 1 - KERNEL_WIDTH; j < 0; ++j) {
            Place before[ROWS];
#pragma unroll
            for (int p = 0; p < ROWS; ++p) {
                before[p] = places[p];
                before[p].here += j * STRIDE;
            }
            push(sums, before, taps);
#pragma unroll
            for (int p = 0; p < ROWS; ++p) shift(sums, p);
        }
#endif

    for (int t = low; t < steps; ++t) {
        Place now[ROWS];
        int column[ROWS];
        bool any = false;
#pragma unroll
        for (int p = 0; p < ROWS; ++p) {
            const int i = slot * ROWS + p, j = t - i, w = u0 + j - REACH * (h0 + i);
            now[p] = places[p];
            now[p].active = valid[p] && j >= 0 && j < a.tile_width && w >= -REACH && w < a.width;
            column[p] = w;
            any |= now[p].active;
#if WINDOW_IN_SHARED
            now[p].here += j * STRIDE;
#else
            now[p].w = w;
#endif
        }
        if (any) {
            push(sums, now, taps);
#pragma unroll
            for (int p = 0; p < ROWS; ++p) {
                if (!now[p].active) continue;
                if (column[p] >= 0)
#pragma unroll
                    for (int o = 0; o < OUTPUTS; ++o) {
                        const int c = first_channel + o;
                        if (CHANNELS % OUTPUTS && c >= CHANNELS) continue;
#if WINDOW_IN_SHARED
                        now[p].here[c] += sums.of[p][0][o];
#else
                        const Index here = own_image.at(h0 + slot * ROWS + p, column[p]);
                        Real value = sums.of[p][0][o];
                        for (int d = UPPER ? c : 0; UPPER ? d < CHANNELS : d <= c; ++d)
                            value += anchor[c * DEPTH + d] * load(input + here + d * own_image.plane);
                        store(output + here + c * own_image.plane, value);
#endif
                    }
                shift(sums, p);
            }
        }
        __syncthreads();
    }

#if WINDOW_IN_SHARED
    const int tile_area = rows * a.tile_width;
    for (int n = threadIdx.x; n < a.samples * tile_area; n += blockDim.x) {
        const int s = n / tile_area, i = n % tile_area / a.tile_width, j = n % a.tile_width;
        const int h = h0 + i, w = u0 + j - REACH * h;
        if (first_sample + s >= a.batch || w < 0 || w >= a.width) continue;
        const int row = s * (a.tile_height + ANCHOR_ROW) + ANCHOR_ROW + i;
        const Real* pixel =
            window + (static_cast<Index>(row) * a.pitch + a.halo + j) * STRIDE;
        const Image at = image(a, first_sample + s, group);
        Element* to = output + at.at(h, w);
#pragma unroll 4
        for (int v = 0; v < VECTORS; ++v) {
            const Vector x = reinterpret_cast<const Vector*>(pixel)[v];
#pragma unroll
            for (int e = 0; e < WIDE; ++e)
                if (v * WIDE + e < CHANNELS) store(to + (v * WIDE + e) * at.plane, x.at[e]);
        }
    }
#endif
}
