// Addresses cross as integers: converting tensors costs more than a small solve takes.
#include <nanobind/nanobind.h>
#include <nanobind/stl/array.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <array>
#include <cstring>
#include <stdexcept>
#include <utility>
#include <vector>

#include "checksum.h"
#include "isa.h"
#include "ladder.h"
#include "launch.h"
#include "published.h"
#include "run.h"

#ifdef _OPENMP
#include <omp.h>
#endif

namespace nb = nanobind;
using namespace invconv;

namespace {

using Four = std::array<Index, 4>;

Geometry geometry(const Four& shape, const Four& weight_shape, std::array<Index, 2> anchor,
                  const nb::bytes& corners, bool upper) {
    const Index channels = weight_shape[1], groups = static_cast<Index>(corners.size());
    const bool fits = shape[1] == weight_shape[0] && shape[1] == channels * groups &&
                      channels > 0 && anchor[0] >= 0 && anchor[0] < weight_shape[2] &&
                      anchor[1] >= 0 && anchor[1] < weight_shape[3];
    if (!fits) throw std::invalid_argument("shapes, anchor and corners do not fit together");
    for (Index n = 0; n < groups; ++n)
        if (static_cast<unsigned char>(corners.c_str()[n]) > 3)
            throw std::invalid_argument("corner codes are 0 to 3");
    return {shape[0],        groups,          channels,  shape[2],  shape[3],
            weight_shape[2], weight_shape[3], anchor[0], anchor[1], upper};
}

Strides strides(const Four& s) { return {s[0], s[1], s[2], s[3]}; }

template <class T>
void run(bool inverse, std::uintptr_t input, const Four& input_strides, std::uintptr_t weight,
         std::uintptr_t output, const Four& output_strides, const Geometry& g,
         const nb::bytes& corners, int threads, const std::string& isa, Packed* kept,
         const std::string& lanes) {
    const Call<T> call{g,
                       reinterpret_cast<const T*>(input),
                       strides(input_strides),
                       reinterpret_cast<const T*>(weight),
                       reinterpret_cast<T*>(output),
                       strides(output_strides),
                       reinterpret_cast<const unsigned char*>(corners.c_str()),
                       threads,
                       isa,
                       kept,
                       lanes};
    nb::gil_scoped_release release;
    inverse ? solve(call) : convolve(call);
}

template <bool Inverse>
void operation(std::uintptr_t input, const Four& input_strides, std::uintptr_t weight,
               std::uintptr_t output, const Four& output_strides, const Four& shape,
               const Four& weight_shape, std::array<Index, 2> anchor, const nb::bytes& corners,
               bool upper, int item_size, int threads, const std::string& isa,
               const std::string& lanes, Packed* kept) {
    const Geometry g = geometry(shape, weight_shape, anchor, corners, upper);
    if (item_size == 4)
        run<float>(Inverse, input, input_strides, weight, output, output_strides, g, corners,
                   threads, isa, kept, lanes);
    else if (item_size == 8)
        run<double>(Inverse, input, input_strides, weight, output, output_strides, g, corners,
                    threads, isa, kept, lanes);
    else
        throw std::invalid_argument("item_size must be 4 or 8");
}

template <bool Inverse>
void define(nb::module_& m, const char* name, const char* doc) {
    m.def(name, &operation<Inverse>, nb::arg("input"), nb::arg("input_strides"),
          nb::arg("weight"), nb::arg("output"), nb::arg("output_strides"), nb::arg("shape"),
          nb::arg("weight_shape"), nb::arg("anchor"), nb::arg("corners"), nb::arg("upper"),
          nb::arg("item_size"), nb::arg("threads"), nb::arg("isa") = "", nb::arg("lanes") = "",
          nb::arg("kept").none() = nb::none(), doc);
}

template <class T>
void run_gradient(std::uintptr_t input, const Four& input_strides, std::uintptr_t grad,
                  const Four& grad_strides, std::uintptr_t output, const Geometry& g,
                  const nb::bytes& corners, int threads, const std::string& isa) {
    const GradientWork<T> work{g,
                               reinterpret_cast<const T*>(input),
                               strides(input_strides),
                               reinterpret_cast<const T*>(grad),
                               strides(grad_strides),
                               reinterpret_cast<const unsigned char*>(corners.c_str())};
    nb::gil_scoped_release release;
    weight_gradient(work, reinterpret_cast<T*>(output), threads, isa);
}

void gradient(std::uintptr_t input, const Four& input_strides, std::uintptr_t grad,
              const Four& grad_strides, std::uintptr_t output, const Four& shape,
              const Four& weight_shape, std::array<Index, 2> anchor, const nb::bytes& corners,
              bool upper, int item_size, int threads, const std::string& isa) {
    const Geometry g = geometry(shape, weight_shape, anchor, corners, upper);
    if (item_size == 4)
        run_gradient<float>(input, input_strides, grad, grad_strides, output, g, corners, threads,
                            isa);
    else if (item_size == 8)
        run_gradient<double>(input, input_strides, grad, grad_strides, output, g, corners, threads,
                             isa);
    else
        throw std::invalid_argument("item_size must be 4 or 8");
}

template <bool Raster>
void published(std::uintptr_t z, std::uintptr_t weight, std::uintptr_t x, const Four& shape,
               const Four& weight_shape, std::array<Index, 2> anchor, const nb::bytes& corners,
               bool upper, int threads) {
    const Geometry g = geometry(shape, weight_shape, anchor, corners, upper);
    const auto* from = reinterpret_cast<const double*>(z);
    const auto* taps = reinterpret_cast<const double*>(weight);
    const auto* codes = reinterpret_cast<const unsigned char*>(corners.c_str());
    auto* to = reinterpret_cast<double*>(x);
    nb::gil_scoped_release release;
    if (Raster)
        raster_serial(g, from, taps, codes, to, threads);
    else
        diagonal_channel(g, from, taps, codes, to);
}

template <class T, bool Lanes>
void run_ladder(std::uintptr_t z, std::uintptr_t weight, std::uintptr_t x, const Geometry& g,
                const nb::bytes& corners, int threads, const std::string& isa) {
    const Loop<T> loop{g, reinterpret_cast<const T*>(z), reinterpret_cast<const T*>(weight),
                       reinterpret_cast<const unsigned char*>(corners.c_str()),
                       reinterpret_cast<T*>(x)};
    nb::gil_scoped_release release;
    if (Lanes)
        diagonal_lanes(loop, threads, isa);
    else
        diagonal_loop(loop);
}

template <bool Lanes>
void ladder(std::uintptr_t z, std::uintptr_t weight, std::uintptr_t x, const Four& shape,
            const Four& weight_shape, std::array<Index, 2> anchor, const nb::bytes& corners,
            bool upper, int threads, int item_size, const std::string& isa) {
    const Geometry g = geometry(shape, weight_shape, anchor, corners, upper);
    if (item_size == 4)
        run_ladder<float, Lanes>(z, weight, x, g, corners, threads, isa);
    else if (item_size == 8)
        run_ladder<double, Lanes>(z, weight, x, g, corners, threads, isa);
    else
        throw std::invalid_argument("item_size must be 4 or 8");
}

template <bool Lanes>
void define_ladder(nb::module_& m, const char* name, const char* doc) {
    m.def(name, &ladder<Lanes>, nb::arg("z"), nb::arg("weight"), nb::arg("x"), nb::arg("shape"),
          nb::arg("weight_shape"), nb::arg("anchor"), nb::arg("corners"), nb::arg("upper"),
          nb::arg("threads"), nb::arg("item_size"), nb::arg("isa") = "", doc);
}

}  // namespace

NB_MODULE(INVCONV_MODULE, m) {
    nb::class_<Packed>(m, "Packed", "The packed taps of one weight, while that does not change.")
        .def(nb::init<>());
    define<true>(m, "solve",
                 "x with conv(x) = z. Addresses are integers, strides count elements, corners is "
                 "one byte per group, weight is contiguous. The output may be the input. `kept` is a "
                 "Packed of this weight and geometry, or None.");
    define<false>(m, "convolve", "z = conv(x), arguments as for solve.");
    m.def("weight_gradient", &gradient, nb::arg("input"), nb::arg("input_strides"),
          nb::arg("grad"), nb::arg("grad_strides"), nb::arg("output"), nb::arg("shape"),
          nb::arg("weight_shape"), nb::arg("anchor"), nb::arg("corners"), nb::arg("upper"),
          nb::arg("item_size"), nb::arg("threads"), nb::arg("isa") = "",
          "The gradient of <grad, conv(input)> in the weight; arguments as for solve.");
    m.def("diagonal_channel", &published<false>, nb::arg("z"), nb::arg("weight"), nb::arg("x"),
          nb::arg("shape"), nb::arg("weight_shape"), nb::arg("anchor"), nb::arg("corners"),
          nb::arg("upper"), nb::arg("threads"),
          "FInC's algorithm 1 on contiguous float64: one thread, corner anchors, lower triangles.");
    define_ladder<false>(m, "diagonal_loop",
                         "diagonal_channel at -O3, in float32 or float64: one thread.");
    define_ladder<true>(m, "diagonal_lanes",
                        "diagonal_loop with images as the lanes of a register, and with threads.");
    m.def("raster_serial", &published<true>, nb::arg("z"), nb::arg("weight"), nb::arg("x"),
          nb::arg("shape"), nb::arg("weight_shape"), nb::arg("anchor"), nb::arg("corners"),
          nb::arg("upper"), nb::arg("threads"),
          "Emerging's and CInC's loop on contiguous float64, images shared among threads.");
    m.def(
        "checksum",
        [](const std::vector<std::pair<std::uintptr_t, std::size_t>>& parts) {
            std::uint64_t h = 0;
            for (const auto& [address, size] : parts)
                h = checksum(reinterpret_cast<const unsigned char*>(address), size, h);
            return h;
        },
        nb::arg("parts"), "A hash of memory, pairs of address and size in bytes.");
    m.def(
        "launch_and_wait",
        [](std::uintptr_t function, std::uintptr_t stream, std::uintptr_t arguments,
           std::uintptr_t diagonal, std::uintptr_t channel, const nb::bytes& steps,
           unsigned threads, const std::string& library) {
            if (steps.size() % sizeof(Step)) throw std::invalid_argument("steps are triples");
            std::vector<Step> each(steps.size() / sizeof(Step));
            std::memcpy(each.data(), steps.c_str(), steps.size());
            nb::gil_scoped_release release;
            launch_and_wait(reinterpret_cast<void*>(function), reinterpret_cast<void*>(stream),
                            reinterpret_cast<void*>(arguments),
                            reinterpret_cast<std::int32_t*>(diagonal),
                            reinterpret_cast<std::int32_t*>(channel), each, threads, library);
        },
        nb::arg("function"), nb::arg("stream"), nb::arg("arguments"), nb::arg("diagonal"),
        nb::arg("channel"), nb::arg("steps"), nb::arg("threads"), nb::arg("library"),
        "A CUDA launch and a wait for each (diagonal, channel, blocks) of steps, int32 triples.");
    m.def("available_isas", &available_isas, "Instruction sets of this machine, best first.");
    m.def(
        "default_isa", [] { return std::string(select_kernels<float>("").name); },
        "The instruction set that runs when none is named.");
    m.def(
        "max_threads",
        [] {
#ifdef _OPENMP
            return omp_get_max_threads();
#else
            return 1;
#endif
        },
        "1 where built without OpenMP.");
}
