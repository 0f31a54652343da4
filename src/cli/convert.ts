import {type Command, required} from './command';
import {besideOf, MODEL_OPTIONS, readAnyAdapter} from './sources';
import {ADAPTER_OPTIONS, adapterTarget, pathsOf, writeAdapter} from './targets';

/** Writes an adapter in another format. */
export const convert: Command = {
  usage: '<adapter> --out <path> [--model <path>] [--key-map <file.json>] [--dtype float16] [--force]',
  summary: 'writes an adapter in another format: .safetensors, .json, or a folder for PEFT',
  options: {...ADAPTER_OPTIONS, ...MODEL_OPTIONS},
  run: async (given, terminal) => {
    const [path = ''] = pathsOf(given, 1, 1, 'one adapter');
    const out = required(given, 'out', 'adapter.safetensors');
    const target = await adapterTarget(given, out);
    const beside = await besideOf(given, terminal);
    const adapter = await readAnyAdapter(path, beside, terminal);
    await writeAdapter(adapter, given, target, beside, terminal);
    terminal.out(out);
  },
};
