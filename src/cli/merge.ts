import {toGraphModel} from '../graph';
import {toONNX} from '../onnx';
import {applyLoRA, fileHandler, safeMergeLoRA, scaleAdapter} from '../node';
import {kernelsOf, namedBase} from '../core/adapter/base';
import {sitesOf} from '../core/rewire/walk';
import {misfitError} from '../platform/errors';
import {type Command, nameOf, numberOf, required, UsageError} from './command';
import {isPublished, keyMapAt, loadBase, MODEL_OPTIONS, readAnyAdapter, register, sourceAt} from './sources';
import {checkOut, FORCE_OPTION, pathsOf, writeONNX, writeTo} from './targets';

export const merge: Command = {
  usage: '<model> [<adapter>] --out <path> [--scale 0.8] [--key-map <file.json>] [--force]',
  summary: 'writes a model of stock layers, a graph, or an ONNX file, with the adapter in its weights',
  options: {
    out: {value: '<path>', help: 'where to write: a folder for model.json and its weights, or an .onnx file'},
    scale: {value: '<number>', help: 'scales the update. Default: 1'},
    dtype: {
      value: '<type>',
      help: 'of changed weights of a graph, or of a new .onnx file: float32 or float16. Default: float32',
    },
    force: {help: `${FORCE_OPTION.force.help}, and merges an adapter of another base`},
    ...MODEL_OPTIONS,
  },
  run: async (args, terminal) => {
    const [basePath = '', adapterPath] = pathsOf(args, 1, 2, 'a model, and an adapter unless the model is adapted');
    const out = required(args, 'out', 'merged');
    const scale = numberOf(args, 'scale');
    const dtype = nameOf(args, 'dtype', ['float32', 'float16']);
    const {'key-map': map, register: module} = args.values;
    if (adapterPath === undefined && scale !== undefined) {
      throw new UsageError('--scale needs an adapter in a separate file, and none is given.');
    }
    if (out.endsWith('.safetensors')) {
      throw new UsageError(`--out must be a folder, or a .json or .onnx file, of a model, got "${out}".`);
    }
    const isONNX = out.endsWith('.onnx');
    const kind = dtype === undefined && !isONNX ? undefined : (await sourceAt(basePath)).kind;
    if (
      dtype !== undefined &&
      kind !== 'graph model' &&
      !(isONNX && kind !== undefined && (kind === 'layers model' || isPublished(kind)))
    ) {
      throw new UsageError('--dtype is for the weights of a graph or a new .onnx file. Others keep their type.');
    }
    if (isONNX && kind === 'graph model') {
      throw new UsageError('A graph model is written as one, not as an .onnx file: let --out be a folder.');
    }
    await checkOut(args, out, 'a model');
    await register(module);
    const keyMap = await keyMapAt(map);
    const {model, graph, onnx} = await loadBase(basePath, terminal);
    let adapted = model;
    if (adapterPath !== undefined) {
      const adapter = await readAnyAdapter(adapterPath, {model, keyMap}, terminal);
      const other = await namedBase(adapter)?.differenceFrom(kernelsOf(adapter, sitesOf(model)));
      if (other !== undefined && !args.switches.has('force')) {
        throw misfitError(`${other} To merge it anyway, pass --force.`);
      }
      adapted = applyLoRA(model, scale === undefined ? adapter : scaleAdapter(adapter, scale));
    }
    const merged = await safeMergeLoRA(adapted);
    const dtypeOption = {...(dtype !== undefined && {dtype})};
    if (isONNX) {
      const file = await (onnx === undefined
        ? toONNX(merged, dtypeOption)
        : toONNX(merged, onnx.path, {externalData: onnx.externalData}));
      await writeONNX(file, args, out, terminal);
      terminal.out(out);
      return;
    }
    const written = graph === undefined ? merged : await toGraphModel(merged, graph, dtypeOption);
    terminal.err(`Writing ${out}`);
    await writeTo(args, out, 'a model', async () => {
      await written.save(fileHandler(out));
    });
    terminal.out(out);
  },
};
