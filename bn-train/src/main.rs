//! The program `bn-train`; everything is in the library.

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    bn_train::cli::main(&bn_train::experiment::Registry::built_in())
}
