import {type Command, required} from './command';
import {keyMapAt, loadBase, MODEL_OPTIONS, readAnyAdapter, register} from './sources';
import {ADAPTER_OPTIONS, formatOf, pathsOf, writeAdapter} from './targets';

/** Writes an adapter in another format. */
export const convert: Command = {
  usage: '<adapter> --out <path> [--model <path>] [--key-map <file.json>] [--dtype float16]',
  summary: 'writes an adapter in another format: .safetensors, .json, or a folder for PEFT',
  options: {...ADAPTER_OPTIONS, ...MODEL_OPTIONS},
  run: async (given, terminal) => {
    const [path = ''] = pathsOf(given, 1, 1, 'one adapter');
    const out = required(given, 'out', 'adapter.safetensors');
    formatOf(out);
    const {model: base, dtype, 'key-map': map, register: module} = given.values;
    await register(module);
    const keyMap = await keyMapAt(map);
    const model = base === undefined ? undefined : (await loadBase(base, terminal)).model;
    const adapter = await readAnyAdapter(path, model, keyMap, terminal);
    await writeAdapter(adapter, out, {model, keyMap, dtype}, terminal);
    terminal.out(out);
  },
};
