// The kernels of kernels/cuda on a CPU. KERNEL_FILE and the macros of a specialization come from
// the command line. A library exports `emulate`, which driver.cpp calls, too; with
// EMULATE_WITH_THREADS it is a program that runs a recorded call.
#ifdef EMULATE_WITH_THREADS
#include "threads.h"
#else
#include "fibers.h"
#endif

#include "common.cuh"
#ifdef HAS_SOLVE
#include "fold.cuh"
#include "push.cuh"
#endif
#include KERNEL_FILE

#include <cstdio>
#include <string>

namespace {

const Arguments* given;

using Kernel = void (*)();

Kernel find(const std::string& name) {
#ifdef HAS_SOLVE
    if (name == "solve") return [] { solve(*given); };
#if FOLDED
    if (name == "fold") return [] { fold(*given); };
#endif
#endif
#ifdef HAS_CONVOLVE
    if (name == "convolve") return [] { convolve(*given); };
#endif
#ifdef HAS_DIAGONAL_CHANNEL
    if (name == "diagonal_channel") return [] { diagonal_channel(*given); };
    if (name == "empty") return [] { empty(*given); };
#endif
    return nullptr;
}

}  // namespace

#ifndef EMULATE_WITH_THREADS
extern "C" int has_kernel(const char* name) { return find(name) != nullptr; }

extern "C" unsigned long size_of_arguments() { return sizeof(Arguments); }

// 0, or 1 for an unknown kernel, 2 for a barrier that not all threads reach.
extern "C" int emulate(const char* name, long long blocks, unsigned threads, long long shared,
                       const Arguments* arguments) {
    const Kernel kernel = find(name);
    if (!kernel) return 1;
    given = arguments;
    try {
        emulation::run_grid(blocks, threads, shared, kernel);
    } catch (const std::exception&) {
        return 2;
    }
    return 0;
}
#else

namespace {

template <class T>
T take(std::FILE* file) {
    T value;
    if (std::fread(&value, sizeof value, 1, file) != 1) std::exit(3);
    return value;
}

}  // namespace

// Reads a call from the first file: buffers, then launches whose addresses are buffer numbers from
// 1 on; writes all buffers to the second.
int main(int, char** names) {
    std::FILE* file = std::fopen(names[1], "rb");
    std::vector<std::unique_ptr<unsigned char[]>> memory;
    std::vector<long long> sizes;
    for (int count = take<int>(file); count > 0; --count) {
        const auto size = take<long long>(file);
        memory.emplace_back(new unsigned char[size]);
        if (size && std::fread(memory.back().get(), size, 1, file) != 1) return 3;
        sizes.push_back(size);
    }
    for (int count = take<int>(file); count > 0; --count) {
        char name[32];
        if (std::fread(name, sizeof name, 1, file) != 1) return 3;
        const auto blocks = take<long long>(file), threads = take<long long>(file);
        const auto shared = take<long long>(file);
        Arguments arguments = take<Arguments>(file);
        const auto buffer = [&](const void* number) -> void* {
            const auto n = reinterpret_cast<std::uintptr_t>(number);
            return n ? memory[n - 1].get() : nullptr;
        };
        arguments.input = buffer(arguments.input);
        arguments.weight = buffer(arguments.weight);
        arguments.output = buffer(arguments.output);
        arguments.folded = buffer(arguments.folded);
        given = &arguments;
        const Kernel kernel = find(name);
        if (!kernel) return 1;
        emulation::run_grid(blocks, static_cast<unsigned>(threads), shared, kernel);
    }
    std::fclose(file);
    file = std::fopen(names[2], "wb");
    for (std::size_t n = 0; n < memory.size(); ++n)
        if (sizes[n]) std::fwrite(memory[n].get(), sizes[n], 1, file);
    return std::fclose(file);
}
#endif
