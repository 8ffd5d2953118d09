#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace invconv {

// One step of a published GPU algorithm: what it writes into the kernel's argument, and its grid.
struct Step {
    std::int32_t diagonal, channel, blocks;
};

// For every step a launch and a wait for the device, through the CUDA driver, which is opened here
// by name so that nothing links to it. `arguments` is the kernel's one argument; `diagonal` and
// `channel` are places inside it. Throws std::runtime_error where the driver fails.
void launch_and_wait(void* function, void* stream, void* arguments, std::int32_t* diagonal,
                     std::int32_t* channel, const std::vector<Step>& steps, unsigned threads,
                     const std::string& library);

}  // namespace invconv
