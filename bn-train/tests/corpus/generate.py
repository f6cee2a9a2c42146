"""Seeds of the fuzz corpus: small files of every format that bn-train reads, good ones and ones that are nearly good.

    python3 generate.py        # numpy 2.4.6, Pillow 13.0.0, safetensors

A folder per target of fuzz/targets.rs. tests/fuzz cuts, flips, splices and grows them.
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
write("cifar_10", "two", records)

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
    write("png", f"{name}.png", out.getvalue())
for mode, options in (("L", {}), ("RGB", {}), ("RGB", {"progressive": True}), ("RGB", {"subsampling": 2}), ("CMYK", {})):
    out = io.BytesIO()
    Image.fromarray(rng.integers(0, 256, (9, 10, 3), dtype=np.uint8)).convert(mode).save(out, "JPEG", **options)
    name = "-".join([mode.lower(), *options])
    write("jpeg", f"{name}.jpg", out.getvalue())

out = io.BytesIO()
with tarfile.open(fileobj=out, mode="w") as tar:
    for name, size in (("d/a.bin", 100), ("b.bin", 3), ("other", 10)):
        info = tarfile.TarInfo(name)
        info.size = size
        tar.addfile(info, io.BytesIO(bytes(size)))
write("tar", "good", out.getvalue())
write("gzip", "good", gzip.compress(bytes(1000), mtime=0))

# Below, of a generator of their own, so that the seeds above stay as they are.
rng = np.random.default_rng(1)
records = b"".join(bytes([9, label]) + rng.integers(0, 256, 3072, dtype=np.uint8).tobytes() for label in (0, 99))
write("cifar_100", "two", records)

images, labels = idx([3, 28, 28]), struct.pack(">BBBBI", 0, 0, 8, 1, 3) + bytes([0, 9, 5])
write("mnist", "three", struct.pack(">H", len(images)) + images + labels)
write("mnist", "four", struct.pack(">H", len(images)) + images + idx([4]))

write("csv_label", "first", b"kind,a,b\n0,1,2\n10,3.5,-4e2\n9,0,7\n")
write("csv_label", "middle", b'a, kind ,"b"\r\n1,dog,2\r\n3,"c,at",4\r\n')
write("csv_label", "twice", b"kind,kind\n1,dog\n2,cat\n")


def arrays(sizes, kind, **more):
    return save({"x": rng.integers(0, 256, sizes).astype(kind), "y": np.arange(sizes[0]) % 3} | more)


tests = {"x_test": np.zeros((2, 2, 3, 1), np.uint8), "y_test": np.array([0, 4], np.uint8)}
write("arrays", "features", arrays([14, 3], np.float32))
write("arrays", "planes", arrays([14, 2, 2], np.uint8))
write("arrays", "channels", arrays([14, 2, 3, 1], np.uint8, **tests))
