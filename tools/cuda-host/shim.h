// Enough of CUDA to run a kernel's source on the CPU. Blocks run one after the other, those of a cooperative launch at the
// same time. The threads of a block are real
// threads and __syncthreads a barrier, for ThreadSanitizer; with -DFIBERS they are stacks of one thread, each of which
// runs up to the next __syncthreads, which takes a hundredth of the time. Shared memory is fresh in each block, filled
// with NaN, and on the heap, where AddressSanitizer sees its bounds.
#pragma once

#include <math.h>

#include <barrier>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <mutex>
#include <cstdio>
#include <thread>
#include <vector>

#ifdef FIBERS
#ifndef __x86_64__
#error "threads as fibers are written for x86-64"
#endif
#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#endif
#ifndef STACK_OF_A_THREAD
#define STACK_OF_A_THREAD (1 << 18)
#endif
#define PER_THREAD
#else
#define PER_THREAD thread_local
#endif

struct Dim {
    unsigned x = 1, y = 1, z = 1;
};
inline PER_THREAD Dim threadIdx, blockIdx;
inline Dim blockDim, gridDim;

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
inline Arrays sole;
inline PER_THREAD Arrays* arrays = &sole;
inline PER_THREAD std::size_t next_array;

template <class T> T* shared(std::size_t count) {
    const std::lock_guard lock(arrays->mutex);
    if (next_array == arrays->all.size()) {
        auto* bytes = static_cast<unsigned char*>(std::aligned_alloc(16, (count * sizeof(T) + 15) / 16 * 16));
        std::memset(bytes, 0xff, count * sizeof(T));  // NaN in every float type
        arrays->all.emplace_back(bytes, std::free);
    }
    return reinterpret_cast<T*>(arrays->all[next_array++].get());
}

#ifdef FIBERS

// Leaves one stack for another: the registers that a call preserves stay on the first, whose top goes to *left. swapcontext
// makes two calls of the kernel for the same.
asm(R"(
.text
host_switch:
    push %rbp
    push %rbx
    push %r12
    push %r13
    push %r14
    push %r15
    mov %rsp, (%rdi)
    mov %rsi, %rsp
    pop %r15
    pop %r14
    pop %r13
    pop %r12
    pop %rbx
    pop %rbp
    ret
)");
extern "C" __attribute__((visibility("hidden"))) void host_switch(void** left, void* entered);

// The threads of blocks as stacks of one thread.
class Block {
public:
    explicit Block(unsigned threads) : threads_(threads) {}

    void run(unsigned blocks, const std::function<void()>& kernel) {
        for (unsigned block = 0; block < blocks; ++block) run_group(block, 1, blocks, kernel);
    }

    // All blocks at the same time.
    void run_together(unsigned blocks, const std::function<void()>& kernel) { run_group(0, blocks, blocks, kernel); }

    void sync() { leave(false); }

    // A thread that waits for other blocks, or for others of its warp.
    void spin() { leave(true); }

    // How many threads' votes are true.
    unsigned votes(bool own) {
        members_[member_].votes[threadIdx.x] = own;
        sync();
        unsigned count = 0;
        for (const unsigned char vote : members_[member_].votes) count += vote;
        sync();
        return count;
    }

    unsigned threads() const { return threads_; }

private:
    static constexpr std::size_t STACK = STACK_OF_A_THREAD;

    struct Fiber {
        void* top;
        std::vector<char> stack = std::vector<char>(STACK);
        std::size_t next_array = 0;
        bool ended = false, spins = false;
    };

    // A block that runs.
    struct Member {
        std::vector<Fiber> fibers;
        std::vector<unsigned char> votes;
        Arrays arrays;
        unsigned index = 0;
        // Some threads wait for other blocks, the rest at __syncthreads.
        bool spins = false, ended = false;
    };

    void run_group(unsigned first, unsigned count, unsigned of, const std::function<void()>& kernel) {
        blockDim.x = threads_;
        gridDim.x = of;
        kernel_ = kernel;
        if (members_.size() < count) members_ = std::vector<Member>(count);
        for (unsigned m = 0; m < count; ++m) start(members_[m], first + m);
        for (unsigned ended = 0; ended < count;) {
            ended = 0;
            for (member_ = 0; member_ < count; ++member_) {
                if (!members_[member_].ended) advance(members_[member_]);
                ended += members_[member_].ended;
            }
        }
        arrays = &sole;
    }

    void start(Member& member, unsigned index) {
        member.fibers.resize(threads_);
        member.votes.resize(threads_);
        member.arrays.all.clear();
        member.index = index;
        member.spins = member.ended = false;
        for (Fiber& fiber : member.fibers) {
#ifdef __SANITIZE_ADDRESS__
            __asan_unpoison_memory_region(fiber.stack.data(), fiber.stack.size());
#endif
            // What host_switch takes: six registers, and where to go on; below it, a place for the return that never comes.
            auto* end = reinterpret_cast<void**>(reinterpret_cast<std::uintptr_t>(fiber.stack.data() + STACK) / 16 * 16);
            end[-2] = reinterpret_cast<void*>(&Block::enter);
            fiber.top = end - 8;
            fiber.next_array = 0;
            fiber.ended = fiber.spins = false;
            running_ = this;
        }
    }

    // Runs each thread up to its next __syncthreads; those that wait for other blocks, once more.
    void advance(Member& member) {
        const bool only_spinning = member.spins;
        unsigned ended = 0;
        member.spins = false;
        arrays = &member.arrays;
        blockIdx.x = member.index;
        for (current_ = 0; current_ < threads_; ++current_) {
            Fiber& fiber = member.fibers[current_];
            if (!fiber.ended && (!only_spinning || fiber.spins)) {
                threadIdx.x = current_;
                next_array = fiber.next_array;
                host_switch(&scheduler_, fiber.top);
            }
            ended += fiber.ended;
            member.spins |= fiber.spins;
        }
        if (ended != 0 && ended != threads_ && !member.spins) {
            std::fprintf(stderr, "some threads of a block end where others wait at __syncthreads\n");
            std::exit(1);
        }
        member.ended = ended == threads_;
    }

    void leave(bool spins) {
        Fiber& fiber = members_[member_].fibers[current_];
        fiber.next_array = next_array;
        fiber.spins = spins;
        host_switch(&fiber.top, scheduler_);
        fiber.spins = false;
    }

    static void enter() {
        running_->kernel_();
        Fiber& fiber = running_->members_[running_->member_].fibers[running_->current_];
        fiber.ended = true;
        host_switch(&fiber.top, running_->scheduler_);
        __builtin_unreachable();
    }

    inline static Block* running_ = nullptr;
    unsigned threads_;
    std::vector<Member> members_;
    unsigned member_ = 0, current_ = 0;
    void* scheduler_ = nullptr;
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
        gridDim.x = blocks_ = blocks;
        kernel_ = std::move(kernel);
        ends_.arrive_and_wait();
        ends_.arrive_and_wait();
    }

    // All blocks at the same time, each with threads of its own.
    void run_together(unsigned blocks, const std::function<void()>& kernel) {
        blockDim.x = threads();
        gridDim.x = blocks;
        std::vector<Member> members(blocks);
        std::vector<std::thread> all;
        for (unsigned block = 0; block < blocks; ++block) {
            Member& member = members[block];
            member.barrier = std::make_unique<std::barrier<>>(threads());
            for (unsigned t = 0; t < threads(); ++t) {
                all.emplace_back([&member, &kernel, block, t] {
                    threadIdx.x = t;
                    blockIdx.x = block;
                    next_array = 0;
                    arrays = &member.arrays;
                    own_ = member.barrier.get();
                    kernel();
                });
            }
        }
        for (auto& thread : all) thread.join();
    }

    void sync() { (own_ ? *own_ : barrier_).arrive_and_wait(); }
    void spin() { std::this_thread::yield(); }

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
    struct Member {
        std::unique_ptr<std::barrier<>> barrier;
        Arrays arrays;
    };

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
                if (thread == 0) arrays->all.clear();
                sync();
            }
            ends_.arrive_and_wait();
        }
    }

    // Of the block that runs with others.
    inline static thread_local std::barrier<>* own_ = nullptr;
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

// The same for a cooperative launch.
template <class K, class... A> void launch_together(long long blocks, K kernel, A... arguments) {
    block->run_together(static_cast<unsigned>(blocks), [=] { kernel(arguments...); });
}

}  // namespace host

#define SPIN host::block->spin();

// Ordered by itself, since ThreadSanitizer knows no fences: one that is missing is not seen.
inline unsigned long long atomicAdd(unsigned long long* at, unsigned long long by) {
    return __atomic_fetch_add(at, by, __ATOMIC_ACQ_REL);
}
inline void __threadfence() {}

inline void __syncthreads() { host::block->sync(); }
inline int __syncthreads_or(int own) { return host::block->votes(own != 0) > 0; }
inline int __syncthreads_and(int own) { return host::block->votes(own != 0) == host::block->threads(); }
