import {existsSync, readFileSync} from 'node:fs';
import {join} from 'node:path';
import ts from 'typescript';
import {startWasm} from 'tfjs-lora';
import {withFiles} from '../withFiles';
import type * as Data from './data';

// Whole programs for the most common tasks, as the docs let one write them. `tsc` compiles them in strict mode.

/** The tasks: how many lines a program may have, and a file that it writes. */
const TASKS: readonly [name: string, lines: number, writes?: string][] = [
  ['adapt', 9, 'merged/model.json'],
  ['newHead', 10, 'new-head.safetensors'],
  ['images', 10],
  ['graphModel', 9],
  ['onnx', 10, 'tuned.onnx'],
  ['encoder', 8, 'encoder.safetensors'],
  ['embeddings', 8, 'sentences.safetensors'],
  ['gguf', 5],
  ['chats', 7, 'chats.safetensors'],
  ['preferences', 8, 'preferences.safetensors'],
  ['speech', 14, 'speech.safetensors'],
  ['switchAndCombine', 14, 'both/model.json'],
  ['peft', 6, 'for-python/adapter_model.safetensors'],
  ['resume', 6],
  ['federated', 18, 'common.safetensors'],
];

function programOf(name: string): string {
  return readFileSync(join(__dirname, `${name}.ts`), 'utf8');
}

/** The lines of a program without blanks, comments, and the import of what its user has. */
function linesOf(program: string): string[] {
  return program.split('\n').filter(line => !/^\s*((\/\/|#).*)?$|from '\.\/data';$|^from data import /.test(line));
}

describe.each(TASKS)('the program of %s', (name, lines, writes) => {
  test(`has at most ${lines} lines, and imports at most two entry points`, () => {
    const written = linesOf(programOf(name));
    expect(written.length).toBeLessThanOrEqual(lines);
    const entries = written.flatMap(line => /from '(tfjs-lora[^']*)';$/.exec(line)?.[1] ?? []);
    expect(entries.length).toBeLessThanOrEqual(2);
    expect(new Set(entries).size).toBe(entries.length);
  });

  test('runs', async () => {
    await withFiles(files, async () => {
      await run(name);
      expect(writes === undefined || existsSync(writes)).toBe(true);
    });
  });
});

test('docs/quick-start.md has the lines of each program, and of the shortest known elsewhere', () => {
  const page = readFileSync(join(__dirname, '../../docs/quick-start.md'), 'utf8');
  const rows = [...page.matchAll(/^\| [^|]+ \| `(\w+)` \| (\d+) \|[^|]*\| *(\d*) *\|/gm)];
  expect(rows.map(([, name]) => name)).toEqual(TASKS.map(([name]) => name));
  for (const [, name = '', lines, elsewhere] of rows) {
    expect(linesOf(programOf(name))).toHaveLength(Number(lines));
    expect(Number(lines)).toBeLessThanOrEqual((Number(elsewhere) || Infinity) + 2);
    const file = join(__dirname, `elsewhere/${name}.py`);
    if (existsSync(file)) {
      expect(linesOf(readFileSync(file, 'utf8'))).toHaveLength(Number(elsewhere));
    }
  }
});

let data: typeof Data;
let files: Record<string, string | Uint8Array>;
beforeAll(async () => {
  await startWasm(); // before the tensors of the data
  data = await import('./data');
  files = await data.files();
});
afterAll(() => data.afterwards());
beforeEach(() => {
  for (const method of ['log', 'warn', 'info'] as const) {
    jest.spyOn(console, method).mockImplementation(() => undefined);
  }
});

/** Runs a program, whose modules this test loads. */
async function run(name: string): Promise<void> {
  const {outputText} = ts.transpileModule(programOf(name), {
    compilerOptions: {target: ts.ScriptTarget.ES2022, module: ts.ModuleKind.CommonJS},
  });
  // oxlint-disable-next-line typescript/no-implied-eval -- the programs beside this test
  const program = new Function('require', 'exports', `return (async () => {${outputText}})();`) as (
    load: (module: string) => unknown,
    exports: object,
  ) => Promise<void>;
  await program(module => require(module), {}); // oxlint-disable-line
}
