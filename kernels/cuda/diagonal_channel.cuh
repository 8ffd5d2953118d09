// FInC's algorithms 1 and 2 (arXiv 2301.09266, section 3.3): one launch per diagonal and channel.
// A launch computes `channel` of every pixel of `diagonal` of the given groups, one thread per
// sample, group and pixel; the caller synchronizes and goes on. Corner anchors only.

extern "C" __global__ void __launch_bounds__(256)
    diagonal_channel(const __grid_constant__ Arguments a) {
    const int first = max(0, a.diagonal - a.width + 1);
    const int count = min(a.diagonal, a.height - 1) - first + 1;
    const Index n = static_cast<Index>(blockIdx.x) * blockDim.x + threadIdx.x;
    if (n >= static_cast<Index>(a.batch) * a.groups * count) return;
    const int h = first + static_cast<int>(n % count), w = a.diagonal - h, c = a.channel;
    const int group = a.first_group + static_cast<int>(n / count % a.groups);
    const Image at = image(a, n / count / a.groups, group);
    Element* output = static_cast<Element*>(a.output);
    const Element* z = static_cast<const Element*>(a.input) + at.at(h, w) + c * at.plane;

    Real value = load(z);
    for (int i = max(0, ANCHOR_ROW - h); i <= ANCHOR_ROW; ++i)
        for (int j = max(0, ANCHOR_COLUMN - w); j <= ANCHOR_COLUMN; ++j) {
            const int tap = i * KERNEL_WIDTH + j;
            const Element* x = output + at.at(h + i - ANCHOR_ROW, w + j - ANCHOR_COLUMN);
            for (int d = 0; d < (tap == TAPS ? c : CHANNELS); ++d)
                value -= load(entry(a, group, c, d, tap)) * load(x + d * at.plane);
        }
    store(output + at.at(h, w) + c * at.plane, value / load(entry(a, group, c, c, TAPS)));
}

// What a launch and a wait cost by themselves.
extern "C" __global__ void empty(const __grid_constant__ Arguments) {}
