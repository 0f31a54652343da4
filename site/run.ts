// The frame in which the code of a page runs: each run has a TensorFlow.js of its own, and leaves nothing behind.

import type * as tf from '@tensorflow/tfjs';
import {notFoundError} from '../src/platform/errors';
import {MemoryHandler} from '../test/models';
import {type Message, type Program, post} from './messages';
import {make} from '../examples/shared/dom';
import {locateWasm} from '../examples/shared/wasm';

type Module = Readonly<Record<string, unknown>>;
type Load = () => Promise<Module>;

/** What a page takes for granted, such as `model`, and the files that it loads. */
interface Surroundings extends Module {
  files?: () => Promise<Record<string, string | Uint8Array>>;
}

const ENTRIES = import.meta.glob<Module>(['../src/*.ts', '!../src/{cli,node,script,scriptLanguage}.ts']);
const SURROUNDINGS = import.meta.glob<Surroundings>([
  '../test/docs/surroundings/*.ts',
  '!../test/docs/surroundings/{federated,examples-attention}.ts',
]);
const IMPORT = /^import (?:(?:\* as (\w+)|({[^}]*})) from )?'([^']+)';/gm;

function loaderOf(name: string): Load {
  const [, entry] = /^tfjs-lora(?:\/(\w+))?$/.exec(name) ?? [];
  if (name === '@tensorflow/tfjs') {
    return () => import('@tensorflow/tfjs');
  }
  const load = ENTRIES[`../src/${entry ?? 'index'}.ts`];
  if (load === undefined || !name.startsWith('tfjs-lora')) {
    throw new Error(`${name} cannot be imported here.`);
  }
  return load;
}

/** Answers fetches of the files that a page takes for granted. */
function answer(files: Readonly<Record<string, string | Uint8Array>>): void {
  const addressOf = (path: string) => new URL(path, location.href).href;
  const byAddress = new Map(Object.entries(files).map(([path, content]) => [addressOf(path), content]));
  const fetched = window.fetch.bind(window);
  window.fetch = (request, init) => {
    const address = addressOf(request instanceof Request ? request.url : String(request));
    const content = byAddress.get(address);
    if (content === undefined && !address.startsWith('https://example.com/')) {
      return fetched(request, init);
    }
    const status = content === undefined ? 404 : 200;
    return Promise.resolve(new Response((content ?? null) as BodyInit | null, {status}));
  };
}

/** Keeps in memory what code saves in files, which a tab does not have. */
function keepFiles(io: typeof tf.io): void {
  const files = new Map<string, MemoryHandler>();
  const nameOf = (url: unknown) => (typeof url === 'string' ? /^(?:file:\/\/)?([^:]+)$/.exec(url)?.[1] : undefined);
  const none = null as unknown as tf.io.IOHandler;
  io.registerSaveRouter(url => {
    const name = nameOf(url);
    const handler = new MemoryHandler();
    return name === undefined
      ? none
      : {save: artifacts => handler.save(artifacts).finally(() => files.set(name, handler))};
  });
  io.registerLoadRouter(url => {
    const handler = files.get(nameOf(url) ?? '');
    const missing = () => Promise.reject(notFoundError(`${String(url)} is not among the files that this code saved.`));
    return handler ?? (String(url).startsWith('file:') ? {load: missing} : none);
  });
}

function shown(value: unknown): string {
  const isPlain = typeof value === 'object' && value !== null && value.toString === Object.prototype.toString;
  return isPlain || Array.isArray(value) ? JSON.stringify(value) : String(value);
}

/** Runs blocks of a page one after the other: each knows the names of those before it, and may declare them again. */
async function run({page, blocks}: Program): Promise<void> {
  locateWasm();
  const tf = await import('@tensorflow/tfjs');
  await tf.setBackend('wasm');
  const {files, ...surroundings} = (await SURROUNDINGS[`../test/docs/surroundings/${page}.ts`]?.()) ?? {};
  answer((await files?.()) ?? {});
  keepFiles(tf.io);

  const text = blocks.join('\n{\n') + '}'.repeat(blocks.length - 1);
  const modules: Record<string, Module> = {'@tensorflow/tfjs': tf};
  for (const [, , , name = ''] of text.matchAll(IMPORT)) {
    modules[name] ??= await loaderOf(name)();
  }
  const code = text.replace(IMPORT, (_, all: string | undefined, names: string | undefined, name: string) => {
    const bound = all ?? names?.replace(/ as /g, ': ');
    return bound === undefined ? '' : `const ${bound} = modules['${name}'];`;
  });
  const entries = await Promise.all(Object.values(ENTRIES).map(load => load()));
  const known: Module = {tf, ...Object.assign({}, ...entries), ...surroundings, modules};
  const names = Object.keys(known).filter(name => new RegExp(`\\b${name}\\b`).test(code));
  const AsyncFunction = run.constructor as new (...texts: string[]) => (...values: unknown[]) => Promise<void>;
  await new AsyncFunction(...names, `{\n${code}\n}`)(...names.map(name => known[name]));
}

/** Runs the program that the page around this one sends, and shows in `place` what it prints. */
export function listen(place: HTMLElement): void {
  const output = make('pre', {className: 'run-output'});
  output.setAttribute('role', 'log');
  place.append(output);
  const print = (className: string, values: unknown[]) => {
    output.append(make('span', {className, textContent: `${values.map(shown).join(' ')}\n`}));
  };
  console.log = (...values: unknown[]) => print('', values);
  console.warn = (...values: unknown[]) => print('warning', values);
  new ResizeObserver(() => post(parent, {kind: 'size', height: document.body.scrollHeight})).observe(document.body);
  addEventListener('message', ({source, data}: MessageEvent<Message>) => {
    if (source !== parent || data.kind !== 'run') {
      return;
    }
    run(data.program).then(
      () => {
        print('end', ['Done.']);
        post(parent, {kind: 'end'});
      },
      (error: unknown) => {
        print('error', [error]);
        post(parent, {kind: 'end', error: String(error)});
      },
    );
  });
  post(parent, {kind: 'ready'});
}
