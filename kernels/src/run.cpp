#include "run.h"

#include <algorithm>
#include <cstdlib>
#include <limits>
#include <memory>
#include <new>
#include <stdexcept>
#include <vector>

#include "isa.h"
#include "pack.h"

namespace invconv {

namespace {

// Grows and is kept by its thread, unless it is large: fresh pages cost more than the arithmetic.
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
    void release_large() {
        if (size_ > (std::size_t(32) << 20)) {
            memory_.reset();
            size_ = 0;
        }
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

enum class Lanes { samples, pixels, channels };

// What is fastest in the lanes, in units of one vector of pixels. The constants were measured: they
// cover turning, dependent steps and what every task costs.
Lanes choose_lanes(const Geometry& g, Index lanes, bool solve, int threads,
                   const std::string& wanted) {
    if (wanted == "samples") return Lanes::samples;
    if (wanted == "pixels" || (wanted == "channels" && !solve)) return Lanes::pixels;
    if (wanted == "channels") return Lanes::channels;
    if (!wanted.empty())
        throw std::invalid_argument(
            "lanes must be \"samples\", \"pixels\", \"channels\" or empty, not \"" + wanted + "\"");
    const auto rounds = [&](Index tasks) { return double((tasks + threads - 1) / threads); };
    const auto vectors = [&](Index n) { return double((n + lanes - 1) / lanes); };
    const double slope = double(g.kernel_width - g.anchor_column);
    const double steps = slope * double(std::min(g.height, lanes) - 1) + double(g.width);
    const double plane = double(g.height * (g.width + g.kernel_width - 1)) / double(lanes);
    const double pixels = solve ? 1.55 * vectors(g.height) * steps + 10 : 1.4 * plane + 6;
    const double area = double(g.height * g.width);
    const double channels = 2.6 * area * vectors(g.channels) / double(g.channels) + 7;
    const bool by_channel = solve && channels < pixels;
    const double few = rounds(g.batch * g.groups) * (by_channel ? channels : pixels);
    if (rounds((g.batch + lanes - 1) / lanes * g.groups) * area < few) return Lanes::samples;
    return by_channel ? Lanes::channels : Lanes::pixels;
}

template <class T>
void run(const Call<T>& call, bool fold) {
    const Geometry& g = call.geometry;
    const Kernels<T>& kernels = select_kernels<T>(call.isa);
    if (!g.batch || !g.height || !g.width || !g.groups) return;

    const Index lanes = kernels.lanes;
    const Index band = band_rows(g, lanes), slots = std::min(g.height, band + g.anchor_row);
    const Index row_size = (g.width + g.kernel_width - 1) * g.channels * lanes;
    Lanes choice = choose_lanes(g, lanes, fold, std::max(1, call.threads), call.lanes);
    if (slots > std::numeric_limits<std::int32_t>::max() / row_size) choice = Lanes::pixels;
    const bool samples = choice == Lanes::samples, channels = choice == Lanes::channels;
    const Index outputs = channels ? (g.channels + lanes - 1) / lanes * lanes : g.channels;
    const std::vector<Block> blocks =
        channels ? std::vector<Block>{{0, outputs}}
                 : split_channels(g.channels, kernels.wide_block, kernels.max_block);
    const Index group_size = g.taps() * g.channels * outputs;
    const auto pack = [&](Index group, PackedTaps<T>& to) {
        to.identity[group] = pack_group(g, blocks, fold ? kernels.substitute : nullptr, call.weight,
                                        group, to.taps.get() + group * group_size);
    };
    const auto allocate = [&](PackedTaps<T>& to) {
        to.taps.reset(new T[g.groups * group_size]);
        to.identity.resize(g.groups);
    };
    PackedTaps<T> own;
    const PackedTaps<T>* packed = &own;
    Packed* const kept = call.kept;
    if (kept)
        packed = &kept->get<T>(Packed::Layout(&kernels, channels, fold), [&](PackedTaps<T>& to) {
            allocate(to);
            for (Index group = 0; group < g.groups; ++group) pack(group, to);
        });
    else
        allocate(own);

    Work<T> work{g,
                 call.input,
                 call.input_strides,
                 call.output,
                 call.output_strides,
                 call.corners,
                 packed->taps.get(),
                 packed->identity.data(),
                 blocks.data(),
                 Index(blocks.size()),
                 band,
                 slots,
                 {}};

    bool used[4] = {};
    for (Index n = 0; n < g.groups; ++n) used[call.corners[n]] = samples;
    std::unique_ptr<std::int32_t[]> offsets[4];
    for (int corner = 0; corner < 4; ++corner)
        if (used[corner]) {
            offsets[corner].reset(new std::int32_t[g.height * g.width]);
            work.offsets[corner] = offsets[corner].get();
        }

    const Index size = samples    ? kernels.batch_scratch(work)
                       : channels ? kernels.channels_scratch(work)
                       : fold     ? kernels.diagonal_scratch(work)
                                  : kernels.plane_scratch(work);
    const auto task = samples    ? (fold ? kernels.solve_batch : kernels.convolve_batch)
                      : channels ? kernels.solve_channels
                      : fold     ? kernels.solve_diagonal
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
                fill_offsets(g, slots, row_size, g.channels * lanes, corner,
                             offsets[corner].get());
#pragma omp for schedule(static)
        for (Index group = 0; group < (kept ? 0 : g.groups); ++group)
            try {
                pack(group, own);
            } catch (const std::bad_alloc&) {
#pragma omp atomic write
                failed = true;
            }
#pragma omp for schedule(dynamic)
        for (Index n = 0; n < tasks; ++n)
            if (scratch) task(work, n / g.groups, n % g.groups, scratch);
        thread_scratch.release_large();
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
