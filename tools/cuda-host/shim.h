// Enough of CUDA to run a kernel's source on the CPU. Blocks run one after the other. The threads of a block are real
// threads and __syncthreads a barrier, for ThreadSanitizer; with -DFIBERS they are contexts of one thread, each of which
// runs up to the next __syncthreads, which takes a hundredth of the time. Shared memory is fresh in each block, filled
// with NaN, and on the heap, where AddressSanitizer sees its bounds.
#pragma once

#include <math.h>

#include <barrier>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <mutex>
#include <cstdio>
#include <thread>
#include <vector>

#ifdef FIBERS
#include <ucontext.h>
#define PER_THREAD
#else
#define PER_THREAD thread_local
#endif

struct Dim {
    unsigned x = 1;
};
inline PER_THREAD Dim threadIdx, blockIdx;
inline Dim blockDim;

#define __device__
#define KERNEL extern "C" void
#define SHARED(type, name, count) type* const name = host::shared<type>(count)

inline unsigned __float_as_uint(float v) {
    unsigned bits;
    std::memcpy(&bits, &v, sizeof bits);
    return bits;
}

inline float __uint_as_float(unsigned bits) {
    float v;
    std::memcpy(&v, &bits, sizeof v);
    return v;
}

namespace host {

// The shared arrays of the running block, in the order in which each thread asks for them.
struct Arrays {
    std::mutex mutex;
    std::vector<std::unique_ptr<unsigned char, void (*)(void*)>> all;
};
inline Arrays arrays;
inline PER_THREAD std::size_t next_array;

template <class T> T* shared(std::size_t count) {
    const std::lock_guard lock(arrays.mutex);
    if (next_array == arrays.all.size()) {
        auto* bytes = static_cast<unsigned char*>(std::aligned_alloc(16, (count * sizeof(T) + 15) / 16 * 16));
        std::memset(bytes, 0xff, count * sizeof(T));  // NaN in every float type
        arrays.all.emplace_back(bytes, std::free);
    }
    return reinterpret_cast<T*>(arrays.all[next_array++].get());
}

#ifdef FIBERS

// The threads of a block as contexts of one thread.
class Block {
public:
    explicit Block(unsigned threads) : fibers_(threads), votes_(threads) {
        for (Fiber& fiber : fibers_) fiber.stack.resize(STACK);
    }

    void run(unsigned blocks, std::function<void()> kernel) {
        blockDim.x = threads();
        kernel_ = std::move(kernel);
        for (blockIdx.x = 0; blockIdx.x < blocks; ++blockIdx.x) {
            for (Fiber& fiber : fibers_) start(fiber);
            unsigned ended = 0;
            while (ended < threads()) {
                ended = 0;
                for (current_ = 0; current_ < threads(); ++current_) resume(fibers_[current_], ended);
                if (ended != 0 && ended != threads()) {
                    std::fprintf(stderr, "some threads of a block end where others wait at __syncthreads\n");
                    std::exit(1);
                }
            }
            arrays.all.clear();
        }
    }

    void sync() {
        Fiber& fiber = fibers_[current_];
        fiber.next_array = next_array;
        swapcontext(&fiber.context, &scheduler_);
    }

    // How many threads' votes are true.
    unsigned votes(bool own) {
        votes_[current_] = own;
        sync();
        unsigned count = 0;
        for (const unsigned char vote : votes_) count += vote;
        sync();
        return count;
    }

    unsigned threads() const { return static_cast<unsigned>(fibers_.size()); }

private:
    static constexpr std::size_t STACK = 1 << 18;

    struct Fiber {
        ucontext_t context;
        std::vector<char> stack;
        std::size_t next_array = 0;
        bool ended = false;
    };

    void start(Fiber& fiber) {
        getcontext(&fiber.context);
        fiber.context.uc_stack.ss_sp = fiber.stack.data();
        fiber.context.uc_stack.ss_size = fiber.stack.size();
        fiber.context.uc_link = &scheduler_;
        fiber.next_array = 0;
        fiber.ended = false;
        running_ = this;
        makecontext(&fiber.context, &Block::enter, 0);
    }

    static void enter() {
        running_->kernel_();
        running_->fibers_[running_->current_].ended = true;
    }

    void resume(Fiber& fiber, unsigned& ended) {
        if (!fiber.ended) {
            threadIdx.x = current_;
            next_array = fiber.next_array;
            swapcontext(&scheduler_, &fiber.context);
        }
        ended += fiber.ended;
    }

    inline static Block* running_ = nullptr;
    std::vector<Fiber> fibers_;
    std::vector<unsigned char> votes_;
    unsigned current_ = 0;
    ucontext_t scheduler_;
    std::function<void()> kernel_;
};

#else

// The threads of a block, kept from launch to launch.
class Block {
public:
    explicit Block(unsigned threads) : barrier_(threads), ends_(threads + 1), votes_(threads) {
        for (unsigned t = 0; t < threads; ++t) {
            workers_.emplace_back([this, t] { work(t); });
        }
    }

    ~Block() {
        kernel_ = nullptr;
        ends_.arrive_and_wait();
        for (auto& worker : workers_) worker.join();
    }

    void run(unsigned blocks, std::function<void()> kernel) {
        blockDim.x = static_cast<unsigned>(workers_.size());
        blocks_ = blocks;
        kernel_ = std::move(kernel);
        ends_.arrive_and_wait();
        ends_.arrive_and_wait();
    }

    void sync() { barrier_.arrive_and_wait(); }

    // Whether a thread's vote is true: of how many.
    unsigned votes(bool own) {
        votes_[threadIdx.x] = own;
        sync();
        unsigned count = 0;
        for (const unsigned char vote : votes_) count += vote;
        sync();
        return count;
    }

    unsigned threads() const { return static_cast<unsigned>(workers_.size()); }

private:
    void work(unsigned thread) {
        threadIdx.x = thread;
        for (;;) {
            ends_.arrive_and_wait();
            if (!kernel_) return;
            for (unsigned block = 0; block < blocks_; ++block) {
                blockIdx.x = block;
                next_array = 0;
                kernel_();
                sync();
                if (thread == 0) arrays.all.clear();
                sync();
            }
            ends_.arrive_and_wait();
        }
    }

    std::barrier<> barrier_, ends_;
    std::vector<unsigned char> votes_;
    unsigned blocks_ = 0;
    std::function<void()> kernel_;
    std::vector<std::thread> workers_;
};

#endif

inline Block* block;

// Runs a kernel: launch(blocks, kernel, arguments...).
template <class K, class... A> void launch(long long blocks, K kernel, A... arguments) {
    block->run(static_cast<unsigned>(blocks), [=] { kernel(arguments...); });
}

}  // namespace host

inline void __syncthreads() { host::block->sync(); }
inline int __syncthreads_or(int own) { return host::block->votes(own != 0) > 0; }
inline int __syncthreads_and(int own) { return host::block->votes(own != 0) == host::block->threads(); }
