// A libcuda.so.1 for tests without a GPU: it refuses what a driver refuses, and runs the emulated
// kernels of emulate.cpp on the CPU. Two devices, one context per device, a current context per
// thread, captures that forbid loading, and limits on what a launch may ask for. A module's image
// is the text "EMULATED:" and the path of a library that emulate.cpp was compiled to.
#include <dlfcn.h>

#include <cstdio>
#include <cstring>
#include <mutex>
#include <string>
#include <vector>

#define API extern "C" __attribute__((visibility("default")))

namespace {

enum Result {
    SUCCESS = 0,
    INVALID_VALUE = 1,
    NOT_INITIALIZED = 3,
    INVALID_DEVICE = 101,
    INVALID_IMAGE = 200,
    UNSUPPORTED_PTX_VERSION = 222,
    INVALID_CONTEXT = 201,
    INVALID_HANDLE = 400,
    NOT_FOUND = 500,
    CAPTURE_UNSUPPORTED = 900,
    UNKNOWN = 999,
};

constexpr int DEVICES = 2, RELAXED = 2;
constexpr int MOST_THREADS = 1024, MOST_SHARED = 232'448, SHARED_WITHOUT_ASKING = 48 * 1024;

struct Context {
    int device;
};

struct Module {
    void* library;
    Context* context;
};

struct Function {
    std::string name;
    Module* module;
    int shared = SHARED_WITHOUT_ASKING;
    int carveout = -1;
};

bool initialized = false;
bool capturing = false;
Context contexts[DEVICES] = {{0}, {1}};
thread_local Context* current = nullptr;
thread_local int capture_mode = 0;

struct Record {
    std::string kernel;
    int device;
    unsigned blocks, threads, shared;
    int carveout;
    void* stream;
    std::vector<unsigned char> arguments;
};

std::mutex mutex;
std::vector<Record> records;
long waits = 0, loads = 0;

bool forbidden() { return capturing && capture_mode != RELAXED; }

template <class F>
F symbol(void* library, const char* name) {
    return reinterpret_cast<F>(dlsym(library, name));
}

}  // namespace

#define NEEDS_DRIVER \
    if (!initialized) return NOT_INITIALIZED
#define NEEDS_CONTEXT \
    NEEDS_DRIVER;     \
    if (!current) return INVALID_CONTEXT

// What the tests ask and set.
API void stand_in_capture(int on) { capturing = on; }
API long stand_in_launches() { return static_cast<long>(records.size()); }
API long stand_in_waits() { return waits; }
API long stand_in_loads() { return loads; }
API void stand_in_forget() {
    records.clear();
    waits = loads = 0;
}

// One launch as text: kernel, device, blocks, threads, bytes of shared memory, percent of the
// multiprocessor's memory that the kernel prefers as shared, and its stream.
API const char* stand_in_launch(long n) {
    static thread_local char text[256];
    const Record& one = records.at(n);
    std::snprintf(text, sizeof text, "%s %d %u %u %u %d %zu", one.kernel.c_str(), one.device,
                  one.blocks, one.threads, one.shared, one.carveout, reinterpret_cast<std::size_t>(one.stream));
    return text;
}

// The bytes that a launch was given as its argument; the size where `to` is null.
API long stand_in_arguments(long n, unsigned char* to) {
    const auto& bytes = records.at(n).arguments;
    if (to) std::memcpy(to, bytes.data(), bytes.size());
    return static_cast<long>(bytes.size());
}

API int cuInit(unsigned) {
    initialized = true;
    return SUCCESS;
}

API int cuDriverGetVersion(int* version) {
    *version = 13000;
    return SUCCESS;
}

API int cuDeviceGetCount(int* count) {
    NEEDS_DRIVER;
    *count = DEVICES;
    return SUCCESS;
}

API int cuDeviceGet(int* device, int ordinal) {
    NEEDS_DRIVER;
    if (ordinal < 0 || ordinal >= DEVICES) return INVALID_DEVICE;
    *device = ordinal;
    return SUCCESS;
}

// Those of an H100, by the numbers of CUdevice_attribute.
API int cuDeviceGetAttribute(int* value, int attribute, int device) {
    NEEDS_DRIVER;
    if (device < 0 || device >= DEVICES) return INVALID_DEVICE;
    switch (attribute) {
        case 16: *value = 132; break;          // multiprocessors
        case 75: *value = 9; break;            // compute capability
        case 76: *value = 0; break;
        case 81: *value = 233'472; break;      // shared memory of a multiprocessor
        case 97: *value = MOST_SHARED; break;  // that a block may ask for
        default: return INVALID_VALUE;
    }
    return SUCCESS;
}

API int cuDevicePrimaryCtxRetain(Context** context, int device) {
    NEEDS_DRIVER;
    if (device < 0 || device >= DEVICES) return INVALID_DEVICE;
    *context = &contexts[device];
    return SUCCESS;
}

API int cuCtxGetCurrent(Context** context) {
    NEEDS_DRIVER;
    *context = current;
    return SUCCESS;
}

API int cuCtxSetCurrent(Context* context) {
    NEEDS_DRIVER;
    current = context;
    return SUCCESS;
}

API int cuCtxSynchronize() {
    NEEDS_CONTEXT;
    if (capturing) return CAPTURE_UNSUPPORTED;
    ++waits;
    return SUCCESS;
}

API int cuThreadExchangeStreamCaptureMode(int* mode) {
    std::swap(*mode, capture_mode);
    return SUCCESS;
}

API int cuModuleLoadData(Module** module, const void* image) {
    NEEDS_CONTEXT;
    if (forbidden()) return CAPTURE_UNSUPPORTED;
    const char* text = static_cast<const char*>(image);
    if (!std::strncmp(text, "NEWER PTX", 9)) return UNSUPPORTED_PTX_VERSION;
    const char begin[] = "EMULATED:";
    if (std::strncmp(text, begin, sizeof begin - 1)) return INVALID_IMAGE;
    void* library = dlopen(text + sizeof begin - 1, RTLD_NOW | RTLD_LOCAL);
    if (!library) return INVALID_IMAGE;
    const std::lock_guard<std::mutex> lock(mutex);
    ++loads;
    *module = new Module{library, current};
    return SUCCESS;
}

API int cuModuleGetFunction(Function** function, Module* module, const char* name) {
    NEEDS_CONTEXT;
    if (!symbol<int (*)(const char*)>(module->library, "has_kernel")(name)) return NOT_FOUND;
    *function = new Function{name, module};
    return SUCCESS;
}

API int cuFuncSetAttribute(Function* function, int attribute, int value) {
    NEEDS_CONTEXT;
    constexpr int DYNAMIC_SHARED = 8, CARVEOUT = 9;
    if (attribute == DYNAMIC_SHARED) {
        if (value < 0 || value > MOST_SHARED) return INVALID_VALUE;
        function->shared = value;
    } else if (attribute != CARVEOUT || value < -1 || value > 100) {
        return INVALID_VALUE;
    } else {
        function->carveout = value;
    }
    return SUCCESS;
}

API int cuLaunchKernel(Function* function, unsigned x, unsigned y, unsigned z, unsigned threads,
                       unsigned threads_y, unsigned threads_z, unsigned shared, void* stream,
                       void** parameters, void** extra) {
    NEEDS_CONTEXT;
    if (!function) return INVALID_HANDLE;
    if (function->module->context != current) return INVALID_CONTEXT;
    if (!x || x > 2'147'483'647u || y != 1 || z != 1) return INVALID_VALUE;
    if (!threads || threads > MOST_THREADS || threads_y != 1 || threads_z != 1) return INVALID_VALUE;
    if (shared > static_cast<unsigned>(function->shared)) return INVALID_VALUE;
    if (!parameters || extra) return INVALID_VALUE;
    void* library = function->module->library;
    // a driver copies as many bytes as the kernel declares, before the call returns
    const auto size = symbol<unsigned long (*)()>(library, "size_of_arguments")();
    const auto* from = static_cast<const unsigned char*>(parameters[0]);
    const std::lock_guard<std::mutex> lock(mutex);
    records.push_back({function->name, current->device, x, threads, shared, function->carveout, stream,
                       std::vector<unsigned char>(from, from + size)});
    const auto emulate = symbol<int (*)(const char*, long long, unsigned, long long, const void*)>(
        library, "emulate");
    const std::vector<unsigned char> copy = records.back().arguments;
    return emulate(function->name.c_str(), x, threads, shared, copy.data()) ? UNKNOWN : SUCCESS;
}

API int cuGetErrorName(int, const char** name) {
    *name = "an error of the stand-in";
    return SUCCESS;
}

API int cuGetErrorString(int, const char** text) {
    *text = "an error of the stand-in";
    return SUCCESS;
}

// NVIDIA's bindings ask for every function by name; those that are not here stay unknown.
API int cuGetProcAddress_v2(const char* name, void** address, int, unsigned long long,
                            int* status) {
    static void* self = nullptr;
    Dl_info info;
    if (!self && dladdr(reinterpret_cast<void*>(&cuInit), &info))
        self = dlopen(info.dli_fname, RTLD_NOW);
    *address = dlsym(self, name);
    if (status) *status = *address ? 0 : 1;
    return *address ? SUCCESS : NOT_FOUND;
}

API int cuGetProcAddress(const char* name, void** address, int version, unsigned long long flags) {
    return cuGetProcAddress_v2(name, address, version, flags, nullptr);
}
