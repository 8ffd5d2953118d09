#include "launch.h"

#include <dlfcn.h>

#include <stdexcept>

namespace invconv {

namespace {

using Launch = int (*)(void*, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned,
                       void*, void**, void**);
using Wait = int (*)();

void* symbol(void* handle, const char* name, const std::string& library) {
    void* found = dlsym(handle, name);
    if (!found) throw std::runtime_error(library + " has no " + name);
    return found;
}

void check(int status, const char* call) {
    if (status)
        throw std::runtime_error(std::string(call) + " failed with CUDA error " +
                                 std::to_string(status));
}

}  // namespace

void launch_and_wait(void* function, void* stream, void* arguments, std::int32_t* diagonal,
                     std::int32_t* channel, const std::vector<Step>& steps, unsigned threads,
                     const std::string& library) {
    void* handle = dlopen(library.c_str(), RTLD_NOW);  // never closed: the driver stays loaded
    if (!handle) throw std::runtime_error(dlerror());
    const auto launch = reinterpret_cast<Launch>(symbol(handle, "cuLaunchKernel", library));
    const auto wait = reinterpret_cast<Wait>(symbol(handle, "cuCtxSynchronize", library));
    void* parameters[] = {arguments};
    for (const Step& step : steps) {
        *diagonal = step.diagonal;
        *channel = step.channel;
        check(launch(function, static_cast<unsigned>(step.blocks), 1, 1, threads, 1, 1, 0, stream,
                     parameters, nullptr),
              "cuLaunchKernel");
        check(wait(), "cuCtxSynchronize");
    }
}

}  // namespace invconv
