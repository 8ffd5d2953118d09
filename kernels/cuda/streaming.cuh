// The inverse of a triangular convolution, as in wavefront.cuh, but a block holds no image: its
// threads own rows and run along them, a column in each step, each row as far behind the one above
// that what it needs is solved.
//
// Row i of a band solves column w = t - (1 + REACH) * i in step t. Of x the last RING diagonals are
// in shared memory, from where the rows below take them. Of z, each thread asks for the next AHEAD
// columns of its own channels long before they are due, four at a time, and puts them into a queue
// in shared memory, since a pixel's channels are multiplied by A0^-1 together. Four columns of x
// are written at a time. So there is one launch of W + (1 + REACH)(H - 1) steps, without a step that
// only reads or only writes.
//
// An image with more rows than a block holds is solved in bands, one after the other. Their first
// ANCHOR_ROW rows are the last ones of the band before: read from the output, not solved again.
//
//   OUTPUTS, ROWS   channels and rows of one thread
//   TAPS_IN         0 registers, 1 shared memory, 2 global memory
//   FOLDED          whether `fold` ran before, or each block folds for itself
//   AHEAD           4 or 8
//   ALIGNED         whether four columns are one access: W is a multiple of 4, and so are addresses
//   RING            a power of two, at least 4 and more than the diagonals that are read
//   THREADS         the largest block

constexpr int BEHIND = 1 + REACH;

// Rows whose columns are at the same place of four belong to neighboring threads, so that a warp
// comes to the end of four columns at once: thread `slot` of `slots`, a multiple of 4, has rows
// row_of(slot), row_of(slot) + slots, ... For the same reason such rows are neighbors in the ring.
__device__ __forceinline__ int row_of(int slot, int slots) {
    return slot % (slots / 4) * 4 + slot / (slots / 4);
}

__device__ __forceinline__ int place_of(int row, int pitch) {
    return (row & 3) * (pitch / 4) + (row >> 2);
}

// Numbers of a row in the ring: an odd number of pixels, since RING is even.
constexpr int RING_ROW = (RING + 1) * STRIDE;

// Where a row is in the ring: `newest` is called by push.
struct Place {
    Real* ring;      // of its sample
    int row, pitch;  // counted from the first row that is read
    int step;
    bool active;

    __device__ __forceinline__ Real* at(int above, int back) const {
        return ring + place_of(row - above, pitch) * RING_ROW + ((step - back) & (RING - 1)) * STRIDE;
    }

    __device__ __forceinline__ Vector newest(int above, int d) const {
        Vector found;
#pragma unroll
        for (int e = 0; e < WIDE; ++e) found.at[e] = 0;
        if (!active) return found;
        return *reinterpret_cast<const Vector*>(at(above, above ? above + REACH * (above - 1) : 1) + d);
    }
};

struct alignas(sizeof(Element) * 4 < 16 ? sizeof(Element) * 4 : 16) Columns {
    Element at[4];
};

// Columns w, ..., w + 3 of one channel; 0 right of the image.
__device__ __forceinline__ void read_columns(const Element* channel, const Image& image, int h,
                                             int w, int width, Real* to) {
    const bool forward = image.right > 0;
#if ALIGNED
    Columns found = {};
    if (w < width)
        found = *reinterpret_cast<const Columns*>(channel + image.at(h, forward ? w : w + 3));
#pragma unroll
    for (int e = 0; e < 4; ++e) to[e] = forward ? load(found.at + e) : load(found.at + 3 - e);
#else
    (void)forward;
#pragma unroll
    for (int e = 0; e < 4; ++e) to[e] = w + e < width ? load(channel + image.at(h, w + e)) : Real(0);
#endif
}

// The same, of which only `count` from the first one on are written.
__device__ __forceinline__ void write_columns(Element* channel, const Image& image, int h, int w,
                                              int count, const Real* from) {
    const bool forward = image.right > 0;
#if ALIGNED
    (void)count;
    Columns made;
#pragma unroll
    for (int e = 0; e < 4; ++e) store(made.at + e, forward ? from[e] : from[3 - e]);
    *reinterpret_cast<Columns*>(channel + image.at(h, forward ? w : w + 3)) = made;
#else
    (void)forward;
#pragma unroll
    for (int e = 0; e < 4; ++e)
        if (e < count) store(channel + image.at(h, w + e), from[e]);
#endif
}

// z of a thread's channels that was asked for and is not in the queue yet.
struct Ahead {
    Real of[OUTPUTS][AHEAD];

    __device__ __forceinline__ void read(const Element* from, const Image& image, int h, int w,
                                         int width, int first_channel) {
#pragma unroll
        for (int o = 0; o < OUTPUTS; ++o)
#pragma unroll
            for (int n = 0; n < AHEAD; n += 4) {
                const int c = first_channel + o;
                if (CHANNELS % OUTPUTS && c >= CHANNELS) continue;
                read_columns(from + c * image.plane, image, h, w + n, width, of[o] + n);
            }
    }

    // Into the half of the row's queue that column w belongs to.
    __device__ __forceinline__ void put(Real* queue, int w, int first_channel) const {
        Real* half = queue + (w & AHEAD) * STRIDE + first_channel;
#pragma unroll
        for (int o = 0; o < OUTPUTS; ++o)
#pragma unroll
            for (int n = 0; n < AHEAD; ++n)
                if (!(CHANNELS % OUTPUTS) || first_channel + o < CHANNELS)
                    half[n * STRIDE + o] = of[o][n];
    }
};

// A thread's rows of A0^-1, in registers where the taps are.
struct Anchor {
#if TAPS_IN == 0
    Vector of[OUTPUTS][VECTORS];
#else
    const Real* of;
#endif

    __device__ __forceinline__ void take(const Real* anchor, int first_channel) {
#if TAPS_IN == 0
#pragma unroll
        for (int o = 0; o < OUTPUTS; ++o)
#pragma unroll
            for (int v = 0; v < VECTORS; ++v) {
                const int c = min(first_channel + o, CHANNELS - 1);
                of[o][v] = reinterpret_cast<const Vector*>(anchor + c * DEPTH)[v];
            }
#else
        of = anchor + first_channel * DEPTH;
#endif
    }

    // (A0^-1 z) of output o for one pixel of the queue.
    __device__ __forceinline__ Real times(const Real* z, int o) const {
        Real sum = 0;
#pragma unroll(TAPS_IN == 0 ? VECTORS : 2)
        for (int v = 0; v < VECTORS; ++v) {
#if TAPS_IN == 0
            const Vector factor = of[o][v];
#else
            const Vector factor = reinterpret_cast<const Vector*>(of + o * DEPTH)[v];
#endif
            const Vector value = reinterpret_cast<const Vector*>(z)[v];
#pragma unroll
            for (int e = 0; e < WIDE; ++e)
                if (v * WIDE + e < CHANNELS) sum += factor.at[e] * value.at[e];
        }
        return sum;
    }
};

extern "C" __global__ void __launch_bounds__(THREADS, 1) solve(const __grid_constant__ Arguments a) {
    SHARED_MEMORY(memory);
    const Element* input = static_cast<const Element*>(a.input);
    Element* output = static_cast<Element*>(a.output);
    const Index block = blockIdx.x;
    const int group = a.first_group + static_cast<int>(block % a.groups);
    const Index first_sample = block / a.groups * a.samples;

    const int slots = ((a.tile_height + ROWS - 1) / ROWS + 3) / 4 * 4;
    const int output_block = threadIdx.x % OUTPUT_BLOCKS;
    const int slot = threadIdx.x / OUTPUT_BLOCKS % slots, first_row = row_of(slot, slots);
    const int local_sample = threadIdx.x / OUTPUT_BLOCKS / slots;
    const int first_channel = output_block * OUTPUTS;
    const bool works = local_sample < a.samples && first_sample + local_sample < a.batch;
    const Image image_of = image(a, works ? first_sample + local_sample : first_sample, group);

    Real* anchor = reinterpret_cast<Real*>(memory);
    Taps taps;
    take_taps(a, group, first_channel, anchor, taps);
    Anchor inverse;
    inverse.take(anchor, first_channel);
    Real* ring = anchor + ANCHOR_SIZE + (TAPS_IN == 1 ? TAPS_SIZE : 0);
    const int pitch = (ROWS * slots + ANCHOR_ROW + 3) / 4 * 4, ring_size = a.samples * pitch * RING_ROW;
    constexpr int QUEUE = (2 * AHEAD + 1) * STRIDE;  // of one row
    Real* queues = ring + ring_size;
    const int queued = a.samples * ROWS * slots * QUEUE;
    for (int n = threadIdx.x; n < queued; n += blockDim.x) queues[n] = 0;  // what only pads

    for (int h0 = 0; !h0 || h0 + ANCHOR_ROW < a.height; h0 += a.tile_height - ANCHOR_ROW) {
        const int rows = min(a.tile_height, a.height - h0);
        const int steps = a.width + BEHIND * (rows - 1);
        for (int n = threadIdx.x; n < ring_size; n += blockDim.x) ring[n] = 0;
        __syncthreads();

        Place places[ROWS];
        bool valid[ROWS], solved[ROWS];
        Real* queue[ROWS];
        Ahead ahead[ROWS];
        Sums sums;
#pragma unroll
        for (int p = 0; p < ROWS; ++p) {
            const int i = p * slots + first_row;
            valid[p] = works && i < rows;
            solved[p] = valid[p] && (!h0 || i >= ANCHOR_ROW);
            places[p].ring = ring + local_sample * pitch * RING_ROW;
            places[p].row = ANCHOR_ROW + i;
            places[p].pitch = pitch;
            queue[p] = queues + ((local_sample * ROWS + p) * slots + slot) * QUEUE;
            if (valid[p]) {
                const Element* from = solved[p] ? input : output;
                ahead[p].read(from, image_of, h0 + i, 0, a.width, first_channel);
                ahead[p].put(queue[p], 0, first_channel);
                ahead[p].read(from, image_of, h0 + i, AHEAD, a.width, first_channel);
            }
#pragma unroll
            for (int m = 0; m < SPAN; ++m)
#pragma unroll
                for (int o = 0; o < OUTPUTS; ++o) sums.of[p][m][o] = 0;
        }
        __syncthreads();

        // unrolled, so that places in the ring are constants; the last steps may do nothing
        for (int start = 0; start < steps; start += RING) {
#pragma unroll(RING <= 8 ? RING : 1)
            for (int step = 0; step < RING; ++step) {
                bool any = false;
#pragma unroll
                for (int p = 0; p < ROWS; ++p) {
                    const int w = start + step - BEHIND * (p * slots + first_row);
                    places[p].step = step;
                    places[p].active = solved[p] && w >= -REACH && w < a.width;
                    any |= places[p].active;
                }
                if (any) push(sums, places, taps);
#pragma unroll
                for (int p = 0; p < ROWS; ++p) {
                    const int i = p * slots + first_row, w = start + step - BEHIND * i;
                    Real* here = places[p].at(0, 0) + first_channel;
                    if (valid[p] && w >= 0 && w < a.width) {
                        const bool ends = (w & 3) == 3 || w == a.width - 1;
                        const Real* z = queue[p] + (w & (2 * AHEAD - 1)) * STRIDE;
#pragma unroll
                        for (int o = 0; o < OUTPUTS; ++o) {
                            const int c = first_channel + o;
                            if (CHANNELS % OUTPUTS && c >= CHANNELS) continue;
                            const Real x = solved[p] ? inverse.times(z, o) + sums.of[p][0][o] : z[c];
                            here[o] = x;
                            if (!ends || !solved[p]) continue;
                            Real last[4];
#pragma unroll
                            for (int e = 0; e < 4; ++e) {
                                const int back = (w & 3) - e;
                                last[e] = back > 0 ? places[p].at(0, back)[c] : x;
                            }
                            write_columns(output + c * image_of.plane, image_of, h0 + i, w & ~3,
                                          (w & 3) + 1, last);
                        }
                        if (((w + 1) & (AHEAD - 1)) == 0) {
                            ahead[p].put(queue[p], w + 1, first_channel);
                            ahead[p].read(solved[p] ? input : output, image_of, h0 + i,
                                          w + 1 + AHEAD, a.width, first_channel);
                        }
                    } else if (REACH && valid[p] && w >= a.width && w < a.width + RING) {
                        // taps of the rows below reach behind the end of this one
#pragma unroll
                        for (int o = 0; o < OUTPUTS; ++o)
                            if (!(CHANNELS % OUTPUTS) || first_channel + o < CHANNELS) here[o] = 0;
                    }
                    shift(sums, p);
                }
                __syncthreads();
            }
        }
    }
}
