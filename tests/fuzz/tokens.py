"""What readers stumble over: numbers at the edges, and words that mean something somewhere."""

from typing import Any

NUMBERS = (
    *(0, 1, 2, 3, 4, 7, 8, 16, 32, 63, 64, 100, 127, 128, 255, 256, 1000, 4095, 4096),
    *(2**15 - 1, 2**15, 2**16 - 1, 2**16, 2**24, 2**31 - 1, 2**31, 2**32 - 2, 2**32 - 1),
    *(2**32, 2**53, 2**63 - 1, 2**63, 2**64 - 2, 2**64 - 1, -1, -2, -128, -(2**31), -(2**63)),
)
VALUES: tuple[Any, ...] = (
    *(None, True, False, "", "x", 0, -1, 1, 3, 2**31, 2**63, 10**30, 0.5, 1e308, -0.0),
    *(float("nan"), float("inf"), [], {}, [[]], {"": ""}, [None], "\x00", "\u202e", "\ud800"),
    *("../../etc/passwd", "os.system", "__lambda__", "Lambda", "<img src=x>", "a" * 5000),
    *("float16", "int8", "complex64", "keras.layers", "keras.ops", "builtins", "Functional"),
    *("Sequential", "Dense", "InputLayer", "TorchModuleWrapper", "__keras_tensor__", "__numpy__"),
)
NAMES = (
    *("config.json", "metadata.json", "model.weights.h5", "saved_model.pb", "fingerprint.pb"),
    *("variables/variables.index", "variables/variables.data-00000-of-00001", "assets/words.txt"),
    *("x.npy", "y.npy", "x_train.npy", "y_test.npy", "x.a.npy", "0/a.png", "1/b.jpg"),
    *("../x", "/x", "a\\b", "C:x", "a/../b", "CON", "a. ", "\u202ex", "Config.JSON", "a/", "./a"),
)
WORDS = (
    *(b"PK\x03\x04", b"PK\x01\x02", b"PK\x05\x06", b"PK\x06\x06", b"PK\x06\x07", b"PK\x07\x08"),
    *(b"\x89HDF\r\n\x1a\n", b"OHDR", b"TREE", b"HEAP", b"SNOD", b"GCOL", b"FRHP", b"BTHD"),
    *(b"TFL3", b"PAR1", b"PARE", b"\x93NUMPY", b"\x80\x04.", b"\x1f\x8b", b"\x89PNG\r\n\x1a\n"),
    *(b"IHDR", b"IDAT", b"IEND", b"\xff\xd8\xff\xe0", b"\xff\xda", b"BM", b"\xff\xfe", b"\0"),
    *(b"WriteFile", b"ReadFile", b"PyFunc", b"PartitionedCall", b"serve", b"MatMulV2", b"Const"),
    *(b"'descr': '|O'", b"'shape': (-1,)", b"(4294967296, 4294967296)", b"True", b"False"),
    *(b'"', b"'", b",", b"\n", b"\r\n", b"\r", b"1e999", b"nan", b"-", b"{", b"}", b"[" * 2000),
    *(b'{"class_name": "Lambda"}', b"null", b"NaN", b"\xef\xbb\xbf", b"=cmd()", b"0x10", b"1_0"),
)
TYPES = (
    *("<f4", "<f8", "<f2", ">f8", "|b1", "|u1", "<i8", ">i2", "<U1", "|O", "<c8", "|S3", "|V4"),
    *("<f4, <f4", "<M8[s]", "=f4", "<f16", "<i3", "O8", "("),
)
