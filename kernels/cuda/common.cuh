// What every CUDA kernel of a triangular convolution shares. NVRTC compiles this text in front of
// one kernel's, with no include and the sizes as macros:
//
//   ELEMENT                      0 float, 1 double, 2 bfloat16 in memory and float in arithmetic
//   CHANNELS                     C', the channels of one group
//   KERNEL_HEIGHT, KERNEL_WIDTH, ANCHOR_ROW, ANCHOR_COLUMN, UPPER
//
// A group runs from one of four corners. Rows h and columns w are counted from that corner, so
// that only addresses know about it.
#ifndef INVCONV_EMULATED
#define SHARED_MEMORY(name) extern __shared__ __align__(16) unsigned char name[]
#endif

typedef long long Index;

#if ELEMENT == 0
typedef float Element;
typedef float Real;
#elif ELEMENT == 1
typedef double Element;
typedef double Real;
#else
struct Element {
    unsigned short bits;
};
typedef float Real;
#endif

// One launch works on the groups first_group, ..., first_group + groups - 1 of total_groups.
struct Arguments {
    const void* input;
    const void* weight;
    void* output;
    void* folded;
    int batch, total_groups, first_group, groups;
    int height, width;
    int tile_height, tile_width, pitch, halo, samples;
    int diagonal, first_tile, tiles, channel;
    unsigned corners[16];
};

constexpr int TAPS = ANCHOR_ROW * KERNEL_WIDTH + ANCHOR_COLUMN;  // before the anchor
constexpr int KERNEL = KERNEL_HEIGHT * KERNEL_WIDTH;
// How far right of its pixel a tap of the rows above reaches.
constexpr int REACH = ANCHOR_ROW ? KERNEL_WIDTH - 1 - ANCHOR_COLUMN : 0;

// A pixel's channels are neighbors in shared memory and move in vectors of at most 16 bytes. An
// odd number of vectors per pixel keeps neighboring pixels in different banks.
constexpr int WIDE = CHANNELS <= 2 ? CHANNELS : ELEMENT == 1 ? 2 : 4;
constexpr int VECTORS = (CHANNELS + WIDE - 1) / WIDE;
constexpr int DEPTH = VECTORS * WIDE;
constexpr int STRIDE = (VECTORS > 2 ? VECTORS | 1 : VECTORS) * WIDE;

struct alignas(sizeof(Real) * WIDE) Vector {
    Real at[WIDE];
};

__device__ __forceinline__ Real load(const Element* p) {
#if ELEMENT == 2
    return __uint_as_float(static_cast<unsigned>(p->bits) << 16);
#else
    return *p;
#endif
}

__device__ __forceinline__ void store(Element* p, Real value) {
#if ELEMENT == 2
    const unsigned bits = __float_as_uint(value);
    const bool nan = (bits & 0x7fffffffu) > 0x7f800000u;
    p->bits = nan ? 0x7fff : static_cast<unsigned short>((bits + 0x7fffu + (bits >> 16 & 1)) >> 16);
#else
    *p = value;
#endif
}

// Where the pixels of one sample's group are: (h, w) at start + h * down + w * right, the next
// channel `plane` further.
struct Image {
    Index start, plane;
    int down, right;
    __device__ __forceinline__ Index at(int h, int w) const {
        return start + static_cast<Index>(h) * down + static_cast<Index>(w) * right;
    }
};

__device__ __forceinline__ Image image(const Arguments& a, Index sample, int group) {
    const int local = group - a.first_group;
    const unsigned corner = a.corners[local / 16] >> (2 * (local % 16)) & 3;
    Image found;
    found.plane = static_cast<Index>(a.height) * a.width;
    found.start = (sample * a.total_groups + group) * CHANNELS * found.plane;
    found.down = corner & 2 ? -a.width : a.width;
    found.right = corner & 1 ? -1 : 1;
    if (corner & 2) found.start += found.plane - a.width;
    if (corner & 1) found.start += a.width - 1;
    return found;
}

// The entry of tap `tap` (in raster order) that takes channel d to channel c.
__device__ __forceinline__ const Element* entry(const Arguments& a, int group, int c, int d,
                                                int tap) {
    const Index row = (static_cast<Index>(group) * CHANNELS + c) * CHANNELS + d;
    return static_cast<const Element*>(a.weight) + row * KERNEL + tap;
}
