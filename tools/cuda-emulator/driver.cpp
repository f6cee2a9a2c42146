// libcuda.so.1 for a GPU that the CPU plays: memory is the host's, streams run at once, and a kernel is a function that
// compile.sh made of its source. Only what candle and this workspace call is here; a program that calls more does not
// start. Variables: EMULATOR_GPUS, how many GPUs there are (1); EMULATOR_MEMORY, bytes of each (8 GiB); EMULATOR_TRACE=1
// prints every launch; EMULATOR_CUDA, the newest CUDA it supports (13000); EMULATOR_CHECK=1 looks behind every block of memory after each. cuda-emulator.sh sets the others.
#include <dlfcn.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>
#include <string>

namespace {

using Result = int;
constexpr Result SUCCESS = 0, INVALID_VALUE = 1, OUT_OF_MEMORY = 2, INVALID_DEVICE = 101, INVALID_IMAGE = 200,
                 NOT_FOUND = 500;

[[noreturn]] void die(const std::string& problem) {
    std::fprintf(stderr, "cuda-emulator: %s\n", problem.c_str());
    std::_Exit(99);
}

std::string setting(const char* name, const char* otherwise) {
    const char* value = std::getenv(name);
    return value && *value ? value : otherwise;
}

// ---- Memory: bytes that nobody has written are NaN, and a guard behind each block must stay as it was. ----

constexpr std::size_t GUARD = 256;
constexpr unsigned char UNWRITTEN = 0xff, GUARDED = 0xa5;

std::mutex memory_lock;
std::map<std::uintptr_t, std::size_t> blocks;
std::size_t in_use = 0;

void check_guard(std::uintptr_t at, std::size_t bytes, const std::string& when) {
    const auto* guard = reinterpret_cast<const unsigned char*>(at + bytes);
    for (std::size_t i = 0; i < GUARD; ++i) {
        if (guard[i] != GUARDED) {
            die("something wrote " + std::to_string(i) + " bytes behind a block of " + std::to_string(bytes) + " bytes, seen " + when);
        }
    }
}

void check_guards(const std::string& when) {
    const std::lock_guard lock(memory_lock);
    for (const auto& [at, bytes] : blocks) check_guard(at, bytes, when);
}

Result allocate(std::uintptr_t* to, std::size_t bytes) {
    static const std::size_t all = std::stoull(setting("EMULATOR_MEMORY", "8589934592"));
    const std::lock_guard lock(memory_lock);
    if (in_use + bytes > all) return OUT_OF_MEMORY;
    void* at = nullptr;
    if (posix_memalign(&at, 256, bytes + GUARD) != 0) return OUT_OF_MEMORY;
    std::memset(at, UNWRITTEN, bytes);
    std::memset(static_cast<unsigned char*>(at) + bytes, GUARDED, GUARD);
    *to = reinterpret_cast<std::uintptr_t>(at);
    blocks[*to] = bytes;
    in_use += bytes;
    return SUCCESS;
}

Result release(std::uintptr_t at) {
    const std::lock_guard lock(memory_lock);
    const auto found = blocks.find(at);
    if (found == blocks.end()) die("a free of memory that was not allocated");
    check_guard(at, found->second, "when it was freed");
    in_use -= found->second;
    std::memset(reinterpret_cast<void*>(at), UNWRITTEN, found->second);
    std::free(reinterpret_cast<void*>(at));
    blocks.erase(found);
    return SUCCESS;
}

// Whether these bytes lie in one block of device memory.
bool is_device(std::uintptr_t at, std::size_t bytes) {
    const std::lock_guard lock(memory_lock);
    auto found = blocks.upper_bound(at);
    if (found == blocks.begin()) return false;
    --found;
    return at + bytes <= found->first + found->second;
}

void expect_device(std::uintptr_t at, std::size_t bytes, const char* what) {
    if (bytes > 0 && !is_device(at, bytes)) die(std::string(what) + ": " + std::to_string(bytes) + " bytes that are no device memory");
}

void expect_host(const void* at, const char* what) {
    if (is_device(reinterpret_cast<std::uintptr_t>(at), 1)) die(std::string(what) + ": device memory where the host's is meant");
}

// ---- Programs ----

struct Module {
    void* library;
};

struct Function {
    void (*run)(void** arguments, unsigned blocks, unsigned threads, bool together);
    std::string name;
};

std::string digest(const std::string& text) {
    std::uint64_t hash = 0xcbf29ce484222325u;
    for (const unsigned char byte : text) hash = (hash ^ byte) * 0x100000001b3u;
    char hex[17];
    std::snprintf(hex, sizeof hex, "%016llx", static_cast<unsigned long long>(hash));
    return hex;
}

void write(const std::string& path, const std::string& text) {
    const std::string partial = path + "." + std::to_string(getpid());
    std::FILE* file = std::fopen(partial.c_str(), "w");
    if (!file || std::fwrite(text.data(), 1, text.size(), file) != text.size() || std::fclose(file) != 0 ||
        std::rename(partial.c_str(), path.c_str()) != 0) {
        die("cannot write " + path);
    }
}

// Of the text that NVRTC "compiled", which is the source, or of candle's PTX, whose source compile.sh finds by the name of
// a kernel.
Result load(Module** to, const char* image) {
    const std::string text = image, folder = setting("EMULATOR", "."), cache = setting("EMULATOR_CACHE", "/tmp/cuda-emulator");
    mkdir(cache.c_str(), 0777);
    const std::string stem = cache + "/" + digest(text);
    const std::string library = stem + ".so";
    if (access(library.c_str(), R_OK) != 0) {
        write(stem + ".text", text);
        const std::string command = "bash '" + folder + "/compile.sh' '" + stem + ".text' '" + library + "' >&2";
        if (std::system(command.c_str()) != 0) return INVALID_IMAGE;
    }
    void* loaded = dlopen(library.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (!loaded) die(dlerror());
    *to = new Module{loaded};
    return SUCCESS;
}

// One kernel at a time, whatever the stream.
std::mutex launch_lock;

Result launch(const Function* function, const unsigned (&grid)[3], const unsigned (&block)[3], void** arguments, bool together) {
    static const bool checks = !setting("EMULATOR_CHECK", "").empty();
    if (grid[1] != 1 || grid[2] != 1 || block[1] != 1 || block[2] != 1) die(function->name + ": a launch in more than one dimension");
    if (grid[0] == 0 || block[0] == 0 || block[0] > 1024) return INVALID_VALUE;
    static const bool traces = !setting("EMULATOR_TRACE", "").empty();
    if (traces) std::fprintf(stderr, "%s<<<%u, %u>>>\n", function->name.c_str(), grid[0], block[0]);
    {
        const std::lock_guard lock(launch_lock);
        function->run(arguments, grid[0], block[0], together);
    }
    if (checks) check_guards("after " + function->name);
    return SUCCESS;
}

int device_count() { return std::stoi(setting("EMULATOR_GPUS", "1")); }

thread_local void* current = nullptr;
int contexts[64];

}  // namespace

#define API extern "C" __attribute__((visibility("default"))) Result

API cuInit(unsigned) { return SUCCESS; }
API cuDriverGetVersion(int* version) {
    *version = std::stoi(setting("EMULATOR_CUDA", "13000"));
    return SUCCESS;
}
API cuGetErrorString(Result error, const char** text) {
    switch (error) {
        case OUT_OF_MEMORY: *text = "out of memory"; break;
        case INVALID_DEVICE: *text = "invalid device ordinal"; break;
        case INVALID_IMAGE: *text = "device kernel image is invalid"; break;
        case NOT_FOUND: *text = "named symbol not found"; break;
        default: *text = "an error of the emulator";
    }
    return SUCCESS;
}
API cuDeviceGetCount(int* count) {
    *count = device_count();
    return SUCCESS;
}
API cuDeviceGet(int* device, int ordinal) {
    *device = ordinal;
    return ordinal >= 0 && ordinal < device_count() ? SUCCESS : INVALID_DEVICE;
}
// Those of an H100.
API cuDeviceGetAttribute(int* value, int attribute, int) {
    switch (attribute) {
        case 1: *value = 1024; break;   // threads of a block
        case 10: *value = 32; break;    // of a warp
        case 16: *value = 132; break;   // multiprocessors
        case 75: *value = 9; break;     // compute capability
        case 76: *value = 0; break;
        case 95: *value = 1; break;     // cooperative launches
        case 115: *value = 1; break;    // memory pools
        default: *value = 0;
    }
    return SUCCESS;
}
API cuDevicePrimaryCtxRetain(void** context, int device) {
    *context = &contexts[device];
    return SUCCESS;
}
API cuDevicePrimaryCtxRelease_v2(int) { return SUCCESS; }
API cuCtxDestroy_v2(void*) { return SUCCESS; }
API cuCtxSetFlags(unsigned) { return SUCCESS; }
API cuCtxGetCurrent(void** context) {
    *context = current;
    return SUCCESS;
}
API cuCtxSetCurrent(void* context) {
    current = context;
    return SUCCESS;
}
API cuStreamCreate(void** stream, unsigned) {
    *stream = new char;
    return SUCCESS;
}
API cuStreamDestroy_v2(void* stream) {
    delete static_cast<char*>(stream);
    return SUCCESS;
}
API cuStreamIsCapturing(void*, int* status) {
    *status = 0;
    return SUCCESS;
}
API cuStreamSynchronize(void*) { return SUCCESS; }
API cuStreamWaitEvent(void*, void*, unsigned) { return SUCCESS; }
API cuEventCreate(void** event, unsigned) {
    *event = new char;
    return SUCCESS;
}
API cuEventDestroy_v2(void* event) {
    delete static_cast<char*>(event);
    return SUCCESS;
}
API cuEventRecord(void*, void*) { return SUCCESS; }
// As the documentation says; cuMemAllocAsync gives nothing for nothing.
API cuMemAlloc_v2(std::uintptr_t* at, std::size_t bytes) { return bytes == 0 ? INVALID_VALUE : allocate(at, bytes); }
API cuMemAllocAsync(std::uintptr_t* at, std::size_t bytes, void*) { return allocate(at, bytes); }
API cuMemFree_v2(std::uintptr_t at) { return release(at); }
API cuMemFreeAsync(std::uintptr_t at, void*) { return release(at); }
API cuMemcpyHtoDAsync_v2(std::uintptr_t to, const void* from, std::size_t bytes, void*) {
    expect_device(to, bytes, "copy to the device");
    expect_host(from, "copy to the device");
    std::memcpy(reinterpret_cast<void*>(to), from, bytes);
    return SUCCESS;
}
API cuMemcpyDtoHAsync_v2(void* to, std::uintptr_t from, std::size_t bytes, void*) {
    expect_device(from, bytes, "copy from the device");
    expect_host(to, "copy from the device");
    std::memcpy(to, reinterpret_cast<const void*>(from), bytes);
    return SUCCESS;
}
API cuMemcpyDtoDAsync_v2(std::uintptr_t to, std::uintptr_t from, std::size_t bytes, void*) {
    expect_device(to, bytes, "copy on the device");
    expect_device(from, bytes, "copy on the device");
    std::memmove(reinterpret_cast<void*>(to), reinterpret_cast<const void*>(from), bytes);
    return SUCCESS;
}
API cuMemcpyPeerAsync(std::uintptr_t to, void*, std::uintptr_t from, void*, std::size_t bytes, void* stream) {
    return cuMemcpyDtoDAsync_v2(to, from, bytes, stream);
}
API cuMemsetD8Async(std::uintptr_t at, unsigned char value, std::size_t bytes, void*) {
    expect_device(at, bytes, "filling memory");
    std::memset(reinterpret_cast<void*>(at), value, bytes);
    return SUCCESS;
}
API cuModuleLoad(Module**, const char* path) { die(std::string("a module in a file: ") + path); }
API cuModuleLoadData(Module** module, const void* image) { return load(module, static_cast<const char*>(image)); }
API cuModuleUnload(Module* module) {
    delete module;
    return SUCCESS;
}
API cuModuleGetFunction(Function** function, Module* module, const char* name) {
    void* found = dlsym(module->library, (std::string("run_") + name).c_str());
    if (!found) {
        std::fprintf(stderr, "cuda-emulator: no kernel %s\n", name);
        return NOT_FOUND;
    }
    *function = new Function{reinterpret_cast<decltype(Function::run)>(found), name};
    return SUCCESS;
}
API cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(int* count, Function*, int, std::size_t, unsigned) {
    *count = 2;
    return SUCCESS;
}
API cuLaunchKernel(Function* function, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz, unsigned, void*,
                   void** arguments, void**) {
    return launch(function, {gx, gy, gz}, {bx, by, bz}, arguments, false);
}
API cuLaunchCooperativeKernel(Function* function, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz,
                              unsigned, void*, void** arguments) {
    return launch(function, {gx, gy, gz}, {bx, by, bz}, arguments, true);
}
