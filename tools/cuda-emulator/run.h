// How a kernel is called with the arguments of a launch, an address of each.
#pragma once

#include <map>
#include <type_traits>
#include <utility>

namespace host {

template <class... A, std::size_t... I>
void call(void (*kernel)(A...), void** arguments, std::index_sequence<I...>) {
    kernel(*static_cast<std::remove_cv_t<A>*>(arguments[I])...);
}

template <class... A> void run(void (*kernel)(A...), void** arguments, unsigned blocks, unsigned threads, bool together) {
#ifdef CANDLE
    ++launches;
#endif
    const auto once = [=] { call(kernel, arguments, std::index_sequence_for<A...>()); };
#ifdef WITHOUT_BARRIERS
    (void)together;
    blockDim.x = threads;
    gridDim.x = blocks;
    for (blockIdx.x = 0; blockIdx.x < blocks; ++blockIdx.x) {
        for (threadIdx.x = 0; threadIdx.x < threads; ++threadIdx.x) once();
    }
#else
    static std::map<unsigned, Block> of_size;
    block = &of_size.try_emplace(threads, threads).first->second;
    if (together) {
        block->run_together(blocks, once);
    } else {
        block->run(blocks, once);
    }
#endif
}

}  // namespace host

#define RUN(NAME)                                                                                                     \
    extern "C" __attribute__((visibility("default"))) void run_##NAME(void** arguments, unsigned blocks, unsigned threads, \
                                                                      bool together) {                                \
        host::run(NAME, arguments, blocks, threads, together);                                                       \
    }
