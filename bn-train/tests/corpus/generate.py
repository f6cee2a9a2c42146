"""Seeds of the fuzz corpus: small files of every format that bn-train reads, good ones and ones that are nearly good.

    python3 generate.py        # numpy 2.4.6, Pillow 13.0.0, safetensors

tests/fuzz cuts, flips, splices and grows them.
"""

import gzip
import io
import struct
import tarfile
from pathlib import Path

import numpy as np
from PIL import Image
from safetensors.numpy import save

HERE = Path(__file__).parent
rng = np.random.default_rng(0)


def write(folder, name, data):
    path = HERE / folder / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(data)


def idx(sizes):
    head = struct.pack(">BBBB", 0, 0, 8, len(sizes)) + b"".join(struct.pack(">I", s) for s in sizes)
    return head + rng.integers(0, 256, int(np.prod(sizes)), dtype=np.uint8).tobytes()


write("idx", "images", idx([3, 4, 5]))
write("idx", "labels", idx([7]))
write("idx", "empty", idx([0, 28, 28]))

records = b"".join(bytes([label]) + rng.integers(0, 256, 3072, dtype=np.uint8).tobytes() for label in (0, 9))
write("cifar", "two", records)

write("csv", "names", b"a,b,kind\n1,2,dog\n3.5,-4e2,cat\n,7,dog\n")
write("csv", "plain", b"1,2,0\n3,4,1\n5,6,10\n")
write("csv", "quotes", b'"a ""b""",c\r\n1,"x\ny"\r\n')
write("csv", "nan", b"1,nan,a\ninf,2,b\n")


def npy(array, version=None):
    out = io.BytesIO()
    np.lib.format.write_array(out, array, version=version)
    return out.getvalue()


write("npy", "floats", npy(np.arange(6, dtype=np.float32).reshape(2, 3)))
write("npy", "bytes", npy(np.arange(8, dtype=np.uint8).reshape(2, 2, 2), (2, 0)))
write("npy", "scalar", npy(np.float64(3)))
write("npy", "fortran", npy(np.asfortranarray(np.ones((2, 3)))))

for name, save_all in (("stored", np.savez), ("deflated", np.savez_compressed)):
    out = io.BytesIO()
    save_all(out, x=np.arange(12, dtype=np.uint8).reshape(3, 2, 2), y=np.arange(3))
    write("npz", name, out.getvalue())

write("safetensors", "two", save({"x": np.ones((2, 3), np.float32), "y": np.arange(2)}))

for mode, name in (("L", "grey"), ("RGB", "colour"), ("RGBA", "alpha"), ("P", "palette"), ("I;16", "deep"), ("1", "bits")):
    out = io.BytesIO()
    pixels = rng.integers(0, 256, (5, 6, 3), dtype=np.uint8)
    image = Image.fromarray(pixels)
    image = Image.fromarray(np.arange(30, dtype=np.uint16).reshape(5, 6) * 2000) if mode == "I;16" else image.convert(mode)
    image.save(out, "PNG")
    write("image", f"{name}.png", out.getvalue())
for mode, options in (("L", {}), ("RGB", {}), ("RGB", {"progressive": True}), ("RGB", {"subsampling": 2}), ("CMYK", {})):
    out = io.BytesIO()
    Image.fromarray(rng.integers(0, 256, (9, 10, 3), dtype=np.uint8)).convert(mode).save(out, "JPEG", **options)
    name = "-".join([mode.lower(), *options])
    write("image", f"{name}.jpg", out.getvalue())

out = io.BytesIO()
with tarfile.open(fileobj=out, mode="w") as tar:
    for name, size in (("d/a.bin", 100), ("b.bin", 3), ("other", 10)):
        info = tarfile.TarInfo(name)
        info.size = size
        tar.addfile(info, io.BytesIO(bytes(size)))
write("tar", "good", out.getvalue())
write("gzip", "good", gzip.compress(bytes(1000), mtime=0))
