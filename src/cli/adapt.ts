import {existsSync} from 'node:fs';
import {readdir} from 'node:fs/promises';
import {basename, dirname, join, resolve} from 'node:path';
import {adaptONNX} from '../onnx';
import {replaceFile} from '../node/files';
import {LoRAError, misfitError} from '../platform/errors';
import {type Command, nameOf, required, UsageError} from './command';
import {named, readAnyAdapter, sourceAt} from './sources';
import {checkOut, FORCE_OPTION, pathsOf, writeTo} from './targets';

export const adapt: Command = {
  usage: '<model.onnx> <adapter> --out <file.onnx> [--mode inputs] [--prefix model.encoder] [--force]',
  summary: 'writes an ONNX file with an adapter beside its products, and the weights where they are',
  options: {
    out: {value: '<file.onnx>', help: 'where to write the graph; the adapter goes to a data file next to it'},
    mode: {value: '<mode>', help: 'data: a second data file; inputs: inputs of the graph. Default: data'},
    prefix: {value: '<module>', help: "the path of the file's modules, for models of several files"},
    ...FORCE_OPTION,
  },
  run: async (args, terminal) => {
    const [path = '', adapterPath = ''] = pathsOf(args, 2, 2, 'an .onnx file and an adapter');
    const out = required(args, 'out', 'adapted/model_q4.onnx');
    const mode = nameOf(args, 'mode', ['data', 'inputs']) ?? 'data';
    const {prefix} = args.values;
    if (!out.endsWith('.onnx')) {
      throw new UsageError(`--out must be an .onnx file, got "${out}".`);
    }
    const {kind} = await sourceAt(path);
    if (kind !== 'ONNX model') {
      throw misfitError(`${path} is a ${kind}, not an ONNX model.`);
    }
    await checkOut(args, out, 'a model');
    const stored = (await readdir(dirname(path))).filter(
      name => name.startsWith(basename(path)) && /[._]data/.test(name.slice(basename(path).length)),
    );
    const dataFile = `${basename(out)}_data${stored.length === 0 ? '' : `_${stored.length}`}`;
    const dataPath = join(dirname(out), dataFile);
    if (mode === 'data' && existsSync(dataPath) && !args.switches.has('force')) {
      throw new LoRAError(`${dataPath} exists. Choose another --out, or replace it with --force.`);
    }
    const source = await sourceAt(adapterPath);
    const adapter =
      source.kind === 'PEFT adapter'
        ? source.path
        : await readAnyAdapter(adapterPath, {model: undefined, keyMap: undefined}, terminal);
    const options = {mode, ...(mode === 'data' && {dataFile}), ...(prefix !== undefined && {prefix})};
    const {file, data} = await named(path, () => adaptONNX(path, adapter, options));
    terminal.err(`Writing ${out}`);
    await writeTo(args, out, 'a model', async () => {
      if (mode === 'data') {
        await replaceFile(dataPath, data);
      }
      await replaceFile(out, file);
    });
    if (stored.length > 0 && resolve(dirname(path)) !== resolve(dirname(out))) {
      terminal.err(`The weights stay in ${stored.join(', ')}. Copy them next to ${out}.`);
    }
    terminal.out(out);
  },
};
