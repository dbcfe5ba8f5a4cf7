"""What the ending of a name claims a file to be; an ending that is not here claims nothing."""

from collections.abc import Mapping

# Of what is taken here: the format.
FORMATS: Mapping[str, str] = {
    ".csv": "csv",
    ".h5": "h5",
    ".hdf": "h5",
    ".hdf5": "h5",
    ".keras": "keras",
    ".npz": "npz",
    ".parquet": "parquet",
    ".tflite": "tflite",
}
# A table may be called a text.
TEXTS = frozenset({".text", ".tsv", ".txt"})


def _claims(what: str, endings: str) -> dict[str, str]:
    return {f".{ending}": what for ending in endings.split()}


OTHERS: Mapping[str, str] = {
    **_claims("an ONNX model", "onnx ort"),
    **_claims("a PyTorch model", "ckpt pt pt2 pte pth torchscript"),
    **_claims("a file of weights", "caffemodel ggml gguf nnef pdparams safetensors weights"),
    **_claims("a model of another kind", "engine mar mlmodel mlpackage mnn param pmml rknn tmfile"),
    **_claims("a graph", "meta pb pbtxt prototxt"),
    **_claims("a pickle", "joblib pickle pkl"),
    **_claims("an array of NumPy", "npy"),
    **_claims("a table of another kind", "arff arrow avro dta feather ods orc rds sav xls xlsx"),
    **_claims("a data set of another kind", "lmdb mat nc record tfrecord tfrecords"),
    **_claims("a database", "db sqlite sqlite3"),
    **_claims("an archive of another kind", "7z bz2 cab gz iso lz4 rar tar tgz xz zst"),
    **_claims("a package of programs", "apk deb dmg jar rpm war whl"),
    **_claims("a program", "app bat cmd com dll dylib elf exe msi o ps1 pyc scr sh so vbs wasm"),
    **_claims("source text", "c cc cpp css go h ipynb java js m php pl py r rb rs ts"),
    **_claims("a document", "doc docx epub htm html md odt pdf ppt pptx ps rtf tex xhtml"),
    **_claims("data as text", "ini json jsonl ndjson toml xml yaml yml"),
    **_claims("text", " ".join(ending.removeprefix(".") for ending in TEXTS)),
    **_claims("a picture", "bmp gif heic ico jpeg jpg png psd svg tif tiff webp"),
    **_claims("sound", "aac flac m4a mp3 ogg wav"),
    **_claims("a film", "avi mkv mov mp4 mpeg mpg webm"),
}
