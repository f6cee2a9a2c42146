"""Compiles the CUDA kernels as the programs do, by NVRTC without headers, and has ptxas assemble them for each architecture.

usage: cuda_compile.py FOLDER_OF_KERNELS LIBNVRTC PTXAS OUTPUT ARCHITECTURE...

Prints a line for each architecture and file with the most registers of its kernels; a kernel that spills, or does not
compile, is an error. The last line is the number of kernels (over all element types, once each) and of bytes spilled.
"""

import ctypes
import pathlib
import re
import subprocess
import sys

# Programs: their files, and the element types they are compiled for.
ALL = ("f32", "f64", "f16", "bf16")
PROGRAMS = {"moments": (["common.cu", "moments.cu"], ALL), "normalize": (["common.cu", "normalize.cu"], ALL),
            "gradient": (["common.cu", "gradient.cu"], ALL), "formulas": (["common.cu", "formulas.cu", "commit.cu"], ("f64",)),
            "persistent": (["common.cu", "moments.cu", "normalize.cu", "gradient.cu", "formulas.cu", "persistent.cu"], ALL),
            "optimizer": (["block.cu", "optimizer.cu"], ("f32",)), "loss": (["block.cu", "loss.cu"], ("f32",))}
ELEMENTS = {"f32": 1, "f64": 2, "f16": 3, "bf16": 4}


class Nvrtc:
    def __init__(self, path):
        self.nvrtc = ctypes.CDLL(path)

    def call(self, name, *arguments):
        status = getattr(self.nvrtc, "nvrtc" + name)(*arguments)
        return status

    def architectures(self):
        count = ctypes.c_int()
        self.call("GetNumSupportedArchs", ctypes.byref(count))
        found = (ctypes.c_int * count.value)()
        self.call("GetSupportedArchs", found)
        return set(found)

    def ptx(self, text, name, options):
        program = ctypes.c_void_p()
        self.call("CreateProgram", ctypes.byref(program), text.encode(), name.encode(), 0, None, None)
        given = (ctypes.c_char_p * len(options))(*[option.encode() for option in options])
        status = self.call("CompileProgram", program, len(options), given)
        if status != 0:
            size = ctypes.c_size_t()
            self.call("GetProgramLogSize", program, ctypes.byref(size))
            log = ctypes.create_string_buffer(size.value)
            self.call("GetProgramLog", program, log)
            sys.exit(f"{name}: {log.value.decode()}")
        size = ctypes.c_size_t()
        self.call("GetPTXSize", program, ctypes.byref(size))
        ptx = ctypes.create_string_buffer(size.value)
        self.call("GetPTX", program, ptx)
        self.call("DestroyProgram", ctypes.byref(program))
        return ptx.value


def main():
    folder, nvrtc, ptxas, output = sys.argv[1:5]
    folder, output, nvrtc = pathlib.Path(folder), pathlib.Path(output), Nvrtc(nvrtc)
    known, kernels, spilled = nvrtc.architectures(), set(), 0
    for architecture in map(int, sys.argv[5:]):
        if architecture not in known:
            print(f"sm_{architecture}: this compiler does not know it")
            continue
        for stem, (parts, elements) in PROGRAMS.items():
            for element in elements:
                text = "\n".join((folder / part).read_text() for part in parts)
                options = [f"-DELEMENT={ELEMENTS[element]}", f"--gpu-architecture=compute_{architecture}", "--std=c++17",
                           "--fmad=false"]
                ptx = output / f"{stem}-{element}-{architecture}.ptx"
                ptx.write_bytes(nvrtc.ptx(text, f"{stem}.cu", options))
                done = subprocess.run([ptxas, f"-arch=sm_{architecture}", "-v", "-o", ptx.with_suffix(".cubin"), ptx],
                                      capture_output=True, text=True)
                if done.returncode != 0:
                    sys.exit(f"{ptx.name}: {done.stderr}")
                names = re.findall(r"Compiling entry function '(\w+)'", done.stderr)
                registers = [int(n) for n in re.findall(r"Used (\d+) registers", done.stderr)]
                spills = [int(n) for n in re.findall(r"(\d+) bytes spill stores", done.stderr)]
                if not names or not len(names) == len(registers) == len(spills):
                    sys.exit(f"{ptx.name}: ptxas says something new:\n{done.stderr}")
                kernels.update(f"{name} {element}" for name in names)
                spilled += sum(spills)
                widest = names[registers.index(max(registers))]
                print(f"sm_{architecture} {stem} {element}: {len(names)} kernels, at most {max(registers)} registers"
                      f" ({widest}), {sum(spills)} bytes spilled")
    print(f"{len(kernels)} kernels, {spilled} spills")
    sys.exit(1 if spilled or not kernels else 0)


main()
