import {spawnSync} from 'node:child_process';
import {existsSync, readFileSync} from 'node:fs';
import {dirname, join} from 'node:path';
import ts from 'typescript';

const DIST = join(__dirname, '../dist');

interface Pair {
  adapted: number[];
  base: number[];
  appliedAgain: string;
  merged: number[];
  removed: number[];
  loaded: number[];
  reloaded: number[];
  reloadedMerged: number[];
  summary: string;
  expectedSummary: string;
}

interface Result {
  separate: boolean;
  pairs: Record<'imported' | 'required', Pair>;
  kernelsKept: boolean;
  kernelsRegistered: boolean;
  doors: {importedNode: string; requiredNode: string; browser: string[]; namesMissing: string[]};
  warnings: string[];
}

/** What a built file imports, and what that imports. */
function modulesOf(file: string, found = new Set<string>()): Set<string> {
  for (const {fileName} of ts.preProcessFile(readFileSync(file, 'utf8'), true, true).importedFiles) {
    const path = fileName.startsWith('.') ? join(dirname(file), fileName) : fileName;
    if (!found.has(path)) {
      found.add(path);
      if (fileName.startsWith('.')) {
        modulesOf(path, found);
      }
    }
  }
  return found;
}

function packagesOf(file: string): string[] {
  return [...modulesOf(join(DIST, file))].filter(name => !name.startsWith(DIST)).sort();
}

describe('the built library', () => {
  let result: Result;

  beforeAll(() => {
    if (!existsSync(join(DIST, 'index.js'))) {
      throw new Error('There is no build to test. Run `npm run build` first; `npm test` does.');
    }
    const script = join(__dirname, 'fixtures/twoCopies.cjs');
    const {stdout, stderr} = spawnSync(process.execPath, [script], {encoding: 'utf8'});
    const line = stdout.split('\n').find(text => text.startsWith('RESULT '));
    if (line === undefined) {
      throw new Error(`The script failed: ${stderr}`);
    }
    result = JSON.parse(line.slice('RESULT '.length)) as Result;
  }, 60_000);

  test('can be imported and required in one process, which makes two copies of it', () => {
    expect(result.separate).toBe(true);
    expect(result.warnings).toEqual([]);
  });

  describe.each(['imported', 'required'] as const)('a model that the %s copy adapted', name => {
    test('is seen as adapted by the other', () => {
      expect(result.pairs[name].appliedAgain).toMatch(/^LoRAError: .*adapted already/);
      expect(result.pairs[name].summary).toBe(result.pairs[name].expectedSummary);
      expect(result.pairs[name].summary).toMatch(/conv +Conv2D.*\n.*head +Dense/);
    });

    test('is merged and removed from by the other', () => {
      const {adapted, base, merged, removed} = result.pairs[name];
      expect(adapted).not.toBeAllClose(base);
      expect(merged).toBeAllClose(adapted);
      expect(removed).toEqual(base);
    });

    test('has its adapter saved and loaded by the other', () => {
      expect(result.pairs[name].loaded).toEqual(result.pairs[name].adapted);
    });

    test("is reloaded from a file, whichever copy's classes tfjs has", () => {
      expect(result.pairs[name].reloaded).toEqual(result.pairs[name].adapted);
      expect(result.pairs[name].reloadedMerged).toBeAllClose(result.pairs[name].adapted);
    });
  });

  test('registers its kernels once, not in turn', () => {
    expect(result.kernelsRegistered).toBe(true);
    expect(result.kernelsKept).toBe(true);
  });

  test('exports the same names in Node as in browsers, the file handler among them', () => {
    expect(result.doors).toEqual({
      importedNode: 'function',
      requiredNode: 'function',
      browser: ['function', 'function'],
      namesMissing: [],
    });
  });

  test.each([
    ['graph', 'typeof all.fromGraphModel'],
    ['quantized', 'typeof all.quantizeBase'],
    ['language', "typeof (await all.loadGGUF('test/fixtures/gguf/gpt2.gguf')).model.predict"],
    ['transformers', "typeof (await all.loadTransformer('test/fixtures/transformers/bert')).model.predict"],
  ])('gives Node its files where %s is all that is imported or required', (entry, loaded) => {
    const imports = {module: 'await import', commonjs: 'require'};
    for (const [type, load] of Object.entries(imports)) {
      const program = `(async () => {
        const [tf, all] = [${load}('@tensorflow/tfjs'), ${load}('tfjs-lora/${entry}')];
        console.log(tf.io.getLoadHandlers('file://model').length, ${loaded});
      })();`;
      const args = [`--input-type=${type}`, '--eval', program];
      const {stdout, stderr} = spawnSync(process.execPath, args, {cwd: join(DIST, '..'), encoding: 'utf8'});
      expect([stdout.trim().split('\n').at(-1), stderr]).toEqual(['1 function', expect.not.stringContaining('Error')]);
    }
  });

  test.each(['index.js', 'index.cjs'])('asks in %s for nothing but tfjs, which is not bundled', file => {
    expect(packagesOf(file)).toEqual(['@tensorflow/tfjs']);
  });

  test.each(['node.js', 'node.cjs'])('asks in %s for modules of Node, and the backend that startWasm imports', file => {
    const packages = packagesOf(file).filter(name => !name.startsWith('node:'));
    expect(packages.sort()).toEqual(['@tensorflow/tfjs', '@tensorflow/tfjs-backend-wasm']);
  });
});
