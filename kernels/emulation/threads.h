// One block at a time, one host thread per CUDA thread: slow, for sanitizers. Shared memory has
// exactly the size that the launch asks for.
#pragma once

#include <barrier>
#include <memory>
#include <thread>
#include <vector>

#include "cuda.h"

namespace emulation {

inline std::barrier<>* everyone;

inline void barrier() { everyone->arrive_and_wait(); }

inline void run_grid(long long blocks, unsigned threads, std::size_t shared, void (*kernel)()) {
    std::barrier<> meeting(threads);
    everyone = &meeting;
    blockDim.x = threads;
    std::unique_ptr<unsigned char[]> memory;
    std::vector<std::thread> running;
    for (unsigned n = 0; n < threads; ++n)
        running.emplace_back([&, n] {
            threadIdx.x = n;
            for (long long b = 0; b < blocks; ++b) {
                if (n == 0) {
                    memory.reset(new unsigned char[shared]);
                    std::memset(memory.get(), 0xff, shared);
                    shared_memory = memory.get();
                    blockIdx.x = static_cast<unsigned>(b);
                }
                barrier();
                kernel();
                barrier();
            }
        });
    for (auto& thread : running) thread.join();
}

}  // namespace emulation
