import {fileHandler} from '../node';
import {toONNX} from '../onnx';
import {type Arguments, type Command, nameOf, required, type Terminal, UsageError} from './command';
import {besideOf, isPublished, loadBase, MODEL_OPTIONS, readAnyAdapter, register, sourceAt} from './sources';
import {ADAPTER_OPTIONS, adapterTarget, checkOut, pathsOf, writeAdapter, writeONNX, writeTo} from './targets';

export const convert: Command = {
  usage: '<adapter or model> --out <path> [--model <path>] [--key-map <file.json>] [--dtype float16] [--force]',
  summary:
    'writes an adapter in another format: .safetensors, .json, or a folder for PEFT; a layers model as .onnx, or back',
  options: {...ADAPTER_OPTIONS, ...MODEL_OPTIONS},
  run: async (args, terminal) => {
    const [path = ''] = pathsOf(args, 1, 1, 'an adapter or a model');
    const out = required(args, 'out', 'adapter.safetensors');
    const published = sourceAt(path).then(
      ({kind}) => isPublished(kind),
      () => false, // the error is for readAnyAdapter, after --out was checked
    );
    if (out.endsWith('.onnx') || path.endsWith('.onnx') || (await published)) {
      await convertModel(args, path, out, terminal);
      terminal.out(out);
      return;
    }
    const target = await adapterTarget(args, out);
    const beside = await besideOf(args, terminal);
    const adapter = await readAnyAdapter(path, beside, terminal);
    await writeAdapter(adapter, args, target, beside, terminal);
    terminal.out(out);
  },
};

/** Writes a layers model as an ONNX file, an ONNX file as a layers model, or a published model as either. */
async function convertModel(args: Arguments, path: string, out: string, terminal: Terminal): Promise<void> {
  const dtype = nameOf(args, 'dtype', ['float32', 'float16']);
  const {kind} = await sourceAt(path);
  const isONNX = out.endsWith('.onnx');
  const mayBe = isPublished(kind) || (isONNX ? kind === 'layers model' : kind === 'ONNX model');
  if (!mayBe) {
    throw new UsageError(`A layers model becomes an .onnx file, and back. ${path} is of another kind, or --out is.`);
  }
  if (!isONNX && dtype !== undefined) {
    throw new UsageError('--dtype is for the weights of an .onnx file.');
  }
  await checkOut(args, out, 'a model');
  await register(args.values.register);
  const {model} = await loadBase(path, terminal);
  if (isONNX) {
    const allowNonFinite = args.switches.has('allow-non-finite');
    await writeONNX(await toONNX(model, {...(dtype && {dtype}), allowNonFinite}), args, out, terminal);
    return;
  }
  terminal.err(`Writing ${out}`);
  await writeTo(args, out, 'a model', async () => {
    await model.save(fileHandler(out));
  });
}
