#include <algorithm>
#include <memory>
#include <new>
#include <vector>

#include "isa.h"
#include "run.h"

namespace invconv {

namespace {

bool is_read(const Geometry& g, Index c, Index d, Index tap) {
    return tap + 1 < g.taps() || (tap + 1 == g.taps() && (g.upper ? d >= c : d <= c));
}

}  // namespace

template <class T>
void weight_gradient(const GradientWork<T>& work, T* output, int threads, const std::string& isa) {
    const Geometry& g = work.geometry;
    const Kernels<T>& kernels = select_kernels<T>(isa);
    // Few groups share their samples among the threads, in a fixed way: sums do not depend on luck.
    const Index wanted = (2 * std::max(threads, 1) + g.groups - 1) / std::max<Index>(g.groups, 1);
    const Index parts = std::clamp<Index>(wanted, 1, std::max<Index>(g.batch, 1));
    const Index size = g.channels * g.channels * g.taps() * kernels.lanes;
    const bool empty = !g.height || !g.width;
    std::vector<T> sums(g.groups * parts * size);
    const Index scratch_size = empty ? 0 : kernels.gradient_scratch(g);
    const Index tasks = g.groups * parts;
    [[maybe_unused]] const int used =
        static_cast<int>(std::max<Index>(1, std::min<Index>(threads, tasks)));
    bool failed = false;

#pragma omp parallel num_threads(used) if (used > 1)
    {
        const std::unique_ptr<T[]> scratch(new (std::nothrow) T[scratch_size]);
        if (!scratch) {
#pragma omp atomic write
            failed = true;
        }
#pragma omp for schedule(dynamic)
        for (Index task = 0; task < tasks; ++task) {
            const Index group = task / parts, part = task % parts;
            const Index end = empty || !scratch ? 0 : g.batch * (part + 1) / parts;
            for (Index sample = g.batch * part / parts; sample < end; ++sample)
                kernels.gradient(work, sample, group, scratch.get(), sums.data() + task * size);
        }
    }
    if (failed) throw std::bad_alloc();

    const Index kernel = g.kernel_height * g.kernel_width;
    for (Index c = 0; c < g.groups * g.channels; ++c)
        for (Index d = 0; d < g.channels; ++d)
            for (Index tap = 0; tap < kernel; ++tap) {
                double total = 0;
                const Index group = c / g.channels, own = c % g.channels;
                if (is_read(g, own, d, tap))
                    for (Index part = 0; part < parts; ++part) {
                        const T* sum = sums.data() + (group * parts + part) * size +
                                       ((own * g.channels + d) * g.taps() + tap) * kernels.lanes;
                        for (Index lane = 0; lane < kernels.lanes; ++lane) total += sum[lane];
                    }
                output[(c * g.channels + d) * kernel + tap] = static_cast<T>(total);
            }
}

template void weight_gradient<float>(const GradientWork<float>&, float*, int, const std::string&);
template void weight_gradient<double>(const GradientWork<double>&, double*, int,
                                      const std::string&);

}  // namespace invconv
