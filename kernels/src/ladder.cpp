#include "ladder.h"

#include <algorithm>
#include <cstdlib>
#include <memory>
#include <new>

#include "diagonal_loop.h"
#include "isa.h"

#ifdef _OPENMP
#include <omp.h>
#endif

namespace invconv {

namespace {

struct Free {
    void operator()(void* p) const { std::free(p); }
};

Index thread_number() {
#ifdef _OPENMP
    return omp_get_thread_num();
#else
    return 0;
#endif
}

}  // namespace

template <class T>
void diagonal_loop(const Loop<T>& loop) {
    solve_images(loop);
}

template <class T>
void diagonal_lanes(const Loop<T>& loop, int threads, const std::string& isa) {
    const Geometry& g = loop.geometry;
    const Kernels<T>& kernels = select_kernels<T>(isa);
    const Index size = g.channels * g.height * g.width * kernels.lanes;
    const Index tasks = (g.batch + kernels.lanes - 1) / kernels.lanes * g.groups;
    if (!size || !tasks) return;
    const int workers = static_cast<int>(std::max<Index>(1, std::min<Index>(threads, tasks)));
    const std::size_t bytes = workers * size * sizeof(T);
    const std::unique_ptr<T, Free> scratch(
        static_cast<T*>(std::aligned_alloc(64, (bytes + 63) / 64 * 64)));
    if (!scratch) throw std::bad_alloc();
#pragma omp parallel for schedule(dynamic) num_threads(workers) if (workers > 1)
    for (Index n = 0; n < tasks; ++n)
        kernels.solve_lanes(loop, n / g.groups, n % g.groups,
                            scratch.get() + thread_number() * size);
}

template void diagonal_loop<float>(const Loop<float>&);
template void diagonal_loop<double>(const Loop<double>&);
template void diagonal_lanes<float>(const Loop<float>&, int, const std::string&);
template void diagonal_lanes<double>(const Loop<double>&, int, const std::string&);

}  // namespace invconv
