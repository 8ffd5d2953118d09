// One block at a time, its threads as fibers of one host thread: fast, exact, and strict about
// barriers. Threads run in turn from one barrier to the next, forwards and backwards by turns, so
// that a value which depends on the order shows.
#pragma once

#include <cstdlib>
#include <stdexcept>
#include <vector>

#include "cuda.h"

#if !defined(__x86_64__)
#include <ucontext.h>
#endif

namespace emulation {

constexpr std::size_t STACK = 64 * 1024;

#if defined(__x86_64__)
using Context = void*;

extern "C" void emulation_switch(void** from, void* to);
asm(R"(
.text
.globl emulation_switch
.type emulation_switch, @function
emulation_switch:
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, (%rdi)
    movq %rsi, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    ret
.size emulation_switch, .-emulation_switch
)");

inline void resume(Context& from, Context& to) { emulation_switch(&from, to); }

inline void prepare(Context& fiber, unsigned char* stack, void (*entry)()) {
    auto top = (reinterpret_cast<std::uintptr_t>(stack) + STACK) & ~std::uintptr_t{15};
    auto* words = reinterpret_cast<void**>(top) - 2;  // as if `entry` had been called
    words[0] = reinterpret_cast<void*>(entry);
    fiber = words - 6;
}
#else
using Context = ucontext_t;

inline void resume(Context& from, Context& to) { swapcontext(&from, &to); }

inline void prepare(Context& fiber, unsigned char* stack, void (*entry)()) {
    getcontext(&fiber);
    fiber.uc_stack.ss_sp = stack;
    fiber.uc_stack.ss_size = STACK;
    fiber.uc_link = nullptr;
    makecontext(&fiber, entry, 0);
}
#endif

struct Block {
    std::vector<Context> fibers;
    std::vector<char> ended;
    Context scheduler;
    unsigned current = 0;
    void (*kernel)() = nullptr;
};

inline Block block;

inline void barrier() { resume(block.fibers[block.current], block.scheduler); }

inline void enter() {
    block.kernel();
    block.ended[block.current] = 1;
    barrier();
    std::abort();  // an ended thread is never resumed
}

// Throws std::runtime_error if some threads end while others wait at a barrier.
inline void run_block(unsigned threads, std::vector<unsigned char>& stacks, void (*kernel)()) {
    block.fibers.resize(threads);
    block.ended.assign(threads, 0);
    block.kernel = kernel;
    for (unsigned n = 0; n < threads; ++n)
        prepare(block.fibers[n], &stacks[n * STACK], &enter);
    for (unsigned round = 0;; ++round) {
        unsigned ended = 0;
        for (unsigned n = 0; n < threads; ++n) {
            block.current = threadIdx.x = round % 2 ? threads - 1 - n : n;
            resume(block.scheduler, block.fibers[block.current]);
            ended += block.ended[block.current];
        }
        if (ended == threads) return;
        if (ended) throw std::runtime_error("some threads ended while others wait at a barrier");
    }
}

inline void run_grid(long long blocks, unsigned threads, std::size_t shared, void (*kernel)()) {
    std::vector<unsigned char> stacks(threads * STACK);
    blockDim.x = threads;
    for (long long b = 0; b < blocks; ++b) {
        auto* memory = static_cast<unsigned char*>(std::aligned_alloc(16, (shared + 16) / 16 * 16));
        std::memset(memory, 0xff, shared);  // NaN, so that what was never written shows
        shared_memory = memory;
        blockIdx.x = static_cast<unsigned>(b);
        try {
            run_block(threads, stacks, kernel);
        } catch (...) {
            std::free(memory);
            throw;
        }
        std::free(memory);
    }
}

}  // namespace emulation
