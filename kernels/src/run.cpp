#include "run.h"

#include <cstdlib>
#include <memory>
#include <new>
#include <stdexcept>
#include <vector>

#include "isa.h"
#include "pack.h"

namespace invconv {

namespace {

// Grows and is kept by its thread: fresh pages cost more than the arithmetic.
class Scratch {
  public:
    void* get(std::size_t bytes) {
        if (bytes > size_) {
            memory_.reset();
            memory_.reset(std::aligned_alloc(64, (bytes + 63) / 64 * 64));
            size_ = memory_ ? bytes : 0;
            if (!memory_) throw std::bad_alloc();
        }
        return memory_.get();
    }

  private:
    struct Free {
        void operator()(void* p) const { std::free(p); }
    };
    std::unique_ptr<void, Free> memory_;
    std::size_t size_ = 0;
};

thread_local Scratch thread_scratch;

// Rows brought in at once: whole vectors of pixels where rows are short.
Index band_rows(const Geometry& g, Index lanes) {
    if (g.height * g.width * g.channels * lanes * 4 <= 16384) return g.height;
    Index rows = 1;
    if (g.width < 2 * lanes)
        while (rows * g.width % lanes && rows < g.height) ++rows;
    return rows;
}

// Where each pixel of the plane lies in the ring, for one corner.
void fill_offsets(const Geometry& g, Index slots, Index row_size, Index step, int corner,
                  std::int32_t* offset) {
    for (Index h = 0; h < g.height; ++h) {
        const Index row = (corner & 2 ? g.height - 1 - h : h) % slots * row_size;
        for (Index w = 0; w < g.width; ++w)
            *offset++ = static_cast<std::int32_t>(
                row + (g.anchor_column + (corner & 1 ? g.width - 1 - w : w)) * step);
    }
}

// Vectors of pixels that the two ways to fill lanes compute.
bool samples_are_faster(const Geometry& g, Index lanes, bool solve, const std::string& wanted) {
    if (!wanted.empty()) {
        if (wanted != "samples" && wanted != "pixels")
            throw std::invalid_argument("lanes must be \"samples\", \"pixels\" or empty");
        return wanted == "samples";
    }
    const double by_sample = double((g.batch + lanes - 1) / lanes) * g.height * g.width;
    const double slope = g.kernel_width - g.anchor_column;
    const double bands = double((g.height + lanes - 1) / lanes);
    const double steps = solve ? slope * (std::min(g.height, lanes) - 1) + g.width : g.width;
    return by_sample < 2 * double(g.batch) * bands * steps;
}

template <class T>
void run(const Call<T>& call, bool fold) {
    const Geometry& g = call.geometry;
    const Kernels<T>& kernels = select_kernels<T>(call.isa);
    if (!g.batch || !g.height || !g.width || !g.groups) return;

    const Index lanes = kernels.lanes;
    const bool samples = samples_are_faster(g, lanes, fold, call.lanes);
    const std::vector<Block> blocks =
        split_channels(g.channels, kernels.wide_block, kernels.max_block);
    const Index group_size = g.taps() * g.channels * g.channels;
    const std::unique_ptr<T[]> packed(new T[g.groups * group_size]);
    std::vector<unsigned char> identity(g.groups);

    Work<T> work{g,          call.input,     call.input_strides, call.output, call.output_strides,
                 call.corners, packed.get(), identity.data(),    blocks.data(),
                 Index(blocks.size()), 0, 0, {}};
    work.band = band_rows(g, lanes);
    work.slots = std::min(g.height, work.band + g.anchor_row);

    bool used[4] = {};
    for (Index n = 0; n < g.groups; ++n) used[call.corners[n]] = samples;
    std::unique_ptr<std::int32_t[]> offsets[4];
    for (int corner = 0; corner < 4; ++corner)
        if (used[corner]) {
            offsets[corner].reset(new std::int32_t[g.height * g.width]);
            work.offsets[corner] = offsets[corner].get();
        }

    const Index size = samples ? kernels.batch_scratch(work)
                       : fold  ? kernels.diagonal_scratch(work)
                               : kernels.plane_scratch(work);
    const auto task = samples ? (fold ? kernels.solve_batch : kernels.convolve_batch)
                      : fold  ? kernels.solve_diagonal
                              : kernels.convolve_plane;
    const Index parts = samples ? (g.batch + lanes - 1) / lanes : g.batch;
    const Index tasks = parts * g.groups;
    [[maybe_unused]] const int threads = static_cast<int>(
        std::max<Index>(1, std::min<Index>(call.threads, tasks)));
    bool failed = false;

#pragma omp parallel num_threads(threads) if (threads > 1)
    {
        T* scratch = nullptr;
        try {
            scratch = static_cast<T*>(thread_scratch.get(size * sizeof(T)));
        } catch (const std::bad_alloc&) {
#pragma omp atomic write
            failed = true;
        }
#pragma omp for schedule(static) nowait
        for (int corner = 0; corner < 4; ++corner)
            if (used[corner])
                fill_offsets(g, work.slots, work.row_size(lanes), g.channels * lanes, corner,
                             offsets[corner].get());
#pragma omp for schedule(static)
        for (Index group = 0; group < g.groups; ++group)
            identity[group] = pack_group(g, blocks, fold ? kernels.substitute : nullptr, call.weight,
                                         group, packed.get() + group * group_size);
#pragma omp for schedule(dynamic)
        for (Index n = 0; n < tasks; ++n)
            if (scratch) task(work, n / g.groups, n % g.groups, scratch);
    }
    if (failed) throw std::bad_alloc();
}

}  // namespace

template <class T>
void solve(const Call<T>& call) {
    run(call, true);
}

template <class T>
void convolve(const Call<T>& call) {
    run(call, false);
}

template void solve<float>(const Call<float>&);
template void solve<double>(const Call<double>&);
template void convolve<float>(const Call<float>&);
template void convolve<double>(const Call<double>&);

}  // namespace invconv
