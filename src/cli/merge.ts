import {LoRAError} from '../errors';
import {toGraphModel} from '../graph';
import {applyLoRA, fileHandler, safeMergeLoRA, scaleAdapter} from '../node';
import {type Command, numberOf, required} from './command';
import {keyMapAt, loadBase, MODEL_OPTIONS, readAnyAdapter, register} from './sources';
import {pathsOf} from './targets';

/** Writes a model with an adapter in its weights. */
export const merge: Command = {
  usage: '<model> [<adapter>] --out <folder> [--scale 0.8] [--key-map <file.json>]',
  summary: 'writes a model of stock layers, or a graph, with the adapter in its weights',
  options: {
    out: {value: '<folder>', help: 'where to write model.json and its weights'},
    scale: {value: '<number>', help: 'how strong the adapter is. Default: 1'},
    dtype: {value: '<type>', help: 'of changed weights of a graph: float32 or float16. Default: float32'},
    ...MODEL_OPTIONS,
  },
  run: async (given, terminal) => {
    const [basePath = '', adapterPath] = pathsOf(given, 1, 2, 'a model, and an adapter unless the model is adapted');
    const out = required(given, 'out', 'merged');
    const scale = numberOf(given, 'scale');
    const {dtype, 'key-map': map, register: module} = given.values;
    await register(module);
    const keyMap = await keyMapAt(map);
    const {model, graph} = await loadBase(basePath, terminal);
    if (adapterPath === undefined && scale !== undefined) {
      throw new LoRAError('--scale is for an adapter of its own file, and none is given.');
    }
    let adapted = model;
    if (adapterPath !== undefined) {
      const adapter = await readAnyAdapter(adapterPath, {model, keyMap}, terminal);
      adapted = applyLoRA(model, scale === undefined ? adapter : scaleAdapter(adapter, scale));
    }
    const merged = await safeMergeLoRA(adapted);
    terminal.err(`Writing ${out}`);
    if (graph === undefined) {
      await merged.save(fileHandler(out));
    } else {
      const written = await toGraphModel(merged, graph, {...(dtype !== undefined && {dtype: dtype as 'float16'})});
      await written.save(fileHandler(out));
    }
    terminal.out(out);
  },
};
