import {toGraphModel} from '../graph';
import {applyLoRA, fileHandler, safeMergeLoRA, scaleAdapter} from '../node';
import {kernelsOf, namedBase} from '../core/adapter/base';
import {sitesOf} from '../core/rewire/walk';
import {misfitError} from '../platform/errors';
import {type Command, nameOf, numberOf, required, UsageError} from './command';
import {keyMapAt, loadBase, MODEL_OPTIONS, readAnyAdapter, register, sourceAt} from './sources';
import {checkOut, FORCE_OPTION, pathsOf, writeTo} from './targets';

/** Writes a model with an adapter in its weights. */
export const merge: Command = {
  usage: '<model> [<adapter>] --out <folder> [--scale 0.8] [--key-map <file.json>] [--force]',
  summary: 'writes a model of stock layers, or a graph, with the adapter in its weights',
  options: {
    out: {value: '<folder>', help: 'where to write model.json and its weights'},
    scale: {value: '<number>', help: 'how strong the adapter is. Default: 1'},
    dtype: {value: '<type>', help: 'of changed weights of a graph: float32 or float16. Default: float32'},
    force: {help: `${FORCE_OPTION.force.help}, and merges an adapter of another base`},
    ...MODEL_OPTIONS,
  },
  run: async (given, terminal) => {
    const [basePath = '', adapterPath] = pathsOf(given, 1, 2, 'a model, and an adapter unless the model is adapted');
    const out = required(given, 'out', 'merged');
    const scale = numberOf(given, 'scale');
    const dtype = nameOf(given, 'dtype', ['float32', 'float16']);
    const {'key-map': map, register: module} = given.values;
    if (adapterPath === undefined && scale !== undefined) {
      throw new UsageError('--scale is for an adapter of its own file, and none is given.');
    }
    if (dtype !== undefined && (await sourceAt(basePath)).kind === 'layers model') {
      throw new UsageError('--dtype is for the weights of a graph. Those of a layers model keep their type.');
    }
    if (out.endsWith('.safetensors')) {
      throw new UsageError(`--out must be a folder, or a .json file, of a model, got "${out}".`);
    }
    await checkOut(given, out, 'a model');
    await register(module);
    const keyMap = await keyMapAt(map);
    const {model, graph} = await loadBase(basePath, terminal);
    let adapted = model;
    if (adapterPath !== undefined) {
      const adapter = await readAnyAdapter(adapterPath, {model, keyMap}, terminal);
      const other = await namedBase(adapter)?.differenceFrom(kernelsOf(adapter, sitesOf(model)));
      if (other !== undefined && !given.switches.has('force')) {
        throw misfitError(`${other} To merge it anyway, pass --force.`);
      }
      adapted = applyLoRA(model, scale === undefined ? adapter : scaleAdapter(adapter, scale));
    }
    const merged = await safeMergeLoRA(adapted);
    const written =
      graph === undefined ? merged : await toGraphModel(merged, graph, {...(dtype !== undefined && {dtype})});
    terminal.err(`Writing ${out}`);
    await writeTo(given, out, 'a model', async () => {
      await written.save(fileHandler(out));
    });
    terminal.out(out);
  },
};
